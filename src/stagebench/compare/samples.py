"""Two independent samples of runs: how much one side differs from the other, with intervals.

Runs of two studies are no pairs, even if both number their blocks from 1. Each side has one value
for every place, which is a block of a campaign: the logarithm of a treatment's value, or a contrast
of several treatments within the place. So what blocks have in common is part of the spread of both
sides. A family is judged as in the report (`analyse/simultaneous.py`): each side shares its spread
among the family, and the level of a single interval is simulated for the layout at hand.

One campaign does not show how much campaigns differ, so that an allowance for it is a part of the
interval. Where a side has at least three, campaigns are the values instead of blocks: their means,
with one spread for both sides. A single new campaign can so be judged against a history. What a
campaign does to one treatment it may do to all of them, so that their spreads say the same and are
not shared. The runs of one campaign on several nodes are taken apart like campaigns, though there
be only two.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from stagebench.analyse.conditions import count_nodes
from stagebench.analyse.families import Member, estimate_family
from stagebench.analyse.intervals import LEAST_BLOCKS, log_effect
from stagebench.analyse.simultaneous import SEED, UNEVEN, find_moments, share_spread
from stagebench.tables.decisions import decide
from stagebench.tables.schema import IN_BLOCKS, OTHER_CAMPAIGN, UNPAIRED
from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from stagebench.analyse.pairs import Measured, Place

    Numbers = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_NUMBERS = 2_000_000
_FEWEST, _MOST = 1_000, 8_000
"""Simulated studies of a layout; about as many numbers in all."""


LEAST_CAMPAIGNS = 3
"""Of a side with so many campaigns, their means are compared, not the runs."""

LEAST_NODES = 2
"""So many are enough if those of a side are of several nodes."""


class Sample(NamedTuple):
    """One side of a family: logarithms, contrasts × places; NaN where a run is missing.

    `low` and `high` are what the brackets of the values leave room for: the same if all are exact.
    `size` has the sum of the squares of each contrast's weights, `total` their sum: 1 for a
    treatment or a mean of several, 0 for an effect, in which what all have in common cancels.
    """

    low: Numbers
    high: Numbers
    places: tuple[Place, ...]
    size: Numbers
    total: Numbers

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many values each contrast has."""
        return np.asarray((~np.isnan(self.low)).sum(axis=-1))

    def restrict(self, places: Sequence[Place]) -> Sample:
        """Return the values of some places, in that order."""
        columns = [self.places.index(place) for place in places]
        return Sample(
            self.low[:, columns], self.high[:, columns], tuple(places), self.size, self.total
        )


class SideChange(NamedTuple):
    """How many times as large one side is as the other; limits as in `families.RatioEstimate`."""

    ratio: float
    upper: float
    low: float | None
    high: float | None
    counts: tuple[int, int]
    pairing: str

    def outcome(self, margin: float) -> str:
        """Return what the limits decide."""
        return decide(self.low, self.high, margin)

    @property
    def is_exact(self) -> bool:
        """Whether no bracket leaves room for another ratio."""
        return self.upper == self.ratio


def weigh(
    values: Mapping[str, Sequence[Measured]], contrasts: Sequence[Mapping[str, float]]
) -> Sample:
    """Make the sample of contrasts, each of which weighs the treatments of one side."""
    usable = {
        name: {(one.block, one.campaign, one.node): one for one in own if one.is_usable}
        for name, own in values.items()
    }
    places = sorted({place for own in usable.values() for place in own})
    low = np.full((len(contrasts), len(places)), math.nan)
    high = low.copy()
    for row, weights in enumerate(contrasts):
        for column, place in enumerate(places):
            runs = [(weight, usable.get(name, {}).get(place)) for name, weight in weights.items()]
            ends = [(w, *_find_ends(run)) for w, run in runs if run is not None]
            if len(ends) == len(runs):
                low[row, column] = math.fsum(w * (a if w > 0 else b) for w, a, b in ends)
                high[row, column] = math.fsum(w * (b if w > 0 else a) for w, a, b in ends)
    size = [sum(weight**2 for weight in weights.values()) for weights in contrasts]
    total = [math.fsum(weights.values()) for weights in contrasts]
    return Sample(low, high, tuple(places), np.array(size), np.array(total))


def _find_ends(run: Measured) -> tuple[float, float]:
    low = math.log(run.value or math.nan)
    return low, low + math.log(run.reach)


