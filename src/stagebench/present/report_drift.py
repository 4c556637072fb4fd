"""Whether a run's place in the study showed in its results, in words and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from stagebench.confidence import ALPHA
from stagebench.present.markdown import (
    MISSING,
    count_noun,
    format_number,
    format_percent,
    format_table,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

_WHO = {
    "position": ("the last run of a block", "than the first"),
    "time": ("the last run of the study", "than the first"),
    "first block": ("a run of the first block", "than those of the others"),
}
"""Effect → whose results are compared, and with what."""

_VERBS = {"makespan_s": ("takes {} less time", "takes {} longer")}
_OTHER_VERBS = ("has a {} lower peak", "has a {} higher peak")


def drift_findings(drift: pd.DataFrame) -> list[str]:
    """Say what each effect that was found means."""
    found = drift[drift["p_adjusted"] < ALPHA]
    return [_sentence(row) for row in found.to_dict("records")]


def drift_text(drift: pd.DataFrame) -> str:
    """Say how many tests there were and what they left open."""
    known = drift.dropna(subset=["p"])
    if known.empty:
        return "There are too few runs to look for drift."
    found = int((known["p_adjusted"] < ALPHA).sum())
    tests = count_noun(len(known), "test")
    silent = len(drift) - len(known)
    rest = f" For {silent} more there were too few runs." if silent else ""
    if found:
        return f"Of {tests} for effects of a run's place, {found} found one.{rest}"
    return (
        f"None of {tests} found an effect of a run's place; the intervals below say how large one"
        f" may still be.{rest}"
    )


def drift_table(drift: pd.DataFrame) -> str:
    """Give every test: the ratio with its limits, and the adjusted p."""
    columns = ["experiment", "quantity", "effect", "runs", "ratio [95 %]", "p", "adjusted p"]
    rows = [
        [
            *(str(row[name]) for name in ("experiment", "quantity", "effect", "n")),
            _interval(row) if pd.notna(row["ratio"]) else str(row["note"]),
            *(format_number(row[name]) for name in ("p", "p_adjusted")),
        ]
        for row in drift.to_dict("records")
    ]
    return format_table(columns, rows, texts=3)


def _sentence(row: Mapping[Hashable, object]) -> str:
    who, than = _WHO[str(row["effect"])]
    ratio, low, high = (float(str(row[name])) for name in ("ratio", "low", "high"))
    verb = _VERBS.get(str(row["quantity"]), _OTHER_VERBS)[ratio > 1]
    changed = verb.format(format_percent(abs(ratio - 1)))
    p = format_number(float(str(row["p_adjusted"])))
    return (
        f"{row['experiment']}: {who} {changed} {than}"
        f" (95 % interval of the ratio {format_number(low)} to {format_number(high)},"
        f" adjusted p {p})."
    )


def _interval(row: Mapping[Hashable, object]) -> str:
    ratio, low, high = (format_number(float(str(row[n]))) for n in ("ratio", "low", "high"))
    return MISSING if ratio == MISSING else f"{ratio} [{low}–{high}]"
