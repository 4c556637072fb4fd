"""What a task's time in service consists of: on a core, waiting for one or for the GIL, blocked.

The kernel counts a thread's time on a core and its wait for one. What is left of the service is
shared out by how the thread waits: one that waits for the GIL wakes up once in every switch
interval to ask for it, while one that waits for a lock, a reply or the end of a sleep wakes up once
at its end. Sources: Linux, Documentation/scheduler/sched-stats.rst; CPython, Python/ceval_gil.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench.model.sharing import SWITCH_INTERVAL_S

if TYPE_CHECKING:
    from stagebench.units import Seconds


class Spent(NamedTuple):
    """What was measured of one task: `wakes` are its thread's voluntary switches."""

    service_s: Seconds
    cpu_s: Seconds
    core_wait_s: Seconds
    wakes: int


class Calibration(NamedTuple):
    """What the same task takes alone, and how long it holds the GIL beside a spinner."""

    cpu_s: Seconds
    away_s: Seconds
    wakes: float
    held_s: Seconds


class ServiceParts(NamedTuple):
    """The parts of a task's service, which add up to it.

    On a core with the GIL of its interpreter and without it, waiting for the GIL, waiting for a
    core, and blocked or asleep.
    """

    held_s: Seconds
    computing_s: Seconds
    gil_wait_s: Seconds
    core_wait_s: Seconds
    blocked_s: Seconds


def split_service(
    spent: Spent,
    alone: Calibration,
    *,
    shares_gil: bool,
    switch_s: Seconds = SWITCH_INTERVAL_S,
) -> ServiceParts:
    """Split a task's service into its parts.

    `shares_gil`: other threads of the process want its GIL, as in main. A worker process with a
    single thread never waits for one.
    """
    cpu_s = min(spent.cpu_s, spent.service_s)
    core_wait_s = min(spent.core_wait_s, spent.service_s - cpu_s)
    rest_s = spent.service_s - cpu_s - core_wait_s
    gil_wait_s = 0.0
    if shares_gil:
        most_s = max(0.0, spent.wakes - alone.wakes) * switch_s
        gil_wait_s = min(max(0.0, rest_s - alone.away_s), most_s)
    held_s = cpu_s * find_held_share(alone)
    return ServiceParts(
        held_s=held_s,
        computing_s=cpu_s - held_s,
        gil_wait_s=gil_wait_s,
        core_wait_s=core_wait_s,
        blocked_s=rest_s - gil_wait_s,
    )


def find_held_share(alone: Calibration) -> float:
    """Return the share of its CPU time for which a task holds the GIL."""
    return min(1.0, max(0.0, alone.held_s) / alone.cpu_s) if alone.cpu_s > 0 else 0.0
