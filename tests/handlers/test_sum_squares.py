import tracemalloc

import pytest

from stagebench.handlers import sum_squares_native as native_module
from stagebench.handlers import sum_squares_numpy as numpy_module
from stagebench.handlers.sum_squares_native import check_sum_squares, sum_squares_native
from stagebench.handlers.sum_squares_numpy import sum_squares_numpy

BOTH = [(sum_squares_native, native_module), (sum_squares_numpy, numpy_module)]


@pytest.mark.parametrize(("handler", "_module"), BOTH)
@pytest.mark.parametrize("elements", [1, 2, 10, 1000, 300_001])
def test_it_is_the_sum_of_squares(handler, _module, elements):
    assert handler(elements=elements) == pytest.approx(sum(i * i for i in range(elements)))


@pytest.mark.parametrize("wrong", [0.0, 284.999, 286.0])
def test_a_wrong_sum_is_noticed(wrong):
    check_sum_squares(285.0, 10)
    with pytest.raises(ArithmeticError, match="below 10 is 285"):
        check_sum_squares(wrong, 10)


@pytest.mark.parametrize(("handler", "module"), BOTH)
def test_the_estimate_of_memory_is_what_is_allocated(handler, module):
    elements = 200_000
    tracemalloc.start()
    try:
        handler(elements=elements)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak == pytest.approx(module.memory_need(elements=elements).working_bytes, rel=0.1)
