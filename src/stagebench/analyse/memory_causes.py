"""What tells why a run's memory is as it is: main at rest and at its trough, jumps, spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.analyse.memory import split_sweeps, total_sweeps
from stagebench.analyse.phases import find_trough
from stagebench.units import to_nanoseconds

if TYPE_CHECKING:
    from stagebench.analyse.memory import SweepTotal
    from stagebench.analyse.traces import Trace
    from stagebench.units import Bytes

Row = dict[str, Any]

RISE_S = 0.1
"""Rises are counted within this time, the interval at which the published study read main."""


def summarise_memory_causes(trace: Trace) -> Row:
    """Give the columns of a run by which causes are judged; empty where nothing tells them."""
    totals = total_sweeps(trace)
    base, after = split_sweeps(trace, totals)
    trough = find_trough(after) if after else None
    return {
        "tree_largest_rise_bytes": _largest_rise(base + after),
        "children_spread_bytes": _children_spread(after),
        "main_idle_bytes": _main_idle(trace, after),
        "main_base_rss_bytes": base[0].main_rss if base else None,
        "main_base_anon_bytes": base[0].main_anon if base else None,
        "main_high_water_bytes": _main_high_water(trace),
        "at_trough_main_bytes": trough.main if trough else None,
        "at_trough_main_rss_bytes": trough.main_rss if trough else None,
        "at_trough_main_anon_bytes": trough.main_anon if trough else None,
    }


def _largest_rise(totals: list[SweepTotal]) -> Bytes | None:
    """Give the largest rise of the tree within `RISE_S`, or from one sweep to the next if longer.

    A torn sweep may add up what never was at one moment: it is left out.
    """
    whole = [total for total in totals if not total.torn]
    first, rises = 0, []
    for place, total in enumerate(whole[1:], start=1):
        while total.ended_ns - whole[first].ended_ns > to_nanoseconds(RISE_S) and first < place - 1:
            first += 1
        rises.append(total.tree - min(earlier.tree for earlier in whole[first:place]))
    return max(0, *rises) if rises else None


def _children_spread(after: list[SweepTotal]) -> Bytes | None:
    """Give largest less least PSS of the children while as many workers lived as ever did."""
    most = max((total.workers for total in after), default=0)
    full = [total.children for total in after if total.workers == most and not total.torn]
    return max(full) - min(full) if most and full else None


def _main_idle(trace: Trace, after: list[SweepTotal]) -> Bytes | None:
    """Give main's PSS in the last sweep between the last task's end and the pools' closing."""
    done, closing = (trace.events.get(name) for name in ("workflow_finished", "pools_closing"))
    if done is None or closing is None:
        return None
    idle = [t for t in after if t.started_ns >= done and t.ended_ns <= closing]
    return idle[-1].main if idle else None


def _main_high_water(trace: Trace) -> Bytes | None:
    marks = (process.high_water_bytes for process in trace.processes if process.role == "main")
    return next(marks, None)
