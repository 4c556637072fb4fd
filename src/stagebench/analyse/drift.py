"""Drift: whether results depend on a run's position in its block, on time, or on its block.

Every node has its own order of runs: those of a campaign on several nodes are told apart.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from stagebench.analyse.intervals import LEAST_BLOCKS, Effect, p_difference, reach
from stagebench.analyse.pairs import list_uppers
from stagebench.tables.io import make_table
from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
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

_LEAST_PART = 1e-9
"""What is smaller beside the largest is rounding, and no indicator."""


Ends: TypeAlias = "tuple[float, float]"
"""The logarithms of the ends between which a value is known to lie; equal if it is exact."""


class Place(NamedTuple):
    """The place of a run; shares are from 0 (first) to 1 (last). `campaign` is with its node."""

    treatment: str
    campaign: tuple[str, str]
    block: int
    in_block: float
    in_time: float
    is_in_first: bool


def find_drift(runs: pd.DataFrame) -> pd.DataFrame:
    """Test every experiment for effects of place; all intervals hold together (Bonferroni).

    Each effect is a slope of logarithms, after the means of everything else that varies are taken
    away: those of treatments, and those of blocks (for the position) or of campaigns.
    """
    places = _find_places(runs)
    found = [
        ({"experiment": experiment, "quantity": quantity} | named, slopes)
        for experiment in dict.fromkeys(runs["experiment"])
        for quantity in QUANTITIES
        for named, slopes in _effects(_list_values(runs, places, experiment, quantity))
    ]
    tests = sum(slopes is not None for _, slopes in found)
    return make_table("drift", [row | _describe(slopes, tests) for row, slopes in found])


def _list_values(
    runs: pd.DataFrame, places: Sequence[Place], experiment: str, quantity: str
) -> list[tuple[Ends, Place]]:
    """Return what is known of one quantity in each ok run, as logarithms, with the run's place."""
    values = zip(
        runs["experiment"],
        runs["status"],
        runs[quantity].astype("float64"),
        list_uppers(runs, quantity),
        places,
        strict=True,
    )
    return [
        ((math.log(low), math.inf if math.isnan(high) else math.log(max(low, high))), place)
        for name, status, low, high, place in values
        if name == experiment and status == "ok" and low > 0
    ]


def _find_places(runs: pd.DataFrame) -> list[Place]:
    """Find the place of every run, failed ones included, by when it really started."""
    started = runs["started_at"].map(datetime.fromisoformat).map(datetime.timestamp)
    names = [runs["campaign"], runs["node"]]
    campaign = started.groupby(names)
    block = started.groupby([*names, runs["block"]])
    first = runs["block"].groupby(names).transform("min")
    span = campaign.transform("max") - campaign.transform("min")
    columns = (
        runs["treatment"],
        zip(*names, strict=True),
        runs["block"],
        _share(block.rank(method="first") - 1, block.transform("count") - 1),
        _share(started - campaign.transform("min"), span),
        runs["block"] == first,
    )
    return [Place(*values) for values in zip(*columns, strict=True)]


def _share(part: pd.Series[float], whole: pd.Series[float]) -> pd.Series[float]:
    return (part / whole.where(whole > 0)).fillna(0.0)


def _effects(
    found: Sequence[tuple[Ends, Place]],
) -> Iterator[tuple[Row, tuple[Effect, Effect] | None]]:
    """Yield the effects on one quantity with their smallest and their largest slope."""
    values, places = [ends for ends, _ in found], [place for _, place in found]
    treatments = [place.treatment for place in places]
    blocks = [(place.campaign, place.block) for place in places]
    campaigns = [place.campaign for place in places]
    for effect, moved, groups in (
        (POSITION, [place.in_block for place in places], blocks),
        (TIME, [place.in_time for place in places], campaigns),
        (FIRST_BLOCK, [float(place.is_in_first) for place in places], campaigns),
    ):
        slopes = _fit_ends(values, moved, (treatments, groups))
        yield {"effect": effect, "n": len(values)}, slopes


def _fit_ends(
    values: Sequence[Ends], moved: Sequence[float], groupings: Sequence[Groups]
) -> tuple[Effect, Effect] | None:
    """Fit the smallest and the largest slope that the ends of the values leave room for."""
    lows = [low for low, _ in values]
    slope = fit_slope(lows, moved, groupings)
    if slope is None or all(low == high for low, high in values):
        return None if slope is None else (slope, slope)
    if any(math.isinf(high) for _, high in values):
        return slope._replace(estimate=-math.inf, error=0.0), slope._replace(
            estimate=math.inf, error=0.0
        )
    # A slope is a sum of values with the weights of what the groups leave of the places.
    left, _ = _without_means(np.array([moved]).T, groupings)
    rises = left[:, 0] > 0
    smallest, largest = (
        fit_slope(
            [ends[is_high] for ends, is_high in zip(values, chosen.tolist(), strict=True)],
            moved,
            groupings,
        )
        for chosen in (~rises, rises)
    )
    return None if smallest is None or largest is None else (smallest, largest)


def _describe(slopes: tuple[Effect, Effect] | None, tests: int) -> Row:
    if slopes is None:
        return {"note": "too few runs"}
    low, high = slopes
    limits = low.estimate - reach(low, ALPHA / tests), high.estimate + reach(high, ALPHA / tests)
    nearer = low if low.estimate > 0 else high
    p = 1.0 if low.estimate < 0 < high.estimate else p_difference(nearer)
    return {
        "ratio": math.exp(low.estimate),
        "ratio_upper": None if low == high else math.exp(high.estimate),
        "low": math.exp(limits[0]),
        "high": math.exp(limits[1]),
        "p": p,
        "p_adjusted": None if p is None else min(1.0, tests * p),
    }


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

    They are as many as can be kept apart: the rank of the groups' indicators. The means of the
    finest grouping are taken away first, also from the indicators of the others: least squares then
    has few of them, however many treatments there are.
    """
    finest, *others = sorted(groupings, key=lambda groups: -len(set(groups)))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(finest))}
    places = np.array([numbers[group] for group in finest])
    indicators = np.array(
        [[group == one for group in groups] for groups in others for one in dict.fromkeys(groups)],
        dtype=float,
    ).T
    together = np.concatenate([columns, indicators], axis=1)
    sums = np.zeros((len(numbers), together.shape[1]))
    np.add.at(sums, places, together)
    left = together - (sums / np.bincount(places)[:, None])[places]
    rest, indicators = np.hsplit(left, [columns.shape[1]])
    # Of an indicator that is taken away as a whole, rounding is left.
    means, _, rank, _ = np.linalg.lstsq(indicators, rest, rcond=_LEAST_PART)
    return np.round(rest - indicators @ means, _DECIMALS), len(numbers) + int(rank)
