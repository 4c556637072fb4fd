"""What a run with one task says about the runs of its treatment: an estimate, never a result."""

from __future__ import annotations

import os
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.measure.machine import STEP_S, STEPS
from stagebench.measure.warm import INTERPRETER_BYTES, SPARE_BYTES
from stagebench.task_list import count_tasks
from stagebench.units import KIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stagebench.trial.observed import Observed, Times
    from stagebench.units import Bytes, Seconds

PAGE_BYTES = 4 * KIB


class TimeRange(NamedTuple):
    """The low and the high end of an estimated time."""

    low_s: Seconds
    high_s: Seconds


def estimate_makespan(specification: Mapping[str, Any], one: Times) -> TimeRange:
    """Estimate the time of all tasks from that of one.

    Nothing is faster than the slowest stage, the arrivals, the limit of tasks in flight, and the
    CPU time on all usable cores. The low end takes threads to release the GIL, the high end to hold
    it whenever they are on CPU: one task alone does not show which.
    """
    number = count_tasks(specification["tasks"])
    stages = [(stage, one.stages[stage["name"]]) for stage in specification["stages"]]
    rounds = [(ceil(number / stage["workers"]) - 1) * use.service_s for stage, use in stages]
    floors = [one.makespan_s + max(rounds)]
    if "in_flight" in specification:
        floors.append(one.makespan_s * number / min(number, specification["in_flight"]))
    if rate := (specification.get("arrival") or {}).get("rate_per_s"):
        floors.append(one.makespan_s + (number - 1) / rate)
    cpu_s = sum(use.cpu_s or 0 for _, use in stages)
    low_s = max(*floors, number * cpu_s / count_cores(specification))
    held_s = sum(use.cpu_s or 0 for stage, use in stages if stage["executor"] == "thread")
    return TimeRange(low_s, max(low_s, number * held_s))


def count_cores(specification: Mapping[str, Any]) -> int:
    """Return how many cores a run may use."""
    return len(specification["process"]["cpus"] or os.sched_getaffinity(0))


def estimate_run(
    treatment: Mapping[str, Any],
    one: Times,
    quiet_wait_s: Seconds,
    warm_memory_bytes: Bytes,
    time_limit_s: Seconds,
) -> TimeRange:
    """Estimate the whole time of a run, which also waits for a quiet machine and touches memory.

    At least, the machine is quiet at once, and more memory than before one task takes no time. A
    run ends at its time limit.
    """
    tasks = estimate_makespan(treatment["specification"], one)
    need = treatment["estimated_memory_bytes"] + INTERPRETER_BYTES + SPARE_BYTES
    more_pages = max(0, min(need, warm_memory_bytes) - one.touched_bytes) / PAGE_BYTES
    shortest_s = min(STEP_S * STEPS, quiet_wait_s)
    return TimeRange(
        min(tasks.low_s, time_limit_s) + one.around_s + shortest_s,
        min(tasks.high_s, time_limit_s)
        + one.around_s
        + quiet_wait_s
        + more_pages * (one.fresh_page_s or 0),
    )


def guess_memory(specification: Mapping[str, Any], one: Observed) -> Bytes | None:
    """Guess the most memory of a run with all tasks; None if the trial's peak has no upper end.

    Every further worker may grow as much as the one that had the task, and where results are kept,
    every further task. A growth that is not known counts for nothing.
    """
    if one.peak.upper_bytes is None:
        return None
    number = count_tasks(specification["tasks"])
    more = 0
    for stage in specification["stages"]:
        growth = one.times.stages[stage["name"]].growth_bytes if one.times else None
        most = number if stage["retain"] else min(stage["workers"], number)
        more += (most - 1) * (growth or 0)
    return one.peak.upper_bytes + more
