"""Replays and predictions of a study's treatments, each beside what was measured, as tables.

- Each run from its own records, each treatment from all the others.
- For the treatment that is advised in each experiment, what other settings would do.
- How much the makespan falls if a stage takes less: the causal profile.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import ModelError
from stagebench.model.floors import find_load
from stagebench.model.measured import group_runs, read_measured
from stagebench.model.predict import (
    WAKES_S,
    Checked,
    describe_run,
    fit_wake,
    leave_one_out,
    predict,
    reproduce_all,
    speed_up,
    widen,
)
from stagebench.model.whatif import Change, find_limits_of_knowledge
from stagebench.tables.io import list_rows, make_table
from stagebench.tables.schema import LEFT_OUT, PROFILE, WHAT_IF

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from stagebench.model.measured import MeasuredRun
    from stagebench.model.predict import PlannedStage, Reproduced, Scenario
    from stagebench.units import Seconds

Row = dict[str, Any]

SHARES = (0.10, 0.25, 0.50)
"""How much less a stage takes, in its causal profile."""


class Knowledge(NamedTuple):
    """All that predictions rest on: runs, and how well the model does where the truth is known.

    The model is of the runner: it learns nothing from runs on other engines, and predicts none.
    `wake_s` is the wait of threads that wake up which fits the runs best.
    """

    runs: Sequence[MeasuredRun]
    reproduced: Sequence[Reproduced]
    place: int
    checked: Sequence[Checked]

    @property
    def sources(self) -> list[MeasuredRun]:
        """The runs that a prediction may follow from."""
        return [run for run in self.runs if not run.engine]

    @property
    def wake_s(self) -> Seconds:
        """How long a thread that wakes up waits for a busy core."""
        return WAKES_S[self.place]

    def of(self, experiment: str) -> list[MeasuredRun]:
        """Return the runs of an experiment."""
        return [run for run in self.runs if run.experiment == experiment]


class Predicted(NamedTuple):
    """A makespan with its interval, and what of it was never validated."""

    makespan_s: Seconds
    low_s: Seconds
    high_s: Seconds
    beyond: Sequence[str]


def learn(tables: Mapping[str, pd.DataFrame], plan: Mapping[str, Any]) -> Knowledge:
    """Read a study's runs, and find out how well the model reproduces and predicts them."""
    runs = read_measured(tables, plan)
    sources = [run for run in runs if not run.engine]
    reproduced = reproduce_all(choose_reproduced(sources))
    place = fit_wake(reproduced) if reproduced else 0
    return Knowledge(runs, reproduced, place, leave_one_out(reproduced, sources))


MOST_REPRODUCED = 500
"""Of more runs than this, some treatments say how well the model does: it takes them long."""


