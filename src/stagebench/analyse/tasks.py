"""Tasks of a run: their times, how they ended, queue depth and turnaround.

- One row per task and stage, and one per repeated attempt.
- Counts of tasks by how they ended, in a run and in a stage, and of repeated attempts.
- Queue depth: how many tasks wait for each stage and are in it, as steps over time.
- The stage efficiency of the task that was through all stages most quickly.
- Turnaround: the time from the moment at which a task was due, and how long it was held back. A
  full queue holds tasks back outside of it, where neither waiting nor response time counts them.
  Turnaround does, which avoids what G. Tene calls "coordinated omission".

These are loops over records, not pandas: runs are summarised one by one, and most have tens of
records. With a frame for each run the same tables take thirty times as long; frames pay off only
from about 1,500 records in a run, and for the turnaround not even with 20,000.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stagebench import task_list
from stagebench.analyse.traces import span_s
from stagebench.model.waiting import Turn, split_waiting
from stagebench.records import RETRIABLE_STATUSES
from stagebench.tables.quantities import TASK_MOMENTS
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stagebench.analyse.traces import Trace
    from stagebench.records import TaskRecord
    from stagebench.units import Nanoseconds, Seconds


Row = dict[str, Any]
Worker = tuple[int | None, int | None]
"""The process and thread of a worker."""


def summarise_tasks(trace: Trace) -> list[Row]:
    """Return one row per task and stage, in the order of tasks and stages."""
    return _list_rows(trace, trace.tasks)


def summarise_attempts(trace: Trace) -> list[Row]:
    """Return one row per repeated attempt, in the same order."""
    return _list_rows(trace, trace.attempts)


def task_times(record: TaskRecord) -> dict[str, Seconds | None]:
    """Return all times of a task in a stage; None where a moment was not observed."""
    return {
        "blocked": span_s(record.due_ns, record.submitted_ns),
        "waiting": span_s(record.submitted_ns, record.started_ns),
        "service": span_s(record.started_ns, record.finished_ns),
        "return": span_s(record.finished_ns, record.received_ns),
        "response": span_s(record.submitted_ns, record.received_ns),
    }


def _list_rows(trace: Trace, records: Iterable[TaskRecord]) -> list[Row]:
    stages = trace.specification["stages"]
    places = {stage["name"]: place for place, stage in enumerate(stages)}
    numbers = {stage["name"]: number_workers(trace, stage) for stage in stages}
    first = {stage["name"]: find_first(trace, stage["name"]) for stage in stages}
    waited = {
        (stage["name"], *key): parts
        for stage in stages
        for key, parts in list_waits(trace, stage).items()
    }
    ordered = sorted(records, key=lambda one: (one.task, places[one.stage], one.attempt))
    return [
        trace.key
        | _row(trace, record)
        | {
            "worker": _find_worker(numbers[record.stage], record),
            "first": _is_first(first[record.stage], record),
            **waited.get((record.stage, record.task, record.attempt), {}),
        }
        for record in ordered
    ]


def list_waits(trace: Trace, stage: Mapping[str, Any]) -> dict[tuple[int, int], dict[str, Seconds]]:
    """Return the parts of waiting times by task and attempt; none of coroutines, which overlap."""
    if stage["executor"] == "asyncio":
        return {}
    ready: dict[Worker, Nanoseconds] = {
        (worker.pid, worker.thread_id): worker.ready_ns
        for worker in trace.workers
        if worker.stage == stage["name"]
    }
    keys, turns = [], []
    for record in (*trace.attempts, *trace.tasks):
        moments = record.submitted_ns, record.started_ns, record.received_ns
        if record.stage == stage["name"] and record.pid is not None and None not in moments:
            worker = record.pid, record.thread_id
            submitted, started, received = (moment or 0 for moment in moments)
            keys.append((record.task, record.attempt))
            turns.append(Turn(worker, ready.get(worker), submitted, started, received))
    return {
        key: {f"{part[:-3]}_s": to_seconds(span) for part, span in parts._asdict().items()}
        for key, parts in zip(keys, split_waiting(turns), strict=True)
    }


def find_first(trace: Trace, stage: str) -> set[tuple[int, int]]:
    """Return the task and attempt that each worker of a stage served first.

    It may pay for what later ones find done: fresh memory, imports, caches. The coroutines of an
    event loop count as one worker.
    """
    first: dict[Worker, TaskRecord] = {}
    for record in (*trace.attempts, *trace.tasks):
        if record.stage != stage or record.started_ns is None or record.pid is None:
            continue
        known = first.setdefault((record.pid, record.thread_id), record)
        if record.started_ns < (known.started_ns or 0):
            first[record.pid, record.thread_id] = record
    return {(record.task, record.attempt) for record in first.values()}


def _is_first(first: set[tuple[int, int]], record: TaskRecord) -> bool | None:
    served = record.started_ns is not None and record.pid is not None
    return (record.task, record.attempt) in first if served else None


def number_workers(trace: Trace, stage: Mapping[str, Any]) -> dict[Worker, int]:
    """Assign a stage's workers numbers from 0, in the order in which they first served.

    Coroutines have no numbers: those of an executor share one thread.
    """
    if stage["executor"] == "asyncio":
        return {}
    own = (record for record in (*trace.attempts, *trace.tasks) if record.stage == stage["name"])
    # A task that could not be sent to a worker has failed without one.
    started = [record for record in own if None not in (record.started_ns, record.pid)]
    numbers: dict[Worker, int] = {}
    for record in sorted(started, key=lambda record: record.started_ns or 0):
        numbers.setdefault((record.pid, record.thread_id), len(numbers))
    return numbers


def _find_worker(numbers: Mapping[Worker, int], record: TaskRecord) -> int | None:
    return numbers.get((record.pid, record.thread_id))


def _row(trace: Trace, record: TaskRecord) -> Row:
    origin = trace.origin_ns
    return {
        "task": record.task,
        "stage": record.stage,
        "attempt": record.attempt,
        "status": record.status,
        **{f"{name}_s": span_s(origin, getattr(record, f"{name}_ns")) for name in TASK_MOMENTS},
        **{f"{name}_s": time for name, time in task_times(record).items()},
        "cpu_s": None if record.cpu_ns is None else to_seconds(record.cpu_ns),
        # The last line of a traceback has the exception.
        "error": (record.error or "").strip().rpartition("\n")[2],
    }


_SEVERITY = ("lost", "timed_out", "failed", "cancelled", "skipped", "ok")


def count_tasks(trace: Trace) -> Row:
    """Count the tasks by how they ended; a task is ok if all its stages were."""
    by_task: dict[int, list[str]] = {}
    for record in trace.tasks:
        by_task.setdefault(record.task, []).append(record.status)
    ended = Counter(_task_outcome(statuses) for statuses in by_task.values())
    tasks = task_list.count_tasks(trace.specification["tasks"])
    return {"tasks": tasks, **_counts(ended, tasks)}


def count_outcomes(trace: Trace, stage: str) -> Row:
    """Count the tasks by how they ended in one stage, and the repeated attempts."""
    ended = Counter(record.status for record in trace.tasks if record.stage == stage)
    tried = Counter(record.status for record in trace.attempts if record.stage == stage)
    return {
        **_counts(ended, task_list.count_tasks(trace.specification["tasks"])),
        **{f"repeated_{status}": tried[status] for status in RETRIABLE_STATUSES},
        "attempts_repeated": tried.total(),
        "queue_overflows": trace.overflows.get(stage, 0),
    }


def count_repeated(trace: Trace) -> Row:
    """Count the repeated attempts and the queue overflows of all stages."""
    overflows = sum(trace.overflows.values())
    return {"attempts_repeated": len(trace.attempts), "queue_overflows": overflows}


def _task_outcome(statuses: Sequence[str]) -> str:
    # A failure is the cause; the stages skipped after it follow from it.
    return next(status for status in _SEVERITY if status in statuses)


def _counts(ended: Counter[str], tasks: int) -> Row:
    counts = {f"tasks_{status}": ended[status] for status in _SEVERITY}
    return {**counts, "tasks_missing": tasks - ended.total()}


def trace_queues(trace: Trace) -> list[Row]:
    """Return the state of each stage's queue, one row per moment at which it changed."""
    return [
        trace.key | {"stage": stage["name"], **row}
        for stage in trace.specification["stages"]
        for row in list_steps(trace, stage["name"])
    ]


