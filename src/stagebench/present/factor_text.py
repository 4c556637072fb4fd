"""Effects of factors, as sentences and a table: what one level does in place of another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stagebench.present.effects import describe_ratio, outcome_of, ratio_cell
from stagebench.present.markdown import MISSING, escape
from stagebench.tables.decisions import EQUIVALENT, NO_INTERVAL, WORDS_OF_ORDER
from stagebench.tables.quantities import words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from stagebench.present.experiment import Experiment


_DIRECTIONS = {
    "makespan_s": ("faster", "slower"),
    "turnaround_p95_s": ("shorter", "longer"),
}
_OTHER_DIRECTIONS = ("less", "more")


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorEffects:
    """The effects on one quantity: those that are decided, the others in one sentence."""

    title: str
    decided: Sequence[str]
    rest: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """The effects of all factors of an experiment."""

    quantities: Sequence[FactorEffects]


def describe_factors(experiment: Experiment) -> Factors | None:
    """Describe the effects of the factors; None where fewer than two of them vary.

    The effects of a single factor are the ratios of treatments that other sections have.
    """
    rows = experiment.tables["factor_effects"]
    if rows["factor"].nunique() < 2:  # one factor
        return None
    return Factors(
        quantities=[
            _describe(str(quantity), own[own["shown"].astype(bool)])
            for quantity, own in rows.groupby("quantity", sort=False)
        ],
    )


def _describe(quantity: str, rows: pd.DataFrame) -> FactorEffects:
    lower, higher = _DIRECTIONS.get(quantity, _OTHER_DIRECTIONS)
    texts: dict[str, list[str]] = {"decided": [], EQUIVALENT: [], "": []}
    for _, row in rows.iterrows():
        outcome = outcome_of(row)
        if outcome in WORDS_OF_ORDER:
            ratio = describe_ratio(row, lower=lower, higher=higher)
            texts["decided"].append(f"{_name(row)}: {ratio}")
        else:
            none = ", no interval" if outcome == NO_INTERVAL else ""
            kind = EQUIVALENT if outcome == EQUIVALENT else ""
            texts[kind].append(f"{_name(row)} ({_ratio(row)}{none})")
    rest = [("Equivalent", texts[EQUIVALENT]), ("Not decided", texts[""])]
    return FactorEffects(
        title=words_of(quantity),
        decided=texts["decided"],
        rest=[f"{title}: {'; '.join(some)}." for title, some in rest if some],
    )


def _ratio(row: pd.Series[float]) -> str:
    cell = ratio_cell(row)
    return "no bound is known" if cell == MISSING else f"{cell} ×"


def _name(row: pd.Series[float]) -> str:
    """Return "executor process instead of thread, with logic native and workers 2 or 5"."""
    effect = f"{row['factor']} {row['level']} instead of {row['to_level']}"
    within = _within(row)
    return escape(f"{effect}, with {' and '.join(within)}" if within else effect)


def _within(row: pd.Series[float]) -> list[str]:
    restricted: dict[str, list[str]] = json.loads(str(row["within"]))
    return [f"{factor} {' or '.join(levels)}" for factor, levels in restricted.items()]
