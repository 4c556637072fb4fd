import datetime as dt

import pytest

from stagebench.design.placeholders import is_open
from stagebench.design.plain import make_plain, place_in, repair
from stagebench.problems import problem

# What is changed, to what; and the one problem that is told of it.
BAD = {
    "endless time": ({"time_limit_s": float("inf")}, "time_limit_s: this number is not allowed"),
    "no number": ({"time_limit_s": float("nan")}, "time_limit_s: this number is not allowed"),
    "a date": (
        {"study": dt.date(2026, 1, 1)},
        "study: a value of type date (2026-01-01) is not allowed; quote it if a text is meant",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD)
def test_what_json_cannot_hold_is_told_once_with_its_place_and_what_is_allowed(
    find_problems, changes, expected
):
    problems = find_problems(changes)

    assert len(problems) == 1
    assert problems[0].startswith(expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**63, "this number is not allowed; allowed: numbers within 64 bits"),
        (1e300, "this number is not allowed; allowed: numbers within 64 bits"),
        ({"a"}, "a value of type set"),
        (b"x", "a value of type bytes"),
        ("a\0b", "'a\\x00b' is not allowed; allowed: text without NUL"),
        ("\ud800", "'\\ud800' is not allowed; allowed: text without NUL"),
    ],
)
def test_a_value_that_no_specification_can_hold_is_refused(value, message):
    plain, (problem,) = make_plain({"a": [value]})

    assert str(problem).startswith(f"a[0]: {message}")
    assert is_open(plain["a"][0])


def test_keys_become_text_and_a_key_given_twice_is_told():
    plain, problems = make_plain({1: "a", "1": "c"})

    assert plain == {"1": "c"}
    assert [str(problem) for problem in problems] == ["1: written twice; allowed: each key once"]


def test_repairing_puts_an_open_text_in_place_of_what_is_wrong():
    config = {"a": [1, {"b": 2}], "c": 3}

    repaired = repair(config, [problem(("a", 1, "b"), ""), problem(("d",), "")])

    assert (repaired["a"][0], repaired["c"]) == (1, 3)
    assert is_open(repaired["a"][1]["b"])
    assert is_open(repaired["d"])


def test_a_problem_inside_a_repaired_value_is_passed_over():
    repaired = repair({"a": {"b": 1}}, [problem(("a",), ""), problem(("a", "b"), "")])

    assert is_open(repaired["a"])


def test_places_sort_as_the_config_has_them():
    config = {"z": {"y": 1, "a": [1, 2]}, "b": 1}
    paths = [("b",), ("z", "a", 1), ("z", "missing"), ("z", "y"), ("z", "a"), ("z",)]

    ordered = sorted(paths, key=lambda path: place_in(config, path))

    assert ordered == [
        ("z",),
        ("z", "y"),
        ("z", "a"),
        ("z", "a", 1),
        ("z", "missing"),
        ("b",),
    ]
