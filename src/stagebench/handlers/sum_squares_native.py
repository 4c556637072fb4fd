"""Sum of squares in native Python: a list of floats and a loop, both of which hold the GIL."""

from __future__ import annotations

import math
from typing import Annotated

from stagebench.handlers.bounds import Bounds, MemoryNeed

BYTES_AN_ELEMENT = 32
"""A pointer in the list (8) and a float object (24), CPython on 64 bits."""


def sum_squares_native(*, elements: Annotated[int, Bounds(at_least=1)]) -> float:
    """Return 0² + 1² + … + (elements − 1)²; raises ArithmeticError if the closed form differs."""
    data = [float(i) for i in range(elements)]
    total = 0.0
    for x in data:
        total += x * x
    check_sum_squares(total, elements)
    return total


def check_sum_squares(total: float, elements: int) -> None:
    """Hold a sum of squares against n(n−1)(2n−1)/6, to a millionth: floats are summed."""
    exact = elements * (elements - 1) * (2 * elements - 1) // 6
    if not math.isclose(total, exact, rel_tol=1e-6):
        raise ArithmeticError(f"sum of squares below {elements} is {exact}, computed {total!r}")


def memory_need(*, elements: int) -> MemoryNeed:
    """Estimate: the list and its floats."""
    return MemoryNeed(working_bytes=elements * BYTES_AN_ELEMENT, result_bytes=0)
