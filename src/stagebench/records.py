"""Frozen records: what the runner and the sampler observe, complete when they are made.

Times are nanoseconds of one monotonic clock (CLOCK_MONOTONIC), comparable across the processes
of a machine. A value that was not observed is None, never 0. Nothing derived is stored: waiting
time is `started_ns - submitted_ns`, and so on (docs/glossary.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TASK_STATUSES = ("ok", "failed", "timed_out", "lost", "skipped", "cancelled")
"""A task in a stage ends in exactly one of these: its handler returned; it raised, or something of
the task could not be sent; it took longer than the stage allows; its worker process ended under it;
an upstream stage did not deliver; the run ended before it was done."""

RETRIABLE_STATUSES = ("failed", "timed_out", "lost")
"""Those of an attempt after which a task may be tried again."""

BIRTHS = ("fork", "vfork", "clone")


ROLES = ("main", "worker", "resource_tracker", "forkserver", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """One task in one stage: how it ended, or an attempt after which it was tried again.

    `attempt` counts from 1; times are of that attempt alone. `due_ns` is the moment from which the
    task could have been in the stage's queue: its arrival, or the receipt of what it waited for;
    `submitted_ns` is when the queue took it, later where the queue was full. Of an attempt that was
    lost or given up, `started_ns` is main's own view, `finished_ns` is None, and `received_ns` the
    moment of its end for the runner.
    """

    task: int
    stage: str
    attempt: int
    status: str
    due_ns: int | None
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
    """One worker that could serve: when its stage asked for it, and when it was ready.

    `requested_ns` is the stage's first submission, or the loss of the worker that this one
    replaces; `started_ns` the worker's own first statement, `ready_ns` the one after the handler's
    module was imported.
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

    `kind` says what it tells. "pss": all memory, which takes a walk of the page tables, and is
    dear. "held": the counters of every process are those of the last PSS sweep, so no page came or
    went since, and its values hold; it has no samples of its own. "rss": the counters alone, which
    are cheap and fill the time.

    `vanished` counts processes that ended while they were read; `torn` is 1 when a process came,
    went or changed its RSS meanwhile, so that the sum over the sweep is of no one moment.
    `huge_faults` counts huge pages that the whole machine was given since it was started; None
    where it was not read.
    """

    sweep: int
    kind: str
    started_ns: int
    ended_ns: int
    processes: int
    vanished: int
    torn: int
    huge_faults: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """One process in one sweep, in bytes, as the kernel gives it.

    USS is Private_Clean + Private_Dirty + Private_Hugetlb. PSS is the sum of an anonymous part,
    which no other program's mappings change, a part of files and one of shared memory. In a sweep
    of kind "rss" only the counters were read. `high_water_bytes` is the largest RSS since the mark
    was last set back, which `mark_reset` = 1 says of this sweep; `faults_before` and `faults` count
    the page faults of the process's life when the sweep began to read and when it was done;
    `rss_after_bytes` and `rss_anon_after_bytes` are what was left of its RSS then.
    """

    sweep: int
    pid: int
    rss_bytes: int
    rss_anon_bytes: int
    rss_after_bytes: int
    rss_anon_after_bytes: int
    high_water_bytes: int
    mark_reset: int
    faults_before: int
    faults: int
    pss_bytes: int | None
    anon_bytes: int | None
    file_bytes: int | None
    shmem_bytes: int | None
    uss_bytes: int | None
    swap_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process that lived in the tree, as the census knows it.

    The moments are those at which the census learnt of birth and end; before `since_ns` it had not
    run. `samples` counts the sweeps that read it; 0 means that its memory is known by its bounds
    alone. `birth` is one of `BIRTHS`: a process by vfork has its parent's memory until it execs.
    `high_water_bytes` is the largest RSS seen of its last program, `max_rss_bytes` the largest of
    all its programs and of children that it waited for, `exit_status` its exit code or minus the
    signal that ended it: what is known to a census by ptrace, where the process ended within the
    run.
    """

    pid: int
    parent_pid: int | None
    role: str
    birth: str | None
    since_ns: int
    started_ns: int
    ended_ns: int | None
    exit_status: int | None
    high_water_bytes: int | None
    max_rss_bytes: int | None
    execs: int | None
    samples: int
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionRecord:
    """A process's counters at its birth, at an exec (of the new program) or at its exit.

    `kind` is "birth", "exec" or "exit". A process that several threads leave has several exits, of
    which the last counts. The census was told of the moment while the process stood still there.
    """

    pid: int
    kind: str
    time_ns: int
    rss_bytes: int
    rss_anon_bytes: int
    high_water_bytes: int
    faults: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedRecord:
    """One record of the published way of sampling, which is emulated where a study asks for it.

    Main's PSS of this moment, and of its children the number and the sum of PSS as they were when
    they were last discovered, at `discovered_ns`.
    """

    time_ns: int
    main_pss_bytes: int
    children_pss_bytes: int
    children: int
    discovered_ns: int


def count_processes(processes: Sequence[ProcessRecord]) -> dict[str, int]:
    """Count the processes that were created, those that a sweep read, and the others."""
    created, sampled = len(processes), sum(each.samples > 0 for each in processes)
    return {"created": created, "sampled": sampled, "bounded_only": created - sampled}
