"""One sweep: main and every descendant, found and read as close together as can be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from stagebench.sampler.procfs import Vanished, read_children, read_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stagebench.sampler.procfs import Memory


class Reading(NamedTuple):
    """One process in a sweep; `memory` is None when the process ended before it was read."""

    pid: int
    parent_pid: int
    memory: Memory | None


class Sweep(NamedTuple):
    """All readings of one sweep, and when it began and ended (CLOCK_MONOTONIC)."""

    started_ns: int
    ended_ns: int
    readings: list[Reading]


def sweep_tree(
    supervisor: int,
    strangers: frozenset[int] = frozenset(),
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    children: Callable[[int], list[int]] = read_children,
    memory: Callable[[int], Memory] = read_memory,
) -> Sweep:
    """Read every process below `supervisor`, which is not itself read.

    `strangers` are children of the supervisor that are none of the run's, with all below them: a
    shell that starts the supervisor by exec can leave it some. The supervisor adopts orphans (it is
    a child subreaper), so that none is out of reach. The tree is listed first and then read:
    listing is quick, and reading a large process slow.
    """
    started_ns = clock()
    found = list(walk_tree(supervisor, children, strangers))
    readings = [Reading(pid, parent, _read_or_none(pid, memory)) for pid, parent in found]
    return Sweep(started_ns, clock(), readings)


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


def _read_or_none(pid: int, memory: Callable[[int], Memory]) -> Memory | None:
    try:
        return memory(pid)
    except Vanished:
        return None
