"""A look at a study that stops when it is precise enough: which blocks are wanted next.

A treatment gets no more blocks once the intervals of its ratios to the baseline are as narrow as
wanted. Whether a ratio is above or below 1 does not matter here: a rule that stopped as soon as
something was found would find too much. For the same reason the blocks of a few nodes are never
precise enough: how much two or three nodes differ may look small by chance. The others get blocks
of their own, in each of which their baseline runs beside them. Every look is followed by a tenth
more blocks, at least one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.analyse.comparisons import compare_treatments
from stagebench.analyse.conditions import count_nodes
from stagebench.analyse.intervals import LEAST_BLOCKS
from stagebench.analyse.run_file import check_plan
from stagebench.analyse.study import NOTHING_ADDED, compare_runs, summarise_part
from stagebench.analyse.traces import list_requests
from stagebench.blocks import (
    AT_MOST,
    NOTHING,
    PRECISE,
    TIME_BUDGET,
    Blocks,
    narrow_plan,
    read_blocks,
    write_blocks,
)
from stagebench.store import read_json
from stagebench.tables.io import list_rows, make_table
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from stagebench.analyse.study import AddedTables
    from stagebench.analyse.traces import Head
    from stagebench.units import Seconds

Row = dict[str, Any]

SHARE_OF_BLOCKS = 10
"""So many blocks are followed by one more before the next look."""


def count_next(blocks: int) -> int:
    """Return how many blocks are made before the next look."""
    return max(1, blocks // SHARE_OF_BLOCKS)


LEAST_NODES = 8
"""With fewer nodes, but more than one, nothing is precise enough."""


class Elapsed(NamedTuple):
    """The time that the runs took so far, and that of one more run of each treatment."""

    total_s: Seconds
    run_s: Mapping[str, Seconds]


def look_at_study(folder: Path, added: AddedTables = NOTHING_ADDED, code: str = "") -> Blocks:
    """Look at the runs that a study's folder has, decide which blocks are wanted, and note it.

    All runs that were wanted so far have to be there. Raises StoreError with one that is not. Those
    of an earlier look are not read again, nor by the analysis, if `added` and `code` are its own.
    """
    path = folder / "plan.json"
    plan = check_plan(path, read_json(path))
    before = read_blocks(folder, plan)
    narrow = narrow_plan(plan, folder)
    part = summarise_part(list_requests(narrow), folder / "raw", added, code)
    runs = make_table("runs", compare_runs(part.heads, part.runs))
    tables = {"runs": runs, "stages": make_table("stages", [])}
    compared = compare_treatments(tables, narrow)["comparisons"]
    compared = leave_open(compared, count_nodes(runs["node"]))
    after = decide_blocks(plan, before, compared, measure_time(part.heads))
    write_blocks(folder, after)
    return after


def leave_open(compared: pd.DataFrame, nodes: int) -> pd.DataFrame:
    """Return comparisons of which those that too few nodes decide count as endlessly wide."""
    if nodes == 1:
        return compared
    widths = compared["half_width"]
    is_open = (compared["n"] > 0) & compared["low"].isna()
    if nodes < LEAST_NODES:
        is_open |= widths.notna()
    return compared.assign(half_width=widths.mask(is_open, math.inf))


def measure_time(heads: Sequence[Head]) -> Elapsed:
    """Add up the time of runs; waits for other studies do not count."""
    took: dict[str, list[Seconds]] = {}
    for head in heads:
        key = f"{head.planned['experiment']}/{head.planned['treatment']}"
        run = head.run
        whole = to_seconds(run["supervisor_ended_ns"] - run["supervisor_started_ns"])
        took.setdefault(key, []).append(whole - (run["lock_wait_s"] or 0.0))
    means = {key: sum(times) / len(times) for key, times in took.items()}
    return Elapsed(sum(map(sum, took.values())), means)


def decide_blocks(
    plan: Mapping[str, Any], before: Blocks, compared: pd.DataFrame, spent: Elapsed
) -> Blocks:
    """Return the blocks that are wanted next, and why treatments get no more.

    `compared` has the intervals of all blocks so far. With no new block, the study is done.
    """
    half_widths = plan["until"]["half_widths"]
    rows: dict[str, list[Row]] = {}
    for row in list_rows(compared[compared["quantity"].isin(list(half_widths))]):
        rows.setdefault(f"{row['experiment']}/{row['treatment']}", []).append(row)
    # What was precise enough stays so, though the intervals of its family move a little.
    kept = before.stopped if before.until == half_widths else {}
    stopped = {key: PRECISE for key, why in kept.items() if why == PRECISE}
    for key, treatment in plan["treatments"].items():
        if not treatment["baseline"] and key not in stopped:
            reason = judge_precision(rows.get(key, ()))
            stopped |= {key: reason} if reason else {}
    undecided = {
        one["name"]: own
        for one in plan["experiments"]
        if (own := [key for key in _list_others(one) if key not in stopped])
    }
    ends = {
        one["name"]: max(max(before.wanted[key]) for key in _list_all(one))
        for one in plan["experiments"]
    }
    for name in [name for name in undecided if ends[name] >= plan["replicates"]]:
        stopped |= dict.fromkeys(undecided.pop(name), AT_MOST)
    for steps in (
        {name: count_next(ends[name]) for name in undecided},
        dict.fromkeys(undecided, 1),
    ):
        added = _add_blocks(plan, undecided, ends, steps)
        time_s = sum(spent.run_s[key] * len(blocks) for key, blocks in added.items())
        if _is_affordable(plan, spent.total_s + time_s):
            break
    else:
        stopped |= {key: TIME_BUDGET for own in undecided.values() for key in own}
        added = {}
    wanted = {key: (*own, *added.get(key, ())) for key, own in before.wanted.items()}
    return Blocks(wanted, stopped, dict(half_widths))


def judge_precision(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return why a treatment needs no more blocks, by its rows of `comparisons`; "" if it does.

    A quantity without a ratio, or of which no upper end is known, gets no narrower.
    """
    known = [
        row for row in rows if 0 < row["n"] < LEAST_BLOCKS or not math.isnan(row["half_width"])
    ]
    if not known:
        return NOTHING
    # A half-width that is not known is not narrow: NaN.
    is_narrow = all(row["half_width"] <= row["half_width_wanted"] for row in known)
    return PRECISE if is_narrow else ""


def _list_all(experiment: Mapping[str, Any]) -> list[str]:
    return [f"{experiment['name']}/{treatment}" for treatment in experiment["treatments"]]


def _list_others(experiment: Mapping[str, Any]) -> list[str]:
    baseline = f"{experiment['name']}/{experiment['baseline']}"
    return [key for key in _list_all(experiment) if key != baseline]


def _add_blocks(
    plan: Mapping[str, Any],
    undecided: Mapping[str, Sequence[str]],
    ends: Mapping[str, int],
    steps: Mapping[str, int],
) -> dict[str, range]:
    """Return the next blocks of undecided treatments and their baselines: new ones for both."""
    added: dict[str, range] = {}
    for one in plan["experiments"]:
        if own := undecided.get(one["name"]):
            end = ends[one["name"]]
            blocks = range(end + 1, min(end + steps[one["name"]], plan["replicates"]) + 1)
            added |= dict.fromkeys([*own, f"{one['name']}/{one['baseline']}"], blocks)
    return added


def _is_affordable(plan: Mapping[str, Any], time_s: Seconds) -> bool:
    budget_s = plan["until"]["time_budget_s"]
    return budget_s is None or time_s <= budget_s