def compare_samples(
    of: Sample, to: Sample, *, campaigns_differ: float = 0.0
) -> list[SideChange | None]:
    """Return how `of` differs from `to` for each contrast of a family; None without any value.

    They are paired only if one side has no other places than the other, as levels of one study do,
    and every contrast has common ones. `campaigns_differ` is the standard deviation of the
    logarithm by which whole campaigns differ, where there are too few of them to show it.
    """
    common = [place for place in of.places if place in to.places]
    if common and len(common) == min(len(of.places), len(to.places)):
        both = of.restrict(common), to.restrict(common)
        shared = ~np.isnan(both[0].low) & ~np.isnan(both[1].low)
        if (shared.any(axis=-1) | (of.counts == 0) | (to.counts == 0)).all():
            return _compare_pairs(*both, shared)
    least = LEAST_NODES if _has_nodes(of) or _has_nodes(to) else LEAST_CAMPAIGNS
    if max(count_campaigns(of.places), count_campaigns(to.places)) >= least:
        return _compare_campaigns(of, to, least)
    return _compare_independent(of, to, campaigns_differ**2)


def _compare_pairs(of: Sample, to: Sample, shared: Flags) -> list[SideChange | None]:
    members = []
    for row, own in enumerate(shared):
        places = [place for place, is_shared in zip(of.places, own, strict=True) if is_shared]
        nodes = [node for _, _, node in places]
        ends = (
            log_effect((of.low - to.high)[row, own].tolist(), nodes),
            log_effect((of.high - to.low)[row, own].tolist(), nodes),
        )
        weights = {f"{row} of": 1.0, f"{row} to": -1.0}
        members.append(Member(weights, ends, places, IN_BLOCKS if places else ""))
    return [
        None
        if found is None
        else SideChange(found.ratio, found.upper, found.low, found.high, (one.n, one.n), IN_BLOCKS)
        for one, found in zip(members, estimate_family(members), strict=True)
    ]


class _Spread(NamedTuple):
    """Means of a side with the variance of each mean, and that one's degrees of freedom."""

    mean: Numbers
    variance: Numbers
    freedom: Numbers


def _compare_independent(
    of: Sample, to: Sample, campaign_variance: float
) -> list[SideChange | None]:
    is_tested = (of.counts >= LEAST_BLOCKS) & (to.counts >= LEAST_BLOCKS)
    smallest, largest = (
        _subtract(
            _allow(_spread(of, first, is_tested), of, campaign_variance),
            _allow(_spread(to, second, is_tested), to, campaign_variance),
        )
        for first, second in ((of.low, to.high), (of.high, to.low))
    )
    level = _find_level(of, to, is_tested)
    return _list_changes((of, to), (smallest, largest), is_tested, level, UNPAIRED)


def _compare_campaigns(of: Sample, to: Sample, least: int) -> list[SideChange | None]:
    """Compare the means of campaigns, which have one spread on both sides."""
    sides = _average_campaigns(of), _average_campaigns(to)
    counts = [side.counts for side in sides]
    is_tested = (np.minimum(*counts) > 0) & (np.maximum(*counts) >= least)
    smallest, largest = (
        _pool(first, second, is_tested)
        for first, second in ((sides[0].low, sides[1].high), (sides[0].high, sides[1].low))
    )
    level = 1 - (1 - ALPHA) ** (1 / max(1, int(is_tested.sum())))
    return _list_changes(sides, (smallest, largest), is_tested, level, OTHER_CAMPAIGN)


def _average_campaigns(side: Sample) -> Sample:
    names = list(dict.fromkeys(place[1:] for place in side.places))
    columns = [[place[1:] == name for place in side.places] for name in names]
    low, high = (
        np.stack([_mean(values[:, own]) for own in columns], axis=-1)
        for values in (side.low, side.high)
    )
    return Sample(low, high, tuple((0, *name) for name in names), side.size, side.total)


