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

TRACE_STATUSES = ("running", "complete", "truncated")
"""A trace is first written as running: one that stays so was cut off. Truncated: the command went
on to its end, but could not be recorded up to there."""

SWEEP_KINDS = ("pss", "rss")
"""What a sweep reads: PSS walks the page tables, and is dear; RSS is cheap, and fills the time."""

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
    """One reading of the whole process tree.

    `kind` is one of `SWEEP_KINDS`. `vanished` counts processes that ended while they were read;
    `torn` is 1 when a process came, went or changed its RSS meanwhile, so that the sum over the
    sweep is of no one moment.
    """

    sweep: int
    kind: str
    started_ns: int
    ended_ns: int
    processes: int
    vanished: int
    torn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """One process in one sweep, in bytes, as the kernel gives it.

    USS is Private_Clean + Private_Dirty + Private_Hugetlb. PSS is the sum of an anonymous part,
    which no other program's mappings change, a part of files and one of shared memory. In a sweep
    of kind "rss" only RSS was read.
    """

    sweep: int
    pid: int
    rss_bytes: int
    pss_bytes: int | None
    anon_bytes: int | None
    file_bytes: int | None
    shmem_bytes: int | None
    uss_bytes: int | None
    swap_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process that lived in the tree, as the census knows it.

    The moments are those at which the census learnt of birth and end. `samples` counts the sweeps
    that read it; 0 means that its memory is known by its bounds alone. `high_water_bytes` is the
    largest RSS of its last program, `exit_status` its exit code or minus the signal that ended it:
    both are known to a census by ptrace, where the process ended within the run.
    """

    pid: int
    parent_pid: int | None
    role: str
    started_ns: int
    ended_ns: int | None
    exit_status: int | None
    high_water_bytes: int | None
    execs: int | None
    samples: int
    command: str
