"""How narrow the intervals are, against what the study wants, and what the rest would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.present.markdown import count_noun, format_percent, format_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

_UNASKED = ("makespan_s",)
"""Quantities whose precision is told where the study names none."""


def precision_table(comparisons: pd.DataFrame, plan: Mapping[str, Any]) -> str:
    """Give the half-widths reached and wanted of each experiment and quantity; empty without."""
    columns = ["experiment", "quantity", "wanted", "narrowest", "median", "widest"]
    columns += ["reached in", "more blocks"]
    told = _told(comparisons, plan)
    groups = told.groupby(["experiment", "quantity"], sort=False)
    rows = [[str(name) for name in key] + _cells(own) for key, own in groups]
    return format_table(columns, rows, texts=2) if rows else ""


def precision_text(comparisons: pd.DataFrame, plan: Mapping[str, Any]) -> str:
    """Say what was wanted, and how many blocks it would take in all."""
    told = _told(comparisons, plan)
    if told.empty:
        return "Nothing was compared."
    asked = (
        "Wanted is the `precision` of the config."
        if plan["precision"]
        else "The config names no `precision`: wanted is its margin, as a wider interval cannot"
        " show that two treatments are equivalent."
    )
    return f"{asked} {_outlook(told, int(plan['replicates']))}"


def _outlook(told: pd.DataFrame, replicates: int) -> str:
    known = told["more_blocks"].dropna()
    silent = len(told) - len(known)
    rest = f" {count_noun(silent, 'comparison')} had no interval, and tell nothing of it."
    unknown = rest if silent else ""
    if known.empty:
        return f"No interval could be given: they take three blocks.{unknown}"
    more = int(known.max())
    if more == 0:
        return f"All {count_noun(len(known), 'interval')} are as narrow.{unknown}"
    return (
        f"{int((known == 0).sum())} of {count_noun(len(known), 'interval')} are as narrow. All"
        f" would be after about {count_noun(more, 'more block')}, if they spread as those known do:"
        f" `replicates: {replicates + more}`, of which only the new ones are run.{unknown}"
    )


def _told(comparisons: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    return comparisons[comparisons["quantity"].isin(list(plan["precision"]) or _UNASKED)]


def _cells(own: pd.DataFrame) -> list[str]:
    widths, more = own["half_width"].dropna(), own["more_blocks"].dropna()
    half_widths = (
        [widths.min(), widths.median(), widths.max()] if len(widths) else [float("nan")] * 3
    )
    return [
        f"± {format_percent(float(own['half_width_wanted'].iloc[0]))}",
        *(format_percent(float(width)) for width in half_widths),
        f"{int((more == 0).sum())} of {len(own)}",
        str(int(more.max())) if len(more) else "–",
    ]
