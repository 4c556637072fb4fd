from typing import Annotated, Literal

import pytest

from stagebench.design.parameters import (
    convert_parameters,
    find_parameter_problems,
    missing_parameters,
    read_parameters,
)
from stagebench.handlers.bounds import Bounds


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
    """Stand for a handler."""
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
        {"count": "{open}"},
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
def test_a_wrong_value_is_told_with_what_is_allowed(given, message):
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
