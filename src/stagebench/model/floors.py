"""What the makespan of a run cannot fall below, by each resource, and what limits it.

Operational analysis: every floor follows from times that were measured in the run itself, whatever
their distribution. Sources: P. J. Denning and J. P. Buzen, The Operational Analysis of Queueing
Network Models (1978); E. D. Lazowska et al., Quantitative System Performance (1984), ch. 5;
R. L. Graham, Bounds on Multiprocessing Timing Anomalies (1969).
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from stagebench.model.measured import measure_work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.model.measured import MeasuredRun, ServedTask, StageRun
    from stagebench.units import Seconds

CLOSE_ABOVE = 0.15
"""A resource is full if the makespan is at most this share above its floor."""

WORKERS, CORES, GIL, ARRIVALS = "workers", "cores", "GIL", "arrivals"
IN_FLIGHT, PATH = "in flight", "path of a task"
RESOURCES = (PATH, WORKERS, CORES, GIL, ARRIVALS, IN_FLIGHT)
"""The kinds of resources, in the order in which equal floors are named.

A single task is as long as its way through the workers, and more of them would not help it.
"""


class Line(NamedTuple):
    """A stage as the floors see it: its workers, and the names of the stages before it."""

    name: str
    workers: int
    after: Sequence[str]


class Load(NamedTuple):
    """What one task took in one stage without waiting for anybody: no more than its service.

    `held_s` is its time on a CPU holding the GIL of main; 0 in a process of its own.
    """

    own_s: Seconds
    cpu_s: Seconds
    held_s: Seconds


class Floor(NamedTuple):
    """What the makespan cannot fall below by a resource; `stage` is empty if all share it."""

    resource: str
    stage: str
    floor_s: Seconds


class Machine(NamedTuple):
    """What all tasks share: cores (0 if unknown), the GIL, and the limit of tasks in flight."""

    cores: int
    has_gil: bool
    in_flight: int | None


def find_floors(run: MeasuredRun) -> list[Floor]:
    """Find the floors of a run, highest first."""
    lines = [
        Line(
            stage.name, stage.conditions.workers, [run.stages[place].name for place in stage.after]
        )
        for stage in run.stages
    ]
    loads = {
        (each.task, stage.name): find_load(each, stage)
        for stage in run.stages
        for each in stage.served
    }
    machine = Machine(run.cores, run.has_gil, run.in_flight)
    return bound_makespan(lines, loads, run.due_s, machine)


def bound_makespan(
    stages: Sequence[Line],
    loads: Mapping[tuple[int, str], Load],
    due_s: Mapping[int, Seconds],
    machine: Machine,
) -> list[Floor]:
    """Bound the makespan by each resource, highest floor first.

    `loads` are by task and stage, `due_s` is when each task was due, from the first submission on.
    """
    heads = {task: _longest(stages, loads, task) for task in due_s}
    tails = {task: _longest(_turn(stages), loads, task) for task in due_s}
    paths = {task: max(ends.values(), default=0.0) for task, ends in heads.items()}
    floors = [
        Floor(PATH, "", max(paths.values(), default=0.0)),
        *(
            Floor(WORKERS, stage.name, _floor_of_stage(stage, loads, heads, tails))
            for stage in stages
        ),
    ]
    if machine.cores:
        cpu_s = sum(load.cpu_s for load in loads.values())
        floors.append(Floor(CORES, "", cpu_s / machine.cores))
    if machine.has_gil:
        floors.append(Floor(GIL, "", sum(load.held_s for load in loads.values())))
    if any(at > 0 for at in due_s.values()):
        floors.append(Floor(ARRIVALS, "", max(at + paths[task] for task, at in due_s.items())))
    if machine.in_flight is not None:
        floors.append(Floor(IN_FLIGHT, "", sum(paths.values()) / machine.in_flight))
    return sorted(floors, key=lambda floor: -round(floor.floor_s, 9))


def find_limit(floors: Sequence[Floor], makespan_s: Seconds) -> Floor | None:
    """Return the highest floor if the makespan is close above it; None if nothing is full."""
    highest = max(floors, key=lambda floor: round(floor.floor_s, 9), default=None)
    if highest is None or makespan_s > (1 + CLOSE_ABOVE) * highest.floor_s:
        return None
    return highest


def may_be_gil(run: MeasuredRun) -> bool:
    """Return whether the GIL may be full, though it is not for certain.

    Handlers that are not calibrated may hold it for all of their CPU time, and the calibrations of
    others, on a machine that was disturbed, leave open for how much of it.
    """
    if not run.has_gil:
        return False
    least_s = most_s = 0.0
    for stage in run.stages:
        if stage.conditions.shares_gil:
            loads = [find_load(each, stage) for each in stage.served]
            least_s += sum(load.held_s for load in loads)
            most_s += find_most_share(stage) * sum(load.cpu_s for load in loads)
    return least_s < run.makespan_s / (1 + CLOSE_ABOVE) <= most_s


def find_most_share(stage: StageRun) -> float:
    """Return the largest share of its CPU time for which a stage's handler may hold the GIL."""
    known = stage.calibrated
    if known is None or not known.cpu_s:
        return 1.0
    return min(1.0, (2 * known.held_s - known.held_least_s) / known.cpu_s)


def find_load(served: ServedTask, stage: StageRun) -> Load:
    """Return what a task took in a stage without waiting for anybody."""
    cpu_s = min(served.cpu_s or 0.0, served.service_s)
    own_s = measure_work(served, stage.calibrated)
    known = stage.calibrated
    if known is None or not stage.conditions.shares_gil or not known.cpu_s:
        return Load(own_s, cpu_s, 0.0)
    return Load(own_s, cpu_s, cpu_s * min(1.0, known.held_least_s / known.cpu_s))


def _floor_of_stage(
    stage: Line,
    loads: Mapping[tuple[int, str], Load],
    heads: Mapping[int, Mapping[str, Seconds]],
    tails: Mapping[int, Mapping[str, Seconds]],
) -> Seconds:
    """Bound the makespan by a stage: until its first task comes, its work, and after its last.

    One of its workers serves at least as many tasks as all share equally, and all of them together
    the whole work.
    """
    own = {task: loads[task, stage.name].own_s for task in heads if (task, stage.name) in loads}
    if not own:
        return 0.0
    served = sorted(own.values())
    most = math.ceil(len(served) / stage.workers)
    work = max(sum(served) / stage.workers, sum(served[:most]))
    fill = min(heads[task][stage.name] - own[task] for task in own)
    drain = min(tails[task][stage.name] - own[task] for task in own)
    return fill + work + drain


def _longest(
    stages: Sequence[Line], loads: Mapping[tuple[int, str], Load], task: int
) -> dict[str, Seconds]:
    """Return the longest time until a task has left each stage, which are in order."""
    ends: dict[str, Seconds] = {}
    for stage in stages:
        before = max((ends[name] for name in stage.after), default=0.0)
        load = loads.get((task, stage.name))
        ends[stage.name] = before + (load.own_s if load else 0.0)
    return ends


def _turn(stages: Sequence[Line]) -> list[Line]:
    """Return the stages in reverse, each after those that follow it."""
    following: defaultdict[str, list[str]] = defaultdict(list)
    for stage in stages:
        for name in stage.after:
            following[name].append(stage.name)
    return [stage._replace(after=following[stage.name]) for stage in reversed(stages)]
