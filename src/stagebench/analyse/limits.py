"""What limits each treatment, and where its time went, as tables.

`floors` has what the makespan of each run cannot fall below, by each resource; `paths` the parts of
each run's critical path; `limits` both for the run of median makespan of each treatment. `parts`
has where the time of a task in each stage went, from the runs that diagnose.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from stagebench.model.floors import find_floors, may_be_gil
from stagebench.model.measured import (
    find_pipelines,
    group_runs,
    identify_python,
    is_known,
    read_calibrated,
)
from stagebench.model.parts import Calibration, Spent, find_others_held, split_service
from stagebench.model.path import OWN, PARTS, add_segments, follow_path
from stagebench.model.resources import find_limit
from stagebench.model.sharing import SWITCH_INTERVAL_S
from stagebench.records import OWN_INTERPRETER
from stagebench.store import canonical_json
from stagebench.tables.io import list_rows, make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from stagebench.model.measured import Calibrated, MeasuredRun
    from stagebench.units import Seconds

Row = dict[str, Any]


def make_limit_tables(runs: Sequence[MeasuredRun]) -> dict[str, pd.DataFrame]:
    """Make the tables `floors`, `paths` and `limits`."""
    return {
        "floors": make_table("floors", (row for run in runs for row in _list_floors(run))),
        # A path is followed by the rules of the runner.
        "paths": make_table(
            "paths", (row for run in runs if not run.engine for row in _list_path(run))
        ),
        "limits": make_table("limits", map(_summarise, group_runs(runs).values())),
    }


def make_parts_table(tables: Mapping[str, pd.DataFrame], plan: Mapping[str, Any]) -> pd.DataFrame:
    """Make the table `parts`: the mean of each part of a task's time, from runs that diagnose.

    A part that a run cannot tell, such as the wait for the GIL without a calibration, is missing.
    """
    pipelines = find_pipelines(plan)
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in list_rows(tables["diagnosed"]):
        if row["status"] == "ok" and is_known(row["response_s"]):
            groups.setdefault((row["experiment"], row["treatment"], row["stage"]), []).append(row)
    treatments = {key[:2]: plan["treatments"]["/".join(key[:2])] for key in groups}
    calibrated = {
        key: read_calibrated(
            tables["alone"],
            plan,
            pipelines.get("/".join(key)),
            identify_python(treatment["specification"]),
        )
        for key, treatment in treatments.items()
    }
    others = _find_others(groups, plan, calibrated)
    rows = []
    for (experiment, treatment, name), own in groups.items():
        specification = plan["treatments"][f"{experiment}/{treatment}"]["specification"]
        known = _find_calibrated(specification, name, calibrated[experiment, treatment])
        switch_s = specification["process"].get("switch_interval_s", SWITCH_INTERVAL_S)
        split = [_split_task(row, known, others.get(id(row)), switch_s) for row in own]
        rows.append(
            {"experiment": experiment, "treatment": treatment, "stage": name, "tasks": len(own)}
            | {part: _mean([each.get(part) for each in split]) for part in split[0]}
        )
    return make_table("parts", rows)


def _find_calibrated(
    specification: Mapping[str, Any], name: str, calibrated: Mapping[tuple[str, str], Calibrated]
) -> Calibrated | None:
    stage = next(one for one in specification["stages"] if one["name"] == name)
    return calibrated.get((stage["handler"], canonical_json(stage["parameters"])))


def _find_others(
    groups: Mapping[tuple[str, str, str], Sequence[Row]],
    plan: Mapping[str, Any],
    calibrated: Mapping[tuple[str, str], Mapping[tuple[str, str], Calibrated]],
) -> dict[int, Seconds]:
    """Return for each row of a task in main for how long others in main held the GIL meanwhile.

    A row of a worker with an interpreter of its own has 0. It is unknown, and left out, if a
    handler in main is not calibrated.
    """
    found: dict[int, Seconds] = {}
    for key in calibrated:
        specification = plan["treatments"]["/".join(key)]["specification"]
        shared: list[Row] = []
        spans: list[tuple[Seconds, Seconds, Seconds]] = []
        is_complete = True
        for stage in specification["stages"]:
            rows = groups.get((*key, stage["name"]), [])
            if stage["executor"] in OWN_INTERPRETER:
                found |= {id(row): 0.0 for row in rows}
                continue
            known = _find_calibrated(specification, stage["name"], calibrated[key])
            is_complete &= known is not None and all(is_known(row["cpu_s"]) for row in rows)
            if known is not None and is_complete:
                share = min(1.0, known.held_s / known.cpu_s) if known.cpu_s else 0.0
                shared += rows
                spans += [
                    (row["started_s"], row["finished_s"], row["cpu_s"] * share) for row in rows
                ]
        if is_complete:
            held = find_others_held(spans)
            found |= {id(row): held_s for row, held_s in zip(shared, held, strict=True)}
    return found


def _split_task(
    row: Mapping[str, Any], known: Calibrated | None, others_s: Seconds | None, switch_s: Seconds
) -> Row:
    parts = {
        f"{name}_s": row[f"{name}_s"] if is_known(row[f"{name}_s"]) else None
        for name in ("blocked", "queue", "start", "send", "return", "response")
    }
    names = ("service_s", "cpu_s", "core_wait_s", "voluntary_switches")
    inside = dict.fromkeys(("held_s", "computing_s", "gil_wait_s", "core_wait_s", "asleep_s"))
    if known is None or others_s is None or not all(is_known(row[name]) for name in names):
        return parts | inside
    spent = Spent(*(row[name] for name in names))
    share = min(1.0, known.held_s / known.cpu_s) if known.cpu_s else 0.0
    alone = Calibration(known.away_s, known.wakes, share)
    found = split_service(spent, alone, others_held_s=others_s, switch_s=switch_s)
    return parts | {
        "held_s": found.held_s,
        "computing_s": found.computing_s,
        "gil_wait_s": found.gil_wait_s,
        "core_wait_s": found.core_wait_s,
        "asleep_s": found.blocked_s,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


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
    is_followed = not run.engine  # a path is followed by the rules of the runner
    path = add_segments(follow_path(run)) if is_followed else {}
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
        "own_s": own_s if is_followed else None,
        "lost_s": run.makespan_s - own_s if is_followed else None,
        "largest_part": largest if lost[largest] > 0 else "",
        "largest_part_s": lost[largest] if lost[largest] > 0 else None,
        "may_be_gil": may_be_gil(run),
        "calibrated": all(stage.calibrated for stage in run.stages),
    }
