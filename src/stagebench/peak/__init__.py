"""Bracket a peak of memory: what sweeps saw of it, and how high it can have been between them."""