def _mean(values: Numbers) -> Numbers:
    """Return the mean over the last axis of what is known; NaN if nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1))


def _pool(of: Numbers, to: Numbers, is_tested: Flags) -> _Spread:
    """Return the difference of two means, with the one variance that both sides have."""
    counts = [(~np.isnan(side)).sum(axis=-1) for side in (of, to)]
    means = [_mean(side) for side in (of, to)]
    squares = np.zeros(len(of))
    for side, mean in zip((of, to), means, strict=True):
        with np.errstate(invalid="ignore"):
            squares += np.nansum((side - mean[:, None]) ** 2, axis=-1)
    freedom = np.maximum(counts[0] + counts[1] - 2.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = squares / freedom * (1 / counts[0] + 1 / counts[1])
    mean = means[0] - means[1]
    return _Spread(mean, np.where(is_tested & np.isfinite(mean), variance, 0.0), freedom)


def _list_changes(
    sides: tuple[Sample, Sample],
    ends: tuple[_Spread, _Spread],
    is_tested: Flags,
    level: float,
    pairing: str,
) -> list[SideChange | None]:
    """Return estimates with limits at a level: from the smallest to the largest ratio."""
    counts = [side.counts for side in sides]
    found: list[SideChange | None] = []
    for row, is_known in enumerate(np.minimum(*counts) > 0):
        if not is_known:
            found.append(None)
            continue
        ratio, upper = (math.exp(float(end.mean[row])) for end in ends)
        limits: tuple[float | None, float | None] = (None, None)
        if is_tested[row]:
            low, high = (_reach(end, row, level) for end in ends)
            limits = ratio * math.exp(-low), upper * math.exp(high)
        found.append(
            SideChange(ratio, upper, *limits, (int(counts[0][row]), int(counts[1][row])), pairing)
        )
    return found


def _reach(end: _Spread, row: int, level: float) -> float:
    """Return the distance of a limit from the estimate."""
    variance = float(end.variance[row])
    if variance == 0:
        return 0.0
    return -float(special.stdtrit(end.freedom[row], level / 2)) * math.sqrt(variance)


def count_campaigns(places: Sequence[Place]) -> int:
    """Return how many campaigns runs are of, each on one node."""
    return len({place[1:] for place in places})


def _has_nodes(side: Sample) -> bool:
    """Return whether runs of a side are of several nodes."""
    return count_nodes(node for _, _, node in side.places) > 1


def _spread(side: Sample, values: Numbers, is_tested: Flags) -> _Spread:
    """Return the mean of each contrast at one of its ends; only tested ones share their spread."""
    present = ~np.isnan(values)
    endless = np.isinf(values).any(axis=-1)
    counts = present.sum(axis=-1)
    mean = _mean(values)
    shared = is_tested & ~endless
    variance, freedom = np.zeros(len(values)), np.full(len(values), math.inf)
    if shared.any():
        _, own = find_moments(values[shared], present[shared])
        spread = share_spread(own, counts[shared] - 1.0, side.size[shared])
        variance[shared] = spread.variance / counts[shared]
        freedom[shared] = spread.freedom
    return _Spread(mean, variance, freedom)


def _allow(spread: _Spread, side: Sample, campaign_variance: float) -> _Spread:
    """Add to the variance of each mean what campaigns add to it; that much is taken as known."""
    present = ~np.isnan(side.low)
    names = [place[1:] for place in side.places]
    shares = np.zeros(len(side.low))
    for name in set(names):
        own = present[:, [one == name for one in names]].sum(axis=-1)
        shares += (own / np.maximum(present.sum(axis=-1), 1)) ** 2
    added = campaign_variance * side.total**2 * shares
    variance = spread.variance + added
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.where(
            spread.variance > 0, spread.freedom * (variance / spread.variance) ** 2, math.inf
        )
    return _Spread(spread.mean, variance, freedom)


def _subtract(of: _Spread, to: _Spread) -> _Spread:
    """Return the difference of two independent means, as Welch does."""
    mean = of.mean - to.mean
    variance = of.variance + to.variance
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = of.variance**2 / of.freedom + to.variance**2 / to.freedom
        freedom = np.where(parts > 0, variance**2 / parts, math.inf)
    return _Spread(mean, variance, freedom)


def _find_level(of: Sample, to: Sample, is_tested: Flags) -> float:
    """Return the level of each interval at which all of a family hold together."""
    if int(is_tested.sum()) <= 1:
        return ALPHA
    sides = [~np.isnan(side.low[is_tested]) for side in (of, to)]
    return _simulate_level(*((side.tobytes(), side.shape) for side in sides))


@lru_cache(maxsize=64)
def _simulate_level(of: tuple[bytes, tuple[int, int]], to: tuple[bytes, tuple[int, int]]) -> float:
    """Return the level that the smallest p-value of a study without differences falls below.

    In 5 % of simulated studies it does. Contrasts are drawn independently: what those of real
    studies have in common makes their largest error smaller.
    """
    sides = [np.frombuffer(data, dtype=bool).reshape(shape) for data, shape in (of, to)]
    size = sum(side.size for side in sides)
    studies = min(_MOST, max(_FEWEST, _NUMBERS // size))
    draw = np.random.default_rng(SEED)
    spreads = np.exp(UNEVEN * draw.standard_normal((len(sides[0]), studies, 1)))
    found = []
    for present in sides:
        values = draw.standard_normal((*present.shape[:1], studies, present.shape[1])) * spreads
        counts = present.sum(axis=-1)
        mean, variance = find_moments(values, present)
        shared = share_spread(variance.T, counts - 1.0, np.ones(len(present)))
        found.append(_Spread(mean.T, shared.variance / counts, shared.freedom))
    difference = _subtract(*found)
    p = 2 * special.stdtr(
        difference.freedom, -np.abs(difference.mean) / np.sqrt(difference.variance)
    )
    return float(np.quantile(p.min(axis=-1), ALPHA))
