"""The peak of a tree's PSS as a bracket: a value that it certainly reached, and an upper bound.

The lower end is the largest value that a single sweep proves. An untorn sweep proves the sum of its
readings. A torn one adds up readings of different moments, but the counters that are read at its
end limit how much of what was seen can have been freed meanwhile; the rest was still there.

The upper end is the largest bound of all spans between two sweeps: nothing was read there, but the
kernel counted. docs/method.md has the proofs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from stagebench.peak.history import BEFORE_ALL, CounterHistory, build_counter_histories
from stagebench.peak.timeline import draw_timeline
from stagebench.peak.upper_bounds import (
    Base,
    Bounds,
    Kernel,
    Span,
    bound_contribution,
    bound_parts,
    larger,
)
from stagebench.tables.quantities import MEMORY_PARTS as PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from stagebench.peak.history import MemoryTrace
    from stagebench.peak.timeline import Moment
    from stagebench.records import (
        MemorySample,
        SweepRecord,
    )
    from stagebench.units import Bytes, Nanoseconds


class Bracket(NamedTuple):
    """A peak of PSS: the most that a sweep proves, the end of that sweep, and an upper bound.

    A value is None if it is unknown: no sweep proved anything, or a process has no bound.
    """

    lower_bytes: Bytes | None
    lower_ns: Nanoseconds | None
    upper_bytes: Bytes | None


def find_brackets(
    trace: MemoryTrace, since_ns: Nanoseconds | None = None, until_ns: Nanoseconds | None = None
) -> dict[str, Bracket]:
    """Bracket the peaks of main, its children and the whole tree within a span of time.

    If main never had a child, the bounds of its children are 0.
    """
    first, last = since_ns or 0, float("inf") if until_ns is None else until_ns
    lower = _find_lower_bounds(trace, first, last)
    timeline = [each for each in draw_timeline(trace) if each.touches(first, last)]
    lives = [(each.since_ns, each.ended_ns or 0) for each in trace.processes]
    began, ended = min(lives, default=(0, 0))[0], max((end for _, end in lives), default=0)
    gaps = _list_gaps(timeline, max(first, began), min(last, ended))
    upper, in_gaps = _find_upper_bounds(trace, first, last, gaps)
    brackets = {part: Bracket(*lower[part], upper[part]) for part in PARTS}
    if not timeline:
        return brackets
    is_charged = trace.sampler.get("group_drift_bytes") is not None
    return _narrow(brackets, timeline, in_gaps, is_charged=is_charged)


def _list_gaps(timeline: Sequence[Moment], first: float, last: float) -> list[tuple[float, float]]:
    """List the times, in order, for which the readings have no upper end."""
    gaps, reached = [], first
    for each in timeline:
        if not math.isnan(each.upper):
            if each.began_ns > reached:
                gaps.append((reached, float(each.began_ns)))
            reached = max(reached, float(each.ended_ns))
    if reached < last:
        gaps.append((reached, last))
    return gaps


def _narrow(
    brackets: dict[str, Bracket],
    timeline: Sequence[Moment],
    in_gaps: Bytes | None,
    *,
    is_charged: bool,
) -> dict[str, Bracket]:
    """Raise lower ends by what readings prove, and take the tree's upper end from them.

    Not the smaller of both upper ends if a group was charged: that includes shared memory that
    nobody maps. `in_gaps` is the other upper end where the readings have none.
    """
    for part, name in (
        ("main", "main_reached"),
        ("children", "children_reached"),
        ("tree", "reached"),
    ):
        highest = max(timeline, key=attrgetter(name))
        value = int(getattr(highest, name))
        if value > (brackets[part].lower_bytes or 0):
            brackets[part] = brackets[part]._replace(lower_bytes=value, lower_ns=highest.ended_ns)
    most = max((each.upper for each in timeline if not math.isnan(each.upper)), default=math.inf)
    if in_gaps is not None and most < math.inf:
        upper = max(math.ceil(most), in_gaps)
        if not is_charged:
            upper = min(upper, brackets["tree"].upper_bytes or upper)
        brackets["tree"] = brackets["tree"]._replace(upper_bytes=upper)
        for part in ("main", "children"):
            known = brackets[part].upper_bytes
            if known is not None:
                brackets[part] = brackets[part]._replace(upper_bytes=min(known, upper))
    return brackets


def _find_lower_bounds(
    trace: MemoryTrace, first: float, last: float
) -> dict[str, tuple[Bytes | None, Nanoseconds | None]]:
    lower = [each for each in list_lower_bounds(trace) if first <= each.ended_ns <= last]
    found: dict[str, tuple[Bytes | None, Nanoseconds | None]] = dict.fromkeys(PARTS, (None, None))
    for part in PARTS if lower else ():
        highest = max(lower, key=lambda each: each.part(part))
        found[part] = highest.part(part), highest.ended_ns
    return found


def _find_upper_bounds(
    trace: MemoryTrace, first: float, last: float, gaps: Sequence[tuple[float, float]]
) -> tuple[Bounds, Bytes | None]:
    """Return the largest bound of all spans between sweeps, and the tree's within the gaps."""
    sampler = trace.sampler
    if not sampler.get("counts_faults"):  # psutil read the memory, or the trace was cut off
        return dict.fromkeys(PARTS), None
    kernel = read_kernel(trace)
    histories = build_counter_histories(
        trace.processes, trace.transitions, trace.sweeps, trace.samples
    )
    highest: Bounds = dict.fromkeys(PARTS, 0 if histories else None)
    in_gaps: Bytes | None = 0
    begins = [gap[0] for gap in gaps]
    base = _first_base(histories, sampler["huge_faults_before"] or 0)
    counted = Counted(histories)
    for opening, span in list_spans(trace, histories):
        present = counted.within(span)
        base = _renew_base(base, opening, present.values(), span.huge_count - span.huge)
        if first <= span.ends_ns and span.begins_ns <= last:
            bounds = _bound_span(present, span, base, kernel)
            highest = {part: larger(highest[part], bounds[part]) for part in PARTS}
            place = bisect_right(begins, span.ends_ns) - 1
            if place >= 0 and gaps[place][1] >= span.begins_ns:
                in_gaps = larger(in_gaps, bounds["tree"])
    return highest, in_gaps


