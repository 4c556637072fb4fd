"""Intervals and tests over blocks: each run counts as one value, never its tasks or samples.

Ratios use Student's t on their logarithms, because their spread is multiplicative. Other values (a
share, a difference of memory) use it as they are. Percentile and BCa bootstraps cover far too
little at the three to ten blocks that a study has (benchmarks/statistics_check.py).

Blocks of one node share what that node does to a ratio. So where values are of several nodes, each
node counts as one value, the mean of its own. Student's interval over such means covers enough
however many blocks each of them has, and however much nodes differ (Ibragimov and Müller 2010);
benchmarks/nodes.py measures it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from scipy import special

from stagebench.analyse.conditions import count_nodes
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
    `LEAST_BLOCKS` the error is unknown: NaN. With several `nodes`, it is over their means.
    """

    estimate: float
    error: float
    freedom: float
    n: int
    nodes: int = 1

    @property
    def is_tested(self) -> bool:
        """Whether there are enough blocks for an interval and for tests."""
        return self.n >= LEAST_BLOCKS and not math.isnan(self.error)

    @property
    def values(self) -> int:
        """How many values the error is estimated from: those of nodes, or of blocks."""
        return self.nodes if self.nodes > 1 else self.n


def choose_alpha(plan: Mapping[str, Any]) -> float:
    """Return the level of a study's tests: looks at its intervals may have ended it."""
    return LOOKED_ALPHA if "until" in plan else ALPHA


Node: TypeAlias = str
"""The name of the machine of a value; "" if it is unknown."""


def mean_interval(values: Sequence[float], nodes: Sequence[Node] = ()) -> Interval:
    """Return the mean of at least one plain value, with Student's interval."""
    effect = _mean_effect(values, nodes)
    low, high = _limits(effect)
    return Interval(effect.estimate, low, high, effect.n)


def ratio_interval(ratios: Sequence[float], nodes: Sequence[Node] = ()) -> Interval:
    """Return the geometric mean of ratios, all above 0, with Student's interval on their logs."""
    return effect_interval(paired_effect(ratios, nodes))


def unpaired_mean_interval(
    of: Sequence[float], to: Sequence[float], nodes: Nodes = ((), ())
) -> Interval:
    """Return the difference of means of two treatments without common blocks (Welch)."""
    effect = _unpaired(of, to, nodes)
    return Interval(effect.estimate, *_limits(effect), effect.n)


def unpaired_ratio_interval(
    of: Sequence[float], to: Sequence[float], nodes: Nodes = ((), ())
) -> Interval:
    """Return the ratio of two treatments without common blocks: Welch's interval on the logs.

    `n` is the smaller number of runs; all values are above 0.
    """
    return effect_interval(unpaired_effect(of, to, nodes))


def paired_effect(ratios: Sequence[float], nodes: Sequence[Node] = ()) -> Effect:
    """Estimate the effect from the ratios of pairs, one per block, all above 0."""
    return _mean_effect([math.log(ratio) for ratio in ratios], nodes)


Nodes: TypeAlias = "tuple[Sequence[Node], Sequence[Node]]"
"""The nodes of the runs of two treatments; empty if all are of one."""


def unpaired_effect(of: Sequence[float], to: Sequence[float], nodes: Nodes = ((), ())) -> Effect:
    """Estimate the effect from runs without common blocks (Welch): one or more each, above 0.

    On several nodes, runs are compared within each of them.
    """
    first, second = ([math.log(value) for value in values] for values in (of, to))
    return _unpaired(first, second, nodes)


def log_effect(logs: Sequence[float], nodes: Sequence[Node] = ()) -> Effect:
    """Estimate the effect from logarithms of ratios, one per block.

    One that has no bound, and so is infinite, leaves the effect without.
    """
    endless = next((log for log in logs if math.isinf(log)), None)
    if not logs or endless is not None:
        return Effect(endless or math.nan, 0.0, math.inf, len(logs), count_nodes(nodes))
    return _mean_effect(logs, nodes)


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

    None if the spread is unknown. The spread is itself an estimate from few blocks. With several
    nodes, these are blocks of further nodes, as many of each as the known ones have.
    """
    if not effect.is_tested:
        return None
    known = effect.values
    spread = effect.error * math.sqrt(known)

    def suffice(values: int) -> bool:
        freedom = effect.freedom + values - known
        return _quantile(freedom, level) * spread / math.sqrt(values) <= math.log1p(wanted)

    more = bisect_left(range(_MOST_BLOCKS), True, lo=known, key=suffice) - known
    return more * math.ceil(effect.n / known)


def _mean_effect(values: Sequence[float], nodes: Sequence[Node] = ()) -> Effect:
    n = len(values)
    if count_nodes(nodes) > 1:
        return _effect_over_nodes([fmean(own) for own in _group(values, nodes).values()], n)
    error = stdev(values) / math.sqrt(n) if n >= LEAST_BLOCKS else math.nan
    return Effect(fmean(values), error, n - 1, n)


def _effect_over_nodes(means: Sequence[float], n: int) -> Effect:
    """Estimate an effect from one value for each of several nodes, that of its `n` blocks."""
    nodes = len(means)
    error = stdev(means) / math.sqrt(nodes) if n >= LEAST_BLOCKS else math.nan
    return Effect(fmean(means), error, nodes - 1, n, nodes)


def _group(values: Sequence[float], nodes: Sequence[Node]) -> dict[Node, list[float]]:
    found: dict[Node, list[float]] = {}
    for node, value in zip(nodes, values, strict=True):
        found.setdefault(node, []).append(value)
    return found


def _limits(effect: Effect) -> tuple[float | None, float | None]:
    if not effect.is_tested:
        return None, None
    margin = reach(effect)
    return effect.estimate - margin, effect.estimate + margin


def _quantile(freedom: float, level: float) -> float:
    return float(special.stdtrit(freedom, 1 - level / 2))


def _unpaired(first: Sequence[float], second: Sequence[float], nodes: Nodes) -> Effect:
    if count_nodes([*nodes[0], *nodes[1]]) < 2:
        return _welch(first, second)
    of, to = _group(first, nodes[0]), _group(second, nodes[1])
    shared = [node for node in of if node in to]
    if len(shared) == 1:
        return _welch(of[shared[0]], to[shared[0]])
    n = min(sum(len(side[node]) for node in shared) for side in (of, to))
    return _effect_over_nodes([fmean(of[node]) - fmean(to[node]) for node in shared], n)


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
