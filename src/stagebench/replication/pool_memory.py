"""Treatments whose workflow is one stage: there, one pool decides about main's memory.

Pieces of sentences: sizes, ranges, lists of treatments.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.markdown import MISSING, count_noun, format_number
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stagebench.present.experiment import Experiment


KINDS = ("thread", "fork", "forkserver", "spawn")
"""The kinds of pool: threads, or processes by start method."""

_NAN = float("nan")
_KEY = ["experiment", "treatment", "replicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMemory:
    """One treatment: its only stage's pool, and medians over its ok runs, in bytes.

    `phases` and `roles` map a phase or role to its columns; `others` tells the levels of factors
    that are none of the pool's own. What is not known is NaN.
    """

    treatment: str
    kind: str
    workers: int
    retain: bool
    tasks: int
    result: float
    preload: str
    others: str
    phases: Mapping[str, Mapping[str, float]] = field(repr=False)
    roles: Mapping[str, Mapping[str, float]] = field(repr=False)

    @property
    def kept(self) -> int:
        """How many results are held at the end of the run."""
        return self.tasks if self.retain else 0

    def main(self, phase: str, part: str) -> float:
        """Main's `pss`, `anon`, `uss` or `rss` in a phase."""
        return self.phases.get(phase, {}).get(f"main_{part}_bytes", _NAN)

    def workers_in(self, phase: str) -> float:
        """How many worker processes lived in a phase."""
        return self.phases.get(phase, {}).get("workers", _NAN)

    def role(self, role: str, column: str) -> float:
        """Give a column of the table of roles."""
        return self.roles.get(role, {}).get(column, _NAN)

    def growth(self, part: str, phase: str) -> float:
        """Main's rise over its base, in results."""
        return (self.main(phase, part) - self.main("base", part)) / self.result

    @property
    def high_water_growth(self) -> float:
        """The rise of main's RSS over its base at its high-water mark, in results."""
        mark = self.role("main", "high_water_bytes")
        return (mark - self.main("base", "rss")) / self.result

    @property
    def is_closed_at_end(self) -> bool:
        """Whether results were dropped, and the pool closed, before the last sweep of every run."""
        closed = self.phases.get("end", {}).get("pools_closed", 0) == 1
        return closed and not self.retain and self.workers_in("end") == 0


def list_pools(experiment: Experiment) -> list[PoolMemory]:
    """Give the treatments of one stage that have an ok run whose base is known.

    Runs that sampled themselves the published way are left out: its threads are part of main. So
    are coroutines: nothing is explained of them.
    """
    tables = experiment.tables
    runs = tables["runs"][tables["runs"]["status"] == "ok"]
    runs = runs[runs["emulated_interval_s"].isna()]
    stages = tables["stages"].merge(runs[[*_KEY, "factors", "preload", "tasks"]], on=_KEY)
    phases, roles = (tables[name].merge(runs[_KEY], on=_KEY) for name in ("phases", "roles"))
    found = []
    for treatment, own in stages.groupby("treatment", sort=False):
        medians = _medians(phases[phases["treatment"] == treatment], "phase")
        if len(set(own["stage"])) == 1 and "base" in medians:
            by_role = _medians(roles[roles["treatment"] == treatment], "role")
            found.append(_pool(str(treatment), own.iloc[0], medians, by_role))
    return [pool for pool in found if pool.kind in KINDS]


def group_by_workers(pools: list[PoolMemory]) -> list[list[PoolMemory]]:
    """Give groups that differ in the number of workers alone, fewest first; none of one pool."""

    def rest(pool: PoolMemory) -> tuple[str, bool, str]:
        return pool.kind, pool.retain, pool.others

    ordered = sorted(pools, key=lambda pool: (*rest(pool), pool.workers))
    groups = [list(group) for _, group in groupby(ordered, rest)]
    return [group for group in groups if len({pool.workers for pool in group}) == len(group) > 1]


def _pool(
    treatment: str,
    stage: pd.Series[Any],
    phases: dict[str, dict[str, float]],
    roles: dict[str, dict[str, float]],
) -> PoolMemory:
    result = stage["result_bytes"]
    start_method = str(stage["start_method"])
    workers, retain = int(stage["workers"]), bool(stage["retain"])
    own = [_level(value) for value in (workers, retain, str(stage["executor"]), start_method)]
    factors = json.loads(stage["factors"]).items()
    return PoolMemory(
        treatment=treatment,
        kind=start_method or str(stage["executor"]),
        workers=workers,
        retain=retain,
        tasks=int(stage["tasks"]),
        result=_NAN if pd.isna(result) or not result else float(result),
        preload=str(stage["preload"]),
        others=str(sorted((name, _level(v)) for name, v in factors if _level(v) not in own)),
        phases=phases,
        roles=roles,
    )


def _level(value: Any) -> str:
    # As JSON, 1 and true are two levels.
    return json.dumps(value, sort_keys=True)


def _medians(rows: pd.DataFrame, name: str) -> dict[str, dict[str, float]]:
    """Give the median of every column for each value of the column `name`."""
    columns = [column for column in rows.columns if column not in (*_KEY, name)]
    return {
        str(key): {column: _median(own[column]) for column in columns}
        for key, own in rows.groupby(name, sort=False)
    }


def _median(values: pd.Series[Any]) -> float:
    known = values.dropna().astype("float64")
    return float(known.median()) if len(known) else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One question of the report: what the data say of it, and the numbers."""

    title: str
    sentences: Sequence[str]
    caption: str
    table: str


def in_mib(size: float) -> str:
    """Give "13.2", in MiB."""
    return format_number(size, scale=1 / MIB)


def in_results(count: float) -> str:
    """Give a multiple of a result's size with one place; a missing one is a dash."""
    # A zero has no sign: -0.04 is 0.0.
    return MISSING if math.isnan(count) else f"{round(count, 1) + 0.0:.1f}"


def steps(sizes: Iterable[float]) -> str:
    """Give "13.2 → 9.0 → 14.6", in MiB."""
    return " → ".join(in_mib(size) for size in sizes)


def spread(counts: Iterable[float]) -> str:
    """Give the smallest and largest of several multiples: "3.8–4.1"."""
    known = sorted(count for count in counts if not math.isnan(count))
    if not known:
        return MISSING
    low, high = in_results(known[0]), in_results(known[-1])
    return low if low == high else f"{low} to {high}"


def name_all(pools: Iterable[PoolMemory]) -> str:
    """Give "`p1-fork`, `p2-fork`"."""
    return ", ".join(f"`{pool.treatment}`" for pool in pools)


def some_of(some: Sequence[PoolMemory], whole: Sequence[PoolMemory]) -> str:
    """Give "all 3 treatments", "2 of 3 treatments", or the name of the only one."""
    if len(some) == 1:
        return name_all(some)
    treatments = count_noun(len(whole), "treatment")
    return f"all {treatments}" if len(some) == len(whole) else f"{len(some)} of {treatments}"
