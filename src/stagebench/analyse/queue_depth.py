"""Queue depth: how many tasks wait for and are in each stage, as steps over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.analyse.traces import span_s

if TYPE_CHECKING:
    from stagebench.analyse.traces import Trace
    from stagebench.records import TaskRecord
    from stagebench.units import Nanoseconds

Row = dict[str, Any]


def trace_queues(trace: Trace) -> list[Row]:
    """Give one row per stage and moment at which its queue changed: the state from then on."""
    return [
        trace.key | {"stage": stage["name"], **row}
        for stage in trace.specification["stages"]
        for row in _steps(trace, stage["name"])
    ]


def deepest_queue(trace: Trace, stage: str) -> int:
    """Give the largest number of tasks that waited for a stage at one moment."""
    return max((row["waiting"] for row in _steps(trace, stage)), default=0)


def _steps(trace: Trace, stage: str) -> list[Row]:
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
    """Note when one attempt came into the queue, into service, and left.

    What never finished, since it took too long or its worker was lost, left when the runner gave it
    up.
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
