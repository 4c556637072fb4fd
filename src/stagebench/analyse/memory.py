"""Memory of a run, by sweep, by phase and by role of its processes.

- Totals of every sweep; base, trough, peak and end of main, children and tree over the run.
- Columns that help to explain a run's memory: main at rest and at its trough, jumps, spread.
- Memory times time: how much memory a workflow occupied, and for how long.
- Phases: main's memory at base, trough, peak and end.
- Roles: how many processes there were of each, and how much memory one of them takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from stagebench.analyse.memory_course import RISE_S, bound_time, memory_records
from stagebench.analyse.traces import span_s
from stagebench.peak.bracket import find_brackets, list_lower_bounds
from stagebench.records import ROLES, count_processes
from stagebench.tables.quantities import MEMORY_PARTS, PHASES, SAMPLE_PARTS
from stagebench.units import to_nanoseconds, to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagebench.analyse.traces import Trace
    from stagebench.peak.bracket import Bracket, LowerBounds
    from stagebench.peak.history import MemoryTrace
    from stagebench.records import MemorySample, ProcessRecord, SweepRecord
    from stagebench.units import Bytes, Nanoseconds


Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTotal:
    """The sums of one sweep; without children, their sums are 0.

    `vanished` counts processes that ended while they were read; the sums lack them. `read` is the
    sweep that has the samples: this one or, if this one is held, the sweep that it repeats.
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
    """Add up, in order, every sweep that read the PSS of the measured process.

    A held sweep has the sums of the sweep that it repeats. If PSS was not available, the run's own
    metric takes its place. The result is cached, because several tables of a run need it in turn.
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
    """Return one row per sweep; its time is the moment at which it ended."""
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
    """Return the memory columns of a run.

    Trough and step are taken over the sweeps of the workflow, peaks over its readings, too; end is
    the last sweep. If the workflow's start is unknown, only counts and the sampled time are.
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
    if start is None or not (after or trace.reads):
        return counted
    records = memory_records(trace)
    finished = trace.events.get("finished")
    lower = _lower_within(records, start, math.inf if finished is None else finished)
    parts = [_peak(part, base, lower, start) for part in MEMORY_PARTS]
    parts += [_part(part, base, after) for part in MEMORY_PARTS if after]
    merged = {name: value for part in parts for name, value in part.items()}
    brackets = find_brackets(records, start, finished)
    ends = _list_ends(brackets, base)
    held = {
        "tree_memory_time_byte_s": memory_time(totals, start, trace.events.get("workflow_finished"))
    }
    walked = counted | merged | _at_peak(lower) | _other_peaks(after) | held
    bounded = bound_time(trace)
    if (proven := walked["tree_anon_peak_bytes"]) is not None and "tree_anon_peak_bytes" in bounded:
        bounded["tree_anon_peak_bytes"] = max(proven, bounded["tree_anon_peak_bytes"])
    return walked | ends | bounded


def _list_ends(brackets: dict[str, Bracket], base: list[SweepTotal]) -> Row:
    """Return both ends of the peaks, and of their growth from the base."""
    row: Row = {}
    for part, bracket in brackets.items():
        lower, upper = bracket.lower_bytes, bracket.upper_bytes
        row |= {f"{part}_peak_bytes": lower, f"{part}_peak_upper_bytes": upper}
        from_base = base[0].pss(part) if base else None
        row[f"{part}_growth_bytes"] = _difference(lower, from_base)
        row[f"{part}_growth_upper_bytes"] = _difference(upper, from_base)
    return row


def _difference(value: Bytes | None, base: Bytes | None) -> Bytes | None:
    return None if value is None or base is None else value - base


def _lower_within(trace: MemoryTrace, since_ns: float, until_ns: float) -> list[LowerBounds]:
    return [
        each
        for each in list_lower_bounds(trace, trace.sampler["metric"])
        if since_ns <= each.ended_ns <= until_ns
    ]


def _hold(last: SweepTotal, sweep: SweepRecord) -> SweepTotal:
    return replace(last, sweep=sweep.sweep, started_ns=sweep.started_ns, ended_ns=sweep.ended_ns)


