"""Processes and memory of a run or a trace, as spans and counters of a timeline."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from stagebench.export.trace_events import FIRST_FREE, name_process
from stagebench.peak.timeline import draw_timeline
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stagebench.export.trace_events import Event, EventMaker
    from stagebench.peak.history import MemoryTrace
    from stagebench.peak.timeline import Moment
    from stagebench.records import ProcessRecord
    from stagebench.units import Bytes, Nanoseconds

MEMORY_PID, LIVES_PID = FIRST_FREE + 1, FIRST_FREE + 2
"""The groups of counters of the whole tree, and of the lifetimes of its processes."""

MOST_PROCESSES = 500
"""More have no rows and counters of their own, which a viewer could not show side by side."""


class Meters(NamedTuple):
    """What the sampler recorded of a tree; `ended_ns` is the end of its records."""

    memory: MemoryTrace
    moments: Sequence[Moment]
    ended_ns: Nanoseconds

    @property
    def has_own_counters(self) -> bool:
        """Whether every sampled process has counters of its own."""
        return sum(each.samples > 0 for each in self.memory.processes) <= MOST_PROCESSES

    @property
    def has_own_rows(self) -> bool:
        """Whether every process has a row of its own."""
        return len(self.memory.processes) <= MOST_PROCESSES

    @property
    def is_bounded(self) -> bool:
        """Whether the tree's memory is bounded from above all the time."""
        return all(math.isfinite(moment.upper) for moment in self.moments)


def read_meters(memory: MemoryTrace, ended_ns: Nanoseconds) -> Meters:
    """Return the meters of a tree's memory records."""
    return Meters(memory, draw_timeline(memory), ended_ns)


def list_moments(memory: MemoryTrace) -> Iterator[Nanoseconds | None]:
    """Yield moments between which everything lies that the sampler recorded."""
    for process in memory.processes:
        yield from (process.since_ns, process.started_ns, process.ended_ns)
    for read in (*memory.reads[:1], *memory.reads[-1:]):
        yield read.ended_ns
    for sweep in (*memory.sweeps[:1], *memory.sweeps[-1:]):
        yield sweep.ended_ns


def draw_meters(make: EventMaker, meters: Meters) -> Iterator[Event]:
    """Yield names and lifetimes of processes, and counters of memory."""
    processes = sorted(meters.memory.processes, key=lambda each: (each.started_ns, each.pid))
    yield from name_process(MEMORY_PID, "memory of all processes, MiB", 1)
    yield from name_process(LIVES_PID, "processes: from birth to end", 2)
    for place, process in enumerate(processes, 3):
        yield from name_process(process.pid, process.role.replace("_", " "), place)
    yield from _draw_lives(make, meters, processes)
    yield from _draw_bounds(make, meters)
    yield from _draw_samples(make, meters)


def _draw_lives(
    make: EventMaker, meters: Meters, processes: Sequence[ProcessRecord]
) -> Iterator[Event]:
    for number, process in zip(count(1), processes, strict=False):
        own = f" {process.pid}" if meters.has_own_rows else ""
        mark = process.high_water_bytes
        args = {
            "pid": process.pid,
            "parent": process.parent_pid,
            "birth": process.birth,
            "exit status": process.exit_status,
            "highest RSS, MiB": None if mark is None else _mib(mark),
            "sweeps that read it": process.samples,
            "command": process.command or None,
            "end": "not recorded" if process.ended_ns is None else None,
        }
        named = f"{process.role.replace('_', ' ')}{own}", "process"
        ended_ns = max(process.started_ns, process.ended_ns or meters.ended_ns)
        yield from make.span(LIVES_PID, named, (process.started_ns, ended_ns), number, args)


def _draw_bounds(make: EventMaker, meters: Meters) -> Iterator[Event]:
    """Yield the tree's bounds, each from the beginning of the span for which it holds."""
    last: dict[str, float] = {}
    for moment in meters.moments:
        values = {"reached at least": _mib(moment.reached)}
        if meters.is_bounded:
            values["at most"] = _mib(moment.upper)
        if values != last:
            yield make.counter(MEMORY_PID, "tree, MiB,", moment.began_ns, values)
        last = values


def _draw_samples(make: EventMaker, meters: Meters) -> Iterator[Event]:
    """Yield the memory of each process, and of main and children where a sweep is of one moment."""
    memory = meters.memory
    sweeps = {sweep.sweep: sweep for sweep in memory.sweeps}
    mains = {each.pid for each in memory.processes if each.role == "main"}
    sums: defaultdict[int, dict[str, Bytes]] = defaultdict(lambda: {"main": 0, "children": 0})
    for sample in memory.samples:
        sweep = sweeps[sample.sweep]
        if meters.has_own_counters:
            sizes = {"RSS": sample.rss_bytes, "PSS": sample.pss_bytes}
            known = {name: _mib(size) for name, size in sizes.items() if size is not None}
            yield make.counter(sample.pid, "MiB", sweep.ended_ns, known)
        if sample.pss_bytes is not None and not sweep.torn:
            part = "main" if sample.pid in mains else "children"
            sums[sample.sweep][part] += sample.pss_bytes
    for number, parts in sums.items():
        values = {part: _mib(size) for part, size in parts.items()}
        yield make.counter(MEMORY_PID, "PSS, MiB,", sweeps[number].ended_ns, values)
    for process in memory.processes if meters.has_own_counters else ():
        if process.ended_ns is not None and process.samples:
            # Memory is zero from here on; a viewer would go on with the last value.
            yield make.counter(process.pid, "MiB", process.ended_ns, {"RSS": 0, "PSS": 0})


def _mib(size: float) -> float:
    return round(size / MIB, 3)


def list_not_drawn(meters: Meters) -> list[str]:
    """Say which counters are left out, and why."""
    number = len(meters.memory.processes)
    left_out = []
    if not meters.has_own_rows:
        left_out.append(f"rows of {number:,} single processes")
    if not meters.has_own_counters:
        left_out.append(f"memory of {number:,} single processes")
    if meters.moments and not meters.is_bounded:
        left_out.append("upper bound of memory, which is not known all the time")
    return left_out
