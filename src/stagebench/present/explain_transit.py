"""Why main peaks above base and results: copies of a result on its way, if the data say so."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stagebench.present.markdown import format_table
from stagebench.present.phrases import (
    Explanation,
    in_mib,
    in_results,
    name_all,
    some_of,
    spread,
)
from stagebench.present.pools import group_by_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.present.pools import Pool

MARGIN = 0.25
"""Two multiples of a result that differ by less are said to be alike."""

_COLUMNS = (
    "treatment",
    "held at the end",
    "PSS, sweeps",
    "RSS, same sweep",
    "RSS, high water",
    "above held",
)


def copies_in_main(python: tuple[int, int] | None) -> int | None:
    """Count the blocks of a result's size in which CPython holds a bytearray that it unpickles.

    The pickled stream and the bytearray; before protocol 5, the default since 3.14, also the bytes
    from which it is made. None where the interpreter is not known to be a CPython.
    """
    if python is None:
        return None
    return 3 if python < (3, 14) else 2


def explain_transit(pools: list[Pool], python: tuple[int, int] | None) -> Explanation | None:
    """Compare main's growth, in results, by sweeps and by its high-water mark."""
    sized = [pool for pool in pools if not math.isnan(pool.result)]
    processes = [pool for pool in sized if pool.kind != "thread"]
    if not processes:
        return None
    sizes = sorted({pool.result for pool in sized})
    threads = [pool for pool in sized if pool.kind == "thread"]
    unit = (
        f"One result weighs {' or '.join(in_mib(size) for size in sizes)} MiB. All numbers here"
        " are main's growth over its base in units of it."
    )
    found = (
        unit,
        _threads(threads),
        *_processes(processes, copies_in_main(python)),
        _fewer(processes),
    )
    return Explanation(
        title="Why main peaks above its base and the results that it holds",
        sentences=[sentence for sentence in found if sentence],
        caption=(
            "Main over its base, in results: the largest PSS of a sweep, RSS in that sweep, "
            "and the largest RSS that the kernel saw."
        ),
        table=format_table(_COLUMNS, [_row(pool) for pool in sized], texts=1),
    )


def _row(pool: Pool) -> list[str]:
    growth = (pool.growth("pss", "peak"), pool.growth("rss", "peak"), pool.high_water_growth)
    cells = [in_results(value) for value in (*growth, _above(pool))]
    return [pool.treatment, str(pool.kept), *cells]


def _above(pool: Pool) -> float:
    """Give the rise at the high-water mark without the results that are held at the end."""
    return pool.high_water_growth - pool.kept


def _own(pool: Pool) -> float:
    """Give what the pool itself takes in main, in results: RSS beside idle workers over base."""
    own = pool.growth("rss", "trough")
    return max(own, 0) if pool.workers_in("trough") > 0 else 0


def _threads(pools: list[Pool]) -> str:
    dropped = [pool for pool in pools if not pool.retain]
    if not dropped:
        return ""
    told = ", ".join(
        f"{in_results(pool.growth('pss', 'peak'))} (`{pool.treatment}`)" for pool in dropped
    )
    if all(abs(pool.growth("pss", "peak") / pool.workers - 1) <= MARGIN for pool in dropped):
        return f"**Threads** that drop their results: one result a worker, {told}."
    return f"**Threads** that drop their results: {told}, which is not one result a worker."


def _processes(pools: list[Pool], copies: int | None) -> list[str]:
    known = [pool for pool in pools if not math.isnan(pool.high_water_growth)]
    if not known:
        return ["**Processes**: main's high-water mark is not known to the census."]
    kept = [pool for pool in known if pool.retain]
    dropped = [pool for pool in known if not pool.retain]
    ranges = [
        f"by {spread(_above(pool) for pool in own)} results where they are {how}"
        for own, how in ((dropped, "dropped"), (kept, "retained, these not counted"))
        if own
    ]
    high = f"**Processes**: main's high-water mark rises {', and '.join(ranges)}."
    return [high, *_copies(known, copies)]


def _copies(pools: list[Pool], copies: int | None) -> list[str]:
    if copies is None:
        return ["How many copies of a result its interpreter makes is not known."]
    blocks = {
        3: "the pickled stream, the bytes unpickled from it, and the bytearray made of those",
        2: "the pickled stream and the bytearray unpickled from it",
    }[copies]
    arrival = (
        f"A result arrives pickled: while it does, CPython holds {copies} blocks of its size,"
        f" {blocks}; where results are retained, one of them is held already."
    )
    rest = {pool.treatment: _above(pool) - (copies - pool.retain) - _own(pool) for pool in pools}
    lacking = [pool for pool in pools if rest[pool.treatment] < -MARGIN]
    if lacking:
        return [arrival, f"In {name_all(lacking)} main rose by less: there that is not the cause."]
    enough = f"{arrival} The rise has room for that in {some_of(pools, pools)}."
    if max(rest.values()) <= MARGIN:
        return [f"{enough} It leaves nothing to explain."]
    more = (
        f"Without the pool's own modules and threads ({spread(_own(pool) for pool in pools)}),"
        f" {spread(rest.values())} results more are not explained by copies. That the allocator,"
        " which grows the stream's block step by step among freed ones, takes them is a"
        " hypothesis that this experiment does not test."
    )
    return [enough, more]


def _fewer(pools: list[Pool]) -> str:
    """Tell whether main peaks lower with more workers, and whether it takes less or shows less."""
    pairs = [(group[0], group[-1]) for group in group_by_workers(pools)]
    if not pairs:
        return ""
    seen = [pair for pair in pairs if _drop(pair, _sampled) > MARGIN]
    if not seen:
        return "That main peaks lower with more workers is not seen here."
    few, many = max(seen, key=lambda pair: _drop(pair, _sampled))
    where = ", ".join(f"`{a.treatment}` → `{b.treatment}`" for a, b in seen)
    lower = (
        f"**More workers**: by the sweeps main's PSS peaks lower with more of them ({where}; at"
        f" most {in_results(_sampled(few))} → {in_results(_sampled(many))})."
    )
    marks = _drop((few, many), lambda pool: pool.high_water_growth)
    if math.isnan(marks):
        return f"{lower} Whether main took less memory is not known without its high-water mark."
    high = f"{in_results(few.high_water_growth)} → {in_results(many.high_water_growth)}"
    if marks > MARGIN:
        return f"{lower} So does its high-water mark ({high}): main did take less memory."
    return f"{lower} Its high-water mark does not ({high}): main takes as much. {_unseen(many)}"


def _unseen(pool: Pool) -> str:
    shared = pool.growth("rss", "peak") - pool.growth("pss", "peak")
    between = pool.high_water_growth - pool.growth("rss", "peak")
    return (
        f"Of the {in_results(pool.high_water_growth)} results of `{pool.treatment}`,"
        f" {in_results(max(shared, 0))} were counted with its workers, being shared, and"
        f" {in_results(max(between, 0))} lay between two sweeps: a result is on its way for"
        " milliseconds."
    )


def _sampled(pool: Pool) -> float:
    return pool.growth("pss", "peak")


def _drop(pair: tuple[Pool, Pool], value: Callable[[Pool], float]) -> float:
    return value(pair[0]) - value(pair[1])