class Counted:
    """The processes that count in each span; with their places in the census.

    Spans come in order of time, so nobody is looked at again after its memory is gone: the work
    grows with the processes of a moment, not with all there ever were.
    """

    def __init__(self, histories: Sequence[CounterHistory]) -> None:
        places = enumerate(histories)
        self._later = deque(sorted(places, key=lambda each: each[1].starts_ns))
        self._present: dict[int, CounterHistory] = {}

    def within(self, span: Span) -> dict[int, CounterHistory]:
        """Return those that count in a span that begins no earlier than the one before."""
        while self._later and self._later[0][1].starts_ns <= span.ends_ns:
            place, history = self._later.popleft()
            self._present[place] = history
        present = self._present.items()
        for place in [p for p, history in present if history.counts_until_ns < span.begins_ns]:
            del self._present[place]
        return self._present


def _bound_span(
    present: Mapping[int, CounterHistory], span: Span, base: Base | None, kernel: Kernel
) -> Bounds:
    if span.is_held and base is not None:
        return {"main": base.main, "children": base.children, "tree": base.main + base.children}
    contributions = [
        bound_contribution(place, history, span, base, kernel) for place, history in present.items()
    ]
    return bound_parts(contributions, span, base)


def list_spans(
    trace: MemoryTrace, histories: Sequence[CounterHistory]
) -> Iterator[tuple[SweepRecord | None, Span]]:
    """Yield the spans between sweeps, each with the sweep whose values hold when it begins.

    A held sweep has no values of its own: those of the last PSS sweep hold.
    """
    opening: SweepRecord | None = None
    begins = read_ns = histories[0].starts_ns if histories else 0
    huge = trace.sampler["huge_faults_before"] or 0
    for sweep in trace.sweeps:
        held = sweep.kind == "held"
        new_huge = 0 if sweep.huge_faults is None else sweep.huge_faults - huge
        huge += new_huge
        yield opening, Span(begins, read_ns, sweep.ended_ns, new_huge, huge, held)
        opening, begins = opening if held else sweep, sweep.started_ns
        read_ns = opening.ended_ns if opening else begins
    if histories:
        new_huge = (trace.sampler["huge_faults"] or huge) - huge
        ends = histories[0].ends_ns
        yield opening, Span(begins, read_ns, ends, new_huge, huge + new_huge, is_held=False)


