"""What limits each treatment, and where its time went, as tables.

`floors` has what the makespan of each run cannot fall below, by each resource; `paths` the parts of
each run's critical path; `limits` both for the run of median makespan of each treatment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.model.floors import find_floors, find_limit
from stagebench.model.measured import group_runs
from stagebench.model.path import OWN, PARTS, add_segments, follow_path
from stagebench.tables.io import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from stagebench.model.measured import MeasuredRun

Row = dict[str, Any]


def make_limit_tables(runs: Sequence[MeasuredRun]) -> dict[str, pd.DataFrame]:
    """Make the tables `floors`, `paths` and `limits`."""
    return {
        "floors": make_table("floors", (row for run in runs for row in _list_floors(run))),
        "paths": make_table("paths", (row for run in runs for row in _list_path(run))),
        "limits": make_table("limits", map(_summarise, group_runs(runs).values())),
    }


def _key(run: MeasuredRun) -> Row:
    return {
        "experiment": run.experiment,
        "treatment": run.treatment,
        "replicate": run.replicate,
    }


def _list_floors(run: MeasuredRun) -> Iterator[Row]:
    for floor in find_floors(run):
        above = run.makespan_s / floor.floor_s - 1 if floor.floor_s else None
        yield _key(run) | floor._asdict() | {"above": above}


def _list_path(run: MeasuredRun) -> Iterator[Row]:
    parts = add_segments(follow_path(run))
    for stage in run.stages:
        for part in PARTS:
            seconds = parts.get((stage.name, part), 0.0)
            if seconds:
                share = seconds / run.makespan_s
                yield _key(run) | {
                    "stage": stage.name,
                    "part": part,
                    "path_s": seconds,
                    "share": share,
                }


def choose_median(runs: Sequence[MeasuredRun]) -> MeasuredRun:
    """Return the run of median makespan; of the middle two, the faster one."""
    return sorted(runs, key=lambda run: run.makespan_s)[(len(runs) - 1) // 2]


def _summarise(runs: Sequence[MeasuredRun]) -> Row:
    run = choose_median(runs)
    floors = find_floors(run)
    highest = floors[0]
    limit = find_limit(floors, run.makespan_s)
    path = add_segments(follow_path(run))
    lost = {part: 0.0 for part in PARTS if part not in OWN}
    own_s = 0.0
    for (_, part), seconds in path.items():
        if part in lost:
            lost[part] += seconds
        else:
            own_s += seconds
    cpu_s = sum(each.cpu_s or 0.0 for stage in run.stages for each in stage.served)
    largest = max(lost, key=lambda part: lost[part])
    return _key(run) | {
        "makespan_s": run.makespan_s,
        "resource": highest.resource,
        "stage": highest.stage,
        "floor_s": highest.floor_s,
        "above": run.makespan_s / highest.floor_s - 1 if highest.floor_s else None,
        "is_full": limit is not None,
        "others_full": ", ".join(
            f"{floor.resource} {floor.stage}".strip()
            for floor in floors[1:]
            if find_limit([floor], run.makespan_s)
        ),
        "cores": run.cores or None,
        "cores_used": cpu_s / run.makespan_s,
        "own_s": own_s,
        "lost_s": run.makespan_s - own_s,
        "largest_part": largest if lost[largest] > 0 else "",
        "largest_part_s": lost[largest] if lost[largest] > 0 else None,
        "calibrated": all(stage.calibrated for stage in run.stages),
    }
