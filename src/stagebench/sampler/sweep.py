"""One sweep: every process that a census knows to be alive, read as close together as can be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from stagebench.sampler.procfs import Memory, MemoryFiles, Vanished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Value = TypeVar("Value")


class Reading(NamedTuple):
    """One process in a sweep: its RSS before and after, and in between, where asked for, the rest.

    A value is None where the process ended before it was read, or may not be read.
    """

    pid: int
    before_bytes: int | None
    memory: Memory | None
    after_bytes: int | None


class Sweep(NamedTuple):
    """All readings of one sweep, and when it began and ended (CLOCK_MONOTONIC)."""

    kind: str
    started_ns: int
    ended_ns: int
    readings: list[Reading]


def sweep_pss(
    alive: Iterable[int], files: MemoryFiles, clock: Callable[[], int] = time.monotonic_ns
) -> Sweep:
    """Read all memory of every process, and its RSS before and after, which tells whether it held.

    The readings of one process lie as far apart as the sweep is long: what changed in one while
    another was read shows as a difference of its own.
    """
    started_ns = clock()
    pids = list(alive)
    before = [_or_none(files.read_rss, pid) for pid in pids]
    memory = [_or_none(files.read_memory, pid) for pid in pids]
    after = [_or_none(files.read_rss, pid) for pid in pids]
    readings = list(map(Reading, pids, before, memory, after))
    return Sweep("pss", started_ns, clock(), readings)


def sweep_rss(
    alive: Iterable[int], files: MemoryFiles, clock: Callable[[], int] = time.monotonic_ns
) -> Sweep:
    """Read the RSS alone of every process."""
    started_ns = clock()
    rss = [(pid, _or_none(files.read_rss, pid)) for pid in alive]
    readings = [Reading(pid, value, None, value) for pid, value in rss]
    return Sweep("rss", started_ns, clock(), readings)


def walk_tree(
    root: int, children: Callable[[int], list[int]], strangers: frozenset[int] = frozenset()
) -> Iterator[tuple[int, int]]:
    """Yield (pid, parent pid) of all descendants of `root` but `strangers`, parents first."""
    parents = [root]
    for parent in parents:
        for pid in children(parent):
            if pid not in strangers:
                parents.append(pid)
                yield pid, parent


def _or_none(read: Callable[[int], Value], pid: int) -> Value | None:
    try:
        return read(pid)
    except (*Vanished, PermissionError):  # gone; or another user's, or not dumpable
        return None
