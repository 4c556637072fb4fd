"""Intervals that hold together: all those of a family include the truth in 95 % of studies.

A family is a set of contrasts, each of them one value a block: the logarithm of a ratio. Two steps
make its intervals narrower than those of Bonferroni or Holm, half as wide with five blocks:

- **Spread.** A few blocks say little about the spread of one contrast, but the contrasts of a
  family spread in similar ways. So each variance is moved towards the common one (Smyth 2004), the
  more so the less they differ, but never below what its own blocks show.
- **Level.** Contrasts of a family share treatments, so their largest error is smaller than that of
  independent ones. Its distribution is simulated for the layout at hand: studies in which nothing
  differs go through the same steps, and the level of a single interval is the one that the smallest
  p-value of a study falls below in 5 % of them (single-step max-t, like Dunnett's method). The
  treatments of a simulated study spread differently, as real ones do.

Where each value is the mean of a node, the few nodes say little about how much nodes differ, and
what a node does to one treatment it may do to all of them, so that their spreads say the same. So
each variance is at least the mean of the family, but has no more degrees of freedom for it. The
level is that of the worst of several ways in which nodes may differ.

`benchmarks/statistics_check.py` and `benchmarks/nodes.py` measure the coverage.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Draw = np.random.Generator
    Numbers = NDArray[np.float64]
    Flags = NDArray[np.bool_]

SEED = 2004
"""All families are judged by the same simulated studies, so that the same runs give the same."""

UNEVEN = 0.5
"""How much the spread of simulated treatments differs: the standard deviation of its logarithm."""

_NUMBERS = 3_000_000
"""About as many numbers are simulated for a family: more would take longer than all the rest."""

_FEWEST, _MOST = 1_000, 8_000
"""Simulated studies of a family."""

_DIGITS = 6
_EQUAL = 1e-9
"""Variances that differ by no more than this beyond chance are equal."""

_NEAR = 1e-9
"""A step of Newton's method is the last if it changes no more than this share: the error that it
leaves is about the square."""

_MANY = 1e6
"""Degrees of freedom that are as good as infinite."""

_ROUNDING = 1e-18
"""A variance of logarithms below this is rounding: the ratios are the same in every block."""


class Layout(NamedTuple):
    """A family: how each contrast weighs the treatments, and the blocks that it has.

    `weights`: contrasts × treatments. `blocks`: contrasts × blocks or, if `by_node`, × nodes.
    `others` counts the contrasts that are not paired within blocks.
    """

    weights: Numbers
    blocks: Flags
    others: int = 0
    by_node: bool = False

    @property
    def contrasts(self) -> int:
        """How many intervals hold together."""
        return len(self.weights) + self.others


class Spread(NamedTuple):
    """Variances of values, after a look at all of a family, and their degrees of freedom."""

    variance: Numbers
    freedom: Numbers


def single_level(layout: Layout, alpha: float = ALPHA) -> float:
    """Return the level of each interval at which all of a family hold together at `alpha`."""
    if layout.contrasts <= 1:
        return alpha
    if len(layout.weights) == 0:
        return float(1 - (1 - alpha) ** (1 / layout.contrasts))
    quantiles = [float(np.quantile(smallest, alpha)) for smallest in _simulate(layout)]
    # A single interval over nodes holds at `alpha` and no more, so the family's level is not above.
    return float(np.round(min([*quantiles, alpha] if layout.by_node else quantiles), _DIGITS))


def adjust(layout: Layout, p: float) -> float:
    """Return a p-value adjusted for its family: how often chance alone gives a smaller one."""
    if layout.contrasts <= 1 or p >= 1:
        return p
    if len(layout.weights) == 0:
        return float(1 - (1 - p) ** layout.contrasts)
    return max(
        p,
        *(
            float(np.searchsorted(smallest, p, side="right") / len(smallest))
            for smallest in _simulate(layout)
        ),
    )


def share_spread(variance: Numbers, freedom: Numbers, size: Numbers) -> Spread:
    """Move the variances of contrasts towards what they have in common, and none of them down.

    The last axis has the contrasts of a family; a variance is proportional to `size`. What does not
    vary at all is known exactly, and stays so.
    """
    known = variance > _ROUNDING
    counts = known.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(variance / size) - special.digamma(freedom / 2) + np.log(freedom / 2)
        logs = np.where(known, logs, 0.0)
        middle = logs.sum(axis=-1, keepdims=True) / counts
        squares = np.where(known, (logs - middle) ** 2, 0.0).sum(axis=-1, keepdims=True)
        chance = np.where(known, special.polygamma(1, freedom / 2), 0.0)
        beyond = squares / (counts - 1) - chance.sum(axis=-1, keepdims=True) / counts
        prior = np.where(beyond > _EQUAL, 2 * _inverse_trigamma(beyond), _MANY)
        prior = np.where(counts > 1, np.minimum(prior, _MANY), 0.0)
        common = np.exp(middle + special.digamma(prior / 2) - np.log(prior / 2))
        drawn = (prior * common * size + freedom * variance) / (prior + freedom)
    is_shared = known & (prior > 0)
    return Spread(
        np.where(is_shared, np.maximum(drawn, variance), np.where(known, variance, 0.0)),
        np.where(is_shared, prior + freedom, freedom),
    )


def _inverse_trigamma(values: Numbers) -> Numbers:
    """Solve trigamma(x) = value by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    values = np.where(values > _EQUAL, values, 1.0)
    found = 0.5 + 1 / values
    for _ in range(20):
        trigamma = special.polygamma(1, found)
        step = trigamma * (1 - trigamma / values) / special.polygamma(2, found)
        found = found + step
        if np.all(np.abs(step) <= _NEAR * found):
            break
    return np.asarray(found)


