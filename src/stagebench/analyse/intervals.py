"""Intervals and tests over blocks: each run counts as one value, never its tasks or samples.

Ratios use Student's t on their logarithms, because their spread is multiplicative. Other values (a
share, a difference of memory) use it as they are. Percentile and BCa bootstraps cover far too
little at the three to ten blocks that a study has (benchmarks/statistics_check.py).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING, Any, NamedTuple

from scipy import special

from stagebench.blocks import LOOKED_ALPHA
from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEAST_BLOCKS = 3
"""Fewer blocks have no interval: with two, t has one degree of freedom and says nothing."""

_MOST_BLOCKS = 1_000_000
"""The search for a number of blocks ends here."""


class Interval(NamedTuple):
    """An estimate from `n` blocks with its 95 % limits; None if `n` is below `LEAST_BLOCKS`."""

    estimate: float
    low: float | None
    high: float | None
    n: int


class Effect(NamedTuple):
    """The logarithm of a ratio, with its standard error and the error's degrees of freedom.

    `n` is the number of blocks or, without common blocks, the smaller number of runs. Below
    `LEAST_BLOCKS` the error is unknown: NaN.
    """

    estimate: float
    error: float
    freedom: float
    n: int

    @property
    def is_tested(self) -> bool:
        """Whether there are enough blocks for an interval and for tests."""
        return self.n >= LEAST_BLOCKS


def choose_alpha(plan: Mapping[str, Any]) -> float:
    """Return the level of a study's tests: looks at its intervals may have ended it."""
    return LOOKED_ALPHA if "until" in plan else ALPHA


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of at least one plain value, with Student's interval."""
    effect = _mean_effect(values)
    low, high = _limits(effect)
    return Interval(effect.estimate, low, high, effect.n)


def ratio_interval(ratios: Sequence[float]) -> Interval:
    """Return the geometric mean of ratios, all above 0, with Student's interval on their logs."""
    return effect_interval(paired_effect(ratios))


def unpaired_mean_interval(of: Sequence[float], to: Sequence[float]) -> Interval:
    """Return the difference of means of two treatments without common blocks (Welch)."""
    effect = _welch(of, to)
    return Interval(effect.estimate, *_limits(effect), effect.n)


def unpaired_ratio_interval(of: Sequence[float], to: Sequence[float]) -> Interval:
    """Return the ratio of two treatments without common blocks: Welch's interval on the logs.

    `n` is the smaller number of runs; all values are above 0.
    """
    return effect_interval(unpaired_effect(of, to))


def paired_effect(ratios: Sequence[float]) -> Effect:
    """Estimate the effect from the ratios of pairs, one per block, all above 0."""
    return _mean_effect([math.log(ratio) for ratio in ratios])


def unpaired_effect(of: Sequence[float], to: Sequence[float]) -> Effect:
    """Estimate the effect from runs without common blocks (Welch): one or more each, above 0."""
    return _welch([math.log(value) for value in of], [math.log(value) for value in to])


def log_effect(logs: Sequence[float]) -> Effect:
    """Estimate the effect from logarithms of ratios, one per block.

    One that has no bound, and so is infinite, leaves the effect without.
    """
    endless = next((log for log in logs if math.isinf(log)), None)
    if not logs or endless is not None:
        return Effect(endless or math.nan, 0.0, math.inf, len(logs))
    return _mean_effect(logs)


def effect_interval(effect: Effect) -> Interval:
    """Return the ratio of an effect with its 95 % limits."""
    low, high = (None if limit is None else math.exp(limit) for limit in _limits(effect))
    return Interval(math.exp(effect.estimate), low, high, effect.n)


def reach(effect: Effect, level: float = ALPHA) -> float:
    """Return the distance of an effect's limits from it."""
    return _quantile(effect.freedom, level) * effect.error if effect.error else 0.0


def p_difference(effect: Effect) -> float | None:
    """Return the two-sided p-value against a ratio of 1; None below `LEAST_BLOCKS`."""
    if not effect.is_tested:
        return None
    if effect.error == 0:
        return float(effect.estimate == 0)
    return float(2 * special.stdtr(effect.freedom, -abs(effect.estimate) / effect.error))


def p_equivalence(effect: Effect, margin: float) -> float | None:
    """Return the p-value against a ratio beyond the margin; None below `LEAST_BLOCKS`.

    It is that of two one-sided tests. The margin is the same in both directions: 0.05 stands for
    1/1.05 to 1.05.
    """
    if not effect.is_tested:
        return None
    beyond = abs(effect.estimate) - math.log1p(margin)
    if effect.error == 0:
        return float(beyond >= 0)
    # The test against the nearer limit has the larger p of the two.
    return float(special.stdtr(effect.freedom, beyond / effect.error))


def half_width(interval: Interval) -> float | None:
    """Return how far the upper limit of a ratio is above the ratio, as a share of it."""
    return None if interval.high is None else interval.high / interval.estimate - 1


def more_blocks(effect: Effect, wanted: float, level: float = ALPHA) -> int | None:
    """Estimate how many more blocks a half-width needs if they spread like the known ones.

    None if the spread is unknown. The spread is itself an estimate from few blocks.
    """
    if not effect.is_tested:
        return None
    spread = effect.error * math.sqrt(effect.n)

    def suffice(blocks: int) -> bool:
        freedom = effect.freedom + blocks - effect.n
        return _quantile(freedom, level) * spread / math.sqrt(blocks) <= math.log1p(wanted)

    return bisect_left(range(_MOST_BLOCKS), True, lo=effect.n, key=suffice) - effect.n


def _mean_effect(values: Sequence[float]) -> Effect:
    n = len(values)
    error = stdev(values) / math.sqrt(n) if n >= LEAST_BLOCKS else math.nan
    return Effect(fmean(values), error, n - 1, n)


def _limits(effect: Effect) -> tuple[float | None, float | None]:
    if not effect.is_tested:
        return None, None
    margin = reach(effect)
    return effect.estimate - margin, effect.estimate + margin


def _quantile(freedom: float, level: float) -> float:
    return float(special.stdtrit(freedom, 1 - level / 2))


def _welch(first: Sequence[float], second: Sequence[float]) -> Effect:
    """Estimate the difference of two means whose variances may differ."""
    n = min(len(first), len(second))
    difference = fmean(first) - fmean(second)
    if n < LEAST_BLOCKS:
        return Effect(difference, math.nan, math.nan, n)
    one, other = variance(first) / len(first), variance(second) / len(second)
    total = one + other
    if total == 0:
        return Effect(difference, 0.0, math.inf, n)
    parts = one**2 / (len(first) - 1) + other**2 / (len(second) - 1)
    return Effect(difference, math.sqrt(total), total**2 / parts, n)
