"""What a start method costs: workers and helpers of a pool, and what they are made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stagebench.present.markdown import format_percent, format_table
from stagebench.present.phrases import Explanation, in_mib, in_results

if TYPE_CHECKING:
    from stagebench.present.pools import Pool

HELPERS = {"resource_tracker": "resource tracker", "forkserver": "fork server", "other": "other"}
"""Roles of children that serve no task → their names in the report."""

_ALIKE = 0.25
"""Sizes whose ratio is off 1 by less are said to be alike."""

_READY = {"PSS": "pss", "anonymous": "anon", "files": "file", "USS": "uss"}
_NAMES = {"fork": "forked", "forkserver": "fork server's", "spawn": "spawned"}


def explain_cost(pools: list[Pool]) -> Explanation | None:
    """Split the children's PSS by role, and a worker's into what it has and what it hands over."""
    processes = [pool for pool in pools if not math.isnan(pool.role("worker", "created"))]
    if not processes:
        return None
    chosen = [pool for kind in _NAMES if (pool := _plainest(processes, kind)) is not None]
    workers = [_worker(pool) for pool in chosen]
    found = (*workers, _difference(chosen), _helpers(processes), _preload(processes))
    helpers = [
        role for role in HELPERS if any(pool.role(role, "created") > 0 for pool in processes)
    ]
    columns = [
        "treatment",
        *(f"ready: {name}" if name == "PSS" else name for name in _READY),
        "largest serving",
        *(HELPERS[role] for role in helpers),
        "children at peak",
    ]
    return Explanation(
        title="What a start method costs",
        sentences=[sentence for sentence in found if sentence],
        caption=(
            "PSS in MiB of one worker that is ready and its parts, of the largest worker and "
            "helper, and of all children at the tree's peak."
        ),
        table=format_table(columns, [_row(pool, helpers) for pool in processes], texts=1),
    )


def _row(pool: Pool, helpers: list[str]) -> list[str]:
    ready = [in_mib(_ready(pool, part)) for part in _READY.values()]
    largest = [in_mib(pool.role(role, "largest_pss_bytes")) for role in ("worker", *helpers)]
    return [pool.treatment, *ready, *largest, in_mib(_children_at_peak(pool))]


def _ready(pool: Pool, part: str) -> float:
    return pool.role("worker", f"ready_{part}_bytes")


def _children_at_peak(pool: Pool) -> float:
    sizes = [pool.role(role, "at_peak_pss_bytes") for role in ("worker", *HELPERS)]
    known = [size for size in sizes if not math.isnan(size)]
    return sum(known) if known else math.nan


def _plainest(pools: list[Pool], kind: str) -> Pool | None:
    """Give the pool of a kind with the fewest workers, one that drops its results if there is."""
    own = [pool for pool in pools if pool.kind == kind and not math.isnan(_ready(pool, "pss"))]
    return min(own, key=lambda pool: (pool.workers, pool.retain), default=None)


def _worker(pool: Pool) -> str:
    sizes = {part: in_mib(_ready(pool, part)) for part in _READY.values()}
    parts = (
        f"A **{_NAMES[pool.kind]} worker** that is ready (`{pool.treatment}`) has"
        f" {sizes['pss']} MiB of PSS: {sizes['anon']} anonymous, {sizes['file']} of files;"
        f" {sizes['uss']} MiB are its own alone (USS)."
    )
    found = (parts, _imports(pool), _handed_over(pool))
    return " ".join(sentence for sentence in found if sentence)


def _imports(pool: Pool) -> str:
    """Compare the memory that a worker has written itself with what main had before it."""
    own, base = _ready(pool, "uss"), pool.main("base", "anon")
    share = own / base
    told = f"{in_mib(own)} against the {in_mib(base)} MiB of anonymous memory of main's base"
    if abs(share - 1) <= _ALIKE:
        return f"That is as much as main had written itself ({told}): it has made it all again."
    if share < 1:
        text = f"That is {format_percent(share)} of what main had written itself ({told})"
        return f"{text}: the rest it shares." if pool.kind == "fork" else f"{text}."
    return f"That is more than main had written itself ({told})."


def _handed_over(pool: Pool) -> str:
    rise = pool.role("worker", "largest_pss_bytes") - _ready(pool, "pss")
    count = rise / pool.result
    if math.isnan(count) or count < _ALIKE:
        return ""
    return (
        f"While it served it rose by {in_mib(rise)} MiB more, {in_results(count)} results: they"
        " are its work and not the price of its start."
    )


def _difference(chosen: list[Pool]) -> str:
    by_kind = {pool.kind: pool for pool in chosen}
    fork = by_kind.pop("fork", None)
    told = [
        f"{in_mib(_ready(pool, 'uss') - _ready(fork, 'uss'))} MiB (`{pool.treatment}` over"
        f" `{fork.treatment}`)"
        for pool in by_kind.values()
        if fork is not None and pool.workers == fork.workers
    ]
    if not told:
        return ""
    return f"In pages of its own, a worker that is not forked costs {', '.join(told)} more."


def _helpers(pools: list[Pool]) -> str:
    found = []
    for role, name in HELPERS.items():
        own = [pool for pool in pools if pool.role(role, "created") > 0]
        if own:
            found.append(_helper(role, name, own))
    if found:
        return " ".join(found)
    return "No resource tracker or other helper was started beside the workers."


def _helper(role: str, name: str, pools: list[Pool]) -> str:
    kinds = " and ".join(dict.fromkeys(pool.kind for pool in pools))
    once = ", one however many they are" if _is_single(role, pools) else ""
    where = f"A **{name}** process stands beside the workers of {kinds}{once}"
    one = max(pools, key=lambda pool: _share(pool, role))
    if math.isnan(_share(one, role)):
        return f"{where}; no sweep met it at the tree's peak."
    return (
        f"{where}: {in_mib(one.role(role, 'largest_pss_bytes'))} MiB of PSS, at most"
        f" {format_percent(_share(one, role))} of the children's at the tree's peak"
        f" (`{one.treatment}`)."
    )


def _is_single(role: str, pools: list[Pool]) -> bool:
    several = len({pool.workers for pool in pools}) > 1
    return several and all(pool.role(role, "created") == 1 for pool in pools)


def _share(pool: Pool, role: str) -> float:
    whole = _children_at_peak(pool)
    return pool.role(role, "at_peak_pss_bytes") / whole if whole else math.nan


def _preload(pools: list[Pool]) -> str:
    modules = sorted({pool.preload for pool in pools if pool.preload})
    if not modules:
        return ""
    return (
        f"Main had imported {' or '.join(f'`{names}`' for names in modules)} before its workers"
        " started, and every worker imports the same when it starts, as a spawned one imports the"
        " script of its program again; a forked one finds them there."
    )
