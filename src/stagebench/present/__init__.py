"""Presentation: tables → figures and report."""
