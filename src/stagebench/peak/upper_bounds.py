"""Upper bounds of a tree's PSS between two sweeps, from the counters of its processes alone.

Two bounds hold at every moment, and the smaller one counts: (a) the sum of every process's largest
possible RSS, and (b) the PSS of an earlier sweep plus what each process can have added since.
docs/method.md proves both and explains the names that are used here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from stagebench.tables.quantities import MEMORY_PARTS as PARTS
from stagebench.units import HUGE_PAGE_BYTES, KIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagebench.peak.history import CounterHistory, State
    from stagebench.units import Bytes, Nanoseconds


FAULT_AROUND_BYTES: Bytes = 64 * KIB
"""The most that one page fault maps of a file. Source: Linux, `fault_around_pages`, mm/memory.c."""


class Kernel(NamedTuple):
    """What the bounds need to know about the machine (`sampler` in run.json).

    `drift` is how far a high-water mark may lag behind the RSS, `page` the size of a copy on write,
    and `anonymous_fault` the most anonymous memory that one fault maps, huge pages apart.
    """

    drift: Bytes
    page: Bytes
    anonymous_fault: Bytes


class Span(NamedTuple):
    """The time between two sweeps, in which the machine handed out `huge` huge pages.

    It reaches from the start of one sweep to the end of the next; `read_ns` is the end of the
    first. `huge_count` is the machine's count of huge pages at the end of the span. If it
    `is_held`, the tree neither gained nor lost a page.
    """

    begins_ns: Nanoseconds
    read_ns: Nanoseconds
    ends_ns: float
    huge: int
    huge_count: int
    is_held: bool

    @property
    def fault(self) -> Bytes:
        """The most that one page fault can have mapped."""
        return HUGE_PAGE_BYTES if self.huge else FAULT_AROUND_BYTES


def ceiling(history: CounterHistory, span: Span, kernel: Kernel) -> Bytes | None:
    """Bound the RSS of a process over a span; None if no later value bounds it."""
    if history.is_borrower:
        return 0
    start, end = history.state_before(span.read_ns), history.state_after(span.ends_ns)
    if start is None and history.states:
        start = history.states[0]
    if end is None:
        return history.process.max_rss_bytes
    after = start.at_ns if start else 0
    execs = history.execs_between(after, end.at_ns)
    foreign = history.foreign_faults(after, end.at_ns)
    if not execs:
        return _image_ceiling(start, end, span, kernel, foreign)
    newest = _image_ceiling(execs[-1], end, span, kernel, foreign)
    return larger(newest, _replaced_ceiling(history, start, execs, span, foreign))


def _image_ceiling(
    start: State | None, end: State, span: Span, kernel: Kernel, foreign: int | None
) -> Bytes:
    faults_between = end.faults - end.faults_before if end.was_reset else 0
    marked = end.high_water + kernel.drift + faults_between * span.fault
    if start is None or not start.is_exact or start.at_ns >= end.at_ns or foreign is None:
        return marked
    counted = start.rss + (end.faults - start.faults_before + foreign) * span.fault
    return max(end.high_water, min(marked, counted + span.huge * HUGE_PAGE_BYTES))


def _replaced_ceiling(
    history: CounterHistory,
    start: State | None,
    execs: Sequence[State],
    span: Span,
    foreign: int | None,
) -> Bytes | None:
    """Bound the RSS of programs that an exec replaced, and whose high-water marks are lost."""
    most = history.process.max_rss_bytes
    if start is None:
        return 0  # its memory was another's
    if foreign is None:
        return None if most is None else max(most, start.rss)
    counted = start.rss + (execs[-1].faults - start.faults_before + foreign) * span.fault
    return counted if most is None else min(counted, max(most, start.rss))


def copied(first: State, end: State, span: Span, kernel: Kernel, limit: Bytes) -> Bytes:
    """Bound how much shared memory a process can have replaced, which its RSS does not show.

    Copying a page on write takes a fault that does not make the RSS grow. Where pages of files
    replaced anonymous ones, the two parts of the RSS show it. A process cannot replace more than it
    shared: `limit`.
    """
    fault = HUGE_PAGE_BYTES if span.huge else kernel.anonymous_fault
    anonymous = end.rss_anon - first.rss_anon
    others = end.rss - first.rss - anonymous
    growing = max(0, min(anonymous, anonymous + others)) // fault
    faults = max(0, end.faults - first.faults_before - growing)
    mapped = max(0, min(others, -anonymous))
    return min(limit, faults * kernel.page + mapped + span.huge * HUGE_PAGE_BYTES)


Bounds = dict[str, "Bytes | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An untorn PSS sweep: the starting point of bound (b).

    `highest` maps a process's place in the census to its largest ceiling since then.
    """

    sweep: int
    started_ns: Nanoseconds
    read_ns: Nanoseconds
    huge_count: int
    main: Bytes
    children: Bytes
    highest: dict[int, Bytes] = field(default_factory=dict)


class Contribution(NamedTuple):
    """Bounds for one process over a span; None where nothing is known.

    `ceiling` bounds its RSS while it lives. `brought` bounds the pages that it was the first in the
    tree to map since the base; its children may keep them until `counts_until_ns`. `halved` is half
    of what it inherited at birth, the most that counts for it as long as its parent maps the same
    pages. Shared pages that a process gives up count for the others: `returned` bounds them while
    it runs on, `lost` from `lost_ns` on.
    """

    is_main: bool
    begins_ns: Nanoseconds
    ends_ns: float
    counts_until_ns: float
    ceiling: Bytes | None
    brought: Bytes | None
    halved: Bytes = 0
    returned: Bytes = 0
    lost: Bytes = 0
    lost_ns: float = float("inf")

    def returned_at(self, at_ns: float) -> Bytes:
        """Bound the shared pages that it has given up by this moment."""
        return self.lost if at_ns >= self.lost_ns else self.returned