def share_between_nodes(variance: Numbers, freedom: Numbers, size: Numbers) -> Spread:
    """Raise the variances of means of nodes to what they have in common; arguments as above."""
    known = variance > _ROUNDING
    with np.errstate(divide="ignore", invalid="ignore"):
        common = np.where(known, variance / size, 0.0).sum(axis=-1, keepdims=True)
        common = common / known.sum(axis=-1, keepdims=True)
    raised = np.where(known, np.maximum(variance, common * size), 0.0)
    return Spread(raised, np.broadcast_to(freedom, raised.shape))


def _simulate(layout: Layout) -> list[Numbers]:
    """Return the sorted smallest p-values of simulated studies; by node, for each way to differ."""
    weights, blocks, others, by_node = layout
    arrays = (weights.tobytes(), weights.shape), (blocks.tobytes(), blocks.shape)
    ways = range(len(_NODES_DIFFER)) if by_node else [None]
    return [_simulate_smallest(*arrays, others, way) for way in ways]


def _vary_alone(draw: Draw, plain: Numbers) -> Numbers:
    """Return values of treatments that spread each by itself, and differently."""
    return plain * np.exp(UNEVEN * draw.standard_normal((*plain.shape[:2], 1)))


def _vary_some(plain: Numbers, which: int) -> Numbers:
    """Return values of which every other treatment hardly spreads."""
    places = np.arange(len(plain))[:, None, None]
    return plain * np.where(places % 2 == which, 1.0, 0.1)


def _vary_together(draw: Draw, plain: Numbers, times: float) -> Numbers:
    """Return values that one cause moves, some more than others, up to so many times."""
    degrees = np.linspace(0.0, times, len(plain))[:, None, None]
    return plain + degrees * draw.standard_normal((1, *plain.shape[1:]))


def _vary_in_groups(draw: Draw, plain: Numbers, groups: int) -> Numbers:
    """Return values that one cause for each group of neighbours moves by ten times their spread."""
    causes = draw.standard_normal((groups, *plain.shape[1:]))
    return plain + 10.0 * causes[np.arange(len(plain)) * groups // len(plain)]


_NODES_DIFFER: Sequence[Callable[[Draw, Numbers], Numbers]] = (
    _vary_alone,
    lambda _, plain: _vary_some(plain, 0),
    lambda _, plain: _vary_some(plain, 1),
    lambda draw, plain: _vary_together(draw, plain, 10.0),
    lambda draw, plain: _vary_together(draw, plain, 30.0),
    lambda draw, plain: _vary_in_groups(draw, plain, 2),
    lambda draw, plain: _vary_in_groups(draw, plain, 3),
)
"""What nodes may do to treatments, as treatments × studies × nodes."""


@lru_cache(maxsize=64)
def _simulate_smallest(
    weights_of: tuple[bytes, tuple[int, int]],
    blocks_of: tuple[bytes, tuple[int, int]],
    others: int,
    way: int | None,
) -> Numbers:
    """Return, sorted, the smallest p-values of studies of a layout in which nothing differs."""
    weights = np.frombuffer(weights_of[0]).reshape(weights_of[1])
    present = np.frombuffer(blocks_of[0], dtype=bool).reshape(blocks_of[1])
    treatments, blocks = weights.shape[1], present.shape[1]
    studies = min(_MOST, max(_FEWEST, _NUMBERS // (present.size + treatments * blocks)))
    draw = np.random.default_rng(SEED)
    vary = _vary_alone if way is None else _NODES_DIFFER[way]
    runs = vary(draw, draw.standard_normal((treatments, studies, blocks)))
    values = (weights @ runs.reshape(treatments, -1)).reshape(-1, studies, blocks)
    counts = present.sum(axis=-1)
    mean, variance = find_moments(values, present)
    share = share_spread if way is None else share_between_nodes
    spread = share(variance.T, counts - 1, (weights**2).sum(axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(mean.T) / np.sqrt(spread.variance / counts)
    # Where freedoms differ, the largest statistic is not that of the smallest p-value.
    smallest: Numbers = 2 * special.stdtr(spread.freedom, -statistic).min(axis=-1)
    if others:
        smallest = np.minimum(smallest, draw.random((studies, others)).min(axis=-1))
    return np.sort(smallest)


def find_moments(values: Numbers, present: Flags) -> tuple[Numbers, Numbers]:
    """Return mean and variance of contrasts over their blocks, the last axis; the first is theirs.

    Between the two there may be an axis of studies.
    """
    if present.all():
        return values.mean(axis=-1), values.var(axis=-1, ddof=1)
    held = present[:, None, :] if values.ndim == 3 else present
    counts = held.sum(axis=-1)
    mean = np.where(held, values, 0.0).sum(axis=-1) / counts
    squares = np.where(held, values - mean[..., None], 0.0) ** 2
    return mean, squares.sum(axis=-1) / (counts - 1)
