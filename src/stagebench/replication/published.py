"""Published values beside the measured ones."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from stagebench.design.problems import unknown
from stagebench.errors import ConfigError, StoreError, WorkflowError
from stagebench.tables.io import list_rows, make_table, numbers, read_reference
from stagebench.tables.quantities import (
    PARAMETER,
    RUN_QUANTITIES,
    STAGE_QUANTITIES,
    base_of,
    published_size,
    unit_of,
)
from stagebench.task_list import number_lines, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stagebench.analyse.study import Tables

    Numbers: TypeAlias = pd.Series[float]


Row = dict[str, Any]

_NOTHING = pd.Series([], dtype="float64").astype("float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """Measured values of one quantity, and what makes them comparable with the published ones.

    `relative`, `stated` and `logged` are the measured and published values relative to `basis`.
    """

    measured: Numbers
    basis: str = ""
    stated: float | None = None
    logged: float | None = None
    relative: Numbers


def published_table(path: Path | None) -> dict[str, Callable[[Tables], pd.DataFrame]]:
    """Read a file of published values; return the function that makes the table, by its name.

    Without a file there is no table. Raises StoreError if the file cannot be read.
    """
    if path is None:
        return {}
    return {"published": partial(compare_published, reference=read_reference(path))}


def check_reference(plan: Row, beside: Path) -> None:
    """Check the file of published values that a study names, before anything is measured.

    Raises ConfigError with all its problems. Values of treatments that the study lacks are allowed:
    a study may be a part of what was published.
    """
    if plan["reference"] is None:
        return
    path = beside / plan["reference"]
    found = [f"{path}{place}: {text}" for place, text in _find_problems(path, plan)]
    if found:
        raise ConfigError(found, file="reference")


def _find_problems(path: Path, plan: Row) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a file of published values, each with its line."""
    try:
        lines = list(number_lines(read_bytes(path)))
        rows = list_rows(read_reference(path))
    except (StoreError, WorkflowError) as error:
        yield "", str(error).removeprefix(f"{path}: ")
        return
    known = {one["name"]: _list_stages(one, plan) for one in plan["experiments"]}
    first: dict[tuple[str, ...], int] = {}
    for row, (line, cells) in zip(rows, lines[1:], strict=False):
        if len(cells) != len(row):
            yield f":{line}", f"{len(cells)} cells; allowed: {len(row)}, one a column"
            return
        for text in _find_row_problems(row, known):
            yield f":{line}", text
        if first.setdefault(tuple(cells), line) != line:
            yield f":{line}", f"the same as line {first[tuple(cells)]}; allowed: each value once"


def _list_stages(experiment: Row, plan: Row) -> dict[str, set[str]]:
    """Return the stages of an experiment, each with the parameters that its treatments have."""
    stages: dict[str, set[str]] = {}
    for name in experiment["treatments"]:
        for stage in plan["treatments"][f"{experiment['name']}/{name}"]["specification"]["stages"]:
            stages.setdefault(stage["name"], set()).update(stage["parameters"])
    return stages


def _find_row_problems(row: Row, known: dict[str, dict[str, set[str]]]) -> Iterator[str]:
    if row["experiment"] not in known:
        yield unknown("experiment", row["experiment"], known)
        return
    stages = known[row["experiment"]]
    if row["stage"] and row["stage"] not in stages:
        yield unknown("stage", row["stage"], stages)
    elif row["quantity"].startswith(PARAMETER):
        own = [stages[row["stage"]]] if row["stage"] else stages.values()
        names = sorted(set[str]().union(*own))
        if row["quantity"].removeprefix(PARAMETER) not in names:
            yield unknown("parameter", row["quantity"].removeprefix(PARAMETER), names)
    else:
        try:
            _unit_size(row, STAGE_QUANTITIES if row["stage"] else (*RUN_QUANTITIES, "tasks"))
        except StoreError as error:
            yield str(error)
    for column in ("stated", "logged"):
        if math.isinf(row[column]):
            yield f"{column}: {row[column]} is not allowed; allowed: a number, or an empty cell"


def compare_published(tables: Tables, reference: pd.DataFrame) -> pd.DataFrame:
    """Return every published value of the study's treatments with its measured counterpart.

    Measured values are in the reference's unit, over ok runs. Where absolute values are hard to
    compare, all three are also relative to a basis: a makespan is divided by the baseline's, paired
    by block; the run's own base is subtracted from memory; a parameter is divided by the published
    one. Raises StoreError for a quantity or unit that no table has.
    """
    known = set(zip(tables["runs"]["experiment"], tables["runs"]["treatment"], strict=True))
    experiments = {experiment for experiment, _ in known}
    rows = []
    for row in list_rows(reference):
        place = row["experiment"], row["treatment"]
        if place in known or (row["treatment"] == "" and row["experiment"] in experiments):
            rows.append(_compare(tables, reference, row))
    return make_table("published", rows)


