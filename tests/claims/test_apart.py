"""A value apart from all others, and whether the limits that follow still cover the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stagebench.analyse.intervals import mean_interval
from stagebench.claims.apart import find_apart, median_interval

STUDIES = 4000


@pytest.mark.parametrize(
    ("values", "apart"),
    [
        ([11, 11.1, 11.2, 11.1, 26.4], 26.4),
        ([11, 11.1, 11.2, 11.1, -5], -5),
        ([3, 3, 3, 3, 4], 4),
        ([1, 2, 3, 4, 5], None),
        ([1, 1, 9, 9, 9], None),
        ([7, 7, 7, 7, 7], None),
        ([1, 1, 1, 9], None),
        ([1, 1, 1, 1, math.inf], None),
    ],
)
def test_only_one_value_far_from_all_others_is_apart(values, apart):
    assert find_apart(values) == apart


def test_ratios_are_apart_by_their_logarithms():
    ratios = [1, 2, 4, 8, 64]
    assert find_apart(ratios) == 64
    assert find_apart(ratios, in_logs=True) is None
    assert find_apart([0, 1, 1, 1, 1], in_logs=True) is None


@pytest.mark.parametrize(
    ("n", "low", "high"), [(5, 0, 4), (6, 0, 5), (8, 0, 7), (9, 1, 7), (20, 5, 14)]
)
def test_a_median_lies_between_the_closest_values_that_cover_it(n, low, high):
    found = median_interval([*range(n)][::-1])
    assert (found.low, found.high, found.n) == (low, high, n)
    assert found.estimate == (n - 1) / 2


def normal(random, n):
    return random.normal(size=n)


def heavy(random, n):
    return random.standard_t(3, size=n)


def disturbed(random, n):
    """Return normal values, one in ten far off on either side."""
    shift = np.where(random.random(n) < 0.1, random.choice([-20, 20], n), 0)
    return random.normal(size=n) + shift


@pytest.mark.parametrize("n", [5, 7, 10])
@pytest.mark.parametrize("draw", [normal, heavy, disturbed])
def test_the_limits_cover_the_truth_whichever_way_the_values_decide(draw, n):
    random = np.random.default_rng(2026)
    covered = 0
    for values in (draw(random, n).tolist() for _ in range(STUDIES)):
        found = (mean_interval if find_apart(values) is None else median_interval)(values)
        covered += found.low <= 0 <= found.high
    assert covered / STUDIES >= 0.93
