"""The intervals of `stagebench.analyse.intervals`, for many studies at once.

Blocks are the last axis of all arrays. `tests/benchmarks/test_many_intervals.py` compares the
results with those of the functions that the analysis calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

RESAMPLES = 1000


class Limits(NamedTuple):
    """Lower and upper limits, with the axis of blocks removed."""

    low: Numbers
    high: Numbers


def mean_limits(values: Numbers) -> Limits:
    """Return Student's interval of the mean of plain values."""
    blocks = values.shape[-1]
    mean = values.mean(axis=-1)
    margin = _quantile(blocks - 1) * values.std(axis=-1, ddof=1) / np.sqrt(blocks)
    return Limits(mean - margin, mean + margin)


def ratio_limits(of: Numbers, to: Numbers) -> Limits:
    """Return the interval of the geometric mean of ratios, paired by block."""
    return Limits(*map(np.exp, mean_limits(np.log(of / to))))


def difference_limits(of: Numbers, to: Numbers) -> Limits:
    """Return the interval of the mean difference, paired by block."""
    return mean_limits(of - to)


def unpaired_ratio_limits(of: Numbers, to: Numbers) -> Limits:
    """Return Welch's interval of a ratio of two treatments without common blocks."""
    first, second = np.log(of), np.log(to)
    one, other = (_error_squared(values) for values in (first, second))
    freedom = (one + other) ** 2 / (one**2 / (of.shape[-1] - 1) + other**2 / (to.shape[-1] - 1))
    difference = first.mean(axis=-1) - second.mean(axis=-1)
    margin = _quantile(freedom) * np.sqrt(one + other)
    return Limits(np.exp(difference - margin), np.exp(difference + margin))


def bootstrap_limits(rng: np.random.Generator, values: Numbers) -> Limits:
    """Return the percentile bootstrap's interval of the mean, for contrast; all share one draw."""
    blocks = values.shape[-1]
    drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLES) / blocks
    low, high = np.quantile(values @ drawn.T, [ALPHA / 2, 1 - ALPHA / 2], axis=-1)
    return Limits(low, high)


def _error_squared(values: Numbers) -> Numbers:
    squared: Numbers = values.var(axis=-1, ddof=1) / values.shape[-1]
    return squared


def _quantile(freedom: Numbers | float) -> Numbers:
    return np.asarray(stats.t.ppf(1 - ALPHA / 2, freedom))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the p-values of one family by Holm's step-down, for contrast.

    Missing ones do not count.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - step) * p))
        adjusted[place] = highest
    return adjusted
