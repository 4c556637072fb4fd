"""What runs are to one another: order, overlap, blocks, the one that figures show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stagebench.analyse.traces import Head
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


def started_ranks(runs: Sequence[Head]) -> list[int]:
    """Give the place, from 0, that every run took in the order of start."""
    moments = [datetime.fromisoformat(head.run["started_at"]) for head in runs]
    order = sorted(range(len(runs)), key=moments.__getitem__)
    ranks = {index: rank for rank, index in enumerate(order)}
    return [ranks[index] for index in range(len(runs))]


def count_overlaps(runs: Sequence[Head]) -> list[int | None]:
    """Count for every run the others that were measured at the same time."""
    intervals = [_interval(head) for head in runs]
    counts = [None if interval is None else 0 for interval in intervals]
    for one, other in _meetings(intervals):
        for index in (one, other):
            counts[index] = (counts[index] or 0) + 1
    return counts


def choose_shown(runs: Sequence[Head], makespans: Sequence[Seconds | None]) -> list[bool]:
    """Mark each treatment's run of median makespan, the lower one of two.

    The makespans are those of ok runs; other runs have none and are never shown.
    """
    groups: dict[tuple[str, str], list[tuple[Seconds, int]]] = {}
    for index, (head, makespan) in enumerate(zip(runs, makespans, strict=True)):
        if makespan is not None:
            group = head.planned["experiment"], head.planned["treatment"]
            groups.setdefault(group, []).append((makespan, index))
    chosen = {sorted(group)[(len(group) - 1) // 2][1] for group in groups.values()}
    return [index in chosen for index in range(len(runs))]


def makespan_ratios(
    runs: Sequence[Head], makespans: Sequence[Seconds | None]
) -> list[float | None]:
    """Divide every ok run's makespan by that of the baseline's run in the same block.

    The makespans are those of ok runs; other runs have none.
    """
    places = [(head.planned["experiment"], head.planned["block"]) for head in runs]
    measured = list(zip(runs, places, makespans, strict=True))
    baselines = {place: makespan for head, place, makespan in measured if head.baseline}
    ratios: list[float | None] = []
    for _, place, own in measured:
        base = baselines.get(place)
        ratios.append(own / base if own is not None and base else None)
    return ratios


def _meetings(intervals: Sequence[_Interval | None]) -> Iterator[tuple[int, int]]:
    """Yield every pair that lived at once: none is looked at that began after one's end."""
    known = [(interval, index) for index, interval in enumerate(intervals) if interval is not None]
    known.sort(key=lambda pair: pair[0].start_ns)
    for place, (one, index) in enumerate(known):
        for later in range(place + 1, len(known)):
            other, other_index = known[later]
            if other.start_ns >= one.end_ns:
                break
            if one.meets(other):
                yield index, other_index


def _interval(head: Head) -> _Interval | None:
    start_ns, end_ns = head.run["exec_ns"], head.run["exited_ns"]
    if start_ns is None or end_ns is None:
        return None
    before = to_seconds(start_ns - head.run["supervisor_started_ns"])
    started_at = datetime.fromisoformat(head.run["started_at"])
    start = started_at + timedelta(seconds=before)
    end = start + timedelta(seconds=to_seconds(end_ns - start_ns))
    return _Interval(start_ns=start_ns, end_ns=end_ns, start=start, end=end)
