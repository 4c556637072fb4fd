"""Answers to questions about a study that was analysed: what would be, and what to choose."""

from __future__ import annotations

import json
import math
import textwrap
from typing import TYPE_CHECKING, Any

from stagebench.analyse.advice import Wishes, make_advice_table
from stagebench.analyse.predictions import Predicted, ask, learn
from stagebench.analyse.run_file import check_plan
from stagebench.blocks import read_plan
from stagebench.errors import ModelError, StoreError, closest
from stagebench.model.measured import group_runs
from stagebench.model.whatif import parse_changes
from stagebench.tables.io import list_rows, read_some
from stagebench.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from stagebench.analyse.predictions import Knowledge
    from stagebench.model.measured import MeasuredRun

WIDTH = 80
"""Line width of answers."""

TABLES = ("runs", "stages", "tasks", "environment", "alone", "interpreters")
"""The tables that answers rest on."""

MOST_ROWS = 40


def answer_prediction(
    folder: Path, experiment: str | None, treatment: str | None, texts: Sequence[str]
) -> str:
    """Predict makespans of an experiment's treatments with changes, as text for a terminal.

    `folder` is `results/<study>`, `texts` are `NAME=VALUE`. Raises ModelError and StoreError.
    """
    tables, plan, knowledge = _load(folder)
    name = _choose_experiment(knowledge, experiment)
    groups = {key[1]: runs for key, runs in group_runs(knowledge.of(name)).items()}
    if treatment is not None and treatment not in groups:
        raise ModelError(
            f"--treatment {treatment!r} is not allowed; allowed: {', '.join(groups)}"
            f"{closest(treatment, list(groups))}"
        )
    factors = _read_factors(tables["runs"], name)
    changes = parse_changes(texts, knowledge.of(name), factors)
    asked = groups if treatment is None else {treatment: groups[treatment]}
    found, failed = {}, []
    for one, runs in asked.items():
        try:
            found[one] = ask(knowledge, runs, changes)
        except ModelError as error:
            failed.append(f"{one}: {error}")
    if not found:
        raise ModelError("\n".join(failed))
    lines = [
        f"{plan['study']}, {name}: {', '.join(texts) or 'as measured'}",
        "",
        *_format_rows(groups, found),
        "",
        *textwrap.wrap(_describe_error(knowledge), WIDTH),
        *(line for one in failed for line in textwrap.wrap(f"Not predicted: {one}", WIDTH)),
    ]
    beyond = list(dict.fromkeys(text for one in found.values() for text in one.beyond))
    if beyond:
        lines += textwrap.wrap(f"Beyond what was validated: {'; '.join(beyond)}.", WIDTH)
    return "\n".join(lines) + "\n"


def answer_advice(folder: Path, memory_bytes: int | None, cores: int | None) -> str:
    """Advise on the choice for each kind of work of a study, as text for a terminal."""
    tables, plan, knowledge = _load(folder)
    advice = make_advice_table(knowledge, tables["runs"], plan, Wishes(memory_bytes, cores))
    if not (advice["of"] > 0).any():
        reasons = dict.fromkeys(f"{row['experiment']}: {row['why']}" for row in list_rows(advice))
        raise ModelError("\n".join(reasons) or f"{folder}: nothing to advise on")
    lines = []
    several = advice["experiment"].value_counts()
    for row in list_rows(advice):
        number = f", work {row['work']}" if several[row["experiment"]] > 1 else ""
        lines += [f"{row['experiment']}{number}"]
        for name in ("choice", "why", "next", "more"):
            lines += _wrap(str(row[name]).replace("`", ""))
        if "," in row["front"]:
            lines += _wrap(f"Time against memory: {row['front']}.")
        lines.append("")
    return "\n".join([*lines, *textwrap.wrap(_describe_error(knowledge), WIDTH)]) + "\n"


def _load(folder: Path) -> tuple[Mapping[str, pd.DataFrame], dict[str, Any], Knowledge]:
    path = folder / "plan.json"
    if not path.is_file():
        raise StoreError(
            f"{folder}: there are no results of a study (no plan.json); expected results/STUDY"
        )
    plan = read_plan(path, check_plan)
    tables = read_some(folder / "tables", TABLES)
    knowledge = learn(tables, plan)
    if not knowledge.runs:
        raise ModelError(f"{folder}: no run of which every task was ok at its first attempt")
    return tables, plan, knowledge


def _choose_experiment(knowledge: Knowledge, experiment: str | None) -> str:
    names = list(dict.fromkeys(run.experiment for run in knowledge.runs))
    if experiment is None and len(names) == 1:
        return names[0]
    if experiment is None:
        raise ModelError(f"--experiment is needed; allowed: {', '.join(names)}")
    if experiment not in names:
        raise ModelError(
            f"--experiment {experiment!r} is not allowed; allowed: {', '.join(names)}"
            f"{closest(experiment, names)}"
        )
    return experiment


def _read_factors(runs: pd.DataFrame, experiment: str) -> dict[str, dict[str, Any]]:
    own = runs[runs["experiment"] == experiment]
    return {row["treatment"]: json.loads(row["factors"]) for row in list_rows(own)}


def _format_rows(
    groups: Mapping[str, Sequence[MeasuredRun]], found: Mapping[str, Predicted]
) -> list[str]:
    """Return a table of predictions, shortest makespan first."""
    ordered = sorted(found, key=lambda one: found[one].makespan_s)
    cells = [("treatment", "measured", "predicted", "from", "to")]
    for one in ordered[:MOST_ROWS]:
        times = sorted(run.makespan_s for run in groups[one])
        predicted = found[one]
        cells.append(
            (
                one,
                format_seconds(times[(len(times) - 1) // 2]),
                format_seconds(predicted.makespan_s),
                format_seconds(predicted.low_s),
                format_seconds(predicted.high_s) if math.isfinite(predicted.high_s) else "unknown",
            )
        )
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    lines = [
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    more = len(ordered) - MOST_ROWS
    return [*lines, f"and {more} more"] if more > 0 else lines


def _describe_error(knowledge: Knowledge) -> str:
    """Say how good predictions of this study are where the truth is known."""
    known = [one for one in knowledge.checked if not one.reason]
    if not known:
        return "No treatment could be predicted from others, so the error is unknown."
    within = sum(one.is_within for one in known)
    largest = max(known, key=lambda one: abs(one.error))
    several = len({one.experiment for one in knowledge.checked}) > 1
    name = f"{largest.experiment}, {largest.treatment}" if several else largest.treatment
    return (
        f"Each treatment predicted from the others: {within} of {len(known)} within 10 % or the"
        f" spread of their runs; the largest error is {abs(largest.error):.0%}"
        f" ({name}). The ranges hold nine of ten such errors."
    )


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
