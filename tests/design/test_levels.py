"""Levels of factors, and placeholders."""

import pytest

from stagebench.design.levels import (
    find_placeholders,
    holds,
    holds_unknown,
    level_text,
    matches,
    named_levels,
    substitute,
)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), ([1], [1.0]), ("a", "a"), (None, None)])
def test_equal_values_are_one_level(one, other):
    assert holds([one], other)


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (0, False), (1, "1"), (None, "null"), ([1], [True]), ([], None)]
)
def test_values_of_other_types_are_other_levels(one, other):
    assert not holds([one], other)


@pytest.mark.parametrize(
    ("level", "text"),
    [(True, "true"), (None, "null"), (0.5, "0.5"), (["a", 1], "a-1"), ("Word", "Word"), ([], "")],
)
def test_a_level_is_written_as_in_a_config(level, text):
    assert level_text(level) == text


@pytest.mark.parametrize(
    ("value", "levels", "known", "unknown"),
    [
        (1, [1, 2], (1,), []),
        ([1, 2, 3], [1, 2], (1, 2), [3]),
        (["a"], [["a"], []], (["a"],), []),
        ([["a"], []], [["a"], []], (["a"], []), []),
        ([], [["a"], []], ([],), []),
        ([], [1], (), []),
        (True, [1], (), [True]),
    ],
)
def test_an_entry_names_one_level_or_several(value, levels, known, unknown):
    assert named_levels(value, levels) == (known, unknown)


def test_a_treatment_without_a_factor_does_not_match_its_levels():
    assert not matches({"executor": "thread"}, {"start_method": ("fork",)})


def test_every_treatment_matches_an_empty_entry():
    assert matches({"workers": 1}, {})


FACTORS = {"workers": 2, "retain": True, "cpus": [0, 1], "unset": None, "logic": "numpy"}


@pytest.mark.parametrize("name", FACTORS)
def test_a_whole_placeholder_takes_the_level_with_its_type(name):
    filled = substitute({"key": f"{{{name}}}"}, FACTORS, ())

    assert (filled.value["key"], filled.problems) == (FACTORS[name], [])
    assert type(filled.value["key"]) is type(FACTORS[name])


def test_a_level_inside_a_longer_text_is_written_out():
    assert substitute("sum_{logic}-{workers}-{retain}", FACTORS, ()).value == "sum_numpy-2-true"


def test_a_key_whose_factor_does_not_apply_is_left_out():
    template = {"a": "{start_method}", "b": ["{start_method}", "x"], "c": 1}

    assert substitute(template, FACTORS, ()).value == {"b": ["x"], "c": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x-{start_method}", "factor 'start_method' does not apply, so the text would have a gap"),
        ("x-{unset}", "the level null of 'unset' cannot be a part of a longer text"),
        ("x-{cpus}", "the level [0, 1] of 'cpus' cannot be a part of a longer text"),
    ],
)
def test_what_cannot_stand_inside_a_text_is_reported_with_its_place(text, reason):
    problems = substitute({"a": [text]}, FACTORS, ("top",)).problems

    assert [str(problem) for problem in problems] == [f'top.a[0]: "{text}": {reason}']


def test_a_level_is_never_searched_for_placeholders():
    filled = substitute("{a}{b}", {"a": "{b}", "b": "x"}, ()).value

    assert filled == "{b}x"


def test_a_level_is_copied_so_that_treatments_share_nothing():
    filled = substitute("{cpus}", FACTORS, ()).value
    filled.append(9)

    assert FACTORS["cpus"] == [0, 1]


def test_keys_are_not_substituted():
    assert substitute({"{logic}": 1}, FACTORS, ()).value == {"{logic}": 1}


def test_every_placeholder_is_found_with_its_place():
    template = {"a": "{x}", "b": ["y", "{z}-{x}"], "c": 3}

    assert list(find_placeholders(template, ("top",))) == [
        (("top", "a"), "x"),
        (("top", "b", 1), "z"),
        (("top", "b", 1), "x"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"), [("{a}", True), ("x{a}", True), ("{", False), (3, False)]
)
def test_only_texts_with_a_placeholder_of_an_unknown_factor_are_unknown(value, expected):
    filled = substitute({"key": value}, FACTORS, (), known=FACTORS)

    assert holds_unknown(filled.value) is expected
    assert filled.problems == []


def test_a_place_below_a_list_that_lost_items_is_that_of_the_template():
    template = {"a": ["{gone}", {"b": ["x", "{gone}", "y"]}], "c": ["{logic}"]}

    filled = substitute(template, FACTORS, ())

    assert filled.value == {"a": [{"b": ["x", "y"]}], "c": ["numpy"]}
    assert filled.in_template(("a", 0, "b", 1)) == ("a", 1, "b", 2)
    assert filled.in_template(("c", 0, "missing")) == ("c", 0, "missing")
