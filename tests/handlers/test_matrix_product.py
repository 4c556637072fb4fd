import tracemalloc

import numpy as np
import pytest

from stagebench.handlers import matrix_product as module
from stagebench.handlers.matrix_product import matrix_product, memory_need


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_the_trace_is_the_square_of_the_size(size):
    assert matrix_product(size=size) == pytest.approx(size**2)


def test_a_wrong_product_is_noticed(monkeypatch):
    monkeypatch.setattr(module.np, "trace", np.sum)
    with pytest.raises(ArithmeticError, match="of size 3 is 9, got"):
        matrix_product(size=3)


def test_the_estimate_of_memory_is_what_is_allocated():
    matrix_product(size=2)  # BLAS allocates its buffers on the first call
    tracemalloc.start()
    try:
        matrix_product(size=200)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak == pytest.approx(memory_need(size=200).working_bytes, rel=0.1)
