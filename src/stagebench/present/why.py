"""Why treatments take as long as they do, what would help, and what to choose, for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.markdown import (
    MISSING,
    count_noun,
    format_number,
    format_percent,
    format_table,
)
from stagebench.tables.io import list_rows
from stagebench.tables.schema import LEFT_OUT, PROFILE, TASK_TIME, WHAT_IF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.present.experiment import Experiment

Row = dict[str, Any]

_RESOURCES = {
    "workers": "workers of {stage}",
    "cores": "the cores",
    "node": "the cores of one node",
    "network": "the network between nodes",
    "GIL": "the GIL",
    "arrivals": "the arrival of tasks",
    "in flight": "tasks in flight",
    "path of a task": "the path of one task",
}
"""Resource of a floor → its words."""

_LEAST_SHOWN = 0.0005
"""A part that is shorter than this share of the time in every treatment has no column."""

_MOST_MISSES = 5
"""Of more predictions that failed than this, some are named."""


def limit_cell(experiment: Experiment, treatment: str) -> str:
    """Return what limits a treatment, with its floor as a share of the makespan."""
    row = experiment.limits.get(treatment)
    if row is None:
        return MISSING
    share = format_percent(row["floor_s"] / row["makespan_s"])
    name = _name_resource(row["resource"], row["stage"])
    if not row["is_full"]:
        unsure = ", but the GIL may be" if row["may_be_gil"] else ""
        return f"nothing is full ({name} {share}){unsure}"
    others = "".join(
        f", {_name_other(one)}" for one in filter(None, row["others_full"].split(", "))
    )
    unsure = " or the GIL" if row["may_be_gil"] else ""
    return f"{name}{unsure} ({share}){others}"


def _name_resource(resource: str, stage: str) -> str:
    return _RESOURCES[resource].format(stage=stage)


def _name_other(text: str) -> str:
    resource = _find_resource(text)
    return _name_resource(resource, text.removeprefix(resource).strip())


def _find_resource(text: str) -> str:
    return next(name for name in _RESOURCES if text.startswith(name))


def full_resources(row: Row) -> list[str]:
    """Return the kinds of resources in a row of `limits`: the highest floor, and others if full."""
    others = filter(None, row["others_full"].split(", "))
    return list(dict.fromkeys([row["resource"], *map(_find_resource, others)]))


def limits_table(experiment: Experiment) -> str:
    """Return the highest floor of every treatment beside its makespan, and where the rest went."""
    columns = [
        "treatment",
        "limited by",
        "rest mostly",
        "makespan s",
        "floor s",
        "above",
        "cores used",
        "own work s",
        "rest s",
    ]
    rows = [
        [
            row["treatment"],
            limit_cell(experiment, row["treatment"]),
            _describe_rest(row),
            format_number(row["makespan_s"]),
            format_number(row["floor_s"]),
            format_percent(row["above"]),
            format_number(row["cores_used"]),
            format_number(row["own_s"]),
            format_number(row["lost_s"]),
        ]
        for row in _of_listed(experiment, "limits")
    ]
    return format_table(columns, rows, texts=3) if rows else ""


def _describe_rest(row: Row) -> str:
    if pd.isna(row["largest_part_s"]) or row["largest_part_s"] < 0.01 * row["makespan_s"]:
        return MISSING
    return f"{row['largest_part']} {format_number(row['largest_part_s'])} s"


def parts_table(experiment: Experiment) -> str:
    """Return where the time of a task went in each stage, of every treatment: means in seconds."""
    rows = _of_listed(experiment, "parts")
    longest = max((row["response_s"] for row in rows), default=0.0)
    shown = [
        part
        for part in TASK_TIME
        if any(row[f"{part}_s"] >= _LEAST_SHOWN * longest for row in rows)
    ]
    columns = ["treatment", "stage", *(f"{TASK_TIME[part]}" for part in shown)]
    cells = [
        [row["treatment"], row["stage"], *(format_number(row[f"{part}_s"]) for part in shown)]
        for row in rows
    ]
    return format_table(columns, cells, texts=2) if cells else ""


def _of_listed(experiment: Experiment, table: str) -> Sequence[Row]:
    rows = experiment.tables[table]
    return list_rows(rows[rows["treatment"].isin(experiment.listed)])


def predictions_table(experiment: Experiment) -> str:
    """Return what other settings would do to the fastest treatment."""
    rows = _select(experiment, WHAT_IF)
    columns = ["change", "predicted s", "from", "to", "against now", "beyond what was validated"]
    cells = [
        [
            row["change"],
            *_range_cells(row),
            _change_cell(row),
            row["note"] or MISSING,
        ]
        for row in rows
    ]
    return format_table(columns, cells, texts=1) if cells else ""


def profile_table(experiment: Experiment) -> str:
    """Return how much the makespan falls if a stage takes less."""
    rows = _select(experiment, PROFILE)
    columns = ["time of a stage", "predicted s", "from", "to", "against now"]
    cells = [[row["change"], *_range_cells(row), _change_cell(row)] for row in rows]
    return format_table(columns, cells, texts=1) if cells else ""


def _range_cells(row: Row) -> list[str]:
    high = row["high_s"]
    ends = [format_number(row["low_s"]), "unknown" if pd.isna(high) else format_number(high)]
    return [format_number(row["predicted_s"]), *ends]


def _change_cell(row: Row) -> str:
    """Return by how much a prediction is off from now, if its whole range is."""
    if pd.isna(row["predicted_s"]):
        return MISSING
    change = row["predicted_s"] / row["measured_s"] - 1
    if pd.isna(row["high_s"]) or row["low_s"] <= row["measured_s"] <= row["high_s"]:
        return "not decided"
    return f"{format_percent(abs(change))} {'more' if change > 0 else 'less'}"


def predicted_treatment(experiment: Experiment) -> str:
    """Return the treatment whose settings are changed; "" without predictions."""
    rows = _select(experiment, WHAT_IF)
    return str(rows[0]["treatment"]) if rows else ""


def checks_text(experiment: Experiment) -> str:
    """Say how well each treatment is predicted from the others, and name the misses."""
    rows = _select(experiment, LEFT_OUT)
    known = [row for row in rows if not pd.isna(row["predicted_s"])]
    if not rows:
        return ""
    replays = experiment.tables["replays"]
    errors = replays["error"].abs()
    treatments = len(experiment.tables["treatments"]["treatment"].unique())
    drawn = "" if len(rows) == treatments else f" of {len(rows)} treatments drawn at random"
    text = (
        f"The model gives the makespan of each run{drawn} from its own records within"
        f" {format_percent(errors.median())} in the median, {format_percent(errors.max())} at most."
    )
    if not known:
        return f"{text} No treatment can be predicted from others."
    within = sum(bool(row["is_within"]) for row in known)
    text += (
        f" Each treatment predicted from the others: {within} of {len(known)} within 10 % of the"
        " measured median, or within the spread of its runs."
    )
    misses = [
        f"`{row['treatment']}` {format_percent(abs(row['error']))} too"
        f" {'long' if row['error'] > 0 else 'short'}"
        for row in known
        if not row["is_within"]
    ]
    if misses:
        more = len(misses) - _MOST_MISSES
        named = ", ".join(misses[:_MOST_MISSES]) + (f", and {more} more" if more > 0 else "")
        text += f" Not: {named}."
    if silent := len(rows) - len(known):
        text += f" {count_noun(silent, 'treatment')} cannot be predicted: nothing like it was run."
    return text


def is_calibrated(experiment: Experiment) -> bool:
    """Return whether runs that diagnose say what handlers need alone."""
    limits = experiment.tables["limits"]
    return bool(len(limits)) and bool(limits["calibrated"].all())


def why_values(experiment: Experiment) -> Mapping[str, object]:
    """Return all that the report says about an experiment's limits and predictions."""
    return {
        "limits": limits_table(experiment),
        "parts": parts_table(experiment),
        "changes": predictions_table(experiment),
        "profile": profile_table(experiment),
        "predicted": predicted_treatment(experiment),
        "checks": checks_text(experiment),
        "is_calibrated": is_calibrated(experiment),
    }


def _select(experiment: Experiment, kind: str) -> Sequence[Row]:
    rows = experiment.tables["predictions"]
    return list_rows(rows[rows["kind"] == kind])
