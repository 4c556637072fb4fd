"""Stages of a run: one row per stage, with the times of its tasks and the size of its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stagebench.analyse.tasks import count_outcomes, deepest_queue, find_first, task_times
from stagebench.analyse.traces import span_s
from stagebench.store import canonical_json
from stagebench.tables.quantities import STAGE_STATISTICS, STAGE_TIMES
from stagebench.units import MIB, to_seconds

if TYPE_CHECKING:
    from stagebench.analyse.traces import Trace
    from stagebench.records import TaskRecord
    from stagebench.units import Bytes, Seconds


Row = dict[str, Any]
Spans = dict[str, list[float]]


def summarise_stages(trace: Trace) -> list[Row]:
    """Return one row per stage, in the order of the workflow; times are of successful tasks."""
    stages = trace.specification["stages"]
    served = {stage["name"]: _served(trace, stage["name"]) for stage in stages}
    spans = {name: _spans(records, _held_before(trace, name)) for name, records in served.items()}
    total = sum(_busy_s(found) for found in spans.values())
    makespan = makespan_s(trace)
    return [
        trace.key
        | describe_stage(stage)
        | {"result_bytes": result_bytes(trace.specification, stage)}
        | count_outcomes(trace, stage["name"])
        | _stage_times(spans[stage["name"]], _cpu_s(served[stage["name"]]))
        | _pool_start_up(trace, stage["name"])
        | {
            "workers_served": _count_workers(stage, served[stage["name"]]),
            "cpu_mean_s": _mean_cpu_s(served[stage["name"]]),
            "cpu_median_s": _median(_list_cpu_s(served[stage["name"]])),
            **_first_and_later(trace, stage["name"], served[stage["name"]]),
            **_imports(trace, stage["name"]),
            "share_of_total_time": _ratio(_busy_s(spans[stage["name"]]), total),
            "utilisation": _utilisation(stage, spans[stage["name"]], makespan),
            "deepest_queue": deepest_queue(trace, stage["name"]),
        }
        for stage in stages
    ]


def makespan_s(trace: Trace) -> Seconds | None:
    """Return first submission → last receipt; None unless all tasks of the run have ended."""
    if trace.run["status"] not in ("ok", "tasks_failed"):
        return None
    received = [record.received_ns for record in trace.tasks if record.received_ns is not None]
    return span_s(trace.submitted_ns, max(received, default=None))


def describe_stage(stage: Row) -> Row:
    """Return the columns on a stage's specification; a setting that it lacks is missing."""
    names = ("handler", "executor", "start_method", "workers", "retain")
    limits = ("queue_size", "batch", "prefetch", "timeout_s", "retries")
    retries = stage.get("retries")
    return {
        "stage": stage["name"],
        "parameters": canonical_json(stage["parameters"]),
        **{name: stage.get(name) for name in (*names, *limits)},
        "transport": stage.get("transport"),
        "retry_on": ", ".join(stage.get("retry_on", ())) if retries else None,
    }


def _served(trace: Trace, stage: str) -> list[TaskRecord]:
    return [record for record in trace.tasks if record.stage == stage and record.status == "ok"]


def _held_before(trace: Trace, stage: str) -> dict[int, Seconds]:
    """Return how long each task was held back before all attempts but its last."""
    held: dict[int, Seconds] = {}
    for record in trace.attempts:
        if record.stage == stage:
            blocked = task_times(record)["blocked"] or 0
            held[record.task] = held.get(record.task, 0) + blocked
    return held


def _spans(served: list[TaskRecord], held_before: dict[int, Seconds]) -> Spans:
    times = [task_times(record) for record in served]
    for record, each in zip(served, times, strict=True):
        if held_before and each["blocked"] is not None:
            # A repeated task enters its queue at once: it was held back before earlier attempts.
            each["blocked"] += held_before.get(record.task, 0)
    found = {name: [each[name] for each in times] for name in STAGE_TIMES}
    return {name: [span for span in all_ if span is not None] for name, all_ in found.items()}


def _stage_times(spans: Spans, cpu_s: Seconds | None) -> Row:
    service, waiting = sum(spans["service"]), sum(spans["waiting"])
    return {
        **{key: value for name in STAGE_TIMES for key, value in _spread(name, spans[name]).items()},
        "stage_efficiency": _ratio(service, service + waiting),
        "on_cpu_share": _ratio(cpu_s, service + waiting),
        "service_cpu_share": _ratio(cpu_s, service),
    }


