"""Drift: whether results depend on a run's position in its block, on time, or on its block."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from stagebench.analyse.intervals import LEAST_BLOCKS, Effect, effect_interval, holm, p_difference
from stagebench.tables.io import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Row = dict[str, Any]
Groups = Sequence[Hashable]

QUANTITIES = ("makespan_s", "tree_peak_bytes")

POSITION, TIME, FIRST_BLOCK = "position", "time", "first block"
"""Effects: the last run of a block against its first; the last run of a campaign against its first;
runs of a campaign's first block against those of its other blocks."""

_LEAST_FREEDOM = LEAST_BLOCKS - 1
_DECIMALS = 12
"""Of a logarithm: what is smaller is rounding, and no residual."""


class Place(NamedTuple):
    """The place of a run; shares are from 0 (first) to 1 (last)."""

    treatment: str
    campaign: str
    block: int
    in_block: float
    in_time: float
    is_in_first: bool


def find_drift(runs: pd.DataFrame) -> pd.DataFrame:
    """Test every experiment for effects of place; p-values are adjusted over all tests.

    Each effect is a slope of logarithms, after the means of everything else that varies are taken
    away: those of treatments, and those of blocks (for the position) or of campaigns.
    """
    placed = zip(runs.to_dict("records"), _find_places(runs), strict=True)
    known = [(run, place) for run, place in placed if run["status"] == "ok"]
    rows = [
        {"experiment": experiment, "quantity": quantity} | row
        for experiment in dict.fromkeys(runs["experiment"])
        for quantity in QUANTITIES
        for row in _effects(
            [
                (math.log(run[quantity]), place)
                for run, place in known
                if run["experiment"] == experiment and pd.notna(run[quantity]) and run[quantity] > 0
            ]
        )
    ]
    adjusted = holm([row.get("p") for row in rows])
    complete = [row | {"p_adjusted": p} for row, p in zip(rows, adjusted, strict=True)]
    return make_table("drift", complete)


def _find_places(runs: pd.DataFrame) -> list[Place]:
    """Find the place of every run, failed ones included, by when it really started."""
    started = runs["started_at"].map(datetime.fromisoformat).map(datetime.timestamp)
    campaign = started.groupby(runs["campaign"])
    block = started.groupby([runs["campaign"], runs["block"]])
    first = runs["block"].groupby(runs["campaign"]).transform("min")
    span = campaign.transform("max") - campaign.transform("min")
    columns = (
        runs["treatment"],
        runs["campaign"],
        runs["block"],
        _share(block.rank(method="first") - 1, block.transform("count") - 1),
        _share(started - campaign.transform("min"), span),
        runs["block"] == first,
    )
    return [Place(*values) for values in zip(*columns, strict=True)]


def _share(part: pd.Series[float], whole: pd.Series[float]) -> pd.Series[float]:
    return (part / whole.where(whole > 0)).fillna(0.0)


def _effects(found: Sequence[tuple[float, Place]]) -> Iterator[Row]:
    """Return the rows of one quantity; `found` are logarithms with the places of their runs."""
    logs, places = [log for log, _ in found], [place for _, place in found]
    treatments = [place.treatment for place in places]
    blocks = [(place.campaign, place.block) for place in places]
    campaigns = [place.campaign for place in places]
    for effect, moved, groups in (
        (POSITION, [place.in_block for place in places], blocks),
        (TIME, [place.in_time for place in places], campaigns),
        (FIRST_BLOCK, [float(place.is_in_first) for place in places], campaigns),
    ):
        slope = fit_slope(logs, moved, (treatments, groups))
        yield {"effect": effect, "n": len(logs)} | _describe(slope)


def _describe(found: Effect | None) -> Row:
    if found is None:
        return {"note": "too few runs"}
    interval = effect_interval(found)
    named = {"ratio": interval.estimate, "low": interval.low, "high": interval.high}
    return named | {"p": p_difference(found)}


def fit_slope(
    values: Sequence[float], moved: Sequence[float], groupings: Sequence[Groups]
) -> Effect | None:
    """Fit least squares of `values` on `moved` and on a mean for each group of each grouping.

    None where too few values are left to say, or nothing moves within the groups.
    """
    if not values:
        return None
    left, means = _without_means(np.array([values, moved]).T, groupings)
    # Sums by fsum are exact: they do not depend on how many threads add.
    y, x = left.T.tolist()
    freedom = len(values) - means - 1
    square = math.fsum(one * one for one in x)
    if freedom < _LEAST_FREEDOM or square == 0:
        return None
    slope = math.fsum(a * b for a, b in zip(x, y, strict=True)) / square
    rest = [round(b - slope * a, _DECIMALS) for a, b in zip(x, y, strict=True)]
    error = math.sqrt(math.fsum(one * one for one in rest) / freedom / square)
    return Effect(round(slope, _DECIMALS), error, freedom, len(values))


def _without_means(
    columns: NDArray[np.float64], groupings: Sequence[Groups]
) -> tuple[NDArray[np.float64], int]:
    """Return what the means of all groups leave of each column, and how many means there are.

    They are as many as can be kept apart: the rank of the groups' indicators.
    """
    indicators = np.array(
        [
            [group == one for group in groups]
            for groups in groupings
            for one in dict.fromkeys(groups)
        ],
        dtype=float,
    ).T
    means, _, rank, _ = np.linalg.lstsq(indicators, columns)
    return np.round(columns - indicators @ means, _DECIMALS), int(rank)
