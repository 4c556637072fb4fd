import pytest

from stagebench.design.levels import holds, level_text, matches, named_levels


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
