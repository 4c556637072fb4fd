"""The critical path of a run: from its last receipt back to its first submission, without a gap.

    … ─ service of a task ─ its result handed over ─ the worker is free ─ the next service ─ …

A task that waited for its worker leads to the task that the worker served before; one that did not
leads to the stage before, whose result it needed. So the parts of the path add up to the makespan:
they are where it went.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from stagebench.model.measured import measure_work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stagebench.model.measured import MeasuredRun, ServedTask, StageRun
    from stagebench.units import Seconds

CPU, AWAY, FIRST = "on a CPU", "blocked or asleep", "first task of a worker"
WAITING, WAITING_CORE = "waiting for the GIL or a core", "waiting for a core"
START, HAND_OVER = "start of a worker", "hand-over"
HELD_BACK, ARRIVAL, OTHER = "held back", "arrival", "other"
PARTS = (CPU, AWAY, FIRST, WAITING, WAITING_CORE, START, HAND_OVER, HELD_BACK, ARRIVAL, OTHER)
"""What the parts of a path are, the own work of tasks before all that could be avoided."""

OWN = frozenset({CPU, AWAY})

TINY_S = 1e-9
"""Records are in whole nanoseconds; less is an error of rounding."""


class Segment(NamedTuple):
    """A part of the path in one stage."""

    stage: str
    part: str
    seconds: Seconds


def follow_path(run: MeasuredRun) -> list[Segment]:
    """Return the parts of the critical path, last first."""
    served = {
        (place, each.task): each for place, stage in enumerate(run.stages) for each in stage.served
    }
    before = {place: _order_by_worker(stage) for place, stage in enumerate(run.stages)}
    usual = [_usual_work(stage) for stage in run.stages]
    place, task = max(served, key=lambda key: served[key].received_s)
    found: list[Segment] = []
    while True:
        each, stage = served[place, task], run.stages[place]
        found += _split_service(each, stage, usual[place])
        if each.start_s:
            found.append(Segment(stage.name, START, each.start_s))
        rest_s = each.started_s - each.submitted_s - each.queue_s - each.start_s - each.send_s
        if abs(rest_s) > TINY_S:
            found.append(Segment(stage.name, OTHER, rest_s))
        previous = before[place].get(task)
        if each.queue_s > 0 and previous is not None:
            gap = each.started_s - each.send_s - served[place, previous].received_s
            found.append(Segment(stage.name, OTHER, gap))
            task = previous
            continue
        if each.queue_s > 0:
            found.append(Segment(stage.name, OTHER, each.queue_s))
        found.append(
            Segment(stage.name, _name_delay(each, stage, run), each.submitted_s - each.due_s)
        )
        inputs = [key for key in ((one, task) for one in stage.after) if key in served]
        if not inputs:
            first = min(one.submitted_s for one in served.values())
            found.append(Segment(stage.name, ARRIVAL, each.due_s - first))
            return [segment for segment in found if segment.seconds]
        last = max(inputs, key=lambda key: served[key].received_s)
        found.append(Segment(stage.name, OTHER, each.due_s - served[last].received_s))
        place, task = last


def _name_delay(each: ServedTask, stage: StageRun, run: MeasuredRun) -> str:
    """Return what kept a task back: a bound or, without one, main, which starts the workers."""
    is_bounded = stage.queue_size is not None or (run.in_flight is not None and not stage.after)
    if is_bounded:
        return HELD_BACK
    return START if each.is_first else OTHER


def add_segments(segments: list[Segment]) -> Mapping[tuple[str, str], Seconds]:
    """Add up the segments of each stage and part."""
    total: defaultdict[tuple[str, str], Seconds] = defaultdict(float)
    for segment in segments:
        total[segment.stage, segment.part] += segment.seconds
    return total


def _split_service(each: ServedTask, stage: StageRun, usual_s: Seconds) -> list[Segment]:
    work_s = measure_work(each, stage.calibrated)
    cpu_s = min(each.cpu_s or 0.0, work_s)
    first_s = max(0.0, work_s - usual_s) if each.is_first and not stage.varies else 0.0
    parts = {
        HAND_OVER: each.return_s + each.send_s,
        WAITING if stage.conditions.shares_gil else WAITING_CORE: each.service_s - work_s,
        FIRST: first_s,
        CPU: max(0.0, cpu_s - first_s),
        AWAY: work_s - first_s - max(0.0, cpu_s - first_s),
    }
    return [Segment(stage.name, part, seconds) for part, seconds in parts.items()]


def _usual_work(stage: StageRun) -> Seconds:
    later = [each for each in stage.served if not each.is_first] or stage.served
    return median([measure_work(each, stage.calibrated) for each in later] or [0.0])


def _order_by_worker(stage: StageRun) -> dict[int, int]:
    """Return for each task the one that its worker served before."""
    last: dict[int, int] = {}
    before: dict[int, int] = {}
    for each in sorted(stage.served, key=lambda each: each.started_s):
        if each.worker in last:
            before[each.task] = last[each.worker]
        last[each.worker] = each.task
    return before
