"""How far one process's memory can have gone in a window of time, from its counters alone.

docs/method.md proves what is used here; the names are those of its proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench.units import KIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.analyse.states import History, State
    from stagebench.units import Bytes, Nanoseconds

FAULT_AROUND_BYTES: Bytes = 64 * KIB
"""What one page fault maps of a file at most. Source: Linux, `fault_around_pages`, mm/memory.c."""

HUGE_PAGE_BYTES: Bytes = 2048 * KIB
"""What one page fault maps at most where the machine gave a huge page meanwhile."""


class Kernel(NamedTuple):
    """What the bounds need to know of the machine (`sampler` in run.json).

    `drift` is how far a high-water mark may lag, `page` what copying on write brings, and
    `anonymous_fault` what one fault brings of anonymous memory, huge pages apart.
    """

    drift: Bytes
    page: Bytes
    anonymous_fault: Bytes


class Span(NamedTuple):
    """A span of time between two sweeps, in which the machine gave `huge` huge pages.

    It begins and ends with a sweep; `read_ns` is when the first of them was done. `huge_count`
    is the machine's count at its end. While it `is_held`, no page of the tree came or went.
    """

    begins_ns: Nanoseconds
    read_ns: Nanoseconds
    ends_ns: float
    huge: int
    huge_count: int
    is_held: bool

    @property
    def fault(self) -> Bytes:
        """What one page fault can have mapped."""
        return HUGE_PAGE_BYTES if self.huge else FAULT_AROUND_BYTES


def ceiling(history: History, span: Span, kernel: Kernel) -> Bytes | None:
    """Bound the RSS of a process over a span; None where nothing is known of its end."""
    if history.is_borrower:
        return 0
    start, end = history.state_before(span.read_ns), history.state_after(span.ends_ns)
    if start is None and history.states:
        start = history.states[0]
    if end is None:
        return history.process.max_rss_bytes
    after = start.at_ns if start else 0
    execs = history.execs_between(after, end.at_ns)
    if not execs:
        return _image_ceiling(start, end, span, kernel)
    newest = _image_ceiling(execs[-1], end, span, kernel)
    return max(newest, _replaced_ceiling(history, start, execs, span))


def _image_ceiling(start: State | None, end: State, span: Span, kernel: Kernel) -> Bytes:
    faults_between = end.faults - end.faults_before if end.was_reset else 0
    marked = end.high_water + kernel.drift + faults_between * span.fault
    if start is None or not start.is_exact or start.at_ns >= end.at_ns:
        return marked
    counted = start.rss + (end.faults - start.faults_before) * span.fault
    return max(end.high_water, min(marked, counted + span.huge * HUGE_PAGE_BYTES))


def _replaced_ceiling(
    history: History, start: State | None, execs: Sequence[State], span: Span
) -> Bytes:
    """Bound the RSS of programs that an exec replaced: their marks went with them."""
    most = history.process.max_rss_bytes
    if start is None or history.process.birth == "vfork":
        return 0  # what it had was its parent's
    counted = start.rss + (execs[-1].faults - start.faults_before) * span.fault
    return counted if most is None else min(counted, max(most, start.rss))


def copied(first: State, end: State, span: Span, kernel: Kernel, limit: Bytes) -> Bytes:
    """Bound what a process can have put in the place of shared memory: its RSS tells nothing of it.

    Copying a page on write takes a fault; those that made the RSS grow are not among them. What
    files took the place of is told by both parts of the RSS. No more can be replaced than was
    shared, the `limit`.
    """
    fault = HUGE_PAGE_BYTES if span.huge else kernel.anonymous_fault
    anonymous = end.rss_anon - first.rss_anon
    others = end.rss - first.rss - anonymous
    growing = max(0, min(anonymous, anonymous + others)) // fault
    faults = max(0, end.faults - first.faults_before - growing)
    mapped = max(0, min(others, -anonymous))
    return min(limit, faults * kernel.page + mapped + span.huge * HUGE_PAGE_BYTES)
