"""What the makespan of a measured run cannot fall below, by each resource (resources.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.model.measured import measure_work
from stagebench.model.resources import CLOSE_ABOVE, Floor, Line, Load, Machine, bound_makespan

if TYPE_CHECKING:
    from stagebench.model.measured import MeasuredRun, ServedTask, StageRun


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
    machine = Machine(run.cores, run.has_gil, run.in_flight, run.nodes)
    return bound_makespan(lines, loads, run.due_s, machine)


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
    gils = max(1, len(run.nodes))
    return least_s / gils < run.makespan_s / (1 + CLOSE_ABOVE) <= most_s / gils


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
