"""Parameters of handlers, read from signatures."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from stagebench.design.levels import UNKNOWN
from stagebench.design.signatures import (
    convert_parameters,
    default_parameters,
    find_parameter_problems,
    make_parameter,
    missing_parameters,
    read_parameters,
)
from stagebench.errors import WorkflowError
from stagebench.handlers.bounds import Bounds


class Size(StrEnum):
    SMALL = "small"


def handler(
    *,
    count: Annotated[int, Bounds(at_least=1)],
    ratio: Annotated[float, Bounds(above=0, at_most=1)] = 0.5,
    label: str = "x",
    flag: bool = True,
    mode: Literal["fast", "slow"] = "fast",
    limit: int | None = None,
    sizes: list[int] | None = None,
):
    """Stand in for a handler."""
    return count, ratio, label, flag, mode, limit, sizes


KNOWN = read_parameters(handler)


@pytest.mark.parametrize(
    "given",
    [
        {"count": 1},
        {"ratio": 1},
        {"ratio": 0.25},
        {"label": ""},
        {"flag": False},
        {"mode": "slow"},
        {"limit": None},
        {"limit": -3},
        {"sizes": [1, 2]},
        {"count": UNKNOWN},
        {"sizes": [1, UNKNOWN]},
    ],
)
def test_a_value_of_the_right_type_is_accepted(given):
    assert find_parameter_problems(given, KNOWN, ()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, "count: 0 is not allowed; allowed: a whole number >= 1"),
        ({"count": 1.0}, "count: 1.0 is not allowed; allowed: a whole number >= 1"),
        ({"count": True}, "count: true is not allowed; allowed: a whole number >= 1"),
        ({"ratio": True}, "ratio: true is not allowed; allowed: a number > 0 and <= 1"),
        ({"ratio": 0}, "ratio: 0 is not allowed; allowed: a number > 0 and <= 1"),
        ({"ratio": "0.5"}, 'ratio: "0.5" is not allowed; allowed: a number > 0 and <= 1'),
        ({"label": 3}, "label: 3 is not allowed; allowed: a text"),
        ({"flag": 1}, "flag: 1 is not allowed; allowed: true or false"),
        ({"mode": "fas"}, 'mode: "fas" is not allowed; allowed: "fast", "slow"'),
        ({"limit": "1"}, 'limit: "1" is not allowed; allowed: a whole number or null'),
        ({"sizes": [1, "2"]}, 'sizes: [1, "2"] is not allowed; allowed: a list, each item a whole'),
        ({"cuont": 1}, "cuont: unknown parameter 'cuont'; did you mean 'count'?; allowed: count,"),
    ],
)
def test_a_wrong_value_is_reported_with_what_is_allowed(given, message):
    (problem,) = find_parameter_problems(given, KNOWN, ())

    assert str(problem).startswith(message)


def test_only_parameters_without_a_default_are_missing():
    assert [p.name for p in missing_parameters({"label": "y"}, KNOWN)] == ["count"]


def test_a_whole_number_for_a_float_becomes_a_float():
    converted = convert_parameters({"ratio": 1, "count": 1}, KNOWN)

    assert {name: type(value) for name, value in converted.items()} == {
        "ratio": float,
        "count": int,
    }


POSITIVE = Annotated[int, Bounds(above=0)]


@pytest.mark.parametrize(
    ("annotation", "allowed", "refused", "words"),
    [
        (bool, [True], [1, "true", None], "true or false"),
        (int, [1], [1.0, True, "1"], "a whole number"),
        (float, [1, 0.5], [True, "1"], "a number"),
        (str, ["", "x"], [1, None], "a text"),
        (None, [None], [0, ""], "null"),
        (Any, [None, 1, "x", [1], {}], [], "any value"),
        (object, [None, 1, "x", [1], {}], [], "any value"),
        (Literal["a", 1], ["a", 1], ["b", True, 1.0, None], '"a", 1'),
        (int | None, [1, None], ["x", 0.5], "a whole number or null"),
        (POSITIVE, [1], [0, "x"], "a whole number > 0"),
        (POSITIVE | None, [1, None], [0], "a whole number > 0 or null"),
        (Annotated[float | None, Bounds(at_least=0)], [0, None], [-1], "a number >= 0 or null"),
        (list, [[], [1, "x"]], ["x", {}], "a list"),
        (list[POSITIVE], [[], [1, 2]], [[0], ["x"], 1], "a list, each item a whole number > 0"),
        (Sequence[str], [["x"]], ["x", [1]], "a list, each item a text"),
        (dict, [{}, {"a": 1}], [[]], "a mapping"),
        (dict[str, int], [{"a": 1}], [{"a": "x"}, []], "a mapping, each value a whole number"),
        (Mapping[str, list[int]], [{"a": [1]}], [{"a": 1}], "a mapping, each value a list, each"),
    ],
    ids=str,
)
def test_a_value_is_held_against_every_annotation_that_yaml_can_meet(
    annotation, allowed, refused, words
):
    parameter = make_parameter("x", annotation, None)

    assert all(map(parameter.accepts, allowed))
    assert not any(map(parameter.accepts, refused))
    assert parameter.allowed.startswith(words)


@pytest.mark.parametrize(
    "annotation",
    [
        *(Path, bytes, complex, tuple[int, int], set[int], dict[int, str], list[Path], Path | None),
        *(Annotated[bytes, "x"], Literal[b"x"], 3, "int", [int]),
    ],
    ids=str,
)
def test_an_annotation_that_yaml_cannot_meet_is_not_handled(annotation):
    with pytest.raises(WorkflowError, match=r"parameter 'x': its annotation .* cannot be checked"):
        make_parameter("x", annotation, None)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (list[int] | list[str], "Type unions may not contain more than one array-like"),
        (dict[str, int] | dict[str, str], "Type unions may not contain more than one dict type"),
        (
            Annotated[int, Bounds(at_least=1)] | float,
            "all numbers of a union must have the same limits",
        ),
        (Literal[0] | float, "all numbers of a union must have the same limits"),
        (Annotated[str, Bounds(at_least=1)], "Bounds apply only to int and float"),
        (Annotated[int, Bounds(at_least=2**63)], "don't fit in an int64"),
        (dict[int, str], "no YAML value has this type"),
    ],
    ids=str,
)
def test_an_annotation_that_is_not_handled_is_refused_with_the_reason(annotation, reason):
    with pytest.raises(WorkflowError) as caught:
        make_parameter("x", annotation, None)

    assert reason in str(caught.value)
    assert "allowed: bool, int, float" in str(caught.value)


@pytest.mark.parametrize(
    ("bounds", "allowed", "refused", "words"),
    [
        (Bounds(above=0.5), [1], [0], "a whole number > 0"),
        (Bounds(at_least=0.5, at_most=1e6), [1, 10**6], [0, 10**6 + 1], "a whole number >= 1 and"),
        (Bounds(at_least=1, at_most=3.5), [3], [4], "a whole number >= 1 and <= 3"),
        (Bounds(at_least=1), [10**30], [-(10**30)], "a whole number >= 1"),
    ],
    ids=str,
)
def test_bounds_of_a_whole_number_may_be_any_number(bounds, allowed, refused, words):
    parameter = make_parameter("x", Annotated[int, bounds], None)

    assert all(map(parameter.accepts, allowed))
    assert not any(map(parameter.accepts, refused))
    assert parameter.allowed.startswith(words)


def test_bounds_around_a_union_hold_for_all_its_numbers():
    parameter = make_parameter("x", Annotated[int | float | None, Bounds(at_least=0.5)], None)

    assert parameter.allowed == "a whole number >= 1 or a number >= 0.5 or null"
    assert all(map(parameter.accepts, [None, 1, 0.5]))
    assert not any(map(parameter.accepts, [0, 0.25, -1]))


def test_no_number_is_inside_bounds_that_is_not_one():
    assert not make_parameter("x", Annotated[float, Bounds(above=0)], None).accepts(float("nan"))


def test_choices_are_named_in_the_order_of_the_signature():
    assert make_parameter("x", Literal["small", "large"], None).allowed == '"small", "large"'


@pytest.mark.parametrize("default", [(1, 2), Size.SMALL, {1}, float("nan")], ids=str)
def test_a_default_that_a_config_could_not_set_is_in_no_specification(default):
    assert default_parameters({"x": make_parameter("x", Any, default)}) == {}


@pytest.mark.parametrize(
    ("annotation", "value", "form"),
    [
        (float, 1, 1.0),
        (float | None, 1, 1.0),
        (float | None, None, None),
        (int | float, 1, 1),
        (float | int, 1, 1),
        (Annotated[float, Bounds(above=0)], 2, 2.0),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (int, 1, 1),
        (Any, 1, 1),
    ],
    ids=str,
)
def test_equal_values_get_one_form(annotation, value, form):
    converted = make_parameter("x", annotation, None).convert(value)

    assert (repr(converted), type(converted)) == (repr(form), type(form))


@pytest.mark.parametrize(
    ("annotation", "kinds"),
    [
        (int, ("int",)),
        (POSITIVE, ("int",)),
        (str | None, ("null", "text")),
        (int | float | None, ("null", "int", "float")),
        (Literal["a", True], ("bool", "text")),
        (list[int], ("json",)),
        (dict, ("json",)),
        (Any, ("bool", "null", "int", "float", "json", "text")),
    ],
    ids=str,
)
def test_a_cell_is_tried_as_text_last(annotation, kinds):
    assert make_parameter("x", annotation, None).cells == kinds
