"""The task that was through first: whether it ever waited."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stagebench.analyse.traces import Trace
    from stagebench.records import TaskRecord
    from stagebench.units import Nanoseconds


class _Passage(NamedTuple):
    """One task on its way: how long it took in all, and its lowest efficiency in a stage."""

    response_ns: Nanoseconds
    efficiency: float


def quickest_task_efficiency(trace: Trace) -> float | None:
    """Give the lowest stage efficiency of the task with the shortest way through all stages."""
    tasks: dict[int, list[TaskRecord]] = {}
    for record in trace.tasks:
        tasks.setdefault(record.task, []).append(record)
    found = [_follow(records) for records in tasks.values()]
    passages = [passage for passage in found if passage is not None]
    return min(passages).efficiency if passages else None


def _follow(records: list[TaskRecord]) -> _Passage | None:
    """Follow one task through its stages; None unless each of them served it."""
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
