"""What main still has when results are dropped and pools closed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stagebench.present.markdown import format_table
from stagebench.present.phrases import Explanation, in_mib, in_results, name_all, spread

if TYPE_CHECKING:
    from stagebench.present.pools import Pool

_NOTHING = 0.25
"""Less than this part of a result is said to be nothing of one."""


def explain_remains(pools: list[Pool]) -> Explanation | None:
    """Compare main's end with its base where nothing of the pool is left."""
    closed = [pool for pool in pools if pool.is_closed_at_end and not math.isnan(pool.result)]
    if not closed:
        return None
    threads = [pool for pool in closed if pool.kind == "thread"]
    processes = [pool for pool in closed if pool.kind != "thread"]
    found = (_threads(threads), _processes(processes))
    columns = ["treatment", "base", "peak", "end", "end − base", "in results"]
    return Explanation(
        title="What remains after the last task",
        sentences=[sentence for sentence in found if sentence],
        caption=(
            "Main's PSS in MiB, where results are dropped and the pool is closed before the end."
        ),
        table=format_table(columns, [_row(pool) for pool in closed], texts=1),
    )


def _remains(pool: Pool) -> float:
    return pool.growth("pss", "end")


def _row(pool: Pool) -> list[str]:
    sizes = [pool.main(phase, "pss") for phase in ("base", "peak", "end")]
    cells = [in_mib(size) for size in (*sizes, sizes[2] - sizes[0])]
    return [pool.treatment, *cells, in_results(_remains(pool))]


def _threads(pools: list[Pool]) -> str:
    if not pools:
        return ""
    left = [pool for pool in pools if _remains(pool) >= _NOTHING]
    if not left:
        return f"**Threads**: nothing of a result in {name_all(pools)}: that is not seen here."
    told = ", ".join(f"{in_results(_remains(pool))} (`{pool.treatment}`)" for pool in left)
    each = all(abs(_remains(pool) / pool.workers - 1) <= _NOTHING for pool in left)
    return (
        f"**Threads**: the size of results remains in main, {told} results"
        f"{', one a worker' if each else ''}. By then all were dropped and the threads had ended:"
        f" no worker that keeps its last result can hold them. {_hypothesis(pools)}"
    )


def _hypothesis(pools: list[Pool]) -> str:
    cause = "That the allocator keeps the pages of freed blocks is a hypothesis"
    if len({pool.others for pool in pools}) > 1:
        return f"{cause}; what other factors change about it stands in the table."
    return f"{cause}, which this experiment does not test."


def _processes(pools: list[Pool]) -> str:
    if not pools:
        return ""
    sizes = spread(_remains(pool) for pool in pools)
    if max(_remains(pool) for pool in pools) < _NOTHING:
        return f"**Processes**: nothing of a result remains in main ({sizes} results)."
    left = [pool for pool in pools if _remains(pool) >= _NOTHING]
    return f"**Processes**: {sizes} results remain in main, most of all in {name_all(left)}."
