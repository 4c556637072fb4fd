"""Memory of a run: totals of every sweep, and base, trough, peak and end over the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stagebench.analyse.bracket import MemoryTrace, find_brackets
from stagebench.analyse.lower import list_lower
from stagebench.analyse.memory_time import memory_time
from stagebench.analyse.traces import span_s
from stagebench.quantities import MEMORY_PARTS

if TYPE_CHECKING:
    from stagebench.analyse.lower import Lower
    from stagebench.analyse.traces import Trace
    from stagebench.records import MemorySample, SweepRecord
    from stagebench.units import Bytes, Nanoseconds

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTotal:
    """One sweep added up; sums over no child are 0, for none was there.

    `vanished` counts processes that ended while they were read: then the sums lack them. `read` is
    the sweep that has the samples: this one, or the one that it holds.
    """

    sweep: int
    read: int
    started_ns: Nanoseconds
    ended_ns: Nanoseconds
    main: Bytes
    children: Bytes
    main_uss: Bytes
    main_anon: Bytes
    main_rss: Bytes
    uss: Bytes
    anon: Bytes
    rss: Bytes
    processes: int
    workers: int
    vanished: int
    torn: int

    @property
    def tree(self) -> Bytes:
        """PSS of main and all its descendants."""
        return self.main + self.children

    def pss(self, part: str) -> Bytes:
        """PSS of `main`, `children` or `tree`."""
        return int(getattr(self, part))


@lru_cache(maxsize=1)
def total_sweeps(trace: Trace) -> list[SweepTotal]:
    """Add up every sweep that tells PSS, and in which the measured process was read, in order.

    A held sweep has the sums of the sweep that it holds. Where PSS was not to be had, the run's own
    metric stands for it. The tables of a run ask for it one after the other: it is made once.
    """
    roles = {process.pid: process.role for process in trace.processes}
    by_sweep: dict[int, list[MemorySample]] = {}
    for sample in trace.samples:
        by_sweep.setdefault(sample.sweep, []).append(sample)
    metric = f"{trace.run['sampler']['metric']}_bytes"
    totals: list[SweepTotal] = []
    for sweep in trace.sweeps:
        if sweep.kind == "held":
            totals.append(_hold(totals[-1], sweep))
        elif sweep.kind == "pss":
            total = _total(sweep, by_sweep.get(sweep.sweep, []), roles, metric)
            totals += [total] if total else []
    return totals


def summarise_sweeps(trace: Trace) -> list[Row]:
    """Give one row per sweep; a sweep stands at the moment at which it ended."""
    return [
        trace.key
        | {
            "sweep": total.sweep,
            "time_s": span_s(trace.origin_ns, total.ended_ns),
            "main_pss_bytes": total.main,
            "children_pss_bytes": total.children,
            "tree_pss_bytes": total.tree,
            "tree_uss_bytes": total.uss,
            "tree_anon_bytes": total.anon,
            "tree_rss_bytes": total.rss,
            "main_uss_bytes": total.main_uss,
            "main_anon_bytes": total.main_anon,
            "main_rss_bytes": total.main_rss,
            "processes": total.processes,
            "vanished": total.vanished,
            "torn": total.torn,
        }
        for total in total_sweeps(trace)
    ]


def summarise_memory(trace: Trace) -> Row:
    """Give the memory columns of a run.

    Trough, peak and step are of the sweeps of the workflow, end is the last of them. Without the
    workflow's start only the number of sweeps is known.
    """
    totals = total_sweeps(trace)
    start = trace.events.get("workflow_started")
    counted = {
        "sweeps": len(totals),
        "sweeps_with_children": sum(total.processes > 1 for total in totals),
        "sweeps_with_workers": sum(total.workers > 0 for total in totals),
        "most_children": max((total.processes - 1 for total in totals), default=None),
        "sampled_s": span_s(totals[0].ended_ns, totals[-1].ended_ns) if totals else None,
    }
    base, after = split_sweeps(trace, totals)
    if start is None or not after:
        return counted
    records = MemoryTrace(
        trace.sweeps, trace.samples, trace.processes, trace.transitions, trace.run["sampler"]
    )
    finished = trace.events.get("finished")
    lower = _lower_within(records, start, math.inf if finished is None else finished)
    parts = [_part(part, base, after) | _peak(part, base, lower, start) for part in MEMORY_PARTS]
    merged = {name: value for part in parts for name, value in part.items()}
    brackets = find_brackets(records, start, finished)
    upper = {f"{part}_peak_upper_bytes": brackets[part].upper_bytes for part in MEMORY_PARTS}
    held = {
        "tree_memory_time_byte_s": memory_time(totals, start, trace.events.get("workflow_finished"))
    }
    return counted | merged | _at_peak(lower) | _other_peaks(after) | held | upper


def _lower_within(trace: MemoryTrace, since_ns: float, until_ns: float) -> list[Lower]:
    return [
        each
        for each in list_lower(trace, trace.sampler["metric"])
        if since_ns <= each.ended_ns <= until_ns
    ]


def _hold(last: SweepTotal, sweep: SweepRecord) -> SweepTotal:
    return replace(last, sweep=sweep.sweep, started_ns=sweep.started_ns, ended_ns=sweep.ended_ns)


def split_sweeps(
    trace: Trace, totals: list[SweepTotal]
) -> tuple[list[SweepTotal], list[SweepTotal]]:
    """Give the base, one sweep or none, and the sweeps of the workflow.

    Base is the last sweep between the end of the imports and the workflow's start. Sweeps begun
    after the process was about to exit see an interpreter that tears itself down: they are left
    out. Without the workflow's start there are neither.
    """
    start = trace.events.get("workflow_started")
    if start is None:
        return [], []
    ready_ns, exit_ns = trace.events.get("ready", start), trace.events.get("finished", math.inf)
    before = [total for total in totals if ready_ns <= total.started_ns and total.ended_ns < start]
    after = [t for t in totals if t.ended_ns >= start and t.started_ns <= exit_ns]
    return before[-1:], after


def highest_sweep(after: list[SweepTotal]) -> SweepTotal | None:
    """Give the first untorn sweep in which the tree's PSS is at its peak, if any is untorn."""
    untorn = [total for total in after if not total.torn]
    return max(untorn, key=lambda total: total.tree, default=None)


