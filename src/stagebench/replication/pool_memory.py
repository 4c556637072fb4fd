"""Single-stage treatments, where one pool determines main's memory, and words for them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.present.markdown import MISSING, count_noun, format_number
from stagebench.tables.io import list_rows
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stagebench.present.experiment import Experiment


KINDS = ("thread", "fork", "forkserver", "spawn")
"""The kinds of pool: threads, or processes by start method."""

_NAN = float("nan")
_KEY = ["experiment", "treatment", "replicate"]
_STAGE = ["stage", "executor", "start_method", "workers", "retain", "result_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMemory:
    """The pool of a treatment's only stage, with medians over its ok runs, in bytes.

    `phases` and `roles` map a phase or role to its columns; `others` names the levels of factors
    that are not settings of the pool. Unknown values are NaN.
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
        """How many results main holds at the end of the run."""
        return self.tasks if self.retain else 0

    def main(self, phase: str, part: str) -> float:
        """Main's `pss`, `anon`, `uss` or `rss` in a phase."""
        return self.phases.get(phase, {}).get(f"main_{part}_bytes", _NAN)

    def workers_in(self, phase: str) -> float:
        """How many worker processes were alive in a phase."""
        return self.phases.get(phase, {}).get("workers", _NAN)

    def role(self, role: str, column: str) -> float:
        """Return a column of the table of roles."""
        return self.roles.get(role, {}).get(column, _NAN)

    def growth(self, part: str, phase: str) -> float:
        """Main's growth over its base, in units of one result."""
        return (self.main(phase, part) - self.main("base", part)) / self.result

    @property
    def high_water_growth(self) -> float:
        """The growth of main's RSS from its base to its high-water mark, in units of one result."""
        mark = self.role("main", "high_water_bytes")
        return (mark - self.main("base", "rss")) / self.result

    @property
    def is_closed_at_end(self) -> bool:
        """Whether results were dropped, and the pool closed, before the last sweep of every run."""
        closed = self.phases.get("end", {}).get("pools_closed", 0) == 1
        return closed and not self.retain and self.workers_in("end") == 0


def list_pools(experiment: Experiment) -> list[PoolMemory]:
    """Return the single-stage treatments that have an ok run whose base is known.

    Runs that sampled themselves the published way are left out, because its threads are part of
    main; so are coroutines, for which there is no explanation.
    """
    tables = experiment.tables
    # Most of the many columns of runs and stages are not needed, and each costs time.
    runs = tables["runs"][[*_KEY, "status", "emulated_interval_s", "factors", "preload", "tasks"]]
    runs = runs[(runs["status"] == "ok") & runs["emulated_interval_s"].isna()]
    stages = tables["stages"][[*_KEY, *_STAGE]].merge(runs, on=_KEY)
    names = stages.groupby("treatment")["stage"].nunique()
    stages = stages.drop_duplicates("treatment")
    stages = stages[stages["treatment"].isin(names.index[names == 1])]
    if stages.empty:
        return []
    phases, roles = (
        _medians(tables[name].merge(runs[_KEY], on=_KEY), kind)
        for name, kind in (("phases", "phase"), ("roles", "role"))
    )
    found = [
        _pool(one["treatment"], one, phases[one["treatment"]], roles.get(one["treatment"], {}))
        for one in list_rows(stages)
        if "base" in phases.get(one["treatment"], {})
    ]
    return [pool for pool in found if pool.kind in KINDS]


def group_by_workers(pools: list[PoolMemory]) -> list[list[PoolMemory]]:
    """Return groups of several pools that differ only in the number of workers, fewest first."""

    def rest(pool: PoolMemory) -> tuple[str, bool, str]:
        return pool.kind, pool.retain, pool.others

    ordered = sorted(pools, key=lambda pool: (*rest(pool), pool.workers))
    groups = [list(group) for _, group in groupby(ordered, rest)]
    return [group for group in groups if len({pool.workers for pool in group}) == len(group) > 1]


def _pool(
    treatment: str,
    stage: Mapping[str, Any],
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
    # Compared as JSON, because 1 == True.
    return json.dumps(value, sort_keys=True)


def _medians(rows: pd.DataFrame, name: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return each treatment's median of every column for each value of the column `name`."""
    columns = [column for column in rows.columns if column not in (*_KEY, name)]
    numbers = rows[columns].astype("float64")
    medians = numbers.groupby([rows["treatment"], rows[name]], sort=False).median()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (treatment, key), *own in medians.itertuples(name=None):
        found.setdefault(treatment, {})[key] = dict(zip(columns, own, strict=True))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One question of the report: the answer of the data, and the numbers."""

    title: str
    sentences: Sequence[str]
    caption: str
    table: str


def in_mib(size: float) -> str:
    """Return "13.2", in MiB."""
    return format_number(size, scale=1 / MIB)


def in_results(count: float) -> str:
    """Return a multiple of a result's size with one decimal; a dash if it is missing."""
    # Avoids "-0.0" for -0.04.
    return MISSING if math.isnan(count) else f"{round(count, 1) + 0.0:.1f}"


def steps(sizes: Iterable[float]) -> str:
    """Return "13.2 → 9.0 → 14.6", in MiB."""
    return " → ".join(in_mib(size) for size in sizes)


def spread(counts: Iterable[float]) -> str:
    """Return the smallest and largest of several multiples: "3.8 to 4.1"."""
    known = sorted(count for count in counts if not math.isnan(count))
    if not known:
        return MISSING
    low, high = in_results(known[0]), in_results(known[-1])
    return low if low == high else f"{low} to {high}"


def name_all(pools: Iterable[PoolMemory]) -> str:
    """Return "`p1-fork`, `p2-fork`"."""
    return ", ".join(f"`{pool.treatment}`" for pool in pools)


def some_of(some: Sequence[PoolMemory], whole: Sequence[PoolMemory]) -> str:
    """Return "all 3 treatments", "2 of 3 treatments", or the name of the only one."""
    if len(some) == 1:
        return name_all(some)
    treatments = count_noun(len(whole), "treatment")
    return f"all {treatments}" if len(some) == len(whole) else f"{len(some)} of {treatments}"
