"""Which runs are compared with each other, and the ratio of two treatments in one quantity.

Runs of the same block and campaign are pairs. Without any pair, all runs of shared campaigns are
compared, or else all runs.
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
"""Block and campaign of a run; a treatment has one run in each place."""


class Chosen(NamedTuple, Generic[T]):
    """The runs to compare: pairs if `pairing` is IN_BLOCKS; none if it is empty."""

    pairing: str
    of: Sequence[T]
    to: Sequence[T]


def choose(own: Mapping[Place, T], base: Mapping[Place, T]) -> Chosen[T]:
    """Choose the runs of two treatments to compare: their pairs, if there are any."""
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
    """One quantity of one run; `value` is None if it is unknown."""

    block: int
    campaign: str
    status: str
    value: float | None

    @property
    def is_usable(self) -> bool:
        """Whether the value can be part of a ratio."""
        return self.status == "ok" and self.value is not None and self.value > 0


class Matched(Chosen[Measured]):
    """The runs of a treatment and of its baseline to compare, as ratios."""

    __slots__ = ()

    def effect(self) -> Effect:
        """Estimate the ratio."""
        if self.pairing == IN_BLOCKS:
            return paired_effect([ratio for _, ratio in self.ratios()])
        return unpaired_effect(_values(self.of), _values(self.to))

    def ratios(self) -> list[tuple[int, float]]:
        """Return block and ratio of each pair, or of each run to the baseline's geometric mean."""
        of, to = _values(self.of), _values(self.to)
        if to and self.pairing != IN_BLOCKS:
            to = [math.exp(fmean(map(math.log, to)))] * len(of)
        blocks = [one.block for one in self.of]
        return [(block, one / base) for block, one, base in zip(blocks, of, to, strict=True)]


def match(own: Sequence[Measured], base: Sequence[Measured]) -> Matched:
    """Choose the usable runs of a treatment and its baseline to compare."""
    return Matched(*choose(_usable(own), _usable(base)))


def describe_gaps(own: Sequence[Measured], base: Sequence[Measured]) -> list[str]:
    """List the blocks without a pair, and why: "blocks 1, 3: baseline timed_out"."""
    if not base:
        return ["the baseline has no such stage"]
    failures = [_failures("no ok run", own), _failures("the baseline failed in every block", base)]
    if any(failures):
        return [text for text in failures if text]
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
        return "no baseline run"
    if reason := _unusable(one):
        return reason
    if reason := _unusable(base):
        return f"baseline {reason}"
    return "" if one.campaign == base.campaign else "baseline of another campaign"


def _unusable(one: Measured) -> str:
    if one.status != "ok":
        return one.status
    if one.value is None:
        return "unknown"
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
    """Return one quantity of every run, in the order of the table of runs."""
    found: Values = {}
    for *place, value in runs[[*_COLUMNS, quantity]].itertuples(index=False, name=None):
        experiment, treatment, block, campaign, status = place
        known = None if pd.isna(value) else float(value)
        own = found.setdefault(experiment, {}).setdefault(treatment, [])
        own.append(Measured(int(block), str(campaign), str(status), known))
    return found


def find_median(values: Sequence[Measured]) -> float | None:
    """Return the median over the ok runs whose value is known; None if there are none."""
    known = [one.value for one in values if one.status == "ok" and one.value is not None]
    return median(known) if known else None


def estimate_ratio(own: Sequence[Measured], base: Sequence[Measured]) -> Row:
    """Return ratio, limits, number and pairing; only `n` = 0 if nothing can be compared."""
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
