"""Floors of a makespan from the times of tasks: what each resource alone would take.

Operational analysis: every floor follows from times that were measured in the run itself, whatever
their distribution. Sources: P. J. Denning and J. P. Buzen, The Operational Analysis of Queueing
Network Models (1978); E. D. Lazowska et al., Quantitative System Performance (1984), ch. 5;
R. L. Graham, Bounds on Multiprocessing Timing Anomalies (1969).
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from stagebench.network_nodes import BURST_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.units import Seconds

CLOSE_ABOVE = 0.15
"""A resource is full if the makespan is at most this share above its floor."""

WORKERS, CORES, GIL, ARRIVALS = "workers", "cores", "GIL", "arrivals"
IN_FLIGHT, PATH, NODE, NETWORK = "in flight", "path of a task", "node", "network"
RESOURCES = (PATH, WORKERS, CORES, NODE, NETWORK, GIL, ARRIVALS, IN_FLIGHT)
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


class NodeLoad(NamedTuple):
    """What a node of a run did: CPU time of its tasks, and what its link carried one way.

    `cores` and `link_bytes_per_s` are None without a limit, and `carried_bytes` if unknown.
    """

    cpu_s: Seconds
    cores: int | None
    carried_bytes: float | None
    link_bytes_per_s: float | None


class Machine(NamedTuple):
    """What all tasks share: cores (0 if unknown), the GIL, and the limit of tasks in flight.

    If there are several `nodes`, each has a GIL of its own.
    """

    cores: int
    has_gil: bool
    in_flight: int | None
    nodes: Sequence[NodeLoad] = ()


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
    floors += _list_floors_of_nodes(machine.nodes)
    if machine.has_gil:
        held_s = sum(load.held_s for load in loads.values())
        floors.append(Floor(GIL, "", held_s / max(1, len(machine.nodes))))
    if any(at > 0 for at in due_s.values()):
        floors.append(Floor(ARRIVALS, "", max(at + paths[task] for task, at in due_s.items())))
    if machine.in_flight is not None:
        floors.append(Floor(IN_FLIGHT, "", sum(paths.values()) / machine.in_flight))
    return sorted(floors, key=lambda floor: -round(floor.floor_s, 9))


def _list_floors_of_nodes(nodes: Sequence[NodeLoad]) -> list[Floor]:
    """Bound the makespan by the cores and the links that single nodes have to themselves."""
    computed = [each.cpu_s / each.cores for each in nodes if each.cores]
    carried = [
        max(0.0, each.carried_bytes - BURST_BYTES) / each.link_bytes_per_s
        for each in nodes
        if each.carried_bytes is not None and each.link_bytes_per_s
    ]
    named = ((NODE, computed), (NETWORK, carried))
    return [Floor(resource, "", max(values)) for resource, values in named if values]


def find_limit(floors: Sequence[Floor], makespan_s: Seconds) -> Floor | None:
    """Return the highest floor if the makespan is close above it; None if nothing is full."""
    highest = max(floors, key=lambda floor: round(floor.floor_s, 9), default=None)
    if highest is None or makespan_s > (1 + CLOSE_ABOVE) * highest.floor_s:
        return None
    return highest


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
