"""Intervals and tests over blocks: one value a run goes in, never a task or a sample.

Student's t on the logarithms of ratios, because a ratio's spread is multiplicative; and on plain
values where they are no ratios (a share, a difference of memory). Percentile and BCa bootstraps
cover far too little at the three to ten blocks that a study has (benchmarks/statistics_check.py).
"""

from __future__ import annotations

import math
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING, NamedTuple

from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE

LEAST_BLOCKS = 3
"""Below it there is no interval: with two blocks t has one degree of freedom, and says nothing."""


class Interval(NamedTuple):
    """An estimate from `n` blocks with its 95 % limits; None where `n` is below `LEAST_BLOCKS`."""

    estimate: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float]) -> Interval:
    """Give the mean of plain values, at least one, with Student's interval."""
    mean = fmean(values)
    if len(values) < LEAST_BLOCKS:
        return Interval(mean, None, None, len(values))
    margin = _quantile(len(values) - 1) * _standard_error(values)
    return Interval(mean, mean - margin, mean + margin, len(values))


def ratio_interval(ratios: Sequence[float]) -> Interval:
    """Give the geometric mean of ratios, all above 0, with Student's interval on their logs."""
    return _exponentiated(mean_interval([math.log(ratio) for ratio in ratios]))


def unpaired_ratio_interval(of: Sequence[float], to: Sequence[float]) -> Interval:
    """Give the ratio of two treatments without common blocks: Welch's interval on the logs.

    `n` is the smaller number of runs; all values are above 0.
    """
    first, second = [math.log(value) for value in of], [math.log(value) for value in to]
    n = min(len(first), len(second))
    difference = fmean(first) - fmean(second)
    if n < LEAST_BLOCKS:
        return _exponentiated(Interval(difference, None, None, n))
    error, freedom = _welch(first, second)
    margin = _quantile(freedom) * error if error else 0.0
    return _exponentiated(Interval(difference, difference - margin, difference + margin, n))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the p-values of one family by Holm's step-down; a missing one is no member of it."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - step) * p))
        adjusted[place] = highest
    return adjusted


def _standard_error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values))


def _quantile(freedom: float) -> float:
    return float(stats.t.ppf(1 - ALPHA / 2, freedom))


def _welch(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Give the standard error of a difference of means, and its degrees of freedom."""
    one, other = variance(first) / len(first), variance(second) / len(second)
    total = one + other
    if total == 0:
        return 0.0, math.inf
    parts = one**2 / (len(first) - 1) + other**2 / (len(second) - 1)
    return math.sqrt(total), total**2 / parts


def _exponentiated(interval: Interval) -> Interval:
    estimate, low, high, n = interval
    limits = [None if limit is None else math.exp(limit) for limit in (low, high)]
    return Interval(math.exp(estimate), limits[0], limits[1], n)
