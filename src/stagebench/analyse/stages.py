"""Times of tasks and stages: one row per task and stage, one per stage of a run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from stagebench.analyse.queue_depth import deepest_queue
from stagebench.analyse.results import result_bytes
from stagebench.analyse.traces import span_s
from stagebench.quantities import STAGE_STATISTICS, STAGE_TIMES
from stagebench.store import canonical_json
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagebench.analyse.traces import Trace
    from stagebench.records import TaskRecord
    from stagebench.units import Seconds

Row = dict[str, Any]


def summarise_tasks(trace: Trace) -> list[Row]:
    """Give one row per task and stage, in the order of tasks and of stages."""
    stages = [stage["name"] for stage in trace.specification["stages"]]
    numbers = {stage: _worker_numbers(_of_stage(trace, stage)) for stage in stages}
    records = sorted(trace.tasks, key=lambda record: (record.task, stages.index(record.stage)))
    return [
        trace.key
        | _task_row(trace, record)
        | {"worker": numbers[record.stage].get((record.pid, record.thread_id))}
        for record in records
    ]


def summarise_stages(trace: Trace) -> list[Row]:
    """Give one row per stage, in the order of the workflow; times are of tasks that succeeded."""
    stages = trace.specification["stages"]
    responses = {stage["name"]: _busy_s(_of_stage(trace, stage["name"])) for stage in stages}
    total = sum(responses.values())
    return [
        trace.key
        | _stage_facts(stage)
        | {"result_bytes": result_bytes(trace.specification, stage)}
        | _outcomes(trace, stage["name"])
        | _stage_times(_served(_of_stage(trace, stage["name"])))
        | _pool_start_up(trace, stage["name"])
        | {
            "share_of_total_time": _ratio(responses[stage["name"]], total),
            "utilisation": _utilisation(trace, stage),
            "deepest_queue": deepest_queue(trace, stage["name"]),
        }
        for stage in stages
    ]


def makespan_s(trace: Trace) -> Seconds | None:
    """Give first submission → last receipt; missing unless all tasks of the run have ended."""
    if trace.run["status"] not in ("ok", "tasks_failed"):
        return None
    submitted = [record.submitted_ns for record in trace.tasks if record.submitted_ns is not None]
    received = [record.received_ns for record in trace.tasks if record.received_ns is not None]
    return span_s(min(submitted, default=None), max(received, default=None))


def count_tasks(trace: Trace) -> Row:
    """Count the tasks by how they ended: a task is ok when all its stages were."""
    planned = trace.specification["tasks"]
    tasks = planned if isinstance(planned, int) else len(planned)
    by_task = _by_task(trace).values()
    ended = Counter(_task_outcome([record.status for record in records]) for records in by_task)
    counts = {f"tasks_{status}": ended[status] for status in _SEVERITY}
    return {"tasks": tasks, **counts, "tasks_missing": tasks - ended.total()}


_SEVERITY = ("lost", "failed", "cancelled", "skipped", "ok")


def _task_outcome(statuses: Sequence[str]) -> str:
    # A failure names the cause; the stages skipped after it follow from it.
    return next(status for status in _SEVERITY if status in statuses)


def _by_task(trace: Trace) -> dict[int, list[TaskRecord]]:
    tasks: dict[int, list[TaskRecord]] = {}
    for record in trace.tasks:
        tasks.setdefault(record.task, []).append(record)
    return tasks


def _of_stage(trace: Trace, stage: str) -> list[TaskRecord]:
    return [record for record in trace.tasks if record.stage == stage]


def _served(records: Iterable[TaskRecord]) -> list[TaskRecord]:
    return [record for record in records if record.status == "ok"]


def _worker_numbers(records: list[TaskRecord]) -> dict[tuple[int | None, int | None], int]:
    """Give a stage's workers numbers from 0 in the order in which they first served."""
    started = [record for record in records if record.started_ns is not None]
    numbers: dict[tuple[int | None, int | None], int] = {}
    for record in sorted(started, key=lambda record: record.started_ns or 0):
        numbers.setdefault((record.pid, record.thread_id), len(numbers))
    return numbers


