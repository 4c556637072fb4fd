"""stagebench: a laboratory that settles concurrency questions for Python pipelines."""

__version__ = "0.1.0"