def deepest_queue(trace: Trace, stage: str) -> int:
    """Return the largest number of tasks that waited for a stage at once."""
    return max((row["waiting"] for row in list_steps(trace, stage)), default=0)


def list_steps(trace: Trace, stage: str) -> list[Row]:
    """Return the state of one stage's queue at each moment at which it changed."""
    changes: dict[Nanoseconds, tuple[int, int]] = {}
    for record in (*trace.attempts, *trace.tasks):
        if record.stage == stage:
            _add_changes(changes, record)
    waiting = in_service = 0
    rows = []
    for time_ns in sorted(changes):
        waiting += changes[time_ns][0]
        in_service += changes[time_ns][1]
        time_s = span_s(trace.origin_ns, time_ns)
        rows.append({"time_s": time_s, "waiting": waiting, "in_service": in_service})
    return rows


def _add_changes(changes: dict[Nanoseconds, tuple[int, int]], record: TaskRecord) -> None:
    """Add the moments at which one attempt entered the queue, entered service, and left.

    An attempt that never finished, because it took too long or its worker was lost, left when the
    runner gave it up.
    """
    if record.submitted_ns is None:
        return
    left = record.received_ns if record.finished_ns is None else record.finished_ns
    steps = [(record.submitted_ns, 1, 0)]
    if record.started_ns is None:
        steps += [] if left is None else [(left, -1, 0)]
    else:
        steps += [(record.started_ns, -1, 1)]
        steps += [] if left is None else [(left, 0, -1)]
    for time_ns, waiting, in_service in steps:
        before = changes.get(time_ns, (0, 0))
        changes[time_ns] = (before[0] + waiting, before[1] + in_service)