def _first_base(histories: Sequence[CounterHistory], huge_count: int) -> Base | None:
    """Return the beginning of main's program, which is the tree's, as a base, if recorded."""
    main = histories[0] if histories else None
    if main is None or not main.execs:
        return None
    begun = main.execs[0]
    return Base(
        sweep=BEFORE_ALL,
        started_ns=begun.at_ns,
        read_ns=begun.at_ns,
        huge_count=huge_count,
        main=begun.rss,
        children=0,
    )


def _renew_base(
    base: Base | None,
    opening: SweepRecord | None,
    present: Iterable[CounterHistory],
    huge_count: int,
) -> Base | None:
    """Return the sweep that opens a span as the new base if it is an untorn PSS sweep."""
    if opening is None or opening.kind != "pss" or opening.torn:
        return base
    found = ((h.is_main, h.state_in(opening.sweep, opening.ended_ns)) for h in present)
    states = [(is_main, state) for is_main, state in found if state is not None]
    pss = [(is_main, state.pss) for is_main, state in states if state.pss is not None]
    if len(pss) < len(states):
        return base  # a process does not allow its PSS to be read
    return Base(
        sweep=opening.sweep,
        started_ns=opening.started_ns,
        read_ns=opening.ended_ns,
        huge_count=huge_count,
        main=sum(bytes_ for is_main, bytes_ in pss if is_main),
        children=sum(bytes_ for is_main, bytes_ in pss if not is_main),
    )


class SurvivingMemory(NamedTuple):
    """Lower bounds of one process's anonymous memory at the end of a sweep.

    `own` counts its private pages, `whole` the shared ones as well.
    """

    own: Bytes
    whole: Bytes


def bound_surviving(sample: MemorySample, kernel: Kernel) -> SurvivingMemory:
    """Bound the memory that a process still had when the sweep ended.

    Invalid if the machine handed out huge pages during the sweep: one fault may then have mapped
    any number of pages.
    """
    if sample.uss_bytes is None or sample.file_bytes is None or sample.shmem_bytes is None:
        return SurvivingMemory(0, 0)
    lost = _lost(sample, kernel)
    # The PSS of files includes their private pages.
    private = sample.uss_bytes - sample.file_bytes - sample.shmem_bytes
    return SurvivingMemory(max(0, private - lost), max(0, sample.rss_anon_bytes - lost))


def bound_surviving_in_tree(surviving: Iterable[SurvivingMemory]) -> Bytes:
    """Bound the anonymous memory of a tree at the end of a sweep, each page counted once.

    All processes may share the same pages, so only the largest shared part counts.
    """
    each = list(surviving)
    shared = max((one.whole - one.own for one in each), default=0)
    return sum(one.own for one in each) + shared


