"""An experiment's treatments and runs → what the page shows and draws of them, as values of JSON.

Numbers are there to be drawn and sorted by. What people read is written here, so that the page has
the same words and digits as the report. Missing is null.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.alike import split_work
from stagebench.present.flow import list_unseen
from stagebench.present.markdown import (
    MISSING,
    count_noun,
    format_bracket,
    format_number,
    format_spread,
    show_line,
)
from stagebench.present.overview import compare_makespan
from stagebench.present.treatments import format_level, limit_or_failure
from stagebench.tables.io import find_failed, list_rows
from stagebench.tables.schema import OUTCOMES
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from stagebench.present.experiment import Experiment

_LONGEST = 300
"""Characters of a name, an error or a note that are shown."""

_DIGITS = 7
"""Digits of a number that is drawn: more than any screen shows."""

_NOT_OK = [f"tasks_{outcome}" for outcome in OUTCOMES if outcome != "ok"]


def describe_experiment(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment's treatments and runs, without what happened inside them."""
    unseen = set(list_unseen(experiment))
    works = split_work(experiment)
    rivals = next((names for names in works if experiment.baseline in names), [])
    factors = {one: _factors_of(experiment, one) for one in experiment.treatments}
    return {
        "name": cut_line(experiment.name),
        "baseline": cut_line(experiment.baseline),
        "factors": _list_varied(list(factors.values())),
        "treatments": [
            {"id": cut_line(one), "factors": factors[one], "unseen": one in unseen}
            | _describe_treatment(experiment, one, rivals)
            for one in experiment.treatments
        ],
        "runs": _list_runs(experiment),
    }


def list_failures(experiment: Experiment) -> list[str]:
    """Say which runs and which tasks failed, with the first reason of each kind."""
    texts = []
    runs = experiment.tables["runs"]
    counts = Counter(runs["treatment"])
    failed = find_failed(runs)
    for (treatment, status), own in failed.groupby(["treatment", "status"], sort=False):
        of = f"{len(own)} of {count_noun(counts[str(treatment)], 'run')}"
        texts.append(f"{treatment}: {of} {_end(status, own['detail'])}")
    tasks = experiment.tables["tasks"]
    tasks = tasks[tasks["status"] != "ok"]
    for (treatment, stage, status), own in tasks.groupby(
        ["treatment", "stage", "status"], sort=False
    ):
        many = count_noun(len(own), "task")
        texts.append(f"{treatment}, stage {stage}: {many} {_end(status, own['error'])}")
    return [cut_line(text) for text in texts]


def _end(status: object, reasons: Iterable[str]) -> str:
    """Return how runs or tasks ended: "timed out (time limit of 60 s)"."""
    first = next((text for text in reasons if text), "")
    words = {"tasks_failed": "with failed tasks"}.get(str(status), str(status).replace("_", " "))
    return words + (f" ({first})" if first else "")


def cut_line(text: object) -> str:
    """Return a text in one line, with what cannot be shown replaced, and cut where it is long."""
    whole = str(text)
    line = show_line(whole[: 2 * _LONGEST])
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}… ({len(whole)} characters)"


def _factors_of(experiment: Experiment, treatment: str) -> dict[str, str]:
    text = experiment.runs(treatment, only_ok=False)["factors"].iloc[0]
    found = json.loads(text) if text else {}
    return {cut_line(name): cut_line(format_level(level)) for name, level in found.items()}


def _list_varied(settings: Sequence[dict[str, str]]) -> list[str]:
    """List the factors of which treatments have different levels, or that some do not have."""
    names = dict.fromkeys(name for found in settings for name in found)
    return [name for name in names if len({found.get(name) for found in settings}) > 1]


def _describe_treatment(
    experiment: Experiment, treatment: str, rivals: Collection[str]
) -> dict[str, Any]:
    runs = experiment.runs(treatment, only_ok=False)
    ok = experiment.runs(treatment)
    makespan = experiment.summary(treatment, "makespan_s")
    cpu = float(experiment.summary(treatment, "cpu_s")["median"])
    low, high = _peak_of(experiment, treatment)
    advice = experiment.tables["advice"]
    front = {name for names in advice["front"] for name in names.split(", ")}
    against = compare_makespan(experiment, treatment, rivals) if experiment.baseline else MISSING
    limit, why = _limit(experiment, treatment)
    failed = int(runs[_NOT_OK].fillna(0).to_numpy().sum())
    return {
        "makespan": [format_spread(makespan), *_numbers(makespan[["median", "min", "max"]])],
        "against": [against, _order_ratio(experiment, treatment, rivals)],
        "peak": [format_bracket((low, high), scale=1 / MIB), *_numbers((low / MIB, high / MIB))],
        "cpu": [format_number(cpu), round_number(cpu)],
        "limit": limit,
        "why": why,
        "ok": len(ok),
        "n": len(runs),
        "failed": failed,
        "front": treatment in front,
        "choice": bool((advice["treatment"] == treatment).any()),
    }


def _limit(experiment: Experiment, treatment: str) -> tuple[str, str]:
    """Return what limits a treatment, for a table and as the beginning of a sentence."""
    # A number and its sign stay on one line.
    text = cut_line(limit_or_failure(experiment, treatment)).replace(" %", "\N{NO-BREAK SPACE}%")
    if text == MISSING:
        return text, "What limits it is unknown"
    if text.startswith(("no ok run", "nothing")):
        return text, f"{text[:1].upper()}{text[1:]}"
    return text, f"Limited by {text}"


def _peak_of(experiment: Experiment, treatment: str) -> tuple[float, float]:
    """Return both ends of the median peak of the tree; the upper one is infinite if unknown."""
    low, high = (
        float(experiment.summary(treatment, f"tree_peak{end}_bytes")["median"])
        for end in ("", "_upper")
    )
    return low, math.inf if math.isnan(high) else high


def _order_ratio(experiment: Experiment, treatment: str, rivals: Collection[str]) -> float | None:
    """Return the ratio to the baseline's makespan, to sort by; None where nothing is compared."""
    if treatment == experiment.baseline:
        return 1.0
    rows = experiment.tables["comparisons"]
    own = rows[(rows["treatment"] == treatment) & (rows["quantity"] == "makespan_s")]
    is_compared = treatment in rivals and not own.empty
    return round_number(own["ratio"].iloc[0]) if is_compared else None


_OF_RUN = ["treatment", "replicate", "block", "status", "detail", "makespan_s", "noisy"]


def _list_runs(experiment: Experiment) -> list[list[Any]]:
    """List treatment, replicate, block, status, makespan, its text, noise of every run."""
    places = {name: place for place, name in enumerate(experiment.treatments)}
    return [
        [
            places[row["treatment"]],
            int(row["replicate"]),
            int(row["block"]),
            "" if row["status"] == "ok" else cut_line(f"{row['status']}: {row['detail']}"),
            round_number(row["makespan_s"]) if row["status"] == "ok" else None,
            format_number(row["makespan_s"]) if row["status"] == "ok" else MISSING,
            cut_line(row["noisy"]),
        ]
        for row in list_rows(experiment.tables["runs"][_OF_RUN])
    ]


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [round_number(value) for value in values]


def round_number(value: Any) -> float | None:
    """Return a number with as many digits as are drawn; None if it is missing or unbounded."""
    return None if pd.isna(value) or math.isinf(value) else float(f"{value:.{_DIGITS}g}")
