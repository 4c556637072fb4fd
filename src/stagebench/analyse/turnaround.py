"""How long tasks took from the moment at which they were due, and how long they were held back.

A queue that is full holds tasks outside of it, where neither waiting nor response time sees them.
Timed from when it was due, a task cannot hide that (G. Tene calls it "coordinated omission").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stagebench.analyse.traces import span_s

if TYPE_CHECKING:
    from stagebench.analyse.traces import Trace
    from stagebench.units import Nanoseconds, Seconds

Row = dict[str, Any]


def summarise_turnaround(trace: Trace) -> Row:
    """Give mean and 95th percentile of the tasks' turnaround, and the time all were held back.

    The turnaround is of tasks that every stage served: from when the task first was due to its last
    receipt, earlier attempts included. Held back counts all tasks, and all attempts.
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
    """Give the turnaround of every task that was ok in all stages and whose moments are known."""
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
    """Give when each task arrived: stages that follow none are due then."""
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
