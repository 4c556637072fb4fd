"""Main's memory at the moments that tell where it goes: base, trough, peak and end of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stagebench.analyse.memory import split_sweeps, total_sweeps
from stagebench.analyse.traces import span_s
from stagebench.quantities import PHASES

if TYPE_CHECKING:
    from stagebench.analyse.memory import SweepTotal
    from stagebench.analyse.traces import Trace

Row = dict[str, Any]


def summarise_phases(trace: Trace) -> list[Row]:
    """Give one row per phase that a sweep saw; peak is the sweep of main's largest PSS."""
    base, after = split_sweeps(trace, total_sweeps(trace))
    if not after:
        return []
    found = (
        *base,
        find_trough(after),
        max(after, key=lambda total: total.main),
        after[-1],
    )
    phases = PHASES if base else PHASES[1:]
    return [_row(trace, *pair) for pair in zip(phases, found, strict=True)]


def find_trough(after: list[SweepTotal]) -> SweepTotal:
    """Give the sweep of main's least PSS while a worker process lives, or, if none does, of all."""
    return min([t for t in after if t.workers] or after, key=lambda total: total.main)


def _row(trace: Trace, phase: str, total: SweepTotal) -> Row:
    return trace.key | {
        "phase": phase,
        "sweep": total.sweep,
        "time_s": span_s(trace.origin_ns, total.ended_ns),
        "main_pss_bytes": total.main,
        "main_anon_bytes": total.main_anon,
        "main_uss_bytes": total.main_uss,
        "main_rss_bytes": total.main_rss,
        "workers": total.workers,
        "pools_closed": total.started_ns >= trace.events.get("pools_closed", math.inf),
    }