class Course(NamedTuple):
    """One process from a first reading to the end of a span; `top` bounds its RSS meanwhile."""

    history: CounterHistory
    first: State
    end: State
    top: Bytes
    span: Span
    kernel: Kernel

    @property
    def execs(self) -> list[State]:
        """The programs that it started meanwhile."""
        return self.history.execs_between(self.first.at_ns, self.end.at_ns)

    def brought(self, limit: Bytes) -> Bytes:
        """Bound the new pages: those by which its RSS grew, and those that replaced shared ones."""
        execs = self.execs
        last = execs[-1] if execs else self.end
        grown = max(0, self.top - self.first.rss)
        added = grown + copied(self.first, last, self.span, self.kernel, limit)
        return max(added, self.top) if execs else added

    def returned(self, limit: Bytes) -> Bytes:
        """Bound the shared pages that it gave up while it ran on."""
        left = max(0, self.first.rss - self.end.rss)
        return min(limit, left + copied(self.first, self.end, self.span, self.kernel, limit))


def bound_contribution(
    place: int, history: CounterHistory, span: Span, base: Base | None, kernel: Kernel
) -> Contribution:
    """Bound one process over a span; `place` is its place in the census."""
    top, end = ceiling(history, span, kernel), history.state_after(span.ends_ns)
    contribution = Contribution(
        is_main=history.is_main,
        begins_ns=history.starts_ns,
        ends_ns=history.ends_ns,
        counts_until_ns=history.counts_until_ns,
        ceiling=top,
        brought=top,
    )
    # It may have written to pages of its lender that others share, too.
    copies = None if history.shared_faults is None else history.shared_faults * kernel.page
    if history.is_borrower:
        return contribution._replace(brought=copies, returned=copies or 0)
    if base is None or top is None or end is None:
        return contribution
    base.highest[place] = top = max(top, base.highest.get(place, 0))
    since = span._replace(huge=span.huge_count - base.huge_count)
    known = history.state_in(base.sweep, base.read_ns)
    if known is not None:
        forked = history.last_fork_ns is not None and history.last_fork_ns >= base.started_ns
        limit = top if forked else known.shared
        course = Course(history, known, end, top, since, kernel)
        return contribution._replace(
            brought=course.brought(limit),
            returned=course.returned(limit),
            lost=limit,
            lost_ns=history.lost_ns(course.execs),
        )
    if history.birth is not None:
        born = Course(history, history.birth, end, top, since, kernel)
        return contribution._replace(brought=born.brought(top), halved=history.birth.rss // 2)
    faults = (history.execs[-1] if history.execs else end).faults
    # Until its exec it had another's memory and may have written to it.
    return contribution._replace(brought=top + faults * kernel.page, returned=copies or 0)


def bound_parts(contributions: Sequence[Contribution], span: Span, base: Base | None) -> Bounds:
    """Bound main, children and tree over a span: the largest bound of all its moments."""
    moments = {each.begins_ns for each in contributions} | {each.lost_ns for each in contributions}
    rises = {at_ns for at_ns in moments if span.begins_ns < at_ns <= span.ends_ns}
    highest: Bounds = dict.fromkeys(PARTS, 0)
    for at_ns in (span.begins_ns, *rises):
        bounds = _bound_moment(contributions, at_ns, base)
        highest = {part: larger(highest[part], bounds[part]) for part in PARTS}
    return highest


def larger(one: Bytes | None, other: Bytes | None) -> Bytes | None:
    """Return the larger of two bounds; None if either is unknown."""
    return None if one is None or other is None else max(one, other)


def _bound_moment(contributions: Sequence[Contribution], at_ns: float, base: Base | None) -> Bounds:
    alive = [each for each in contributions if each.begins_ns <= at_ns <= each.ends_ns]
    main = _sum(each.ceiling for each in alive if each.is_main)
    children = _sum(each.ceiling for each in alive if not each.is_main)
    marks = {"main": main, "children": children, "tree": _sum((main, children))}
    if base is None:
        return marks
    counts = _count_from(base, contributions, at_ns)
    bounds = {part: _smaller(marks[part], counts[part]) for part in PARTS}
    return bounds | {part: _smaller(bounds[part], bounds["tree"]) for part in ("main", "children")}


def _count_from(base: Base, contributions: Sequence[Contribution], at_ns: float) -> Bounds:
    """Compute bound (b) for a moment: the base's PSS and what was added since."""
    counted = [each for each in contributions if each.begins_ns <= at_ns <= each.counts_until_ns]
    main = _sum(each.brought for each in counted if each.is_main)
    children = _sum(each.brought for each in counted if not each.is_main)
    returned_by_main = sum(each.returned_at(at_ns) for each in contributions if each.is_main)
    returned_by_children = sum(
        each.returned_at(at_ns) for each in contributions if not each.is_main
    )
    halved = sum(each.halved for each in counted)
    return {
        "main": _sum((base.main, main, returned_by_children)),
        "children": _sum((base.children, children, halved, returned_by_main)),
        "tree": _sum((base.main, base.children, main, children)),
    }


def _sum(bounds: Iterable[Bytes | None]) -> Bytes | None:
    total = 0
    for bound in bounds:
        if bound is None:
            return None
        total += bound
    return total


def _smaller(one: Bytes | None, other: Bytes | None) -> Bytes | None:
    known = [bound for bound in (one, other) if bound is not None]
    return min(known) if known else None
