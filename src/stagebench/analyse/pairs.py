"""Which run is compared with which: in the same block and campaign, or as near as there is.

One quantity of all runs, by experiment and treatment; and the ratio of two treatments in it.
"""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

import pandas as pd

from stagebench.analyse.intervals import effect_interval, paired_effect, unpaired_effect
from stagebench.tables.schema import IN_BLOCKS, OTHER_CAMPAIGN, UNPAIRED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.analyse.intervals import Effect


T = TypeVar("T")

Place: TypeAlias = "tuple[int, str]"
"""Block and campaign of a run: a treatment has one run there."""


class Chosen(NamedTuple, Generic[T]):
    """What is compared: in pairs if `pairing` is IN_BLOCKS; nothing where it is empty."""

    pairing: str
    of: Sequence[T]
    to: Sequence[T]


def choose(own: Mapping[Place, T], base: Mapping[Place, T]) -> Chosen[T]:
    """Choose what is compared of a treatment and another: pairs wherever there is one."""
    pairs = [(one, base[place]) for place, one in own.items() if place in base]
    if pairs:
        return Chosen(IN_BLOCKS, [one for one, _ in pairs], [other for _, other in pairs])
    if not own or not base:
        return Chosen("", (), ())
    shared = {campaign for _, campaign in own} & {campaign for _, campaign in base}
    if not shared:
        return Chosen(OTHER_CAMPAIGN, [*own.values()], [*base.values()])
    of, to = ([one for (_, name), one in some.items() if name in shared] for some in (own, base))
    return Chosen(UNPAIRED, of, to)


class Measured(NamedTuple):
    """One quantity of one run; `value` is None where it is not known."""

    block: int
    campaign: str
    status: str
    value: float | None

    @property
    def is_usable(self) -> bool:
        """Whether it can be part of a ratio."""
        return self.status == "ok" and self.value is not None and self.value > 0


class Matched(Chosen[Measured]):
    """What is compared of a treatment and its baseline, as ratios."""

    __slots__ = ()

    def effect(self) -> Effect:
        """Estimate the ratio."""
        if self.pairing == IN_BLOCKS:
            return paired_effect([ratio for _, ratio in self.ratios()])
        return unpaired_effect(_values(self.of), _values(self.to))

    def ratios(self) -> list[tuple[int, float]]:
        """Give block and ratio of every pair, or of every run to the baseline's geometric mean."""
        of, to = _values(self.of), _values(self.to)
        if to and self.pairing != IN_BLOCKS:
            to = [math.exp(fmean(map(math.log, to)))] * len(of)
        blocks = [one.block for one in self.of]
        return [(block, one / base) for block, one, base in zip(blocks, of, to, strict=True)]


def match(own: Sequence[Measured], base: Sequence[Measured]) -> Matched:
    """Choose what is compared of a treatment and its baseline, of runs that can be in a ratio."""
    return Matched(*choose(_usable(own), _usable(base)))


def describe_gaps(own: Sequence[Measured], base: Sequence[Measured]) -> list[str]:
    """Say which blocks have no pair, and why: "blocks 1, 3: baseline timed_out"."""
    if not base:
        return ["the baseline has no such stage"]
    told = [_failures("no ok run", own), _failures("the baseline failed in every block", base)]
    if any(told):
        return [text for text in told if text]
    bases = {one.block: one for one in base}
    blocks: dict[str, list[int]] = {}
    for one in own:
        blocks.setdefault(_gap(one, bases.get(one.block)), []).append(one.block)
    return [
        f"block{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}: {reason}"
        for reason, found in blocks.items()
        if reason
    ]


def _failures(title: str, runs: Sequence[Measured]) -> str:
    ended = Counter(one.status for one in runs)
    if ended["ok"]:
        return ""
    return f"{title} ({', '.join(f'{status} × {n}' for status, n in ended.items())})"


def _gap(one: Measured, base: Measured | None) -> str:
    if base is None:
        return "no run of the baseline"
    if reason := _unusable(one):
        return reason
    if reason := _unusable(base):
        return f"baseline {reason}"
    return "" if one.campaign == base.campaign else "baseline of another campaign"


def _unusable(one: Measured) -> str:
    if one.status != "ok":
        return one.status
    if one.value is None:
        return "not known"
    return "" if one.value > 0 else f"{one.value:g}, which has no ratio"


def _usable(runs: Sequence[Measured]) -> dict[Place, Measured]:
    return {(one.block, one.campaign): one for one in runs if one.is_usable}


def _values(some: Sequence[Measured]) -> list[float]:
    return [one.value for one in some if one.value is not None]


Row = dict[str, Any]
Values = dict[str, dict[str, list[Measured]]]
"""Experiment → treatment → its runs."""

_COLUMNS = ["experiment", "treatment", "block", "campaign", "status"]


def collect_measured(runs: pd.DataFrame, quantity: str) -> Values:
    """Give the quantity of every run in the table of runs, in its order."""
    found: Values = {}
    for *place, value in runs[[*_COLUMNS, quantity]].itertuples(index=False, name=None):
        experiment, treatment, block, campaign, status = place
        known = None if pd.isna(value) else float(value)
        own = found.setdefault(experiment, {}).setdefault(treatment, [])
        own.append(Measured(int(block), str(campaign), str(status), known))
    return found


def find_median(values: Sequence[Measured]) -> float | None:
    """Give the median over the ok runs in which the quantity is known."""
    known = [one.value for one in values if one.status == "ok" and one.value is not None]
    return median(known) if known else None


def estimate_ratio(own: Sequence[Measured], base: Sequence[Measured]) -> Row:
    """Give ratio, limits, number and pairing; where nothing can be compared only that n is 0."""
    matched = match(own, base)
    if not matched.pairing:
        return {"n": 0}
    interval = effect_interval(matched.effect())
    return {
        "ratio": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "pairing": matched.pairing,
    }
