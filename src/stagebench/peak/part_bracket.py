"""The peaks of the parts of a tree, such as nodes: what each of them has mapped, each page once.

As on machines of their own, a page that processes of two parts share counts for both. So the PSS of
a part is a lower bound, and others follow from counters:

- lower, after an untorn sweep: the anonymous memory of each program, which no other shares, and the
  largest rest of one process. Forked processes may share all of theirs with their parent, so the
  largest one of a program's processes counts.
- upper, between two sweeps: the sum of the ceilings of its processes; and the anonymous memory that
  the tree had at most, less what the other parts certainly had of it at each moment, and what its
  own processes mapped of files. The other parts certainly had what they had at the end, less a page
  for each fault meanwhile. The tree's PSS of files bounds nothing here: programs outside the tree
  that map the same files make it smaller.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from stagebench.peak.bracket import Bracket, Counted, list_spans, read_kernel
from stagebench.peak.history import build_counter_histories
from stagebench.peak.timeline import FileMoves, draw_timeline
from stagebench.peak.upper_bounds import bound_contribution, bound_parts, larger
from stagebench.units import HUGE_PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagebench.peak.history import CounterHistory, MemoryTrace
    from stagebench.peak.timeline import Moment
    from stagebench.peak.upper_bounds import Kernel, Span
    from stagebench.records import MemorySample
    from stagebench.units import Bytes, Nanoseconds


def bracket_parts(
    trace: MemoryTrace,
    parts: Sequence[int],
    since_ns: Nanoseconds | None = None,
    until_ns: Nanoseconds | None = None,
) -> dict[int, Bracket]:
    """Bracket the peak of each part within a span of time; `parts` names that of each process.

    No anonymous memory is shared between parts: each begins with a program of its own.
    """
    names = list(dict.fromkeys(parts))
    if not trace.sampler.get("counts_faults"):  # psutil read the memory
        return dict.fromkeys(names, Bracket(None, None, None))
    histories = build_counter_histories(
        trace.processes, trace.transitions, trace.sweeps, trace.samples
    )
    first, last = since_ns or 0, math.inf if until_ns is None else until_ns
    lower = _find_lower(trace, histories, parts, first, last)
    upper = _find_upper(trace, histories, parts, first, last)
    none: tuple[Bytes | None, Nanoseconds | None] = None, None
    return {name: Bracket(*lower.get(name, none), upper[name]) for name in names}


def _find_lower(
    trace: MemoryTrace,
    histories: Sequence[CounterHistory],
    parts: Sequence[int],
    first: float,
    last: float,
) -> dict[int, tuple[Bytes, Nanoseconds]]:
    programs = Programs(histories)
    places = {history.pid: place for place, history in enumerate(histories)}
    kernel = read_kernel(trace)
    found: dict[int, tuple[Bytes, Nanoseconds]] = {}
    samples: dict[int, list[MemorySample]] = {}
    for sample in trace.samples:
        samples.setdefault(sample.sweep, []).append(sample)
    for sweep in trace.sweeps:
        if sweep.torn or not first <= sweep.ended_ns <= last:
            continue
        own: dict[int, list[tuple[int, MemorySample]]] = {}
        for sample in samples.get(sweep.sweep, ()):
            place = places[sample.pid]
            own.setdefault(parts[place], []).append((place, sample))
        for part, members in own.items():
            value = _bound_lower(members, programs, sweep.started_ns, kernel)
            if part not in found or value > found[part][0]:
                found[part] = value, sweep.ended_ns
    return found


def _bound_lower(
    members: Sequence[tuple[int, MemorySample]],
    programs: Programs,
    at_ns: Nanoseconds,
    kernel: Kernel,
) -> Bytes:
    anonymous = programs.add_up(
        ((place, sample.rss_anon_bytes - kernel.drift) for place, sample in members), at_ns
    )
    rest = max(sample.rss_bytes - sample.rss_anon_bytes - kernel.drift for _, sample in members)
    walked = [sample.pss_bytes for _, sample in members]
    pss = 0 if None in walked else sum(filter(None, walked))
    return max(pss, anonymous + max(0, rest))


def _find_upper(
    trace: MemoryTrace,
    histories: Sequence[CounterHistory],
    parts: Sequence[int],
    first: float,
    last: float,
) -> dict[int, Bytes | None]:
    programs, kernel = Programs(histories), read_kernel(trace)
    moves = FileMoves(trace.reads)
    timeline = [each for each in draw_timeline(trace) if each.touches(first, last)]
    highest: dict[int, Bytes | None] = dict.fromkeys(parts, 0)
    counted = Counted(histories)
    passed = 0
    for _, span in list_spans(trace, histories):
        present = counted.within(span)
        if span.ends_ns < first or span.begins_ns > last:
            continue
        while passed < len(timeline) and timeline[passed].ended_ns < span.begins_ns:
            passed += 1
        within = max(float(span.begins_ns), first), min(span.ends_ns, last)
        anonymous = _bound_anonymous(timeline, passed, *within)
        kept = {
            part: programs.add_up(
                (
                    (place, _bound_kept(history, span, kernel))
                    for place, history in present.items()
                    if parts[place] == part
                ),
                span.begins_ns,
            )
            for part in highest
        }
        for part, before in highest.items():
            members = [place for place in present if parts[place] == part]
            own = [bound_contribution(at, present[at], span, None, kernel) for at in members]
            alone = bound_parts(own, span, None)["tree"]
            each_files = sum(
                _bound_files(present[at], span, one.ceiling, kernel)
                for at, one in zip(members, own, strict=True)
            )
            files = min(
                each_files, _bound_moved([present[at] for at in members], span, moves, kernel)
            )
            left = anonymous + files
            left -= sum(value for other, value in kept.items() if other != part)
            bound = left if alone is None else min(alone, left)
            highest[part] = larger(before, None if bound == math.inf else math.ceil(bound))
    return highest


def _bound_anonymous(
    timeline: Sequence[Moment], passed: int, begins_ns: float, ends_ns: float
) -> float:
    """Return the most anonymous memory of the tree in a span; infinite where no reading bounds it.

    Shared memory for which a group was charged counts as anonymous.
    The first readings, so many as have `passed`, ended before it.
    """
    reached, most = begins_ns, 0.0
    for place in range(passed, len(timeline)):
        each = timeline[place]
        if each.began_ns > reached or math.isnan(each.anon_upper):
            break
        reached, most = max(reached, each.ended_ns), max(most, each.anon_upper)
        if reached >= ends_ns:
            return most
    return math.inf


def _bound_kept(history: CounterHistory, span: Span, kernel: Kernel) -> Bytes:
    """Bound the anonymous memory that a process had at every moment of a span."""
    start, end = history.state_before(span.begins_ns), history.state_after(span.ends_ns)
    if start is None or end is None or end.at_ns < span.ends_ns or history.is_borrower:
        return 0  # it began or ended meanwhile
    if history.execs_between(start.at_ns, end.at_ns):
        return 0
    grown = (end.faults - start.faults_before) * kernel.anonymous_fault
    return max(0, end.rss_anon - grown - span.huge * HUGE_PAGE_BYTES - kernel.drift)


def _bound_files(
    history: CounterHistory, span: Span, ceiling: Bytes | None, kernel: Kernel
) -> float:
    """Bound all but the anonymous memory of a process, from the first sweep of a span on.

    Moments during that sweep are in the span before it.
    """
    if ceiling is None:
        return math.inf
    most = ceiling - _bound_kept(history, span, kernel)
    start, end = history.state_before(span.read_ns), history.state_after(span.ends_ns)
    if start is None or end is None or history.execs_between(start.at_ns, end.at_ns):
        return most
    foreign = history.foreign_faults(start.at_ns, end.at_ns)
    if foreign is None or not start.is_exact:
        return most
    mapped = (end.faults - start.faults_before + foreign) * span.fault
    return min(most, start.rss - start.rss_anon + kernel.drift + mapped)


def _bound_moved(
    histories: Sequence[CounterHistory], span: Span, moves: FileMoves, kernel: Kernel
) -> float:
    """Bound the same of all processes of a part, by what the whole tree mapped meanwhile."""
    starts = [(each.starts_ns, each.state_before(span.read_ns)) for each in histories]
    known = [start for _, start in starts if start is not None]
    since_ns = min((start.at_ns for start in known), default=span.read_ns)
    if any(start is None and began_ns < since_ns for began_ns, start in starts):
        return math.inf
    if not all(start.is_exact for start in known):
        return math.inf
    there = sum(start.rss - start.rss_anon + kernel.drift for start in known)
    before = bisect_right(moves.ended_ns, since_ns) - 1
    after = bisect_left(moves.started_ns, span.ends_ns)
    return there + moves.mapped[after] - moves.mapped[before]


class Programs:
    """Which processes run a program of their own, and which one that they have inherited."""

    def __init__(self, histories: Sequence[CounterHistory]) -> None:
        self._histories = histories
        latest: dict[int | None, int] = {}
        self._parents: list[int | None] = []
        for place, history in enumerate(histories):
            self._parents.append(latest.get(history.process.parent_pid))
            latest[history.pid] = place

    def add_up(self, values: Iterable[tuple[int, Bytes]], at_ns: float) -> Bytes:
        """Add up the largest value of each program at a moment; values come with their places."""
        largest: dict[int, Bytes] = {}
        for place, value in values:
            own = self._find(place, at_ns)
            largest[own] = max(largest.get(own, 0), value)
        return sum(largest.values())

    def _find(self, place: int, at_ns: float) -> int:
        """Return the place of the process that began the program of one."""
        parent = self._parents[place]
        execs = self._histories[place].execs
        if parent is None or (execs and execs[0].at_ns <= at_ns):
            return place
        return self._find(parent, at_ns)
