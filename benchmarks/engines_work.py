"""The handler of engines.py: it computes, and allocates nothing that an allocator must fetch anew.

How much of freed memory an allocator keeps depends on what else the process holds, and so on the
engine: a handler that makes a large list is up to a tenth faster beside Dask.
"""

from __future__ import annotations


def count(*, rounds: int) -> int:
    """Compute with small numbers, one round after the other."""
    value = 1
    for number in range(rounds):
        value = (value * 31 + number) % 65521
    return value