class _Passage(NamedTuple):
    """One task through all stages: its total time, and its lowest efficiency in a stage."""

    response_ns: Nanoseconds
    efficiency: float


def quickest_task_efficiency(trace: Trace) -> float | None:
    """Return the lowest stage efficiency of the task that was quickest through all stages."""
    tasks: dict[int, list[TaskRecord]] = {}
    for record in trace.tasks:
        tasks.setdefault(record.task, []).append(record)
    found = [_follow(records) for records in tasks.values()]
    passages = [passage for passage in found if passage is not None]
    return min(passages).efficiency if passages else None


def _follow(records: list[TaskRecord]) -> _Passage | None:
    """Follow one task through its stages; None unless all of them served it."""
    begins, ends, lowest = math.inf, 0, 1.0
    for record in records:
        moments = record.submitted_ns, record.started_ns, record.finished_ns, record.received_ns
        if record.status != "ok" or None in moments:
            return None
        submitted, started, finished, received = (moment or 0 for moment in moments)
        begins, ends = min(begins, submitted), max(ends, received)
        if finished > submitted:
            lowest = min(lowest, (finished - started) / (finished - submitted))
    return _Passage(ends - int(begins), lowest)


def summarise_turnaround(trace: Trace) -> Row:
    """Return mean and 95th percentile of turnaround, and the total time tasks were held back.

    Turnaround is from when a task was first due to its last receipt, earlier attempts included.
    Only tasks that every stage served have one. The time held back is over all tasks and attempts.
    """
    spans = list(turnarounds(trace).values())
    held = [span_s(one.due_ns, one.submitted_ns) for one in (*trace.attempts, *trace.tasks)]
    known = [span for span in held if span is not None]
    times: Row = {"blocked_s": sum(known) if known else None}
    if spans:
        times["turnaround_mean_s"] = float(np.mean(spans))
        times["turnaround_p95_s"] = float(np.quantile(spans, 0.95))
    return times


def turnarounds(trace: Trace) -> dict[int, Seconds]:
    """Return the turnaround of every task that was ok in all stages and has known moments."""
    due, received = _first_due(trace), _last_received(trace)
    return {
        task: span
        for task in _served(trace)
        if (span := span_s(due.get(task), received.get(task))) is not None
    }


def _served(trace: Trace) -> list[int]:
    stages = len(trace.specification["stages"])
    passed: dict[int, int] = {}
    for record in trace.tasks:
        passed[record.task] = passed.get(record.task, 0) + (record.status == "ok")
    return sorted(task for task, count in passed.items() if count == stages)


def _first_due(trace: Trace) -> dict[int, Nanoseconds]:
    """Return when each task arrived, which is when stages that follow no other were due."""
    first = {stage["name"] for stage in trace.specification["stages"] if not stage["after"]}
    due: dict[int, Nanoseconds] = {}
    for record in (*trace.attempts, *trace.tasks):
        if record.stage in first and record.due_ns is not None:
            due[record.task] = min(due.get(record.task, record.due_ns), record.due_ns)
    return due


def _last_received(trace: Trace) -> dict[int, Nanoseconds]:
    last: dict[int, Nanoseconds] = {}
    for record in trace.tasks:
        if record.received_ns is not None:
            last[record.task] = max(last.get(record.task, 0), record.received_ns)
    return last