def _task_row(trace: Trace, record: TaskRecord) -> Row:
    origin = trace.origin_ns
    return {
        "task": record.task,
        "stage": record.stage,
        "status": record.status,
        "submitted_s": span_s(origin, record.submitted_ns),
        "started_s": span_s(origin, record.started_ns),
        "finished_s": span_s(origin, record.finished_ns),
        "received_s": span_s(origin, record.received_ns),
        "waiting_s": span_s(record.submitted_ns, record.started_ns),
        "service_s": span_s(record.started_ns, record.finished_ns),
        "return_s": span_s(record.finished_ns, record.received_ns),
        "response_s": span_s(record.submitted_ns, record.received_ns),
        "cpu_s": None if record.cpu_ns is None else to_seconds(record.cpu_ns),
        # The last line of a traceback says what was raised.
        "error": (record.error or "").strip().rpartition("\n")[2],
    }


def _stage_facts(stage: Row) -> Row:
    names = ("handler", "executor", "start_method", "workers", "retain")
    facts = {name: stage.get(name) for name in names}
    return {"stage": stage["name"], "parameters": canonical_json(stage["parameters"]), **facts}


def _outcomes(trace: Trace, stage: str) -> Row:
    ended = Counter(record.status for record in _of_stage(trace, stage))
    counts = {f"tasks_{status}": ended[status] for status in _SEVERITY}
    return {**counts, "tasks_missing": count_tasks(trace)["tasks"] - ended.total()}


def _stage_times(served: list[TaskRecord]) -> Row:
    spans = _spans(served)
    service, waiting = sum(spans["service"]), sum(spans["waiting"])
    cpu = [record.cpu_ns for record in served if record.cpu_ns is not None]
    cpu_s = to_seconds(sum(cpu)) if len(cpu) == len(served) else None
    return {
        **{key: value for name in STAGE_TIMES for key, value in _spread(name, spans[name]).items()},
        "stage_efficiency": _ratio(service, service + waiting),
        "on_cpu_share": _ratio(cpu_s, service + waiting),
        "service_cpu_share": _ratio(cpu_s, service),
        "cpu_mean_s": _ratio(cpu_s, len(served)),
        "workers_served": len({(record.pid, record.thread_id) for record in served}),
    }


def _spans(served: list[TaskRecord]) -> dict[str, list[Seconds]]:
    ends = {
        "service": [(record.started_ns, record.finished_ns) for record in served],
        "waiting": [(record.submitted_ns, record.started_ns) for record in served],
        "return": [(record.finished_ns, record.received_ns) for record in served],
        "response": [(record.submitted_ns, record.received_ns) for record in served],
    }
    spans = {name: [span_s(*pair) for pair in pairs] for name, pairs in ends.items()}
    return {name: [span for span in found if span is not None] for name, found in spans.items()}


def _spread(name: str, values: list[Seconds]) -> Row:
    if not values:
        return {}
    low, high = np.quantile(values, [0.05, 0.95])
    statistics = (np.mean(values), np.median(values), low, high, min(values), max(values))
    named = zip(STAGE_STATISTICS, statistics, strict=True)
    return {f"{name}_{statistic}_s": float(value) for statistic, value in named}


def _busy_s(records: list[TaskRecord]) -> Seconds:
    spans = _spans(_served(records))
    return sum(spans["service"]) + sum(spans["waiting"])


def _utilisation(trace: Trace, stage: Row) -> float | None:
    makespan = makespan_s(trace)
    service = sum(_spans(_served(_of_stage(trace, stage["name"])))["service"])
    return None if makespan is None else _ratio(service, stage["workers"] * makespan)


def _pool_start_up(trace: Trace, stage: str) -> Row:
    workers = [worker for worker in trace.workers if worker.stage == stage]
    ready = [worker.ready_ns for worker in workers]
    asked = min((worker.requested_ns for worker in workers), default=None)
    return {
        "pool_first_ready_s": span_s(asked, min(ready, default=None)),
        "pool_last_ready_s": span_s(asked, max(ready, default=None)),
    }


def _ratio(part: float | None, whole: float) -> float | None:
    return None if part is None or whole == 0 else part / whole
