"""The one rule for words of order."""

import math

import pytest

from stagebench.tables.decisions import (
    EQUIVALENT,
    LEAST,
    MOST,
    NO_INTERVAL,
    NOT_DECIDED,
    decide,
    may_be_first,
    name_outcome,
)
from stagebench.tables.quantities import HIGHER, LOWER


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.5, 0.9, LOWER),
        (1.1, 2.0, HIGHER),
        (0.9, 1.1, NOT_DECIDED),
        (0.97, 1.04, EQUIVALENT),
        # Within the margin counts first, however sure a difference is.
        (1.01, 1.02, EQUIVALENT),
        (0.96, 0.99, EQUIVALENT),
        (1.01, 1.06, HIGHER),
        (0.9, 1.0, NOT_DECIDED),
        (1.0, 1.1, NOT_DECIDED),
        (0.0, 0.9, LOWER),
        (1.1, math.inf, HIGHER),
        (0.0, 1.1, NOT_DECIDED),
        (0.9, math.inf, NOT_DECIDED),
        (0.0, math.inf, NOT_DECIDED),
        (None, None, NO_INTERVAL),
        (math.nan, math.nan, NO_INTERVAL),
    ],
)
def test_all_between_the_limits_must_agree(low, high, outcome):
    assert decide(low, high, 0.05) == outcome


def test_without_a_margin_only_what_is_exactly_the_same_is_equivalent():
    assert decide(1.0, 1.0, 0.0) == EQUIVALENT
    assert decide(1.0001, 1.0002, 0.0) == HIGHER


@pytest.mark.parametrize(
    ("quantity", "words"),
    [
        ("makespan_s", ("faster", "slower")),
        ("throughput_per_s", ("slower", "faster")),
        ("tree_peak_bytes", ("lower", "higher")),
    ],
)
def test_an_outcome_is_named_after_the_quantity(quantity, words):
    assert (name_outcome(LOWER, quantity), name_outcome(HIGHER, quantity)) == words
    for word in (EQUIVALENT, NOT_DECIDED, NO_INTERVAL):
        assert name_outcome(word, quantity) == word


@pytest.mark.parametrize("outcome", [EQUIVALENT, NOT_DECIDED, LOWER, HIGHER, NO_INTERVAL])
def test_only_what_is_surely_beyond_the_leading_one_cannot_be_first(outcome):
    expected = None if outcome == NO_INTERVAL else True
    assert may_be_first(outcome, LEAST) == (False if outcome == HIGHER else expected)
    assert may_be_first(outcome, MOST) == (False if outcome == LOWER else expected)