def _compare(tables: Tables, reference: pd.DataFrame, row: Row) -> Row:
    if row["quantity"].startswith(PARAMETER):
        found = _compare_parameter(tables["stages"], row)
    elif row["stage"]:
        values = _stage_values(tables, row)
        found = _Comparison(measured=values, relative=_NOTHING)
    else:
        found = _compare_run(tables["runs"], reference, row)
    values = found.measured.dropna()
    return row | {
        "median": values.median(),
        "min": values.min(),
        "max": values.max(),
        "n": len(values),
        "basis": found.basis,
        "stated_relative": found.stated,
        "logged_relative": found.logged,
        "measured_relative": found.relative.dropna().median(),
    }


def _compare_run(runs: pd.DataFrame, reference: pd.DataFrame, row: Row) -> _Comparison:
    scale = _unit_size(row, (*RUN_QUANTITIES, "tasks"))
    own = _ok_runs(runs, row)
    values = numbers(own, row["quantity"]) / scale
    if row["quantity"] == "makespan_s":
        return _as_ratio(runs, own, values, reference, row)
    if base := base_of(row["quantity"]):
        return _above_base(own, values, reference, row, base)
    return _Comparison(measured=values, relative=_NOTHING)


def _as_ratio(
    runs: pd.DataFrame, own: pd.DataFrame, values: Numbers, reference: pd.DataFrame, row: Row
) -> _Comparison:
    baselines = runs.loc[(runs["experiment"] == row["experiment"]) & runs["baseline"], "treatment"]
    baseline = next(iter(baselines), "")
    base = row | {"treatment": baseline}
    return _Comparison(
        measured=values,
        basis=f"ratio to {baseline}" if baseline else "",
        stated=_divide(row["stated"], _published(reference, base, "stated", ["makespan_s"])),
        logged=_divide(row["logged"], _published(reference, base, "logged", ["makespan_s"])),
        relative=numbers(own, "makespan_ratio"),
    )


def _above_base(
    own: pd.DataFrame, values: Numbers, reference: pd.DataFrame, row: Row, base: str
) -> _Comparison:
    # Before the workflow starts there is no child, so main's base is also the tree's.
    bases = [base, "tree_base_bytes", "main_base_bytes"]
    measured = numbers(own, base) / _unit_size(row, RUN_QUANTITIES)
    return _Comparison(
        measured=values,
        basis="above own base",
        stated=_subtract(row["stated"], _published(reference, row, "stated", bases)),
        logged=_subtract(row["logged"], _published(reference, row, "logged", bases)),
        relative=values - measured,
    )


def _compare_parameter(stages: pd.DataFrame, row: Row) -> _Comparison:
    own = stages[stages["experiment"] == row["experiment"]]
    if row["stage"]:
        own = own[own["stage"] == row["stage"]]
    name = row["quantity"].removeprefix(PARAMETER)
    given = [json.loads(text).get(name) for text in own["parameters"]]
    values = pd.Series([float(value) for value in given if value is not None], dtype="float64")
    published: float = row["stated"] if pd.notna(row["stated"]) else row["logged"]
    return _Comparison(
        measured=values, basis="share of the published", stated=1.0, relative=values / published
    )


def _stage_values(tables: Tables, row: Row) -> Numbers:
    scale = _unit_size(row, STAGE_QUANTITIES)
    stages = tables["stages"]
    ok = _ok_runs(tables["runs"], row)["replicate"]
    own = stages["replicate"].isin(ok)
    for name in ("experiment", "treatment", "stage"):
        own &= stages[name] == row[name]
    return numbers(stages[own], row["quantity"]) / scale


def _ok_runs(runs: pd.DataFrame, row: Row) -> pd.DataFrame:
    # No treatment means that the value holds for all treatments of the experiment.
    own: pd.Series[bool] = (runs["experiment"] == row["experiment"]) & (runs["status"] == "ok")
    if row["treatment"]:
        own &= runs["treatment"] == row["treatment"]
    return runs[own]


def _published(
    reference: pd.DataFrame, row: Row, column: str, quantities: list[str]
) -> float | None:
    own = reference[
        (reference["experiment"] == row["experiment"])
        & (reference["treatment"] == row["treatment"])
        & (reference["stage"] == "")
    ]
    for quantity in quantities:
        values = own.loc[own["quantity"] == quantity, column].dropna()
        if len(values):
            return float(values.iloc[0])
    return None


def _unit_size(row: Row, quantities: tuple[str, ...]) -> float:
    place = f"published value {row['experiment']}/{row['treatment']}/{row['stage']}"
    if row["quantity"] not in quantities:
        raise StoreError(f"{place}: no table has the quantity {row['quantity']!r}")
    size = published_size(row["quantity"], row["unit"])
    if size is None:
        own = unit_of(row["quantity"])
        raise StoreError(
            f"{place}: {row['quantity']} in {own!r} cannot be given in {row['unit']!r}"
        )
    return size


def _divide(value: float, base: float | None) -> float | None:
    return None if base is None or pd.isna(value) else value / base


def _subtract(value: float, base: float | None) -> float | None:
    return None if base is None or pd.isna(value) else value - base
