"""Families of ratios: estimates, intervals that hold together, and the word for each of them.

What is compared may be known as a bracket only. Then a contrast has a smallest and a largest value
in every block, and its interval goes from the lower limit of the smallest to the upper limit of the
largest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stagebench.analyse.intervals import (
    LEAST_BLOCKS,
    Effect,
    Interval,
    half_width,
    more_blocks,
    p_difference,
    p_equivalence,
    reach,
)
from stagebench.analyse.pairs import LARGEST, SMALLEST
from stagebench.analyse.simultaneous import (
    Layout,
    adjust,
    share_between_nodes,
    share_spread,
    single_level,
)
from stagebench.tables.decisions import decide
from stagebench.tables.schema import IN_BLOCKS
from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.analyse.pairs import Matched, Place


class Member(NamedTuple):
    """One contrast of a family.

    `weights` has the share of each treatment, `size` the sum of their squares; `ends` the effect of
    the smallest and of the largest values, `places` its blocks. `pairing` as in tables; "" if
    nothing can be compared.
    """

    weights: Mapping[str, float]
    ends: tuple[Effect, Effect]
    places: Sequence[Place]
    pairing: str

    @property
    def n(self) -> int:
        """The number of blocks, or of runs of the side with fewer."""
        return self.ends[0].n if self.pairing else 0

    @property
    def is_tested(self) -> bool:
        """Whether there are enough blocks for an interval."""
        return bool(self.pairing) and self.ends[0].is_tested

    @property
    def is_paired(self) -> bool:
        """Whether the contrast is made within blocks."""
        return self.pairing == IN_BLOCKS


class RatioEstimate(NamedTuple):
    """A ratio with the limits that hold together with those of its family.

    `ratio` and `upper` are the smallest and the largest that brackets leave room for. `ends` are
    the effects behind them, with errors that are shared with the family, and `level` is that of the
    interval by itself where that of the family is `alpha`. Below three blocks there are no limits.
    """

    ratio: float
    upper: float
    low: float | None
    high: float | None
    ends: tuple[Effect, Effect]
    level: float
    layout: Layout
    alpha: float

    @property
    def bracket_end(self) -> float | None:
        """The largest ratio that brackets leave room for; None if everything is exact."""
        return None if self.upper == self.ratio else self.upper

    def outcome(self, margin: float) -> str:
        """Return what the limits decide."""
        return decide(self.low, self.high, margin)

    def p_difference(self) -> float | None:
        """Return the p-value against a ratio of 1, adjusted for the family."""
        low, high = self.ends
        if low.estimate <= 0 <= high.estimate:
            return 1.0 if low.is_tested and low.estimate < high.estimate else self._adjust_p(low)
        return self._adjust_p(low if low.estimate > 0 else high)

    def p_equivalence(self, margin: float) -> float | None:
        """Return the p-value against a ratio beyond the margin, adjusted for the family."""
        known = [p_equivalence(end, margin) for end in self.ends]
        ps = [p for p in known if p is not None]
        return self._adjust(min(1.0, 2 * max(ps))) if ps else None

    def half_width(self) -> float | None:
        """Return how far the limits are from the ratio, as a share of it; None without any."""
        if self.low is None or self.high is None or self.low == 0 or math.isinf(self.high):
            return None
        return half_width(Interval(self.upper, self.low, self.high, self.ends[1].n))

    def more_blocks(self, wanted: float) -> int | None:
        """RatioEstimate how many more blocks a half-width needs."""
        return None if self.half_width() is None else more_blocks(self.ends[1], wanted, self.level)

    def _adjust_p(self, end: Effect) -> float | None:
        p = p_difference(end)
        return None if p is None else self._adjust(p)

    def _adjust(self, p: float) -> float:
        """Adjust a p-value for the family; what its level excludes is below `ALPHA`."""
        return min(1.0, adjust(self.layout, p) * (ALPHA / self.alpha))


def join(of: str, to: str, matched: Matched) -> Member:
    """Make the contrast of a treatment with another one."""
    nothing = Effect(math.nan, math.nan, math.nan, 0)
    if not matched.pairing:
        return Member({of: 1.0, to: -1.0}, (nothing, nothing), (), "")
    smallest = matched.effect(SMALLEST)
    ends = smallest, smallest if matched.is_exact else matched.effect(LARGEST)
    places = [(one.block, one.campaign, one.node) for one in matched.of]
    return Member({of: 1.0, to: -1.0}, ends, places, matched.pairing)


def explain_no_interval(blocks: int) -> str:
    """Say why a ratio of so many blocks has no interval."""
    if blocks < LEAST_BLOCKS:
        return f"an interval needs {LEAST_BLOCKS} blocks, there are {blocks}"
    return "all its blocks are of one node, and the study is of several"


def estimate_family(members: Sequence[Member], alpha: float = ALPHA) -> list[RatioEstimate | None]:
    """Estimate the contrasts of one family; None where nothing can be compared."""
    members = _compare_nodes(members)
    tested = [one for one in members if one.is_tested]
    layout = make_layout(tested)
    level = single_level(layout, alpha)
    of_family = level, layout, alpha
    lows, highs = (
        iter(_share([one.ends[end] for one in tested], tested, layout)) for end in (0, 1)
    )
    return [
        None
        if not one.pairing
        else _estimate((next(lows), next(highs)) if one.is_tested else one.ends, *of_family)
        for one in members
    ]


def _compare_nodes(members: Sequence[Member]) -> Sequence[Member]:
    """Leave contrasts of one node without an interval if others of the family are of several."""
    if all(one.ends[0].nodes == 1 for one in members):
        return members
    return [
        one._replace(ends=(_leave_untested(one.ends[0]), _leave_untested(one.ends[1])))
        for one in members
    ]


def _leave_untested(effect: Effect) -> Effect:
    return effect if effect.nodes > 1 else effect._replace(error=math.nan)


def make_layout(members: Sequence[Member]) -> Layout:
    """Return how the contrasts of a family weigh their treatments, and which values they have."""
    paired = [one for one in members if one.is_paired]
    names = dict.fromkeys(name for one in paired for name in one.weights)
    treatments = {name: column for column, name in enumerate(names)}
    by_node = any(one.ends[0].nodes > 1 for one in paired)
    placed = [{place[2] if by_node else place for place in one.places} for one in paired]
    places = {place: column for column, place in enumerate(sorted(set().union(*placed)))}
    weights = np.zeros((len(paired), len(treatments)))
    present = np.zeros((len(paired), len(places)), dtype=bool)
    for row, (one, own) in enumerate(zip(paired, placed, strict=True)):
        for name, weight in one.weights.items():
            weights[row, treatments[name]] = weight
        present[row, [places[place] for place in own]] = True
    return Layout(weights, present, len(members) - len(paired), by_node)


def _share(effects: Sequence[Effect], members: Sequence[Member], layout: Layout) -> list[Effect]:
    """Share the spread of paired effects among them; those that have no bound stay out of it."""
    pairs = list(zip(effects, members, strict=True))
    shared = [one.is_paired and math.isfinite(effect.estimate) for effect, one in pairs]
    chosen = [pair for pair, is_shared in zip(pairs, shared, strict=True) if is_shared]
    counts = np.array([effect.values for effect, _ in chosen], dtype=float)
    share = share_between_nodes if layout.by_node else share_spread
    spread = share(
        np.array([effect.error**2 * effect.values for effect, _ in chosen]),
        counts - 1,
        np.array([sum(w * w for w in one.weights.values()) for _, one in chosen]),
    )
    errors = iter(np.sqrt(spread.variance / counts).tolist())
    freedoms = iter(spread.freedom.tolist())
    return [
        effect._replace(error=next(errors), freedom=next(freedoms)) if is_shared else effect
        for effect, is_shared in zip(effects, shared, strict=True)
    ]


def _estimate(
    ends: tuple[Effect, Effect], level: float, layout: Layout, alpha: float
) -> RatioEstimate:
    low, high = (end.estimate for end in ends)
    limits: tuple[float | None, float | None] = (None, None)
    if ends[0].is_tested:
        limits = math.exp(low - reach(ends[0], level)), math.exp(high + reach(ends[1], level))
    return RatioEstimate(math.exp(low), math.exp(high), *limits, ends, level, layout, alpha)
