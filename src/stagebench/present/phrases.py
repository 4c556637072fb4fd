"""Pieces of sentences: sizes, ranges, lists of treatments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stagebench.present.markdown import MISSING, count_noun, format_number
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagebench.present.pools import Pool


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


def name_all(pools: Iterable[Pool]) -> str:
    """Give "`p1-fork`, `p2-fork`"."""
    return ", ".join(f"`{pool.treatment}`" for pool in pools)


def some_of(some: Sequence[Pool], whole: Sequence[Pool]) -> str:
    """Give "all 3 treatments", "2 of 3 treatments", or the name of the only one."""
    if len(some) == 1:
        return name_all(some)
    treatments = count_noun(len(whole), "treatment")
    return f"all {treatments}" if len(some) == len(whole) else f"{len(some)} of {treatments}"
