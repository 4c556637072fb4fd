"""How tasks flow: how they arrive, where back-pressure held them, what hand-overs cost.

Also lists the treatments whose peak of memory is too low, because results wait where nothing
counts them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.effects import describe_ratio, outcome_of, ratio_cell
from stagebench.present.markdown import MISSING, count_noun, escape, format_number, format_table
from stagebench.tables.quantities import LOWER, hides_results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.present.experiment import Experiment


BOUNDS = ("queue_size", "in_flight")
TRANSPORT = ("transport",)
BATCH = ("batch", "prefetch")

_PAIR = ["setting", "treatment", "level", "to", "to_level"]
_MEMORY = "tree_peak_bytes"
_WORDS = {"makespan_s": ("shorter", "longer"), _MEMORY: ("lower", "higher")}
_HAND_OVER_S = 0.001
"""A shorter delay between a task being ready and being let into its queue is no back-pressure."""

_CALLED = {
    "makespan_s": "makespan",
    "turnaround_p95_s": "turnaround p95",
    "cpu_s": "CPU time",
    "tree_peak_bytes": "tree's peak",
}


def arrival_text(experiment: Experiment) -> str:
    """Describe how tasks arrive and how many may be in flight, where a treatment sets either."""
    runs = experiment.tables["runs"]
    arrivals = list(dict.fromkeys(runs["arrival"]))
    limits = list(dict.fromkeys(runs["in_flight"].astype("object")))
    sentences = []
    if is_open(experiment):
        sentences.append(f"Tasks arrive {' or '.join(_arrival(text) for text in arrivals)}.")
    if not all(pd.isna(limit) for limit in limits):
        numbers = ["any number" if pd.isna(one) else f"at most {one}" for one in limits]
        sentences.append(f"Tasks in flight: {', '.join(numbers)}.")
    return " ".join(sentences)


def is_open(experiment: Experiment) -> bool:
    """Return whether the tasks of any treatment arrive one by one, not all at once."""
    return any(_kind(text) != "at_once" for text in set(experiment.tables["runs"]["arrival"]))


def has_pressure(experiment: Experiment) -> bool:
    """Return whether any queue is bounded, or the limit of tasks in flight differs."""
    limits = experiment.tables["runs"]["in_flight"].astype("object").drop_duplicates()
    return bool(experiment.tables["stages"]["queue_size"].notna().any() or len(limits) > 1)


def pressure_table(experiment: Experiment) -> str:
    """Return how long tasks were held back, per bounded treatment and stage; "" without bounds."""
    if not has_pressure(experiment):
        return ""
    rows = [_pressure_row(experiment, *place) for place in _bounded_places(experiment)]
    columns = ["treatment", "stage", "queue size", "deepest queue", "held back mean s", "p95 s"]
    return format_table([*columns, "max s", "over its bound"], rows, texts=2)


def pressure_sentences(experiment: Experiment) -> list[str]:
    """Report for how long tasks were held back, the memory saved, and exceeded bounds."""
    if not has_pressure(experiment):
        return []
    saved = _describe_saving(_judged(experiment, BOUNDS), _MEMORY, "Less memory")
    return [text for text in (_most_held(experiment), saved, _overflows(experiment)) if text]


def transport_sentence(experiment: Experiment) -> str:
    """Name a transport that takes less time than the pickle; "" if none surely does."""
    return _describe_saving(_judged(experiment, TRANSPORT), "makespan_s", "Less time")


def batch_sentence(experiment: Experiment) -> str:
    """Name a size of batches that takes less time than another; "" if none surely does."""
    return _describe_saving(_judged(experiment, BATCH), "makespan_s", "Less time")


def contrasts_table(experiment: Experiment, settings: tuple[str, ...]) -> str:
    """Return the ratios of treatments that differ in one of these settings and in nothing else."""
    rows = _contrasts(experiment, settings)
    cells = [
        [*map(str, place), *_contrast_cells(own)] for place, own in rows.groupby(_PAIR, sort=False)
    ]
    columns = ["setting", "treatment", "its level", "to", "level there"]
    titles = [f"{called} [95 %]" for called in _CALLED.values()]
    return format_table([*columns, *titles], cells, texts=len(columns)) if cells else ""


def _kind(text: str) -> str:
    return str(json.loads(text)["kind"]) if text else "at_once"


def _arrival(text: str) -> str:
    if _kind(text) == "at_once":
        return "all at once"
    arrival: dict[str, Any] = json.loads(text)
    rate = format_number(float(arrival.get("rate_per_s") or 0))
    if arrival["kind"] == "fixed_rate":
        return f"at a fixed rate, {rate} per second"
    return f"at random (Poisson), {rate} per second on average, seed {escape(arrival.get('seed'))}"


def _bounded_places(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the stages of treatments that have a bound and an ok run."""
    return [
        (treatment, stage)
        for treatment in experiment.treatments
        if _is_bounded(experiment, treatment) and not experiment.runs(treatment).empty
        for stage in experiment.stages
        if experiment.has_stage(treatment, stage)
    ]


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
    """Report how long tasks were held back, where their mean is highest in the median of runs."""
    held = {
        (treatment, stage): float(experiment.summary(treatment, "blocked_mean_s", stage)["median"])
        for treatment, stage in _bounded_places(experiment)
    }
    known = {place: mean for place, mean in held.items() if not pd.isna(mean)}
    if not known:
        return ""
    treatment, stage = max(known, key=lambda place: known[place])
    if known[treatment, stage] < _HAND_OVER_S:
        return "No task was held back in front of a full queue."
    p95 = float(experiment.summary(treatment, "blocked_p95_s", stage)["median"])
    return (
        f"Tasks were held back: in `{treatment}`, one that was ready for `{stage}` waited"
        f" {format_number(known[treatment, stage])} s on average (95th percentile"
        f" {format_number(p95)} s) before it was let in."
    )


