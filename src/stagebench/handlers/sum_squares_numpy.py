"""Sum of squares in NumPy: a float64 array and element-wise operations that release the GIL."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from stagebench.handlers.bounds import Bounds, MemoryNeed
from stagebench.handlers.sum_squares_native import check_sum_squares

BYTES_AN_ELEMENT = 16
"""The array and its squares, 8 bytes each."""


def sum_squares_numpy(*, elements: Annotated[int, Bounds(at_least=1)]) -> float:
    """Return 0² + 1² + … + (elements − 1)²; raises ArithmeticError if the closed form differs."""
    data = np.arange(elements, dtype=np.float64)
    total = float(np.sum(np.square(data)))
    check_sum_squares(total, elements)
    return total


def memory_need(*, elements: int) -> MemoryNeed:
    """Estimate: the array and its squares."""
    return MemoryNeed(working_bytes=elements * BYTES_AN_ELEMENT, result_bytes=0)