def _lost(sample: MemorySample, kernel: Kernel) -> Bytes:
    """Bound the anonymous memory that a process has freed since its page tables were walked.

    That is the decrease of its anonymous RSS, and what other pages replaced: a page for each fault
    that did not make the RSS grow.
    """
    grown = sample.rss_anon_after_bytes - sample.rss_anon_bytes
    faults = sample.faults - sample.faults_before
    if not grown and not faults:
        return 0
    idle = max(0, faults - max(0, grown) // kernel.anonymous_fault)
    return max(0, -grown) + idle * kernel.anonymous_fault + kernel.drift


class LowerBounds(NamedTuple):
    """PSS that was certainly there at the end of a sweep, of main and children at that one moment.

    After a torn sweep, shared memory may be counted with either part: `main` and `children` bound
    the tree by their sum only. `main_alone` and `children_alone` bound the PSS of each.
    """

    ended_ns: Nanoseconds
    main: Bytes
    children: Bytes
    main_alone: Bytes
    children_alone: Bytes

    def part(self, name: str) -> Bytes:
        """Return the lower bound of `main`, `children` or `tree`."""
        alone = {"main": self.main_alone, "children": self.children_alone}
        return alone.get(name, self.main + self.children)


NONE_LEFT: tuple[float, Iterator[MemorySample]] = (float("inf"), iter(()))
"""Stands for the samples after the last sweep that has any."""


def list_lower_bounds(trace: MemoryTrace, metric: str = "pss") -> Iterator[LowerBounds]:
    """Yield the lower bounds that every PSS sweep proves, in order.

    Where the machine does not report PSS, `metric` stands for it, or else USS, which is a part of
    it; torn sweeps then prove nothing.
    """
    main = trace.processes[0].pid if trace.processes else None
    groups = groupby(trace.samples, attrgetter("sweep"))
    number, group = next(groups, NONE_LEFT)
    kernel = read_kernel(trace) if trace.sampler.get("counts_faults") else None
    huge = trace.sampler.get("huge_faults_before")
    for sweep in trace.sweeps:
        while number < sweep.sweep:
            number, group = next(groups, NONE_LEFT)
        samples = list(group) if number == sweep.sweep else []
        new_huge, huge = _more_huge(sweep, huge)
        if sweep.kind != "pss" or not samples:
            continue
        if not sweep.torn:
            yield from _add_up(sweep, samples, main, metric)
        elif kernel is not None and not new_huge:
            yield _bound_torn(sweep, samples, main, kernel)


def read_kernel(trace: MemoryTrace) -> Kernel:
    """Return what the sampler recorded about the machine."""
    return Kernel(
        drift=trace.sampler["counter_drift_bytes"],
        page=trace.sampler["page_bytes"],
        anonymous_fault=trace.sampler["anonymous_fault_bytes"],
    )


def _more_huge(sweep: SweepRecord, before: int | None) -> tuple[bool, int | None]:
    """Return whether the machine may have handed out huge pages since `before`, and the count."""
    if sweep.huge_faults is None:
        return sweep.kind != "held", before
    return sweep.huge_faults != before, sweep.huge_faults


def _add_up(
    sweep: SweepRecord, samples: Sequence[MemorySample], main: int | None, metric: str
) -> Iterator[LowerBounds]:
    """Add up an untorn sweep."""
    sizes = [(sample.pid == main, _size(sample, metric)) for sample in samples]
    known = [(is_main, size) for is_main, size in sizes if size is not None]
    if known:
        of_main = sum(size for is_main, size in known if is_main)
        of_children = sum(size for is_main, size in known if not is_main)
        yield LowerBounds(sweep.ended_ns, of_main, of_children, of_main, of_children)


def _size(sample: MemorySample, metric: str) -> Bytes | None:
    size: Bytes | None = getattr(sample, f"{metric}_bytes")
    return sample.uss_bytes if size is None else size


def _bound_torn(
    sweep: SweepRecord, samples: Sequence[MemorySample], main: int | None, kernel: Kernel
) -> LowerBounds:
    surviving = [(sample.pid == main, bound_surviving(sample, kernel)) for sample in samples]
    children = sum(each.own for is_main, each in surviving if not is_main)
    tree = bound_surviving_in_tree(each for _, each in surviving)
    alone = max((_of_main(sample, kernel) for sample in samples if sample.pid == main), default=0)
    return LowerBounds(sweep.ended_ns, tree - children, children, alone, children)


def _of_main(sample: MemorySample, kernel: Kernel) -> Bytes:
    """Bound main's PSS: its reading is exact if main did not change while it was read."""
    is_still = sample.faults == sample.faults_before and sample.rss_bytes == sample.rss_after_bytes
    if is_still and sample.pss_bytes is not None:
        return sample.pss_bytes
    return bound_surviving(sample, kernel).own
