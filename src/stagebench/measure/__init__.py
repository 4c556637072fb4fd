"""Measuring one run: a supervisor that samples, and the measured process that it starts."""
