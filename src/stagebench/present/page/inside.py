"""What happened inside the runs that the page shows, as values of JSON.

Of each treatment it is the run of median makespan: its tasks, and its memory over time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.page.data import cut_line, round_number
from stagebench.present.page.packed import pack_numbers
from stagebench.present.style import find_long_spans
from stagebench.tables.io import list_rows, numbers
from stagebench.units import KIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stagebench.present.experiment import Experiment

_TICK_S = 1e-6
"""Moments are whole numbers of this, which is finer than a pixel of any run."""

_MOST_ERRORS = 200
"""Different ends of tasks of one run that are told apart."""

_MOMENTS = ("due", "submitted", "started", "finished", "received")
_TASK = ["task", "stage", "attempt", "status", "worker", "first", "start_s", "send_s", "error"]
_COLUMNS = {
    "stages": ["stage", "executor", "workers"],
    "tasks": [*_TASK, *(f"{moment}_s" for moment in _MOMENTS)],
    "attempts": [*_TASK, *(f"{moment}_s" for moment in _MOMENTS)],
    "memory": ["began_s", "time_s", "tree_reached_bytes", "tree_upper_bytes"],
}
"""Table → the columns of it that are drawn."""


def describe_shown_runs(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Return what happened inside the shown run of each treatment that has one."""
    runs = experiment.tables["runs"]
    shown = runs.loc[runs["shown"], ["treatment", "replicate", "makespan_s"]]
    tables = {name: _split_table(experiment, name, shown) for name in _COLUMNS}
    return {
        row["treatment"]: {
            "replicate": int(row["replicate"]),
            "makespan": round_number(row["makespan_s"]),
            "tick": _TICK_S,
            **_describe_run({name: found[row["treatment"]] for name, found in tables.items()}),
        }
        for row in list_rows(shown)
    }


def _split_table(
    experiment: Experiment, name: str, shown: pd.DataFrame
) -> Mapping[str, pd.DataFrame]:
    """Return the rows that a table has of each shown run, by treatment."""
    key = ["treatment", "replicate"]
    table = experiment.tables[name]
    rows = table[key + _COLUMNS[name]].merge(shown[key], on=key)
    own = {str(treatment): found for treatment, found in rows.groupby("treatment", sort=False)}
    none = rows.iloc[:0]
    return {treatment: own.get(treatment, none) for treatment in shown["treatment"]}


def _describe_run(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    return {
        "stages": [
            {"name": cut_line(row["stage"]), "workers": _count_workers(row)}
            for row in list_rows(tables["stages"])
        ],
        "tasks": _pack_tasks(tables),
        "memory": _pack_memory(tables["memory"]),
    }


def _count_workers(stage: dict[str, Any]) -> str:
    """Return "1 thread", "5 processes", "asyncio, 100 at a time"."""
    count, executor = stage["workers"], stage["executor"]
    if pd.isna(count):
        return cut_line(executor)
    if executor == "asyncio":
        return cut_line(f"{executor}, {count} at a time")
    return f"{count} {executor}" + ("" if count == 1 else "es" if executor == "process" else "s")


def _pack_tasks(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Pack every attempt of every task; how they ended is a list that tasks point into."""
    tasks, attempts = tables["tasks"], tables["attempts"]
    rows = pd.concat([tasks, attempts]) if len(attempts) else tasks
    rows = rows.sort_values(["stage", "submitted_s", "task"], kind="stable")
    stages = {stage: place for place, stage in enumerate(tables["stages"]["stage"])}
    ends = [
        "" if status == "ok" else cut_line(f"{status}: {error}".rstrip(": "))
        for status, error in zip(rows["status"], rows["error"], strict=True)
    ]
    known = list(dict.fromkeys(ends))
    if len(known) > _MOST_ERRORS:
        known = [*known[:_MOST_ERRORS], "not ok: its error is in tables/tasks.csv"]
    places = {text: place for place, text in enumerate(known)}
    columns: dict[str, Sequence[int | None]] = {
        "task": _wholes(rows["task"]),
        "stage": [stages[stage] for stage in rows["stage"]],
        "worker": _wholes(rows["worker"]),
        "attempt": _wholes(rows["attempt"]),
        "first": [int(first) for first in rows["first"].fillna(value=False)],
        "end": [places.get(text, _MOST_ERRORS) for text in ends],
        **{moment: _ticks(rows[f"{moment}_s"]) for moment in _MOMENTS},
        "start": _ticks(rows["start_s"]),
        "send": _ticks(rows["send_s"]),
    }
    return {"ends": known, "retried": len(attempts) > 0} | _pack(columns)


def _pack_memory(rows: pd.DataFrame) -> dict[str, Any]:
    """Pack the readings; ends of brackets are rounded to KiB outwards, so that they hold."""
    began, ended = (numbers(rows, name).to_numpy() for name in ("began_s", "time_s"))
    lower, upper = (
        [whole(value / KIB) if math.isfinite(value) else None for value in numbers(rows, column)]
        for whole, column in ((math.floor, "tree_reached_bytes"), (math.ceil, "tree_upper_bytes"))
    )
    columns: dict[str, Sequence[int | None]] = {
        "began": _ticks(began),
        "ended": _ticks(ended),
        "lower": lower,
        "upper": upper,
        "gap": [int(gap) for gap in find_long_spans(began, ended)],
    }
    return dict(_pack(columns))


def _pack(columns: Mapping[str, Sequence[int | None]]) -> dict[str, str]:
    return {name: pack_numbers(column) for name, column in columns.items()}


def _ticks(seconds: Iterable[float]) -> list[int | None]:
    return [None if math.isnan(one) else round(one / _TICK_S) for one in seconds]


def _wholes(column: Iterable[Any]) -> list[int | None]:
    return [None if one is pd.NA else int(one) for one in column]
