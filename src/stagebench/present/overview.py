"""The table of an experiment in `report.md`: what matters most about its treatments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from stagebench.present.alike import split_work
from stagebench.present.effects import describe_ratio
from stagebench.present.experiment import choose_treatments
from stagebench.present.markdown import (
    MISSING,
    Markdown,
    format_number,
    format_table,
    quote_code,
)
from stagebench.present.treatments import limit_or_failure, peak_cell

if TYPE_CHECKING:
    from collections.abc import Collection

    from stagebench.present.experiment import Experiment


def overview_table(experiment: Experiment, most: int) -> str:
    """Return what matters most about at most so many treatments, the shortest median first.

    A column says how many runs succeeded, where some did not.
    """
    runs = experiment.tables["runs"]
    has_failed = bool((runs["status"] != "ok").any())
    works = split_work(experiment)
    rivals = next((names for names in works if experiment.baseline in names), [])
    has_ratios = not experiment.tables["comparisons"].empty
    columns = [
        "treatment",
        *([Markdown(f"against {quote_code(experiment.baseline)}")] if has_ratios else []),
        "limited by",
        *(["runs ok"] if has_failed else []),
        *("makespan s", "peak MiB", "CPU s"),
    ]
    rows = [
        [
            treatment,
            *([compare_makespan(experiment, treatment, rivals)] if has_ratios else []),
            limit_or_failure(experiment, treatment),
            *([_count_ok(experiment, treatment)] if has_failed else []),
            format_number(experiment.median(treatment, "makespan_s")),
            peak_cell(experiment, treatment),
            format_number(experiment.median(treatment, "cpu_s")),
        ]
        for treatment in choose_treatments(experiment, most)
    ]
    return format_table(columns, rows, texts=len(columns) - 3) if rows else ""


def compare_makespan(experiment: Experiment, treatment: str, rivals: Collection[str]) -> str:
    """Return how a treatment's makespan compares with the baseline's: "2.1 [2.0–2.2] × faster".

    `rivals` are the treatments that do the same work as the baseline.
    """
    if treatment == experiment.baseline:
        return "baseline"
    if treatment not in rivals:
        return "other work"
    rows = experiment.tables["comparisons"]
    own = rows[(rows["treatment"] == treatment) & (rows["quantity"] == "makespan_s")]
    if own.empty or pd.isna(own["ratio"].iloc[0]):
        return MISSING
    return describe_ratio(own.iloc[0], lower="faster", higher="slower")


def _count_ok(experiment: Experiment, treatment: str) -> str:
    runs = experiment.runs(treatment, only_ok=False)
    return f"{len(experiment.runs(treatment))} of {len(runs)}"
