"""How tasks ended, in a run and in a stage; and how often one was tried again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from stagebench import task_list
from stagebench.records import RETRIABLE_STATUSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.analyse.traces import Trace

Row = dict[str, Any]

_SEVERITY = ("lost", "timed_out", "failed", "cancelled", "skipped", "ok")


def count_tasks(trace: Trace) -> Row:
    """Count the tasks by how they ended: a task is ok when all its stages were."""
    by_task: dict[int, list[str]] = {}
    for record in trace.tasks:
        by_task.setdefault(record.task, []).append(record.status)
    ended = Counter(_task_outcome(statuses) for statuses in by_task.values())
    tasks = task_list.count_tasks(trace.specification["tasks"])
    return {"tasks": tasks, **_counts(ended, tasks)}


def count_outcomes(trace: Trace, stage: str) -> Row:
    """Count the tasks by how they ended in one stage, and the attempts that did not end it."""
    ended = Counter(record.status for record in trace.tasks if record.stage == stage)
    tried = Counter(record.status for record in trace.attempts if record.stage == stage)
    return {
        **_counts(ended, task_list.count_tasks(trace.specification["tasks"])),
        **{f"repeated_{status}": tried[status] for status in RETRIABLE_STATUSES},
        "attempts_repeated": tried.total(),
        "queue_overflows": trace.overflows.get(stage, 0),
    }


def count_repeated(trace: Trace) -> Row:
    """Count over all stages the attempts that were repeated, and the queues' overflows."""
    overflows = sum(trace.overflows.values())
    return {"attempts_repeated": len(trace.attempts), "queue_overflows": overflows}


def _task_outcome(statuses: Sequence[str]) -> str:
    # A failure names the cause; the stages skipped after it follow from it.
    return next(status for status in _SEVERITY if status in statuses)


def _counts(ended: Counter[str], tasks: int) -> Row:
    counts = {f"tasks_{status}": ended[status] for status in _SEVERITY}
    return {**counts, "tasks_missing": tasks - ended.total()}
