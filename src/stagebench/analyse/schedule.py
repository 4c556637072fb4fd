"""What runs are to one another: order, overlap, blocks, the one that figures show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from stagebench.analyse.stages import makespan_s
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from stagebench.analyse.traces import Trace
    from stagebench.units import Nanoseconds, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Interval:
    """When a measured process lived, on the machine's own clock and on the wall's."""

    start_ns: Nanoseconds
    end_ns: Nanoseconds
    start: datetime
    end: datetime

    def meets(self, other: _Interval) -> bool:
        """Tell whether both lived at once.

        Both clocks must agree: the machine's starts anew at boot, the wall's can be set.
        """
        monotonic = self.start_ns < other.end_ns and other.start_ns < self.end_ns
        return monotonic and self.start < other.end and other.start < self.end


def started_ranks(traces: list[Trace]) -> list[int]:
    """Give the place, from 0, that every run took in the order of start."""
    moments = [datetime.fromisoformat(trace.run["started_at"]) for trace in traces]
    order = sorted(range(len(traces)), key=moments.__getitem__)
    ranks = {index: rank for rank, index in enumerate(order)}
    return [ranks[index] for index in range(len(traces))]


def count_overlaps(traces: list[Trace]) -> list[int | None]:
    """Count for every run the others that were measured at the same time."""
    intervals = [_interval(trace) for trace in traces]
    known = [interval for interval in intervals if interval is not None]
    return [
        None if one is None else sum(one.meets(other) for other in known if other is not one)
        for one in intervals
    ]


def choose_shown(traces: list[Trace]) -> list[bool]:
    """Mark each treatment's run of median makespan, the lower one of two; failed runs never."""
    groups: dict[tuple[str, str], list[tuple[Seconds, int]]] = {}
    for index, trace in enumerate(traces):
        makespan = makespan_s(trace)
        if trace.is_ok and makespan is not None:
            group = trace.planned["experiment"], trace.planned["treatment"]
            groups.setdefault(group, []).append((makespan, index))
    chosen = {sorted(group)[(len(group) - 1) // 2][1] for group in groups.values()}
    return [index in chosen for index in range(len(traces))]


def makespan_ratios(traces: list[Trace]) -> list[float | None]:
    """Divide every ok run's makespan by that of its pair: the baseline's in block and campaign."""
    baselines = {_pair_key(trace): _ok_makespan(trace) for trace in traces if trace.baseline}
    ratios: list[float | None] = []
    for trace in traces:
        own = _ok_makespan(trace)
        base = baselines.get(_pair_key(trace))
        ratios.append(own / base if own is not None and base else None)
    return ratios


def _pair_key(trace: Trace) -> tuple[str, int, str | None]:
    return trace.planned["experiment"], trace.planned["block"], trace.run.get("campaign")


def _ok_makespan(trace: Trace) -> Seconds | None:
    return makespan_s(trace) if trace.is_ok else None


def _interval(trace: Trace) -> _Interval | None:
    start_ns, end_ns = trace.run["exec_ns"], trace.run["exited_ns"]
    if start_ns is None or end_ns is None:
        return None
    before = to_seconds(start_ns - trace.run["supervisor_started_ns"])
    started_at = datetime.fromisoformat(trace.run["started_at"])
    start = started_at + timedelta(seconds=before)
    end = start + timedelta(seconds=to_seconds(end_ns - start_ns))
    return _Interval(start_ns=start_ns, end_ns=end_ns, start=start, end=end)
