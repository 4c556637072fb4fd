"""Matrix product in NumPy: the one workload here that BLAS does in several threads."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from stagebench.handlers.bounds import Bounds, MemoryNeed

BYTES_AN_ELEMENT = 24
"""Two factors and their product, 8 bytes each; buffers that BLAS keeps are not in it."""


def matrix_product(*, size: Annotated[int, Bounds(at_least=1)]) -> float:
    """Return the trace of a product of two matrices of `size` rows and columns.

    One holds i + 1 throughout row i, the other its reciprocal throughout column i, so that every
    number on the product's diagonal is `size`; raises ArithmeticError if the trace is not size².
    """
    steps = np.arange(1.0, size + 1.0)
    rows = np.repeat(steps, size).reshape(size, size)
    columns = np.tile(1.0 / steps, size).reshape(size, size)
    trace = float(np.trace(rows @ columns))
    if not math.isclose(trace, size**2, rel_tol=1e-9):
        raise ArithmeticError(f"trace of the product of size {size} is {size**2}, got {trace!r}")
    return trace


def memory_need(*, size: int) -> MemoryNeed:
    """Estimate: both factors and the product."""
    return MemoryNeed(working_bytes=size**2 * BYTES_AN_ELEMENT, result_bytes=0)
