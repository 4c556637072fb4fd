"""How tasks flow: how they arrive, what bounds them, who was held back; what a transport costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.markdown import count_noun, format_number, format_table
from stagebench.present.report_comparisons import ratio_cell
from stagebench.units import MIB

if TYPE_CHECKING:
    from stagebench.present.experiment import Experiment

BOUNDS = ("queue_size", "in_flight")
_HAND_OVER_S = 0.001
"""What takes less from a task's being ready to its queue's taking it is no back-pressure."""

_CALLED = {
    "makespan_s": "makespan",
    "turnaround_p95_s": "turnaround p95",
    "cpu_s": "CPU time",
    "tree_peak_bytes": "tree's peak",
}


def arrival_text(experiment: Experiment) -> str:
    """Say how tasks arrive and how many may be in flight, where a treatment sets either."""
    runs = experiment.tables["runs"]
    arrivals = list(dict.fromkeys(runs["arrival"]))
    limits = list(dict.fromkeys(runs["in_flight"].astype("object")))
    told = []
    if is_open(experiment):
        told.append(f"Tasks arrive {' or '.join(_arrival(text) for text in arrivals)}.")
    if not all(pd.isna(limit) for limit in limits):
        numbers = ["any number" if pd.isna(one) else f"{one} at most" for one in limits]
        told.append(f"Tasks in flight: {', '.join(numbers)}.")
    return " ".join(told)


def is_open(experiment: Experiment) -> bool:
    """Tell whether the tasks of a treatment arrive one by one, and not all at once."""
    return any(_kind(text) != "at_once" for text in set(experiment.tables["runs"]["arrival"]))


def pressure_table(experiment: Experiment) -> str:
    """Give who was held back, for each treatment with a bound and stage; empty without bounds."""
    rows = [
        _pressure_row(experiment, treatment, stage)
        for treatment in experiment.treatments
        if _is_bounded(experiment, treatment)
        for stage in experiment.stages
        if experiment.has_stage(treatment, stage)
    ]
    columns = ["treatment", "stage", "queue size", "deepest queue", "held back mean s", "p95 s"]
    return format_table([*columns, "max s", "over its bound"], rows, texts=2) if rows else ""


def pressure_sentences(experiment: Experiment) -> list[str]:
    """Say who was held back most, what that did to memory, and where a bound was not kept."""
    found = [_most_held(experiment), *_contrast_sentences(experiment, BOUNDS)]
    return [sentence for sentence in (*found, _overflows(experiment)) if sentence]


def transport_sentences(experiment: Experiment) -> list[str]:
    """Say what each transport did to time and memory, where it was varied and nothing else."""
    return _contrast_sentences(experiment, ("transport",))


def _kind(text: str) -> str:
    return str(json.loads(text)["kind"]) if text else "at_once"


def _arrival(text: str) -> str:
    if _kind(text) == "at_once":
        return "all at once"
    arrival: dict[str, Any] = json.loads(text)
    rate = format_number(float(arrival.get("rate_per_s") or 0))
    if arrival["kind"] == "fixed_rate":
        return f"at a fixed rate, {rate} a second"
    return f"at random (Poisson), {rate} a second in the mean, seed {arrival.get('seed')}"


def _is_bounded(experiment: Experiment, treatment: str) -> bool:
    stages, runs = (experiment.tables[name] for name in ("stages", "runs"))
    sizes = stages.loc[stages["treatment"] == treatment, "queue_size"]
    limits = runs.loc[runs["treatment"] == treatment, "in_flight"]
    return bool(sizes.notna().any() or limits.notna().any())


def _pressure_row(experiment: Experiment, treatment: str, stage: str) -> list[str]:
    stages = experiment.tables["stages"]
    own = stages[(stages["treatment"] == treatment) & (stages["stage"] == stage)]
    size = own["queue_size"].iloc[0]
    times = ("blocked_mean_s", "blocked_p95_s", "blocked_max_s")

    def median(quantity: str) -> float:
        return float(experiment.summary(treatment, quantity, stage)["median"])

    return [
        *(treatment, stage, "unbounded" if pd.isna(size) else str(size)),
        f"{median('deepest_queue'):g}",
        *(format_number(median(name)) for name in times),
        f"{median('queue_overflows'):g}",
    ]


def _most_held(experiment: Experiment) -> str:
    """Name the treatment and stage in front of which tasks were held back longest."""
    held = {
        (treatment, stage): float(experiment.summary(treatment, "blocked_mean_s", stage)["median"])
        for treatment in experiment.treatments
        if _is_bounded(experiment, treatment)
        for stage in experiment.stages
        if experiment.has_stage(treatment, stage)
    }
    known = {place: mean for place, mean in held.items() if not pd.isna(mean)}
    if not known:
        return ""
    treatment, stage = max(known, key=lambda place: known[place])
    if known[treatment, stage] < _HAND_OVER_S:
        return "No task was held back in front of a full queue."
    p95 = float(experiment.summary(treatment, "blocked_p95_s", stage)["median"])
    return (
        f"Held back most: in `{treatment}`, tasks were ready for `{stage}`"
        f" {format_number(known[treatment, stage])} s in the mean (95th percentile"
        f" {format_number(p95)} s) before its queue took them."
    )


def _contrast_sentences(experiment: Experiment, settings: tuple[str, ...]) -> list[str]:
    """Tell each treatment's ratios to the one that differs in this setting alone."""
    rows = experiment.tables["contrasts"]
    rows = rows[rows["setting"].isin(settings)]
    return [
        _contrast(own)
        for _, own in rows.groupby(["setting", "treatment"], sort=False)
        if own["ratio"].notna().any()
    ]


def _contrast(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    setting = str(first["setting"]).replace("_", " ")
    told = [
        f"{_CALLED[str(row['quantity'])]} {_size(row, 'median')}, {ratio_cell(row)} ×"
        for _, row in rows.iterrows()
        if pd.notna(row["ratio"])
    ]
    return (
        f"`{first['treatment']}` ({setting}: {first['level']}) to `{first['to']}`"
        f" ({first['to_level']}): {'; '.join(told)}."
    )


def _size(row: pd.Series[float], column: str) -> str:
    in_bytes = str(row["unit"]) == "bytes"
    return format_number(row[column], scale=1 / MIB if in_bytes else 1) + (
        " MiB" if in_bytes else " s"
    )


def _overflows(experiment: Experiment) -> str:
    """Say where a queue took more than its bound, since nothing else could go on."""
    stages = experiment.tables["stages"]
    counts = stages.groupby("stage", sort=False)["queue_overflows"].sum()
    known = counts[counts > 0]
    if known.empty:
        return ""
    told = ", ".join(
        f"{count_noun(int(count), 'time')} in front of `{name}`" for name, count in known.items()
    )
    return (
        f"A full queue took one task more than its bound {told}: full queues that waited for one"
        " another in a circle, where stages join, would have stood still otherwise."
    )
