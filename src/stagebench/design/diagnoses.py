"""The runs that diagnose: one of each treatment, and three of each pipeline, for calibration.

They count for nothing else, so they are made after all others. A *pipeline* is what a task passes
through: stages with their handlers and parameters, and what else handlers notice: the settings of
the process, its interpreter, and the server beside it. In its calibrations every stage has one
worker thread, and tasks come one after another: *alone*; *beside* a thread that wants the GIL all
the time; and as a *pair*, with two workers and two tasks in flight. Treatments that differ in their
pools alone share a pipeline.
"""

from __future__ import annotations

import shlex
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.design.specification import LINGER, LONGEST, name_python
from stagebench.design.task_checks import list_first_tasks
from stagebench.records import ALONE, BESIDE, CALIBRATIONS, PAIR, TREATMENT
from stagebench.store import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagebench.design.grid import Study, Treatment


Json = dict[str, Any]

MOST_TASKS_ALONE = 4
"""The first tasks of a pipeline that its calibrations run."""


class StudiedPipeline(NamedTuple):
    """A pipeline: its stages alone, its first tasks, and the treatments that have it."""

    name: str
    stages: list[Json]
    tasks: int | list[Json]
    treatments: list[Treatment]


def plan_diagnoses(study: Study) -> list[Json]:
    """Plan the runs of a study that diagnose, in the order in which they are made.

    Each has the name of its folder. A pipeline has no calibration if a command line cannot take its
    first tasks; then `pipeline` is None for its treatments.
    """
    diagnosed = {grid.name for grid in study.experiments if grid.diagnose}
    treatments = [one for one in study.treatments if one.experiment in diagnosed]
    pipelines = find_pipelines(study, treatments)
    calibrations = {one.name: list(_calibrate(one)) for one in pipelines}
    names = {
        (one.experiment, one.id): pipeline.name
        for pipeline in pipelines
        for one in pipeline.treatments
        if calibrations[pipeline.name]
    }
    return [
        *(_plan_treatment(one, names.get((one.experiment, one.id))) for one in treatments),
        *(planned for some in calibrations.values() for planned in some),
    ]


def find_pipelines(study: Study, treatments: list[Treatment]) -> list[StudiedPipeline]:
    """Return the distinct pipelines of treatments, named by the first experiment that has each."""
    beside = {grid.name: grid.beside for grid in study.experiments}
    found: dict[str, StudiedPipeline] = {}
    numbers: dict[str, int] = {}
    for one in treatments:
        given = one.specification
        stages = [_run_alone(stage, 1) for stage in given["stages"]]
        tasks = list_first_tasks(
            *(given["tasks"], given["stages"], beside[one.experiment]),
            MOST_TASKS_ALONE,
            name_python(given),
        )
        settings = {name: value for name, value in given["process"].items() if name != "cpus"}
        listed = None if isinstance(tasks, int) else tasks
        key = canonical_json([stages, settings, given.get("server"), given.get("python"), listed])
        if key not in found:
            numbers[one.experiment] = numbers.get(one.experiment, 0) + 1
            name = f"{one.experiment}-{numbers[one.experiment]}"
            found[key] = StudiedPipeline(name, stages, tasks, [])
        known = found[key]
        known.treatments.append(one)
        if isinstance(tasks, int) and isinstance(known.tasks, int) and tasks > known.tasks:
            # Equal tasks: the treatment with most of them decides how many are run.
            found[key] = known._replace(tasks=tasks)
    return list(found.values())


def _plan_treatment(treatment: Treatment, pipeline: str | None) -> Json:
    specification = treatment.specification | {
        "sampler": _without_emulation(treatment.specification),
        "diagnose": {"spinner": False},
    }
    return {
        "name": f"treatments/{treatment.experiment}/{treatment.id}",
        "kind": TREATMENT,
        "experiment": treatment.experiment,
        "treatment": treatment.id,
        "pipeline": pipeline,
        "estimated_memory_bytes": treatment.estimated_memory_bytes,
        "specification": specification,
    }


def _calibrate(pipeline: StudiedPipeline) -> Iterator[Json]:
    """Yield the calibrations of a pipeline; none if a command line cannot take one."""
    first = pipeline.treatments[0]
    least = min(one.estimated_memory_bytes for one in pipeline.treatments)
    for kind in CALIBRATIONS:
        specification = specify_calibration(pipeline, kind)
        if len(shlex.quote(canonical_json(specification))) > LONGEST:
            return
        yield {
            "name": f"pipelines/{pipeline.name}/{kind}",
            "kind": kind,
            "experiment": first.experiment,
            "treatment": None,
            "pipeline": pipeline.name,
            "estimated_memory_bytes": least * _workers(kind),
            "specification": specification,
        }


def specify_calibration(pipeline: StudiedPipeline, kind: str) -> Json:
    """Return the specification of one calibration; its treatment is named after the pipeline."""
    given = pipeline.treatments[0].specification
    return {
        "protocol": given["protocol"],
        "experiment": given["experiment"],
        "treatment": pipeline.name,
        "factors": {},
        "stages": [_run_alone(stage, _workers(kind)) for stage in pipeline.stages],
        "tasks": pipeline.tasks,
        "in_flight": _workers(kind),
        "sampler": _without_emulation(given),
        "linger": dict(LINGER),
        "process": given["process"],
        **{name: given[name] for name in ("python", "server") if name in given},
        "diagnose": {"spinner": kind == BESIDE, **_take_turns(pipeline.stages, kind)},
    }


def _take_turns(stages: list[Json], kind: str) -> Json:
    """Return the setting that stages beside each other are not served at once, if there are any.

    Otherwise what is called alone would run beside another stage of the same task.
    """
    before = [None, *(stage["name"] for stage in stages)]
    is_chain = all(
        stage["after"] == ([] if name is None else [name])
        for stage, name in zip(stages, before, strict=False)
    )
    return {} if is_chain or kind == PAIR else {"in_turn": True}


def _workers(kind: str) -> int:
    return {ALONE: 1, BESIDE: 1, PAIR: 2}[kind]


def _run_alone(stage: Json, workers: int) -> Json:
    """Return a stage in threads of main, or in its event loop, without any setting of its pool."""
    return {
        "name": stage["name"],
        "handler": stage["handler"],
        "source": stage["source"],
        "executor": "asyncio" if stage["executor"] == "asyncio" else "thread",
        "workers": workers,
        "retain": False,
        "parameters": stage["parameters"],
        "after": stage["after"],
    }


def _without_emulation(specification: Json) -> Json:
    """Return the sampler's settings: a process either emulates the published way or diagnoses."""
    return {name: one for name, one in specification["sampler"].items() if name != "emulate"}


def format_diagnoses(diagnoses: list[Json]) -> list[str]:
    """Say in a line how many runs diagnose, and which treatments lack a calibration."""
    if not diagnoses:
        return []
    of_treatments = [one for one in diagnoses if one["kind"] == TREATMENT]
    alone = len(diagnoses) - len(of_treatments)
    parts = f"{len(of_treatments)} of treatments, {alone} of pipelines run alone"
    lacking = [one["experiment"] for one in of_treatments if one["pipeline"] is None]
    return [
        f"then {len(diagnoses)} that diagnose: {parts}",
        *(
            f"  {experiment}: {len(list(some))} without a pipeline, whose first tasks are too long"
            for experiment, some in groupby(lacking)
        ),
    ]
