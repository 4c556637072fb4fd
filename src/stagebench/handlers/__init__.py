"""Workloads: one a file, each a plain picklable function with typed, documented parameters."""