def split_sweeps(
    trace: Trace, totals: list[SweepTotal]
) -> tuple[list[SweepTotal], list[SweepTotal]]:
    """Return the base (one sweep or none) and the sweeps of the workflow.

    The base is the last sweep between the end of the imports and the workflow's start. Sweeps that
    began after the process was about to exit are left out: they see an interpreter that tears
    itself down. If the workflow's start is unknown, both lists are empty.
    """
    start = trace.events.get("workflow_started")
    if start is None:
        return [], []
    ready_ns, exit_ns = trace.events.get("ready", start), trace.events.get("finished", math.inf)
    before = [total for total in totals if ready_ns <= total.started_ns and total.ended_ns < start]
    after = [t for t in totals if t.ended_ns >= start and t.started_ns <= exit_ns]
    return before[-1:], after


def highest_sweep(after: list[SweepTotal]) -> SweepTotal | None:
    """Return the first untorn sweep at the peak of the tree's PSS, or None if all are torn."""
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
        # 0 means that memory never rose; a single sweep has no step.
        f"{part}_largest_step_bytes": max(0, *steps) if steps else None,
    }


def _peak(part: str, base: list[SweepTotal], lower: list[LowerBounds], start: Nanoseconds) -> Row:
    highest = max(lower, key=lambda each: each.part(part), default=None)
    peak = highest.part(part) if highest else None
    return {
        f"{part}_peak_bytes": peak,
        f"{part}_growth_bytes": peak - base[0].pss(part) if base and peak is not None else None,
        # Without a child there is no moment of the children's peak.
        f"{part}_time_to_peak_s": span_s(start, highest.ended_ns) if highest and peak else None,
    }


def _at_peak(lower: list[LowerBounds]) -> Row:
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


def summarise_memory_causes(trace: Trace) -> Row:
    """Return the columns of a run by which causes are judged; None where they are unknown."""
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
    """Return the largest rise of the tree within `RISE_S`, or between sweeps further apart.

    Torn sweeps are left out: they may add up values of different moments.
    """
    whole = [total for total in totals if not total.torn]
    first, rises = 0, []
    for place, total in enumerate(whole[1:], start=1):
        while total.ended_ns - whole[first].ended_ns > to_nanoseconds(RISE_S) and first < place - 1:
            first += 1
        rises.append(total.tree - min(earlier.tree for earlier in whole[first:place]))
    return max(0, *rises) if rises else None


def _children_spread(after: list[SweepTotal]) -> Bytes | None:
    """Return the range of the children's PSS while the largest number of workers lived."""
    most = max((total.workers for total in after), default=0)
    full = [total.children for total in after if total.workers == most and not total.torn]
    return max(full) - min(full) if most and full else None


def _main_idle(trace: Trace, after: list[SweepTotal]) -> Bytes | None:
    """Return main's PSS in the last sweep between the last task's end and the pools' closing."""
    done, closing = (trace.events.get(name) for name in ("workflow_finished", "pools_closing"))
    if done is None or closing is None:
        return None
    idle = [t for t in after if t.started_ns >= done and t.ended_ns <= closing]
    return idle[-1].main if idle else None


def _main_high_water(trace: Trace) -> Bytes | None:
    marks = (process.high_water_bytes for process in trace.processes if process.role == "main")
    return next(marks, None)


LEAST_SWEEPS = 10
"""With fewer sweeps, the memory between them would be a guess."""

LONGEST_GAP = 0.5
"""The largest share of the time that may pass without a sweep."""


def memory_time(
    totals: Sequence[SweepTotal], start_ns: Nanoseconds, end_ns: Nanoseconds | None
) -> float | None:
    """Integrate the tree's PSS from the workflow's start to its last result, in byte seconds.

    Sweeps are joined by straight lines. Torn ones count, too: parts read some milliseconds apart
    matter to a peak but not to an area. None if sweeps are too few or too far apart.
    """
    known = [(total.ended_ns, total.tree) for total in totals]
    if end_ns is None or end_ns <= start_ns:
        return None
    inside = [at_ns for at_ns, _ in known if start_ns < at_ns < end_ns]
    moments = [start_ns, *inside, end_ns]
    longest = max(later - earlier for earlier, later in pairwise(moments))
    if len(inside) < LEAST_SWEEPS or longest > LONGEST_GAP * (end_ns - start_ns):
        return None
    times = [to_seconds(at_ns - start_ns) for at_ns in moments]
    at_ns, tree = zip(*known, strict=True)
    # Before the first and after the last sweep, their values are held.
    sizes = np.interp(times, [to_seconds(at - start_ns) for at in at_ns], tree)
    return float(np.trapezoid(sizes, times))


