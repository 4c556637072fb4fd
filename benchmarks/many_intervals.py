"""The intervals of `stagebench.analyse.intervals`, for many studies at once.

Blocks are the last axis of all arrays. `tests/benchmarks/test_many_intervals.py` compares the
results with those of the functions that the analysis calls.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special, stats

from stagebench.analyse.simultaneous import Layout, share_spread, single_level
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


def family_limits(values: Numbers, weights: Numbers) -> Limits:
    """Return the limits of ratios that hold together: studies × contrasts × blocks.

    `values` are logarithms, of studies × treatments × blocks; `weights` are those of the contrasts.
    """
    differences = np.einsum("ct,stb->scb", weights, values)
    blocks = values.shape[-1]
    level = single_level(make_balanced(weights, blocks))
    variance, mean = differences.var(axis=-1, ddof=1), differences.mean(axis=-1)
    freedom = np.full(len(weights), blocks - 1.0)
    spread = share_spread(variance, freedom, (weights**2).sum(axis=-1))
    margin = special.stdtrit(spread.freedom, 1 - level / 2) * np.sqrt(spread.variance / blocks)
    return Limits(np.exp(mean - margin), np.exp(mean + margin))


def separate_limits(values: Numbers, weights: Numbers) -> Limits:
    """Return the same for contrast, where each contrast has its own variance (max-t)."""
    differences = np.einsum("ct,stb->scb", weights, values)
    blocks = values.shape[-1]
    mean, error = _mean_and_error(differences)
    margin = _largest_statistic(weights.tobytes(), weights.shape, blocks) * error
    return Limits(np.exp(mean - margin), np.exp(mean + margin))


def make_balanced(weights: Numbers, blocks: int) -> Layout:
    """Return the layout of a family all of whose runs are there."""
    return Layout(weights, np.ones((len(weights), blocks), dtype=bool))


def _mean_and_error(values: Numbers) -> tuple[Numbers, Numbers]:
    error: Numbers = values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])
    return values.mean(axis=-1), error


@lru_cache
def _largest_statistic(weights_bytes: bytes, shape: tuple[int, int], blocks: int) -> float:
    """Return the 95 % quantile of the largest statistic of studies in which nothing differs."""
    weights = np.frombuffer(weights_bytes).reshape(shape)
    runs = np.random.default_rng(1).standard_normal((RESAMPLES * 4, shape[1], blocks))
    mean, error = _mean_and_error(np.einsum("ct,stb->scb", weights, runs))
    return float(np.quantile((np.abs(mean) / error).max(axis=-1), 1 - ALPHA))


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
