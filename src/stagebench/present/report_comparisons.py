"""How every treatment compares with its baseline, in words and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from stagebench.columns import IN_BLOCKS
from stagebench.present.markdown import (
    MISSING,
    count_noun,
    format_number,
    format_percent,
    format_table,
)
from stagebench.units import MIB

if TYPE_CHECKING:
    from stagebench.present.experiment import Experiment

HEADLINES = ("makespan_s", "tree_peak_bytes")
"""Quantities whose comparison stands in the text; those of the others can be unfolded."""

_MIB_UNITS = {"bytes": "MiB", "byte*s": "MiB s"}


def effects_table(experiment: Experiment) -> str:
    """Give median, ratio with its limits and word of every treatment; empty without another one."""
    rows = _comparisons(experiment)
    if rows.empty:
        return ""
    columns, cells = ["treatment"], {name: [name] for name in experiment.treatments}
    for quantity in HEADLINES:
        own = rows[rows["quantity"] == quantity]
        title = _title(quantity, str(own["unit"].iloc[0]))
        columns += [title, "n", f"× {experiment.baseline} [95 %]", "word"]
        for treatment, cell in cells.items():
            cell.extend(_effect_cells(own, treatment))
    return format_table(columns, list(cells.values()), texts=1)


def others_table(experiment: Experiment) -> str:
    """Give the same of all other quantities, a row each."""
    rows = _comparisons(experiment)
    rows = rows[~rows["quantity"].isin(HEADLINES)]
    columns = ["treatment", "quantity", "stage", "median", "n", "ratio [95 %]", "word"]
    cells = [
        [row["treatment"], _title(row["quantity"], row["unit"]), row["stage"], *_cells(row)]
        for _, row in rows.iterrows()
    ]
    return format_table(columns, cells, texts=3)


def gap_notes(experiment: Experiment) -> list[str]:
    """List why intervals are missing and which blocks are in no pair, each reason once."""
    rows = _comparisons(experiment)
    shared: dict[tuple[str, str], list[str]] = {}
    for (treatment, note), own in rows[rows["note"] != ""].groupby(
        ["treatment", "note"], sort=False
    ):
        whole = len(own) == int((rows["treatment"] == treatment).sum())
        names = [_named(row["quantity"], row["stage"]) for _, row in own.iterrows()]
        what = "everything" if whole else ", ".join(names)
        shared.setdefault((what, str(note)), []).append(f"`{treatment}`")
    others = len(experiment.treatments) - 1
    return [
        f"{'every treatment' if 1 < others == len(names) else ', '.join(names)} ({what}): {note}"
        for (what, note), names in shared.items()
    ]


def effects_finding(experiment: Experiment) -> str:
    """Count the words of the makespans, or say that the baseline failed in every block."""
    baseline = experiment.baseline
    rows = _comparisons(experiment)
    if rows.empty:
        return ""
    if experiment.runs(baseline).empty:
        ended = experiment.failure_note(baseline).removeprefix("no ok run ")
        return f"**The baseline {baseline} failed in every block {ended}: nothing is compared.**"
    own = rows[rows["quantity"] == "makespan_s"]
    words = own.loc[own["word"] != "", "word"].value_counts()
    told = [f"{count} {word}" for word, count in words.items()]
    if silent := len(own) - int(words.sum()):
        told.append(f"{silent} without enough blocks for an interval")
    apart = int((~own["pairing"].isin([IN_BLOCKS, ""])).sum())
    labelled = f" ({apart} of them not paired within blocks)" if apart else ""
    compared = count_noun(len(own), "treatment")
    return f"Makespan against {baseline}, {compared}: {', '.join(told)}{labelled}."


def _comparisons(experiment: Experiment) -> pd.DataFrame:
    return experiment.tables["comparisons"]


def _effect_cells(rows: pd.DataFrame, treatment: str) -> list[str]:
    own = rows[rows["treatment"] == treatment]
    if len(own):
        return _cells(own.iloc[0])
    first = rows.iloc[0]
    return [_median(first["baseline_median"], first["unit"]), "", "1", "baseline"]


def _cells(row: pd.Series[float]) -> list[str]:
    median = _median(row["median"], str(row["unit"]))
    return [median, str(row["n"]), ratio_cell(row), str(row["word"]) or MISSING]


def ratio_cell(row: pd.Series[float]) -> str:
    """Give "1.09 [1.02–1.17]"; what was not paired within blocks is labelled."""
    if pd.isna(row["ratio"]):
        return MISSING
    cell = format_number(row["ratio"])
    if pd.notna(row["low"]):
        cell += f" [{format_number(row['low'])}–{format_number(row['high'])}]"
    return cell if str(row["pairing"]) == IN_BLOCKS else f"{cell} {row['pairing']}"


def _median(value: float, unit: str) -> str:
    if unit == "1":
        return format_percent(value)
    return format_number(value, scale=1 / MIB if unit in _MIB_UNITS else 1)


def _title(quantity: str, unit: str) -> str:
    """Write a quantity for people: "tree_peak_bytes" is "tree peak MiB"."""
    return " ".join([_named(quantity), _MIB_UNITS.get(unit, unit).removeprefix("1")]).strip()


def _named(quantity: str, stage: str = "") -> str:
    endings = ("_per_s", "_byte_s", "_bytes", "_s")
    ending = next((ending for ending in endings if quantity.endswith(ending)), "")
    return " ".join([stage, quantity.removesuffix(ending).replace("_", " ")]).strip()