def _spread(name: str, values: list[Seconds]) -> Row:
    if not values:
        return {}
    low, high = np.quantile(values, [0.05, 0.95])
    statistics = (np.mean(values), np.median(values), low, high, min(values), max(values))
    named = zip(STAGE_STATISTICS, statistics, strict=True)
    return {f"{name}_{statistic}_s": float(value) for statistic, value in named}


def _cpu_s(served: list[TaskRecord]) -> Seconds | None:
    """Add up the CPU time; None if that of a task is unknown, since coroutines share a thread."""
    cpu = [record.cpu_ns for record in served if record.cpu_ns is not None]
    return to_seconds(sum(cpu)) if len(cpu) == len(served) else None


def _mean_cpu_s(served: list[TaskRecord]) -> Seconds | None:
    return _ratio(_cpu_s(served), len(served))


def _list_cpu_s(served: list[TaskRecord]) -> list[Seconds]:
    """List the CPU times; none if that of a task is unknown."""
    cpu = [to_seconds(record.cpu_ns) for record in served if record.cpu_ns is not None]
    return cpu if len(cpu) == len(served) else []


def _first_and_later(trace: Trace, stage: str, served: list[TaskRecord]) -> Row:
    """Return how long the first tasks of workers took, and how long all others took."""
    first = find_first(trace, stage)
    own = [record for record in served if (record.task, record.attempt) in first]
    others = [record for record in served if (record.task, record.attempt) not in first]
    row: Row = {}
    for part, records in (("first", own), ("later", others)):
        spans = [task_times(record)["service"] for record in records]
        row |= {f"{part}_tasks": len(records)}
        for name, times in (
            ("service", [span for span in spans if span is not None]),
            ("cpu", _list_cpu_s(records)),
        ):
            row[f"{name}_{part}_mean_s"] = float(np.mean(times)) if times else None
            row[f"{name}_{part}_median_s"] = _median(times)
    return row


def _median(values: list[Seconds]) -> Seconds | None:
    return float(np.median(values)) if values else None


def _imports(trace: Trace, stage: str) -> Row:
    """Return the most modules that a worker imported during its first task, and their packages."""
    found = trace.imports.get(stage, [])
    most = max(found, key=lambda imports: imports.modules, default=None)
    return {
        "imported_modules": 0 if most is None else most.modules,
        "imported": None if most is None else ", ".join(most.packages),
    }


def _count_workers(stage: Row, served: list[TaskRecord]) -> int | None:
    """Count the workers that served; None for coroutines, which share a thread."""
    if stage["executor"] == "asyncio":
        return None
    return len({(record.pid, record.thread_id) for record in served})


def _busy_s(spans: Spans) -> Seconds:
    return sum(spans["service"]) + sum(spans["waiting"])


def _utilisation(stage: Row, spans: Spans, makespan: Seconds | None) -> float | None:
    whole = None if makespan is None else stage["workers"] * makespan
    return None if whole is None else _ratio(sum(spans["service"]), whole)


def _pool_start_up(trace: Trace, stage: str) -> Row:
    """Return when the first workers were ready; replacements of lost workers do not count."""
    workers = [worker for worker in trace.workers if worker.stage == stage]
    asked = min((worker.requested_ns for worker in workers), default=None)
    ready = [worker.ready_ns for worker in workers if worker.requested_ns == asked]
    return {
        "pool_first_ready_s": span_s(asked, min(ready, default=None)),
        "pool_last_ready_s": span_s(asked, max(ready, default=None)),
    }


def _ratio(part: float | None, whole: float) -> float | None:
    return None if part is None or whole == 0 else part / whole


def result_bytes(specification: dict[str, Any], stage: dict[str, Any]) -> Bytes | None:
    """Return the size of each result of a stage; None if it is unknown or varies."""
    if stage["handler"] != "payload" or "size_mib" not in stage["parameters"]:
        return None
    if _is_overridden(specification["tasks"], stage["name"]):
        return None
    return int(stage["parameters"]["size_mib"] * MIB)


def _is_overridden(tasks: int | list[Any] | dict[str, Any], stage: str) -> bool:
    """Whether a task may have a size of its own, by a list of tasks or by a column of a file."""
    if isinstance(tasks, int):
        return False
    if isinstance(tasks, dict):
        return f"{stage}.size_mib" in tasks["columns"]
    return any("size_mib" in task.get(stage, {}) for task in tasks)
