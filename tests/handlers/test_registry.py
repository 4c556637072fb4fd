import asyncio
import inspect
import pickle
import sys

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


PAGES = """
import asyncio
from functools import partial

from stagebench import Pipeline


async def ask(page):
    return page


def double(number, by):
    return number * by


pages = Pipeline().coroutines(ask).threads(len).threads(partial(double, by=2))


def make_pages():
    return pages


number = 3
"""


@pytest.fixture
def pages(tmp_path, monkeypatch):
    (tmp_path / "own_pages.py").write_text(PAGES)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_pages", None)


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize("pipeline", ["pages", "make_pages"])
def test_a_function_of_a_pipeline_is_a_handler_that_takes_the_item_or_what_comes_before(
    pipeline,
):
    ask, length, double = (
        load_handler(f"own_pages:{pipeline}.{name}") for name in ("ask", "len", "double")
    )
    assert asyncio.run(ask(item="page")) == "page"
    assert length(upstream="page") == 4
    assert double(upstream=4) == 8
    assert pickle.loads(pickle.dumps(double))(upstream=4) == 8


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own_pages:pages.lem", "pages has no function 'lem'; allowed: .* did you mean 'len'"),
        ("own_pages:number.len", "number is no Pipeline, and no function that returns one"),
        ("own_pages:page.len", "page is no Pipeline"),
    ],
)
def test_what_is_no_function_of_a_pipeline_is_an_error(name, text):
    with pytest.raises(WorkflowError, match=text):
        load_handler(name)
