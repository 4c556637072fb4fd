"""Measuring one run: the supervisor that samples, and the measured process that it starts."""
