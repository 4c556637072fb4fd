"""Frozen records: what the runner and the sampler observe, complete when they are made.

Times are nanoseconds of one monotonic clock (CLOCK_MONOTONIC), comparable across the processes
of a machine. A value that was not observed is None, never 0. Nothing derived is stored: waiting
time is `started_ns - submitted_ns`, and so on (docs/glossary.md).
"""

from __future__ import annotations

from dataclasses import dataclass

TASK_STATUSES = ("ok", "failed", "lost", "skipped", "cancelled")
"""A task in a stage ends in exactly one of these: its handler returned; raised; its pool lost a
worker before it was done; an upstream stage did not deliver; the run ended before it was served."""

RUN_STATUSES = ("ok", "tasks_failed", "worker_lost", "crashed", "timed_out")
"""A run ends in exactly one of these: every task ok; some failed; a worker died; the measured
process ended with another exit code; the time limit was reached."""

ROLES = ("main", "worker", "resource_tracker", "forkserver", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """One task in one stage."""

    task: int
    stage: str
    status: str
    submitted_ns: int | None
    started_ns: int | None
    finished_ns: int | None
    received_ns: int | None
    cpu_ns: int | None
    pid: int | None
    thread_id: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """One worker that served a task: when its pool was asked for it, and when it could serve.

    `requested_ns` is the pool's first submission; `started_ns` the first statement of the worker's
    initializer, `ready_ns` its last, after the handler's module was imported.
    """

    stage: str
    pid: int
    thread_id: int
    requested_ns: int
    started_ns: int
    ready_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One moment of the measured process, named; `stage` is empty where none is meant."""

    event: str
    stage: str
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """One reading of the whole process tree; `vanished` counts processes that ended under it."""

    sweep: int
    started_ns: int
    ended_ns: int
    processes: int
    vanished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """One process in one sweep, in bytes, as the kernel's smaps_rollup gives it.

    USS is Private_Clean + Private_Dirty + Private_Hugetlb; `anon_bytes` is the anonymous part of
    the PSS (Pss_Anon), which no other program's file mappings change.
    """

    sweep: int
    pid: int
    pss_bytes: int
    uss_bytes: int
    rss_bytes: int
    anon_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process that a sweep met, with the role it had when last looked at."""

    pid: int
    parent_pid: int
    role: str
    first_seen_ns: int
    last_seen_ns: int
    command: str