def _total(
    sweep: SweepRecord, samples: list[MemorySample], roles: dict[int, str], metric: str
) -> SweepTotal | None:
    pids = {pid for pid, role in roles.items() if role == "main"}
    main = _sum(samples, metric, pids)
    if not main:
        return None
    return SweepTotal(
        sweep=sweep.sweep,
        read=sweep.sweep,
        started_ns=sweep.started_ns,
        ended_ns=sweep.ended_ns,
        main=main,
        children=_sum(samples, metric) - main,
        main_uss=_sum(samples, "uss_bytes", pids),
        main_anon=_sum(samples, "anon_bytes", pids),
        main_rss=_sum(samples, "rss_bytes", pids),
        uss=_sum(samples, "uss_bytes"),
        anon=_sum(samples, "anon_bytes"),
        rss=_sum(samples, "rss_bytes"),
        processes=len(samples),
        workers=sum(roles.get(sample.pid) == "worker" for sample in samples),
        vanished=sweep.vanished,
        torn=sweep.torn,
    )


def _sum(samples: list[MemorySample], name: str, pids: set[int] | None = None) -> Bytes:
    return sum(getattr(s, name) or 0 for s in samples if pids is None or s.pid in pids)


def _part(part: str, base: list[SweepTotal], after: list[SweepTotal]) -> Row:
    values = [total.pss(part) for total in after]
    steps = [later.pss(part) - earlier.pss(part) for earlier, later in pairwise(base + after)]
    return {
        f"{part}_base_bytes": base[0].pss(part) if base else None,
        f"{part}_trough_bytes": min(values),
        f"{part}_end_bytes": values[-1],
        # 0 says that it never rose; one sweep alone says nothing.
        f"{part}_largest_step_bytes": max(0, *steps) if steps else None,
    }


def _peak(part: str, base: list[SweepTotal], lower: list[Lower], start: Nanoseconds) -> Row:
    highest = max(lower, key=lambda each: each.part(part), default=None)
    peak = highest.part(part) if highest else None
    return {
        f"{part}_peak_bytes": peak,
        f"{part}_growth_bytes": peak - base[0].pss(part) if base and peak is not None else None,
        # Where there was never a child there is no moment of the children's peak.
        f"{part}_time_to_peak_s": span_s(start, highest.ended_ns) if highest and peak else None,
    }


def _at_peak(lower: list[Lower]) -> Row:
    highest = max(lower, key=lambda each: each.part("tree"), default=None)
    if highest is None:
        return {}
    return {"at_peak_main_bytes": highest.main, "at_peak_children_bytes": highest.children}


def _other_peaks(after: list[SweepTotal]) -> Row:
    untorn = [total for total in after if not total.torn]
    return {
        "tree_uss_peak_bytes": max((total.uss for total in untorn), default=None),
        "tree_anon_peak_bytes": max((total.anon for total in untorn), default=None),
    }