def _contrasts(experiment: Experiment, settings: tuple[str, ...]) -> pd.DataFrame:
    rows = experiment.tables["contrasts"]
    return rows[rows["setting"].isin(settings) & rows["ratio"].notna()]


def _judged(experiment: Experiment, settings: tuple[str, ...]) -> pd.DataFrame:
    """Return the contrasts that show what a setting does: no memory where results wait unseen."""
    rows, unseen = _contrasts(experiment, settings), list_unseen(experiment)
    hides = rows["treatment"].isin(unseen) | rows["to"].isin(unseen)
    return rows[~(hides & (rows["quantity"] == _MEMORY))]


def _contrast_cells(rows: pd.DataFrame) -> list[str]:
    own = {str(row["quantity"]): ratio_cell(row) for _, row in rows.iterrows()}
    return [own.get(quantity, MISSING) for quantity in _CALLED]


def _describe_saving(rows: pd.DataFrame, quantity: str, lead: str) -> str:
    """Name a pair of treatments of which one surely takes less, with its effects; "" without any.

    Of several, the one whose ratio has the lowest upper limit.
    """
    of = rows[rows["quantity"] == quantity]
    of = of[[outcome_of(row) == LOWER for _, row in of.iterrows()]]
    if of.empty:
        return ""
    best = of.sort_values("high", kind="stable").iloc[0]
    pair = rows[(rows[_PAIR] == best[_PAIR]).all(axis=1)]
    parts = [_describe_effect(row) for _, row in pair.iterrows() if row["quantity"] in _WORDS]
    setting = str(best["setting"]).replace("_", " ")
    effects = "; ".join(parts)
    return (
        f"{lead}: `{best['treatment']}` ({escape(setting)}: {escape(best['level'])}) against"
        f" `{best['to']}` ({escape(best['to_level'])}). {effects[0].upper()}{effects[1:]}."
    )


def _describe_effect(row: pd.Series[float]) -> str:
    quantity = str(row["quantity"])
    lower, higher = _WORDS[quantity]
    return f"{_CALLED[quantity]}: {describe_ratio(row, lower=lower, higher=higher)}"


def _overflows(experiment: Experiment) -> str:
    """Report where a queue took more than its bound to avoid a deadlock."""
    stages = experiment.tables["stages"]
    counts = stages.groupby("stage", sort=False)["queue_overflows"].sum()
    known = counts[counts > 0]
    if known.empty:
        return ""
    places = ", ".join(
        f"{count_noun(int(count), 'time')} in front of `{name}`" for name, count in known.items()
    )
    return (
        f"A full queue took one task more than its bound {places}. This avoids a deadlock: where"
        " stages join, full queues can wait for one another in a circle."
    )


_PLACES = {"shared_memory": "shared memory", "path": "a file"}


def list_unseen(experiment: Experiment) -> list[str]:
    """List the treatments in which results of a stage wait where no instrument counted them."""
    stages = experiment.tables["stages"]
    if not any(map(hides_results, set(stages["transport"]))):
        return []
    return [
        treatment
        for treatment in experiment.treatments
        if any(
            hides_results(transport, experiment.runs(treatment)["memory_instrument"])
            for transport in set(stages.loc[stages["treatment"] == treatment, "transport"])
        )
    ]


def name_places(experiment: Experiment) -> str:
    """Return where results wait unseen: "shared memory or a file"."""
    stages = experiment.tables["stages"]
    used = set(stages.loc[stages["treatment"].isin(list_unseen(experiment)), "transport"])
    return " or ".join(called for name, called in _PLACES.items() if name in used)


def unseen_note(experiment: Experiment) -> str:
    """Explain below a table which peaks are too low, and why; "" if none is."""
    names = list_unseen(experiment)
    if not names:
        return ""
    return (
        f"**Unseen memory** in {name_treatments(names)}: results of 64 KiB and more pass through"
        f" {name_places(experiment)}. While a result waits there, no process maps it, and these"
        " peaks do not include it. They are shown but not judged: *lower* does not mean that memory"
        " was saved."
    )


def unseen_reminder(experiment: Experiment) -> str:
    """Return a pointer to that note, for tables further down."""
    names = list_unseen(experiment)
    if not names:
        return ""
    return (
        f"Memory of {name_treatments(names)} is shown but not judged: results that wait in"
        f" {name_places(experiment)} are [not seen](#unseen)."
    )


def name_treatments(names: Sequence[str]) -> str:
    """Return "`a`, `b`"."""
    return ", ".join(f"`{name}`" for name in names)
