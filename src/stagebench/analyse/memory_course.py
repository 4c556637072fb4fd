"""The memory of a run over time, as a lower and an upper line, and what follows from both.

Whatever follows from lines that are bounds is a bracket, too: the columns `..._upper_bytes` and
`..._upper_s` are its upper ends.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stagebench.peak.history import MemoryTrace
from stagebench.peak.timeline import draw_timeline
from stagebench.units import to_nanoseconds, to_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stagebench.analyse.traces import Trace

    Line = NDArray[np.float64]


Row = dict[str, Any]

MOST_ROWS = 2000
"""Rows of a run in the table; of a run with more readings, neighbours are joined."""

RISE_S = 0.1
"""Rises are taken within this time, the interval at which the published study read main."""


def memory_records(trace: Trace) -> MemoryTrace:
    """Return the memory records of a run."""
    return MemoryTrace(
        trace.sweeps,
        trace.samples,
        trace.processes,
        trace.transitions,
        trace.run["sampler"],
        trace.reads,
    )


class Lines(NamedTuple):
    """The moments of a timeline as lines, of equal length."""

    began_ns: Line
    ended_ns: Line
    lower: Line
    reached: Line
    upper: Line
    anon_reached: Line
    anon_upper: Line

    def within(self, first: float, last: float) -> Lines:
        """Return the part whose spans touch a span of time."""
        kept = (self.ended_ns >= first) & (self.began_ns <= last)
        return Lines(*(line[kept] for line in self))


@lru_cache(maxsize=1)
def find_course(trace: Trace) -> Lines:
    """Return the lines of a run, which are empty without readings."""
    timeline = draw_timeline(memory_records(trace))
    rows = np.array([moment[: len(Lines._fields)] for moment in timeline], dtype=np.float64)
    return Lines(*rows.reshape(-1, len(Lines._fields)).T)


def list_course(trace: Trace) -> list[Row]:
    """Return the rows of the table `memory`: one per reading, or per several of a long run.

    `time_s` is when a row ends and `began_s` when it begins. In this span the tree had at least
    `tree_lower_bytes` at its end, reached `tree_reached_bytes` and never exceeded
    `tree_upper_bytes`; None if that is not known.
    """
    course = find_course(trace)
    origin_ns = trace.origin_ns
    if not len(course.ended_ns) or origin_ns is None:
        return []
    joined = _join(course, -(-len(course.ended_ns) // MOST_ROWS))
    times = zip(*joined[:2], *joined[2:], strict=True)
    return [
        trace.key
        | {
            "reading": number,
            "began_s": to_seconds(int(began - origin_ns)),
            "time_s": to_seconds(int(ended - origin_ns)),
            "tree_lower_bytes": int(lower),
            "tree_reached_bytes": int(reached),
            "tree_upper_bytes": _ceil(upper),
        }
        for number, (began, ended, lower, reached, upper) in enumerate(times)
    ]


def _join(course: Lines, several: int) -> tuple[Line, Line, Line, Line, Line]:
    """Join `several` readings into one; what the tree reached in any of them it reached in all."""
    starts = np.arange(0, len(course.ended_ns), several)
    ends = np.append(starts[1:], len(course.ended_ns)) - 1
    return (
        course.began_ns[starts],
        course.ended_ns[ends],
        course.lower[ends],
        np.maximum.reduceat(course.reached, starts),
        np.maximum.reduceat(course.upper, starts),
    )


def bound_time(trace: Trace) -> Row:
    """Return the ends of the tree's memory × time, its largest rise and its time to peak.

    Empty without readings, or if the workflow's start is unknown.
    """
    course, start = find_course(trace), trace.events.get("workflow_started")
    if start is None:
        return {}
    finished = trace.events.get("finished", float("inf"))
    within = course.within(start, finished)
    if not len(within.ended_ns):
        return {}
    row = {
        "tree_anon_peak_bytes": int(within.anon_reached.max()),
        "tree_anon_peak_upper_bytes": _ceil(within.anon_upper.max()),
    }
    return row | _time_to_peak(within, start) | _largest_rise(within) | _area(trace, course, start)


def _ceil(value: float) -> int | None:
    return int(np.ceil(value)) if np.isfinite(value) else None


def _time_to_peak(course: Lines, start_ns: int) -> Row:
    """Bound the moment of the peak: it lies where the upper line reaches the largest lower end."""
    if not np.isfinite(course.upper).all():
        return {}
    # Each upper end is at least the lower one of its own span, so there is such a place.
    places = np.flatnonzero(course.upper >= course.reached.max())
    first, last = course.began_ns[places[0]], course.ended_ns[places[-1]]
    return {
        "tree_time_to_peak_s": max(0.0, to_seconds(int(first - start_ns))),
        "tree_time_to_peak_upper_s": max(0.0, to_seconds(int(last - start_ns))),
    }


def _largest_rise(course: Lines) -> Row:
    """Bound the largest rise from any reading to any moment within `RISE_S` after it."""
    lower, upper = course.lower, course.upper
    if not np.isfinite(upper).all():
        return {}
    # A moment of a span is at most that far from a reading if its end is, and perhaps if its
    # beginning is.
    surely, perhaps = (
        np.searchsorted(course.ended_ns, moments - to_nanoseconds(RISE_S))
        for moments in (course.ended_ns, course.began_ns)
    )
    certain = possible = 0.0
    for place in range(1, len(upper)):
        if surely[place] < place:
            certain = max(certain, course.reached[place] - upper[surely[place] : place].min())
        possible = max(possible, upper[place] - lower[perhaps[place] : place].min())
    return {
        "tree_largest_rise_bytes": int(certain),
        "tree_largest_rise_upper_bytes": _ceil(possible),
    }


def _area(trace: Trace, course: Lines, start_ns: int) -> Row:
    """Integrate both lines from the workflow's start to its last result.

    The upper line holds in whole spans. Readings of the lower one, ten milliseconds apart, are
    joined by straight lines.
    """
    end_ns = trace.events.get("workflow_finished")
    if end_ns is None or end_ns <= start_ns:
        return {}
    began = np.clip(course.began_ns, start_ns, end_ns)
    ended = np.clip(course.ended_ns, start_ns, end_ns)
    moments = np.clip(course.ended_ns, start_ns, end_ns)
    lower = float(np.trapezoid(course.lower, moments)) / 1e9
    inside = ended > began
    upper = float(np.sum(course.upper[inside] * (ended - began)[inside])) / 1e9
    return {
        "tree_memory_time_byte_s": lower,
        "tree_memory_time_upper_byte_s": max(lower, upper) if np.isfinite(upper) else None,
    }
