"""Run folders whose results are known by hand: two tasks, two stages, whole seconds."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stagebench import store
from stagebench.records import (
    IMPORTED,
    DiagnosisRecord,
    EmulatedRecord,
    EventRecord,
    MemorySample,
    ProcessRecord,
    ReadRecord,
    SweepRecord,
    TaskRecord,
    TransitionRecord,
    WorkerRecord,
)

S = 1_000_000_000
MIB = 1024 * 1024
MAIN, CHILD = 100, 200
EPOCH = datetime(2026, 11, 23, 7, tzinfo=UTC)

# What a run record has besides its times, and the stages of its workflow.
FACTS = json.loads(Path(__file__).with_name("known_run.json").read_text(encoding="utf-8"))
STAGES = tuple(FACTS["stages"])


def task(
    number,
    stage,
    moments,
    *,
    cpu=None,
    worker=(CHILD, 1),
    status="ok",
    error=None,
    attempt=1,
    due=None,
):
    """Make a task record; `moments` are submitted, started, finished and received in seconds.

    `worker` is its pid and thread. Without `due`, a task is due when it was submitted.
    """
    moments_ns = [None if moment is None else round(moment * S) for moment in moments]
    due_ns = moments_ns[0] if due is None else round(due * S)
    names = ("submitted_ns", "started_ns", "finished_ns", "received_ns")
    return TaskRecord(
        task=number,
        stage=stage,
        attempt=attempt,
        status=status,
        due_ns=due_ns,
        **dict(zip(names, moments_ns, strict=True)),
        cpu_ns=None if cpu is None else round(cpu * S),
        pid=worker[0],
        thread_id=worker[1],
        error=error,
    )


def worker(stage, pid, thread, requested, ready):
    return WorkerRecord(
        stage=stage,
        pid=pid,
        thread_id=thread,
        requested_ns=round(requested * S),
        started_ns=round(requested * S),
        ready_ns=round(ready * S),
    )


def sweep(number, ended, main, children=(), vanished=0):
    """Make one sweep that ended at `ended` seconds, and its samples; PSS in MiB."""
    record = SweepRecord(
        sweep=number,
        started_ns=round(ended * S) - 1000,
        ended_ns=round(ended * S),
        processes=1 + len(children),
        vanished=vanished,
        kind="pss",
        torn=0,
        huge_faults=None,
    )
    sizes = {MAIN: main} | {CHILD + index: size for index, size in enumerate(children)}
    samples = [
        MemorySample(
            sweep=number,
            pid=pid,
            pss_bytes=round(size * MIB),
            uss_bytes=round(size * MIB / 2),
            rss_bytes=round(size * MIB * 2),
            rss_anon_bytes=round(size * MIB),
            rss_after_bytes=round(size * MIB * 2),
            rss_anon_after_bytes=round(size * MIB),
            high_water_bytes=round(size * MIB * 2),
            mark_reset=0,
            faults_before=0,
            faults=0,
            anon_bytes=round(size * MIB / 4),
            file_bytes=round(size * MIB * 3 / 4),
            shmem_bytes=0,
            swap_bytes=0,
        )
        for pid, size in sizes.items()
    ]
    return record, samples


def read(time, anon, *, shmem=0, peak=None, mapped=0, is_charged=True):
    """Make one reading of the tree's total at `time` seconds, in MiB; `mapped` is what ever was.

    The largest charge is of the whole time before. Without a group, there is none.
    """
    moment_ns = round(time * S)
    charged = round((anon + shmem if peak is None else peak) * MIB)
    return ReadRecord(
        started_ns=moment_ns,
        ended_ns=moment_ns,
        processes=1,
        anon_bytes=round(anon * MIB),
        shmem_bytes=round(shmem * MIB) if is_charged else None,
        cache_bytes=0 if is_charged else None,
        peak_bytes=charged if is_charged else None,
        peak_since_ns=0 if is_charged else None,
        kernel_peak_bytes=None,
        paged_bytes=None,
        main_anon_bytes=round(anon * MIB),
        mapped_bytes=round(mapped * MIB),
        unmapped_bytes=0,
        most_mapped_bytes=round(mapped * MIB),
        left_bytes=None,
        left_since_sweep=None,
    )


def reading(time, main, children=0, count=0, discovered=10):
    """Make one record of the published sampling method at `time` seconds; PSS in MiB."""
    return EmulatedRecord(
        time_ns=round(time * S),
        main_pss_bytes=round(main * MIB),
        children_pss_bytes=round(children * MIB),
        children=count,
        discovered_ns=round(discovered * S),
    )


TASKS = (
    task(0, "work", (10, 11, 13, 13.5), cpu=1.0),
    task(1, "work", (10, 13, 14, 14.5), cpu=0.5),
    task(0, "save", (13.5, 13.5, 14, 14), cpu=0.25, worker=(MAIN, 7)),
    task(1, "save", (14.5, 14.5, 15.5, 16), cpu=0.5, worker=(MAIN, 8)),
)
WORKERS = (
    worker("work", CHILD, 1, 10, 10.75),
    worker("save", MAIN, 7, 13.5, 13.5),
    worker("save", MAIN, 8, 13.5, 13.625),
)
EVENTS = {
    "ready": 9,
    "workflow_started": 10,
    "workflow_finished": 16,
    "pools_closing": 16.25,
    "pools_closed": 16.5,
    "finished": 17,
}
SWEEPS = (
    sweep(0, 8.5, 18),
    sweep(1, 9.5, 20),
    sweep(2, 11.5, 12, [8]),
    sweep(3, 13.25, 16, [14, 6], vanished=1),
    sweep(4, 15, 30, [4]),
    sweep(5, 16.75, 26),
)


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """One run of a study; times in seconds of the monotonic clock.

    `lives` maps pids to birth and end; other processes outlive the run. `overflows` has a stage's
    name for each time that its queue exceeded its bound. `imports` maps stages to what a worker
    imported in its first task. `specified` is added to the specification, and `sampled` to what
    run.json has of the sampler.
    """

    experiment: str = "pipe"
    treatment: str = "p1-fork"
    replicate: int = 1
    warm_up: bool = False
    baseline: bool = True
    status: str = "ok"
    detail: str = ""
    start: float = 0
    factors: dict = field(default_factory=lambda: {"workers": 1, "executor": "process"})
    stages: tuple = field(default_factory=lambda: copy.deepcopy(STAGES))
    tasks_planned: int = 2
    tasks: tuple = TASKS
    attempts: tuple = ()
    workers: tuple = WORKERS
    events: dict = field(default_factory=lambda: dict(EVENTS))
    overflows: tuple = ()
    reads: tuple = ()
    imports: dict = field(default_factory=dict)
    sweeps: tuple = SWEEPS
    roles: dict = field(default_factory=dict)
    run: dict = field(default_factory=dict)
    lives: dict = field(default_factory=dict)
    emulate: dict | None = None
    emulated: tuple = ()
    diagnosis: tuple = ()
    specified: dict = field(default_factory=dict)
    sampled: dict = field(default_factory=dict)

    def stretched(self, factor):
        """Return the run with every moment of its tasks `factor` times as far from second 10."""
        moments = ("due_ns", "submitted_ns", "started_ns", "finished_ns", "received_ns")
        tasks = tuple(
            replace(
                record,
                **{
                    name: round(10 * S + (getattr(record, name) - 10 * S) * factor)
                    for name in moments
                },
            )
            for record in self.tasks
        )
        return replace(self, tasks=tasks)


def specification(known):
    emulate = {} if known.emulate is None else {"emulate": known.emulate}
    return {
        "protocol": 1,
        "experiment": known.experiment,
        "treatment": known.treatment,
        "factors": known.factors,
        "stages": list(known.stages),
        "tasks": known.tasks_planned,
        "sampler": {"interval_s": 0.5, "cpu_budget": 0.01, "census": "auto"} | emulate,
        "linger": {"before_start_s": 0.0, "before_close_s": 0.0, "after_close_s": 0.0},
        "process": {"environment": {}, "preload": [], "cpus": None, "blas_threads": 1},
    } | known.specified


def run_record(known, planned):
    started_at = EPOCH + timedelta(seconds=known.start)
    facts = copy.deepcopy(FACTS["run"])
    facts["sampler"] |= known.sampled
    moments = {"supervisor_started": 7, "exec": 8, "exited": 17.5, "supervisor_ended": 18}
    return {
        "schema_version": store.SCHEMA_VERSION,
        **facts,
        **planned,
        "specification": specification(known),
        "status": known.status,
        "detail": known.detail,
        "started_at": started_at.isoformat(),
        **{f"{name}_ns": round((known.start + time) * S) for name, time in moments.items()},
        **known.run,
    }


def write_run(raw, known, planned, place=None):
    letter = "w" if known.warm_up else "r"
    name = f"{known.experiment}/{known.treatment}/{letter}{known.replicate}"
    folder = raw / (place or name)
    folder.mkdir(parents=True)
    store.write_json(folder / store.RUN_FILE, run_record(known, planned))
    events = [
        EventRecord(event=name, stage="", time_ns=round(time * S))
        for name, time in known.events.items()
    ]
    events += [
        EventRecord(event="queue_overflow", stage=stage, time_ns=12 * S)
        for stage in known.overflows
    ]
    events += [
        EventRecord(event=IMPORTED, stage=stage, time_ns=13 * S, detail=imports.write())
        for stage, imports in known.imports.items()
    ]
    records = [
        (store.TASKS_FILE, TaskRecord, known.tasks),
        (store.ATTEMPTS_FILE, TaskRecord, known.attempts),
        (store.WORKERS_FILE, WorkerRecord, known.workers),
        (store.EVENTS_FILE, EventRecord, events),
        (store.PROCESSES_FILE, ProcessRecord, _processes(known)),
        (store.TRANSITIONS_FILE, TransitionRecord, []),
        (store.READS_FILE, ReadRecord, known.reads),
        (store.SWEEPS_FILE, SweepRecord, [record for record, _ in known.sweeps]),
        (store.SAMPLES_FILE, MemorySample, [one for _, some in known.sweeps for one in some]),
    ]
    if known.emulate is not None:
        records.append((store.EMULATED_FILE, EmulatedRecord, known.emulated))
    if "diagnose" in known.specified:
        records.append((store.DIAGNOSIS_FILE, DiagnosisRecord, known.diagnosis))
    for name, record_type, rows in records:
        store.write_records(folder / name, record_type, rows)


def _processes(known):
    pids = dict.fromkeys(sample.pid for _, samples in known.sweeps for sample in samples)
    return [
        ProcessRecord(
            pid=pid,
            parent_pid=MAIN if pid != MAIN else 1,
            role=known.roles.get(pid, "main" if pid == MAIN else "worker"),
            birth=None,
            since_ns=0,
            started_ns=known.lives.get(pid, (0, None))[0] * S,
            ended_ns=known.lives[pid][1] * S if pid in known.lives else None,
            exit_status=0,
            high_water_bytes=None,
            max_rss_bytes=None,
            execs=0,
            samples=1,
            command="python",
        )
        for pid in pids
    ]


def plan_runs(runs):
    """Plan the runs; the order given is their rank."""
    return [
        {
            "experiment": known.experiment,
            "treatment": known.treatment,
            "replicate": known.replicate,
            "warm_up": known.warm_up,
            "block": 0 if known.warm_up else known.replicate,
            "position": rank,
            "rank": rank,
        }
        for rank, known in enumerate(runs)
    ]


def write_study(folder, runs):
    """Write a study of `runs` to `folder`; return its plan and the folder of its runs."""
    raw = Path(folder) / "raw"
    planned = plan_runs(runs)
    for known, entry in zip(runs, planned, strict=True):
        write_run(raw, known, entry)
    experiments = dict.fromkeys(known.experiment for known in runs)
    plan = {
        "study": "known",
        "seed": 1,
        "replicates": max(known.replicate for known in runs),
        "time_limit_s": 60.0,
        "precision": {},
        "margin": 0.05,
        "reference": None,
        "treatments": {
            f"{known.experiment}/{known.treatment}": {
                "specification": specification(known),
                "estimated_memory_bytes": 5 * MIB,
                "baseline": known.baseline,
            }
            for known in runs
        },
        "warm_up_runs": [entry for entry in planned if entry["warm_up"]],
        "runs": [entry for entry in planned if not entry["warm_up"]],
        "experiments": [_experiment(name, runs) for name in experiments],
        "diagnoses": [],
    }
    return plan, raw


def call(began, ended, *, wait=0.0, switches=(0, 0), spinner=None, worker=(CHILD, 1)):
    """Make the record of a call of a handler; times in seconds, `switches` voluntary and other."""
    return DiagnosisRecord(
        pid=worker[0],
        thread_id=worker[1],
        started_ns=round(began * S),
        finished_ns=round(ended * S),
        core_wait_ns=None if wait is None else round(wait * S),
        voluntary_switches=switches[0],
        other_switches=switches[1],
        spinner_ns=None if spinner is None else round(spinner * S),
    )


def diagnosing(known, kind="treatment"):
    """Return a run that diagnoses: of a treatment, or of the pipeline that its treatment names."""
    diagnose = {"diagnose": {"spinner": kind == "beside"}}
    return replace(known, specified=known.specified | diagnose)


def add_diagnoses(plan, raw, diagnoses):
    """Write runs that diagnose, pairs of kind and run, and add them to the plan of a study."""
    for kind, known in diagnoses:
        run = diagnosing(known, kind)
        alone = kind != "treatment"
        place = f"{run.treatment}/{kind}" if alone else f"{run.experiment}/{run.treatment}"
        name = f"{'pipelines' if alone else 'treatments'}/{place}"
        (entry,) = plan_runs([run])
        write_run(Path(raw).with_name(store.DIAGNOSIS_FOLDER), run, entry, name)
        plan["diagnoses"].append(
            {
                "name": name,
                "kind": kind,
                "experiment": run.experiment,
                "treatment": None if alone else run.treatment,
                "pipeline": run.treatment if alone else None,
                "specification": specification(run),
            }
        )
    return plan, raw


def _experiment(name, runs):
    own = [known for known in runs if known.experiment == name]
    baseline = next((known.treatment for known in own if known.baseline), own[0].treatment)
    factors = {factor: [known.factors[factor] for known in own] for factor in own[0].factors}
    return {"name": name, "baseline": baseline, "factors": factors}
