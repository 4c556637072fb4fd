"""Work on many runs in parts, by one process or several: the result is the same, and in order."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST_PART = 16
"""Runs in a part at most: as many traces' rows are held at once, by every process."""


def map_parts(
    work: Callable[[Sequence[Item]], Result], items: Sequence[Item], processes: int
) -> list[Result]:
    """Give what `work` makes of every part of the items, in their order.

    With several processes, `work` and all that it takes and gives is pickled.
    """
    parts = divide(items, processes)
    if processes == 1 or len(parts) == 1:
        return [work(part) for part in parts]
    # By spawn: the libraries of the analysis may have threads, which a fork would not bring along.
    # Ctrl-C reaches them all: these end without a word, the first process says what happened.
    with ProcessPoolExecutor(
        min(processes, len(parts)),
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),
    ) as pool:
        return list(pool.map(work, parts))


def divide(items: Sequence[Item], processes: int) -> list[Sequence[Item]]:
    """Cut the items into parts, at least one for every process where there are enough."""
    size = max(1, min(LARGEST_PART, -(-len(items) // processes)))
    return [items[start : start + size] for start in range(0, len(items), size)]