def choose_reproduced(runs: Sequence[MeasuredRun]) -> list[MeasuredRun]:
    """Return all runs; of many, those of treatments that are drawn at random, always the same."""
    if len(runs) <= MOST_REPRODUCED:
        return list(runs)
    keys = list(dict.fromkeys(run.key for run in runs))
    wanted = max(1, len(keys) * MOST_REPRODUCED // len(runs))
    drawn = set(random.Random(0).sample(keys, wanted))
    return [run for run in runs if run.key in drawn]


def ask(knowledge: Knowledge, runs: Sequence[MeasuredRun], changes: Sequence[Change]) -> Predicted:
    """Predict what changes do to a treatment, of which `runs` are all runs.

    The model's own error on the unchanged treatment is taken out, but nothing is faster than the
    cores and the GIL allow. Raises ModelError.
    """
    if runs[0].engine:
        raise ModelError(f"the model is of the runner, not of {runs[0].engine}")
    before = describe_run(runs[0])
    scenario = before
    for change in changes:
        scenario = change.apply(scenario)
    measured = median(run.makespan_s for run in runs)
    own = median(predict(before, knowledge.sources, knowledge.wake_s))
    least_s = min(_find_floor(scenario, before, run) for run in runs)
    makespans = [
        max(each * measured / own, least_s)
        for each in predict(scenario, knowledge.sources, knowledge.wake_s)
    ]
    middle, low, high = widen(makespans, knowledge.checked)
    return Predicted(
        middle, low, high, find_limits_of_knowledge(scenario, before, knowledge.sources)
    )


def _find_floor(scenario: Scenario, before: Scenario, run: MeasuredRun) -> Seconds:
    """Return what a scenario cannot fall below by the CPU time that tasks took in a run."""
    cpu_s = held_s = 0.0
    for planned, old, stage in zip(scenario.stages, before.stages, run.stages, strict=True):
        if planned.conditions[:2] != old.conditions[:2]:
            continue  # of another handler, nothing is known here
        loads = [find_load(each, stage) for each in stage.served]
        faster = planned.speed / old.speed
        cpu_s += sum(load.cpu_s for load in loads) / faster
        if planned.conditions.shares_gil:
            held_s += sum(load.held_s for load in loads) / faster
    more = len(scenario.arrivals) / len(before.arrivals)
    cores = scenario.cores or run.cores
    return more * max(cpu_s / cores if cores else 0.0, held_s if scenario.has_gil else 0.0)


def make_prediction_tables(knowledge: Knowledge, advice: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Make the tables `replays` and `predictions`; other settings change what is advised."""
    chosen = {row["experiment"]: row["treatment"] for row in list_rows(advice) if row["treatment"]}
    rows = [_row_of_check(each, knowledge) for each in knowledge.checked]
    for experiment in dict.fromkeys(run.experiment for run in knowledge.runs):
        own = group_runs(knowledge.of(experiment))
        runs = own.get((experiment, chosen.get(experiment, "")))
        if runs is None:
            runs = min(own.values(), key=lambda some: median(run.makespan_s for run in some))
        if runs[0].engine:
            continue
        scenario = describe_run(runs[0])
        changes = [
            *((WHAT_IF, change) for change in list_changes(scenario, runs)),
            *((PROFILE, change) for change in list_profile(scenario)),
        ]
        rows += [_row_of_change(kind, [change], runs, knowledge) for kind, change in changes]
    return {
        "replays": make_table("replays", _list_replays(knowledge)),
        "predictions": make_table("predictions", rows),
    }


def _list_replays(knowledge: Knowledge) -> Iterator[Row]:
    for each in knowledge.reproduced:
        run, replayed_s = each.run, each.makespans_s[knowledge.place]
        yield {
            "experiment": run.experiment,
            "treatment": run.treatment,
            "replicate": run.replicate,
            "measured_s": run.makespan_s,
            "replayed_s": replayed_s,
            "error": replayed_s / run.makespan_s - 1,
            "calibrated": all(stage.calibrated for stage in run.stages),
        }


def _row_of_check(each: Checked, knowledge: Knowledge) -> Row:
    others = [one for one in knowledge.checked if one is not each]
    row: Row = {
        "experiment": each.experiment,
        "treatment": each.treatment,
        "kind": LEFT_OUT,
        "measured_s": each.measured_s,
        "spread": each.spread,
        "note": each.reason,
    }
    if each.reason:
        return row
    _, low, high = widen([each.predicted_s], others)
    return row | {
        "predicted_s": each.predicted_s,
        "low_s": low,
        "high_s": high if math.isfinite(high) else None,
        "error": each.error,
        "is_within": each.is_within,
    }


def _row_of_change(
    kind: str, changes: Sequence[Change], runs: Sequence[MeasuredRun], knowledge: Knowledge
) -> Row:
    row: Row = {
        "experiment": runs[0].experiment,
        "treatment": runs[0].treatment,
        "kind": kind,
        "change": ", ".join(change.text for change in changes),
        "measured_s": median(run.makespan_s for run in runs),
    }
    try:
        found = ask(knowledge, runs, changes)
    except ModelError as error:
        return row | {"note": str(error)}
    return row | {
        "predicted_s": found.makespan_s,
        "low_s": found.low_s,
        "high_s": found.high_s if math.isfinite(found.high_s) else None,
        "note": "; ".join(found.beyond),
    }


def list_changes(scenario: Scenario, runs: Sequence[MeasuredRun]) -> list[Change]:
    """List what people would try with a workflow."""
    changes = [
        _change_stage(f"{stage.name}.workers={workers}", stage, workers)
        for stage in scenario.stages
        for workers in dict.fromkeys((2 * stage.conditions.workers, stage.conditions.workers // 2))
        if workers
    ]
    cores = runs[0].cores
    changes += [
        Change(f"cores={number}", lambda one, number=number: replace(one, cores=number))  # type: ignore[misc]
        for number in (2 * cores, 8 * cores)
        if cores
    ]
    if scenario.in_flight is not None:
        limit = 2 * scenario.in_flight
        changes.append(Change(f"in_flight={limit}", lambda one: replace(one, in_flight=limit)))
    if scenario.has_gil:
        changes.append(Change("gil=off", lambda one: replace(one, has_gil=False)))
    changes += [
        Change(f"{stage.name}.speed=2", lambda one, stage=stage: speed_up(one, stage.name, 0.5))  # type: ignore[misc]
        for stage in scenario.stages
    ]
    for stage in scenario.stages[1:]:
        if stage.queue_size is None:
            changes.append(_alter(f"{stage.name}.queue_size=1", stage, queue_size=1))
    for stage in scenario.stages:
        if stage.batch == 1 and stage.conditions.executor == "process":
            changes.append(_alter(f"{stage.name}.batch=4", stage, batch=4))
    return changes


def list_profile(scenario: Scenario) -> list[Change]:
    """List the changes of the causal profile: each stage takes less, by each of `SHARES`."""
    return [
        Change(
            f"{1 - share:g} × {stage.name}",
            lambda one, name=stage.name, share=share: speed_up(one, name, share),  # type: ignore[misc]
        )
        for stage in scenario.stages
        for share in SHARES
    ]


def _change_stage(text: str, stage: PlannedStage, workers: int) -> Change:
    return _alter(text, stage, conditions=stage.conditions._replace(workers=workers))


def _alter(text: str, stage: PlannedStage, **values: Any) -> Change:
    def apply(scenario: Scenario) -> Scenario:
        stages = [
            replace(each, **values) if each.name == stage.name else each for each in scenario.stages
        ]
        return replace(scenario, stages=stages)

    return Change(text, apply)
