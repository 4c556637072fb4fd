import inspect
import pickle

import pytest

from stagebench.errors import WorkflowError
from stagebench.handlers.bounds import Bounds
from stagebench.handlers.registry import HANDLERS, handler_target, load_handler


@pytest.mark.parametrize("name", HANDLERS)
def test_every_handler_can_be_pickled_is_documented_and_takes_named_typed_parameters(name):
    handler = load_handler(name)
    assert pickle.loads(pickle.dumps(handler)) is handler
    assert handler.__name__ == name
    for parameter in inspect.signature(handler).parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.annotation is not inspect.Parameter.empty
        assert parameter.name in handler.__doc__ or parameter.name == "elements"


def test_a_name_with_a_colon_is_its_own_target():
    assert handler_target("steps.read:fetch") == "steps.read:fetch"


def test_the_error_for_an_unknown_handler_suggests_the_closest_one():
    with pytest.raises(WorkflowError, match=r"'downlaod'.*did you mean 'download'"):
        load_handler("downlaod")


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "text"),
    [
        (Bounds(above=0), [0.1], [0, -1], "> 0"),
        (Bounds(at_least=1), [1, 2], [0], ">= 1"),
        (Bounds(at_least=0, at_most=1), [0, 1], [-0.1, 1.1], ">= 0 and <= 1"),
    ],
)
def test_bounds_allow_the_values_that_their_text_describes(bounds, inside, outside, text):
    assert all(bounds.allows(value) for value in inside)
    assert not any(bounds.allows(value) for value in outside)
    assert str(bounds) == text
