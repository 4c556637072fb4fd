"""What a task's time in service consists of: on a core, waiting for one or for the GIL, blocked.

The kernel counts a thread's time on a core and its wait for one. What is left of the service is
shared out by how the thread waits: one that waits for the GIL wakes up once in every switch
interval to ask for it, while one that waits for a lock, a reply or the end of a sleep wakes up once
at its end. This leaves one case open: many short waits for a lock whose holder computes with the
GIL look like as many waits for the GIL. Sources: Linux, Documentation/scheduler/sched-stats.rst;
CPython, Python/ceval_gil.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench.model.sharing import SWITCH_INTERVAL_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagebench.units import Seconds


CLEARLY = 1.5
"""How much longer than their wakes allow waits must be, so that one was no wait for the GIL."""


class Spent(NamedTuple):
    """What was measured of one task: `wakes` are its thread's voluntary switches."""

    service_s: Seconds
    cpu_s: Seconds
    core_wait_s: Seconds
    wakes: int


class Calibration(NamedTuple):
    """What the same task takes alone, and the share of its CPU time for which it holds the GIL.

    `away_s` is the time that it is neither on a core nor waits for one.
    """

    away_s: Seconds
    wakes: float
    held_share: float


class Beside(NamedTuple):
    """What was measured of one task beside a spinner, and of the spinner meanwhile."""

    service_s: Seconds
    cpu_s: Seconds
    core_wait_s: Seconds
    spinner_s: Seconds
    spinner_wait_s: Seconds


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
    others_held_s: Seconds,
    switch_s: Seconds = SWITCH_INTERVAL_S,
) -> ServiceParts:
    """Split a task's service into its parts.

    `others_held_s` is for how long other threads of its process held the GIL meanwhile: no task
    waits for longer than that. It is 0 in a worker process with a single thread.
    """
    cpu_s = min(spent.cpu_s, spent.service_s)
    core_wait_s = min(spent.core_wait_s, spent.service_s - cpu_s)
    rest_s = spent.service_s - cpu_s - core_wait_s
    held_s = cpu_s * alone.held_share
    more_s = max(0.0, rest_s - alone.away_s)
    wakes = max(0.0, spent.wakes - alone.wakes)
    # Whoever is made to give up the GIL waits until another has it, before it asks for it again.
    # That happens after a switch interval with it, unless the task gives it up by itself before.
    wakes -= min(max(0.0, held_s / switch_s - alone.wakes), wakes / 2)
    if more_s > CLEARLY * wakes * switch_s:
        # Some wait was longer than any for the GIL, so at least one of the wakes ended that.
        wakes = max(0.0, wakes - 1)
    gil_wait_s = min(more_s, wakes * switch_s, others_held_s)
    return ServiceParts(
        held_s=held_s,
        computing_s=cpu_s - held_s,
        gil_wait_s=gil_wait_s,
        core_wait_s=core_wait_s,
        blocked_s=rest_s - gil_wait_s,
    )


def bound_held_share(tasks: Iterable[Beside]) -> tuple[float, float]:
    """Return between which shares of its CPU time a task holds the GIL, from runs beside a spinner.

    Whenever the spinner was not on a core, the task may have had the GIL; it had it for certain if
    neither waited for a core. Where others use the cores the two are far apart, and tasks that were
    disturbed less count: the bounds are the closest of all tasks.
    """
    lows, highs = [0.0], [1.0]
    for task in tasks:
        if task.cpu_s > 0:
            most_s = task.service_s - task.spinner_s
            highs.append(max(0.0, most_s / task.cpu_s))
            least_s = most_s - task.spinner_wait_s - task.core_wait_s
            lows.append(min(1.0, least_s / task.cpu_s))
    low, high = max(lows), min(highs)
    return min(low, high), max(low, high)


def find_others_held(
    spans: Sequence[tuple[Seconds, Seconds, Seconds]],
) -> list[Seconds]:
    """Return for each task how long others of its process held the GIL while it was served.

    `spans` has when each was started and finished, and how long it had the GIL, on a core or
    waiting for one. Each is taken to have it evenly over its service.
    """
    held = [0.0] * len(spans)
    running: list[int] = []
    for one in sorted(range(len(spans)), key=lambda k: spans[k][0]):
        started_s, finished_s, _ = spans[one]
        running = [other for other in running if spans[other][1] > started_s]
        for other in running:
            common_s = min(finished_s, spans[other][1]) - started_s
            held[one] += _part_of(spans[other], common_s)
            held[other] += _part_of(spans[one], common_s)
        running.append(one)
    return held


def _part_of(span: tuple[Seconds, Seconds, Seconds], common_s: Seconds) -> Seconds:
    started_s, finished_s, had_s = span
    return had_s * common_s / (finished_s - started_s) if finished_s > started_s else 0.0
