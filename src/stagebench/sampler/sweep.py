"""One sweep: reading every living process of a tree, as close together as possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from stagebench.records import MemorySample, SweepRecord
from stagebench.sampler.procfs import Vanished

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from stagebench.sampler.procfs import Counters, Memory
    from stagebench.units import Bytes

Value = TypeVar("Value")

MARK_SLACK_BYTES = 128 * 1024
"""A high-water mark is not reset if it is at most this far above the RSS."""


class Files(Protocol):
    """Reads the memory of processes; raises one of `procfs.Vanished` if a process has ended.

    If it `counts_faults`, equal counters mean that the process neither gained nor lost a page.
    """

    metric: str
    counts_faults: bool

    def read_memory(self, pid: int) -> Memory:
        """Read everything that the system reports about one process's memory."""

    def read_counters(self, pid: int) -> Counters:
        """Read the values that are cheap to read."""

    def reset_mark(self, pid: int) -> bool:
        """Reset its high-water mark; False if that is impossible."""

    def forget(self, pid: int) -> None:
        """Close or drop everything that is kept open for it."""


class Reading(NamedTuple):
    """One process in a sweep: its counters before and after, and its `memory` if it was walked.

    `was_reset`: its high-water mark was reset after the first reading.
    """

    pid: int
    before: Counters
    memory: Memory | None
    after: Counters
    was_reset: bool

    @property
    def kept_rss(self) -> bool:
        """Whether all of its readings have the same RSS."""
        walked = [self.memory.rss_bytes] if self.memory else []
        return {self.before.rss_bytes, self.after.rss_bytes, *walked} == {self.before.rss_bytes}

    @property
    def kept_still(self) -> bool:
        """Whether it neither gained nor lost a page: RSS and page faults are unchanged."""
        return self.kept_rss and self.before[:2] == self.after[:2] and not self.faults

    @property
    def faults(self) -> int:
        """Page faults while it was read."""
        return self.after.faults - self.before.faults


class Sweep(NamedTuple):
    """The complete readings of one sweep; `vanished` counts the processes that ended meanwhile.

    `changed`: the census noticed a birth, exec or end meanwhile. Times are of CLOCK_MONOTONIC.
    """

    kind: str
    started_ns: int
    ended_ns: int
    readings: list[Reading]
    vanished: int
    changed: bool

    @property
    def is_torn(self) -> bool:
        """Whether a process came, went or changed its RSS, so the sum is not of one moment."""
        kept = all(reading.kept_rss for reading in self.readings)
        return self.changed or self.vanished > 0 or not kept

    @property
    def is_still(self) -> bool:
        """Whether it read the PSS of a tree that neither gained nor lost a page meanwhile."""
        kept = all(reading.kept_still for reading in self.readings)
        return self.kind == "pss" and not self.is_torn and kept


def read_counters_of(pids: Iterable[int], files: Files) -> dict[int, Counters]:
    """Read the counters of every process, one by one; those that have ended are absent."""
    read = ((pid, _or_none(files.read_counters, pid)) for pid in pids)
    return {pid: counters for pid, counters in read if counters is not None}


def complete_readings(
    before: dict[int, Counters],
    files: Files,
    *,
    walk: bool,
    keep_marks: Container[int] = (),
) -> list[Reading]:
    """Reset high-water marks, walk the page tables if asked to, and read the counters again.

    The first and second reading of a process enclose the readings of all others, so a change during
    the sweep shows as a difference between the two. If nothing happens in between, the first
    reading is used for both. Processes that ended meanwhile are absent.
    """
    reset = {
        pid
        for pid, counters in before.items()
        if pid not in keep_marks and _reset_mark(pid, counters, files)
    }
    memory = _walk(before, files) if walk else dict.fromkeys(before)
    after = read_counters_of(before, files) if walk or reset else before
    return [
        Reading(pid, counters, memory[pid], after[pid], pid in reset)
        for pid, counters in before.items()
        if pid in after and pid in memory
    ]


def _walk(pids: Iterable[int], files: Files) -> dict[int, Memory | None]:
    """Read all memory of every process; None if that is not permitted, absent if it has ended."""
    memory: dict[int, Memory | None] = {}
    for pid in pids:
        try:
            memory[pid] = files.read_memory(pid)
        except Vanished:
            continue
        except PermissionError:  # a process may forbid it by prctl(2), PR_SET_DUMPABLE
            memory[pid] = None
    return memory


def find_shared(readings: Iterable[Reading]) -> dict[int, Bytes]:
    """Return by how much the anonymous RSS of each process exceeds its share of those pages.

    Added up, that is how much the RSS of all of them counts too often. Empty while memory is
    swapped out: pages that are shared come back one process at a time.
    """
    memory = {each.pid: each.memory for each in readings if each.memory is not None}
    if any(each.swap_bytes or each.anon_bytes is None for each in memory.values()):
        return {}
    return {pid: each.rss_anon_bytes - (each.anon_bytes or 0) for pid, each in memory.items()}


def record_sweep(number: int, sweep: Sweep, huge_faults: int | None) -> SweepRecord:
    """Make the record of a sweep."""
    return SweepRecord(
        sweep=number,
        kind=sweep.kind,
        started_ns=sweep.started_ns,
        ended_ns=sweep.ended_ns,
        processes=len(sweep.readings),
        vanished=sweep.vanished,
        torn=int(sweep.is_torn),
        huge_faults=huge_faults,
    )


def record_sample(number: int, reading: Reading) -> MemorySample:
    """Make the record of a process in a sweep."""
    memory, after = reading.memory, reading.after
    return MemorySample(
        sweep=number,
        pid=reading.pid,
        rss_bytes=memory.rss_bytes if memory else after.rss_bytes,
        rss_anon_bytes=memory.rss_anon_bytes if memory else after.rss_anon_bytes,
        rss_after_bytes=after.rss_bytes,
        rss_anon_after_bytes=after.rss_anon_bytes,
        high_water_bytes=max(reading.before.high_water_bytes, after.high_water_bytes),
        mark_reset=int(reading.was_reset),
        faults_before=reading.before.faults,
        faults=after.faults,
        pss_bytes=memory.pss_bytes if memory else None,
        anon_bytes=memory.anon_bytes if memory else None,
        file_bytes=memory.file_bytes if memory else None,
        shmem_bytes=memory.shmem_bytes if memory else None,
        uss_bytes=memory.uss_bytes if memory else None,
        swap_bytes=memory.swap_bytes if memory else None,
    )


def walk_tree(
    root: int, children: Callable[[int], list[int]], strangers: frozenset[int] = frozenset()
) -> Iterator[tuple[int, int]]:
    """Yield (pid, parent pid) of all descendants of `root`, parents first, without `strangers`."""
    parents = [root]
    for parent in parents:
        for pid in children(parent):
            if pid not in strangers:
                parents.append(pid)
                yield pid, parent


def _reset_mark(pid: int, counters: Counters, files: Files) -> bool:
    if counters.high_water_bytes - counters.rss_bytes <= MARK_SLACK_BYTES:
        return False
    return bool(_or_none(files.reset_mark, pid))


def _or_none(read: Callable[[int], Value], pid: int) -> Value | None:
    try:
        return read(pid)
    except Vanished:
        return None
