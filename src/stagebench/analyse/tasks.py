"""Times of tasks: one row per task and stage, and per attempt after which one was tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.analyse.traces import span_s
from stagebench.quantities import TASK_MOMENTS
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stagebench.analyse.traces import Trace
    from stagebench.records import TaskRecord
    from stagebench.units import Seconds

Row = dict[str, Any]
Worker = tuple[int | None, int | None]
"""Process and thread of a worker."""


def summarise_tasks(trace: Trace) -> list[Row]:
    """Give one row per task and stage, in the order of tasks and of stages."""
    return _list_rows(trace, trace.tasks)


def summarise_attempts(trace: Trace) -> list[Row]:
    """Give one row per attempt after which a task was tried again, in the same order."""
    return _list_rows(trace, trace.attempts)


def task_times(record: TaskRecord) -> dict[str, Seconds | None]:
    """Give all times of a task in a stage; missing where a moment was not observed."""
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
    numbers = {stage["name"]: _number_workers(trace, stage) for stage in stages}
    ordered = sorted(records, key=lambda one: (one.task, places[one.stage], one.attempt))
    return [
        trace.key | _row(trace, record) | {"worker": _find_worker(numbers[record.stage], record)}
        for record in ordered
    ]


def _number_workers(trace: Trace, stage: Mapping[str, Any]) -> dict[Worker, int]:
    """Give a stage's workers numbers from 0 in the order in which they first served.

    The coroutines of an executor are in one thread: which one served cannot be told.
    """
    if stage["executor"] == "asyncio":
        return {}
    own = (record for record in (*trace.attempts, *trace.tasks) if record.stage == stage["name"])
    # What could not be sent to a worker has failed without one.
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
        # The last line of a traceback says what was raised.
        "error": (record.error or "").strip().rpartition("\n")[2],
    }