def summarise_phases(trace: Trace) -> list[Row]:
    """Return one row per phase that has a sweep; peak is the sweep of main's largest PSS."""
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
    """Return the sweep of main's smallest PSS while a worker process lives; of all if none does."""
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


def summarise_roles(trace: Trace) -> list[Row]:
    """Return one row per role that a process of the run had."""
    by_role = {
        role: [process for process in trace.processes if process.role == role] for role in ROLES
    }
    samples = _samples_by_pid(trace)
    peak = _peak_sweep(trace)
    ready = _ready_samples(trace, samples)
    return [
        trace.key
        | {"role": role, **count_processes(processes)}
        | _role_at_peak(_of(processes, samples), peak)
        | _largest(_of(processes, samples))
        | _ready([ready[process.pid] for process in processes if process.pid in ready])
        | {"high_water_bytes": _largest_of(process.high_water_bytes for process in processes)}
        for role, processes in by_role.items()
        if processes
    ]


def summarise_ready_workers(trace: Trace) -> Row:
    """Return the run's columns for the memory of one worker process that is ready to serve.

    They are medians over the workers of all pools; None if workers are threads.
    """
    ready = _ready(list(_ready_samples(trace, _samples_by_pid(trace)).values()))
    return {f"worker_{name}": ready.get(name) for name in ("ready_pss_bytes", "ready_uss_bytes")}


def _samples_by_pid(trace: Trace) -> dict[int, list[MemorySample]]:
    """Return the samples of every process that have its PSS, in order."""
    samples: dict[int, list[MemorySample]] = {}
    for sample in trace.samples:
        if sample.pss_bytes is not None:
            samples.setdefault(sample.pid, []).append(sample)
    return samples


def _of(
    processes: list[ProcessRecord], samples: dict[int, list[MemorySample]]
) -> list[MemorySample]:
    return [sample for process in processes for sample in samples.get(process.pid, [])]


def _peak_sweep(trace: Trace) -> int | None:
    _, after = split_sweeps(trace, total_sweeps(trace))
    highest = highest_sweep(after)
    return highest.read if highest else None


def _ready_samples(trace: Trace, samples: dict[int, list[MemorySample]]) -> dict[int, MemorySample]:
    """Return each worker process's sample of the first sweep begun after it was ready."""
    starts = {sweep.sweep: sweep.started_ns for sweep in trace.sweeps}
    main = {process.pid for process in trace.processes if process.role == "main"}
    later = {
        worker.pid: [s for s in samples.get(worker.pid, []) if starts[s.sweep] >= worker.ready_ns]
        for worker in trace.workers
        if worker.pid not in main  # a thread is not a process of its own
    }
    return {pid: found[0] for pid, found in later.items() if found}


def _role_at_peak(samples: list[MemorySample], peak: int | None) -> Row:
    own = [sample.pss_bytes or 0 for sample in samples if sample.sweep == peak]
    return {} if peak is None else {"at_peak_processes": len(own), "at_peak_pss_bytes": sum(own)}


def _largest(samples: list[MemorySample]) -> Row:
    return {
        f"largest_{part}_bytes": _largest_of(getattr(s, f"{part}_bytes") for s in samples)
        for part in SAMPLE_PARTS
    }


def _ready(samples: list[MemorySample]) -> Row:
    """Return medians over the workers of a run: the workers of its pools are alike."""
    known = {part: [getattr(s, f"{part}_bytes") for s in samples] for part in SAMPLE_PARTS}
    return {f"ready_{part}_bytes": median(values) for part, values in known.items() if values}


def _largest_of(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
