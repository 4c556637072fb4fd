"""All raw records of one run, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from stagebench import store
from stagebench.errors import StoreError
from stagebench.records import (
    EmulatedRecord,
    EventRecord,
    MemorySample,
    ProcessRecord,
    SweepRecord,
    TaskRecord,
    TransitionRecord,
    WorkerRecord,
)
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from stagebench.units import Nanoseconds, Seconds

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One run: its entry in the plan, `run.json` and all records.

    `events` maps the name of a moment to its time; a run that ended early lacks some.
    """

    planned: dict[str, Any]
    baseline: bool
    run: dict[str, Any]
    tasks: tuple[TaskRecord, ...]
    workers: tuple[WorkerRecord, ...]
    events: dict[str, Nanoseconds]
    processes: tuple[ProcessRecord, ...]
    transitions: tuple[TransitionRecord, ...]
    sweeps: tuple[SweepRecord, ...]
    samples: tuple[MemorySample, ...]
    emulated: tuple[EmulatedRecord, ...]

    @property
    def key(self) -> dict[str, Any]:
        """Experiment, treatment and replicate."""
        return {name: self.planned[name] for name in ("experiment", "treatment", "replicate")}

    @property
    def is_ok(self) -> bool:
        """Whether every task of the run succeeded."""
        return bool(self.run["status"] == "ok")

    @property
    def specification(self) -> dict[str, Any]:
        """What was measured."""
        return dict(self.run["specification"])

    @property
    def origin_ns(self) -> Nanoseconds | None:
        """Zero of the run's time axis: the workflow's start, or else the first submission."""
        submitted = [
            record.submitted_ns for record in self.tasks if record.submitted_ns is not None
        ]
        return self.events.get("workflow_started", min(submitted, default=None))


def read_traces(plan: dict[str, Any], raw: Path) -> list[Trace]:
    """Read the folder of every planned run, in the order experiment, treatment, replicate.

    Raises StoreError naming the folder that is missing, unreadable or another run's.
    """
    experiments = [experiment["name"] for experiment in plan["experiments"]]
    treatments = list(plan["treatments"])

    def place(run: dict[str, Any]) -> tuple[int, int, int]:
        treatment = f"{run['experiment']}/{run['treatment']}"
        order = experiments.index(run["experiment"]), treatments.index(treatment)
        return (*order, int(run["replicate"]))

    return [_read_trace(plan, planned, raw) for planned in sorted(plan["runs"], key=place)]


def span_s(start_ns: Nanoseconds | None, end_ns: Nanoseconds | None) -> Seconds | None:
    """Give the time between two moments; missing when either was not observed."""
    return None if start_ns is None or end_ns is None else to_seconds(end_ns - start_ns)


def read_planned(
    plan: dict[str, Any], planned: dict[str, Any], raw: Path
) -> tuple[Path, dict[str, Any]]:
    """Find a planned run's folder and read its record; raises StoreError if it is another's."""
    name = f"{'w' if planned['warm_up'] else 'r'}{planned['replicate']}"
    folder = raw / planned["experiment"] / planned["treatment"] / name
    if not folder.is_dir():
        raise StoreError(f"{folder}: this run of the plan has not been measured")
    run = store.read_run(folder)
    treatment = plan["treatments"][f"{planned['experiment']}/{planned['treatment']}"]
    _check_identity(folder, planned, run)
    _check_specification(folder, treatment["specification"], run["specification"])
    return folder, run


def _read_trace(plan: dict[str, Any], planned: dict[str, Any], raw: Path) -> Trace:
    folder, run = read_planned(plan, planned, raw)
    treatment = plan["treatments"][f"{planned['experiment']}/{planned['treatment']}"]
    ended_early = run["status"] != "ok"
    tasks = _read(folder, store.TASKS_FILE, TaskRecord, ended_early=ended_early)
    _check_stages(folder, run, tasks)
    events = _read(folder, store.EVENTS_FILE, EventRecord, ended_early=ended_early)
    return Trace(
        planned=planned,
        baseline=bool(treatment["baseline"]),
        run=run,
        tasks=tasks,
        workers=_read(folder, store.WORKERS_FILE, WorkerRecord, ended_early=ended_early),
        events={event.event: event.time_ns for event in events},
        processes=_read(folder, store.PROCESSES_FILE, ProcessRecord, ended_early=ended_early),
        transitions=_read(
            folder, store.TRANSITIONS_FILE, TransitionRecord, ended_early=ended_early
        ),
        sweeps=_read(folder, store.SWEEPS_FILE, SweepRecord, ended_early=ended_early),
        samples=_read(folder, store.SAMPLES_FILE, MemorySample, ended_early=ended_early),
        emulated=_read_emulated(folder, run, ended_early=ended_early),
    )


def _read_emulated(
    folder: Path, run: dict[str, Any], *, ended_early: bool
) -> tuple[EmulatedRecord, ...]:
    if "emulate" not in run["specification"]["sampler"]:
        return ()
    return _read(folder, store.EMULATED_FILE, EmulatedRecord, ended_early=ended_early)


def _check_identity(folder: Path, planned: dict[str, Any], run: dict[str, Any]) -> None:
    for name in ("experiment", "treatment", "replicate", "warm_up"):
        if run[name] != planned[name]:
            raise StoreError(
                f"{folder / store.RUN_FILE}: {name} is {run[name]!r}, the plan says"
                f" {planned[name]!r}; remove the folder to measure the run anew"
            )


def _check_specification(folder: Path, planned: dict[str, Any], measured: dict[str, Any]) -> None:
    protocols = measured["protocol"], planned["protocol"]
    if protocols[0] != protocols[1]:
        raise StoreError(
            f"{folder}: was measured by protocol {protocols[0]}, the plan says {protocols[1]}: they"
            " do not measure the same; remove the folder to measure the run anew"
        )
    if measured != planned:
        raise StoreError(f"{folder}: was measured with another specification than the plan's")


def _check_stages(folder: Path, run: dict[str, Any], tasks: tuple[TaskRecord, ...]) -> None:
    stages = [stage["name"] for stage in run["specification"]["stages"]]
    unknown = sorted({record.stage for record in tasks} - set(stages))
    if unknown:
        raise StoreError(f"{folder / store.TASKS_FILE}: stages {unknown}, the run has {stages}")


def _read(
    folder: Path, name: str, record_type: type[Record], *, ended_early: bool
) -> tuple[Record, ...]:
    # A process that crashed or was killed may not have come as far as opening its files.
    if ended_early and not (folder / name).exists():
        return ()
    return tuple(store.read_records(folder / name, record_type))
