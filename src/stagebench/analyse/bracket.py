"""The peak of a tree's PSS as a bracket: the largest that was seen, and a bound that it kept.

Between two sweeps nobody looked, but the kernel counted. docs/method.md has the proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.analyse.bounds import Span
from stagebench.analyse.lower import list_lower, read_kernel
from stagebench.analyse.shares import Base, Bounds, bound_parts, larger, share_of
from stagebench.analyse.states import History, build_histories
from stagebench.quantities import MEMORY_PARTS as PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stagebench.analyse.bounds import Kernel
    from stagebench.records import MemorySample, ProcessRecord, SweepRecord, TransitionRecord
    from stagebench.units import Bytes, Nanoseconds


BEFORE_ALL = -1
"""In the place of a sweep's number, for the moment at which main's program began."""


class MemoryTrace(NamedTuple):
    """The records of memory of one run; `sampler` is that of its run.json."""

    sweeps: Sequence[SweepRecord]
    samples: Sequence[MemorySample]
    processes: Sequence[ProcessRecord]
    transitions: Sequence[TransitionRecord]
    sampler: Mapping[str, Any]


class Bracket(NamedTuple):
    """A peak of PSS: the most that a sweep tells for certain, when it ended, and an upper bound.

    A part is None where it is not known: nothing was seen, or a process ended unbounded.
    """

    lower_bytes: Bytes | None
    lower_ns: Nanoseconds | None
    upper_bytes: Bytes | None


def find_brackets(
    trace: MemoryTrace, since_ns: Nanoseconds | None = None, until_ns: Nanoseconds | None = None
) -> dict[str, Bracket]:
    """Bracket the peaks of main, its children and the whole tree, within a span of time.

    A child that main never had counts 0.
    """
    first, last = since_ns or 0, float("inf") if until_ns is None else until_ns
    lower = _find_lower(trace, first, last)
    upper = _find_upper(trace, first, last)
    return {part: Bracket(*lower[part], upper[part]) for part in PARTS}


def _find_lower(
    trace: MemoryTrace, first: float, last: float
) -> dict[str, tuple[Bytes | None, Nanoseconds | None]]:
    lower = [each for each in list_lower(trace) if first <= each.ended_ns <= last]
    found: dict[str, tuple[Bytes | None, Nanoseconds | None]] = dict.fromkeys(PARTS, (None, None))
    for part in PARTS if lower else ():
        highest = max(lower, key=lambda each: each.part(part))
        found[part] = highest.part(part), highest.ended_ns
    return found


def _find_upper(trace: MemoryTrace, first: float, last: float) -> Bounds:
    """Take the largest bound of all spans between sweeps."""
    sampler = trace.sampler
    if not sampler.get("counts_faults"):  # not where psutil read, or a trace was cut off
        return dict.fromkeys(PARTS)
    kernel = read_kernel(trace)
    histories = build_histories(trace.processes, trace.transitions, trace.sweeps, trace.samples)
    highest: Bounds = dict.fromkeys(PARTS, 0 if histories else None)
    base = _first_base(histories, sampler["huge_faults_before"] or 0)
    for opening, span in _list_spans(trace, histories):
        base = _renew_base(base, opening, histories, span.huge_count - span.huge)
        if first <= span.ends_ns and span.begins_ns <= last:
            bounds = _bound_span(histories, span, base, kernel)
            highest = {part: larger(highest[part], bounds[part]) for part in PARTS}
    return highest


def _bound_span(
    histories: Sequence[History], span: Span, base: Base | None, kernel: Kernel
) -> Bounds:
    if span.is_held and base is not None:
        return {"main": base.main, "children": base.children, "tree": base.main + base.children}
    shares = [
        share_of(place, history, span, base, kernel)
        for place, history in enumerate(histories)
        if history.starts_ns <= span.ends_ns and history.kept_ns >= span.begins_ns
    ]
    return bound_parts(shares, span, base)


def _list_spans(
    trace: MemoryTrace, histories: Sequence[History]
) -> Iterator[tuple[SweepRecord | None, Span]]:
    """Yield the spans between sweeps, each with the sweep whose values it opens with.

    After a held sweep they are those of the PSS sweep that it holds.
    """
    opening: SweepRecord | None = None
    begins = read_ns = histories[0].starts_ns if histories else 0
    huge = trace.sampler["huge_faults_before"] or 0
    for sweep in trace.sweeps:
        held = sweep.kind == "held"
        given = 0 if sweep.huge_faults is None else sweep.huge_faults - huge
        huge += given
        yield opening, Span(begins, read_ns, sweep.ended_ns, given, huge, held)
        opening, begins = opening if held else sweep, sweep.started_ns
        read_ns = opening.ended_ns if opening else begins
    if histories:
        given = (trace.sampler["huge_faults"] or huge) - huge
        ends = histories[0].ends_ns
        yield opening, Span(begins, read_ns, ends, given, huge + given, is_held=False)


def _first_base(histories: Sequence[History], huge_count: int) -> Base | None:
    """Count from main's program on, where its beginning was told: it is the tree's, too."""
    main = histories[0] if histories else None
    if main is None or not main.execs:
        return None
    begun = main.execs[0]
    main.by_sweep[BEFORE_ALL] = begun
    return Base(
        sweep=BEFORE_ALL, started_ns=begun.at_ns, huge_count=huge_count, main=begun.rss, children=0
    )


def _renew_base(
    base: Base | None, opening: SweepRecord | None, histories: Sequence[History], huge_count: int
) -> Base | None:
    """Take the sweep that opens a span as the new base, if its sum is of one moment."""
    if opening is None or opening.kind != "pss" or opening.torn:
        return base
    states = [
        (h.is_main, h.by_sweep[opening.sweep]) for h in histories if opening.sweep in h.by_sweep
    ]
    pss = [(is_main, state.pss) for is_main, state in states if state.pss is not None]
    if len(pss) < len(states):
        return base  # a process forbade its walk
    return Base(
        sweep=opening.sweep,
        started_ns=opening.started_ns,
        huge_count=huge_count,
        main=sum(bytes_ for is_main, bytes_ in pss if is_main),
        children=sum(bytes_ for is_main, bytes_ in pss if not is_main),
    )
