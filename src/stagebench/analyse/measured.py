"""One quantity of all runs, by experiment and treatment; and the ratio of two treatments in it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.analyse.intervals import effect_interval
from stagebench.analyse.pairs import Measured, match

if TYPE_CHECKING:
    from collections.abc import Sequence

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
