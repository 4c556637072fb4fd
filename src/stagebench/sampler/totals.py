"""Cheap readings of the whole tree: what the kernel counts anyway, without a walk of page tables.

A control group has the sum of all processes in one file. Without one, the processes' own counters
give a sum that is certainly there. Either is read a hundred times a second, whatever the memory.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stagebench.records import ReadRecord
from stagebench.sampler.ceilings import Ceilings
from stagebench.sampler.moves import Moves
from stagebench.sampler.procfs import (
    MachineCounts,
    MemoryFiles,
    Sizes,
    Vanished,
    counter_drift_bytes,
    read_anonymous_fault_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from stagebench.records import TransitionRecord
    from stagebench.sampler.group import GroupReader, GroupReading
    from stagebench.sampler.procfs import Counters
    from stagebench.sampler.sweep import Files
    from stagebench.units import Bytes, Nanoseconds

FILL_BYTES_PER_NS = 16
"""No core fills memory faster (16 GB/s): a bound of what can have come back unseen."""

CPUS = os.cpu_count() or 1

PROCESSES_SHARE, ALONE_SHARE = 0.0025, 0.02
"""Share of one core that reading the sizes of single processes may take: beside a group, and where
they are all that there is."""

WRITTEN_AT_ONCE = 10
"""Readings are written together, because a line at a time would cost as much as the reading."""

STEADY_READS = 3
"""The tree is on a plateau if so many readings in a row agree."""

NEAR_BYTES, NEAR_SHARE = 1 << 20, 0.01
"""Two readings agree if they differ by less than the larger of these."""

SETTLING_NS = 20_000_000
"""After a birth, exec or end, the tree gets this long to come to rest before it is walked."""

IMPATIENT_NS = 250_000_000
"""A tree that does not come to rest, or moves a little, is walked so often."""

SPIKE_BYTES = 1 << 20
"""If the largest charge since a reading exceeds both ends by more, something came and went."""

ATTEMPTS, HELD_UP_NS = 3, 1_000_000
"""A reading of processes that took longer was interrupted, and is made again, but so often only."""

FOLDED_NS = 50_000_000
"""Readings that say the same as the one before are written only so often."""


class SizeReader(Protocol):
    """Reads the sizes of single processes; raises one of `procfs.Vanished` if one has ended."""

    def read_sizes(self, pid: int) -> Sizes:
        """Read the two parts of a process's RSS."""

    def read_faults(self, pid: int) -> int:
        """Read how many page faults it has had."""

    def read_counters(self, pid: int) -> Counters:
        """Read its counters, which tell shared memory from files but take longer."""


NO_MOVES: tuple[Bytes | None, ...] = (None,) * 5


class Walked(NamedTuple):
    """The tree when it was walked: its level, what had moved by then, and the census's changes."""

    level: Bytes
    moved: Bytes
    changes: int


class Row(NamedTuple):
    """A reading as it is kept until it is written.

    `said` has the number of processes, anonymous and shared memory, page cache, the largest charge
    of all and of kernel memory, and what the machine has paged.
    """

    began_ns: Nanoseconds
    ended_ns: Nanoseconds
    said: tuple[int | None, ...]
    since_ns: Nanoseconds | None
    main: Bytes | None
    moves: tuple[Bytes | None, ...]

    def record(self) -> ReadRecord:
        """Return the record of it."""
        processes, anon, shmem, cache, peak, kernel_peak, paged = self.said
        mapped, unmapped, most, left, walk = self.moves
        return ReadRecord(
            started_ns=self.began_ns,
            ended_ns=self.ended_ns,
            processes=processes or 0,
            anon_bytes=anon or 0,
            shmem_bytes=shmem,
            cache_bytes=cache,
            peak_bytes=peak,
            peak_since_ns=self.since_ns,
            kernel_peak_bytes=kernel_peak,
            paged_bytes=paged,
            main_anon_bytes=self.main,
            mapped_bytes=mapped,
            unmapped_bytes=unmapped,
            most_mapped_bytes=most,
            left_bytes=left,
            left_since_sweep=walk,
        )


class Totals:
    """Reads the tree's total, notes what is certain about it, and says when a walk would help.

    Without a group, anonymous pages that a process inherited do not count for it: its parent may
    have them, too. What it has beyond that it allocated itself, so no page counts twice. A walk
    finds out how much all processes share, and only what is born later has inherited anything new.
    """

    def __init__(
        self,
        files: SizeReader,
        main: int,
        write: Callable[[Sequence[ReadRecord]], None],
        group: GroupReader | None = None,
        clock: Callable[[], Nanoseconds] = time.monotonic_ns,
        cpu_clock: Callable[[], Nanoseconds] = time.thread_time_ns,
    ) -> None:
        self._files = files
        self._main = main
        self._write = write
        self._clock = clock
        self._cpu_clock = cpu_clock
        self.group = group
        self.drift_bytes = group.drift_bytes if group else None
        self.group_failure: str | None = None
        self.reads = 0
        self._moves = Moves()
        self._charges_shared = False
        self._walk: int | None = None
        self._inherited: dict[int, Bytes] = {main: 0}  # nobody else in the tree has its pages
        self._shared: Bytes = 0
        self._machine = MachineCounts()
        self._ceilings = Ceilings(
            read_anonymous_fault_bytes(),
            counter_drift_bytes(CPUS),
            self._machine.read_huge_faults,
        )
        self._is_told = False
        self._read_since_ns: Nanoseconds | None = None
        self._processes_due_ns = 0
        self._levels: deque[Bytes] = deque(maxlen=STEADY_READS)
        self._changes, self._changed_ns = -1, 0
        self._walked: Walked | None = None
        self._walked_ns = 0
        self._moved_before: Bytes = 0
        self._level: Bytes = 0
        self._rows: list[Row] = []
        self._last: Row | None = None
        self._moves_written = NO_MOVES
        self._written_ns = 0
        self._is_folded = False

    def note_transition(self, transition: TransitionRecord) -> None:
        """Take in a birth, exec or exit, whose counters were read while the process stood still."""
        pid = transition.pid
        self._is_told = True
        if self.group is None:
            self._ceilings.note_transition(transition)
        if transition.kind != "exit":  # which may be that of one of several threads
            self._moves.end(pid)
            inherits = transition.kind == "birth" and pid != self._main
            self._inherited[pid] = transition.rss_anon_bytes if inherits else 0
        shared = transition.rss_bytes - transition.rss_anon_bytes
        self._moves.note(
            pid, shared - transition.rss_shmem_bytes if self._charges_shared else shared
        )

    def note_ended(self, alive: AbstractSet[int]) -> None:
        """Take in which processes are left."""
        for pid in self._moves.processes - alive:
            self._moves.end(pid)
            self._inherited.pop(pid, None)

    def read(self, owners: AbstractSet[int], changes: int, *, whole: bool = False) -> None:
        """Read the tree; `owners` are its processes by id, each address space once.

        `changes` is the census's count of births, execs and ends. A `whole` reading looks at every
        process, whatever that costs. This runs a hundred times a second with a cold cache, where
        every line costs a microsecond.
        """
        began_ns = self._clock()
        due = whole or began_ns >= self._processes_due_ns or not owners
        # Main is read before and after the group, which is of a moment in between.
        main_before = {}
        cpu_ns = self._cpu_clock() if due else 0
        if due and self.group is not None:
            main_before = self._read_sizes(owners & {self._main})
        charged = self._read_group() if self.group is not None else None
        main = None
        moves = NO_MOVES
        if due:
            if charged:
                sizes, bound, most = self._read_sizes(owners), 0, None
            else:
                sizes, bound, most = self._read_alone(owners, began_ns)
            ended_ns = self._clock()
            self._note_moves(sizes, owners)
            sums = self._moves
            left = None if self._walk is None else sums.left
            moves = sums.mapped, sums.unmapped, sums.take_most(), left, self._walk
            if self._main in sizes:
                main = sizes[self._main].anon_bytes
                if self._main in main_before:
                    main = max(main, main_before[self._main].anon_bytes)
                    main += (ended_ns - began_ns) * FILL_BYTES_PER_NS * CPUS
            share = PROCESSES_SHARE if charged else ALONE_SHARE
            self._processes_due_ns = began_ns + int((self._cpu_clock() - cpu_ns) / share)
        elif charged is None:
            return
        else:
            ended_ns = self._clock()
        self.reads += 1
        since_ns = None
        said: tuple[int | None, ...]
        if charged is None:
            said = (len(owners), bound, None, None, most, None, None)
            since_ns, self._read_since_ns = self._read_since_ns, began_ns
            level = bound
        else:
            self._charges_shared = charged.shmem_bytes > 0
            anon, shmem, cache, _kernel, peak, since_ns, kernel_peak = charged
            level = anon + shmem
            paged = self._read_paged(charged, level)
            said = (len(owners), anon, shmem, cache, peak, kernel_peak, paged)
        self._keep(Row(began_ns, ended_ns, said, since_ns, main, moves))
        self._level = level
        self._levels.append(level)
        if changes != self._changes:
            self._changes, self._changed_ns = changes, ended_ns

    def tells_new(self) -> bool:
        """Whether a walk would tell something new: the tree has moved, and come to rest.

        What processes map and unmap of files is in no level, but widens the bounds of their memory.
        """
        if not self._levels:
            return True
        level, now_ns = self._levels[-1], self._clock()
        walked, is_impatient = self._walked, now_ns - self._walked_ns >= IMPATIENT_NS
        if walked is not None and walked.changes == self._changes:
            moved = abs(level - walked.level) + self._moves.total - walked.moved
            if _is_near(level, level + moved):
                return is_impatient and moved > 0
        if is_impatient:
            return True
        rests = len(self._levels) == STEADY_READS and all(
            _is_near(level, each) for each in self._levels
        )
        return rests and now_ns - self._changed_ns >= SETTLING_NS

    def note_reset(self, pids: Iterable[int]) -> None:
        """Take in whose high-water marks a sweep has reset."""
        self._ceilings.note_reset(pids)

    def begin_walk(self) -> None:
        """Take in that page tables are going to be walked, and a whole reading was taken.

        What moves during the walk is news, because nobody knows what of it the walk has seen.
        """
        self._moved_before = self._moves.total

    def note_walk(
        self,
        sweep: int,
        *,
        is_whole: bool,
        is_torn: bool = False,
        shared: Mapping[int, Bytes] | None = None,
    ) -> None:
        """Take in that all page tables were walked just now, and a whole reading was taken.

        If it `is_whole`, the files of every process were read. If it `is_torn`, the tree is walked
        again once it rests. `shared` is how much the anonymous RSS of each process exceeds its PSS:
        together, what more than one counts.
        """
        if is_whole:
            self._moves.note_walk()
            self._walk = sweep
        if shared:
            self._shared = sum(shared.values())
            self._inherited |= dict.fromkeys(shared, 0)
        self.note_held()
        if is_torn:
            self._walked = None

    def note_held(self) -> None:
        """Take in that the values of the last walk still hold."""
        self._walked_ns = self._clock()
        level = self._levels[-1] if self._levels else 0
        self._walked = Walked(level, self._moved_before, self._changes)

    def flush(self) -> None:
        """Write the readings that were kept back."""
        if self._last is not None and self._is_folded:
            self._rows.append(self._last)
            self._is_folded = False
        self._write_all()
        self._machine.close()

    def _write_all(self) -> None:
        self._write([row.record() for row in self._rows])
        self._rows.clear()

    def _read_group(self) -> GroupReading | None:
        if self.group is None:
            return None
        try:
            return self.group.read()
        except OSError as error:
            self.group_failure = f"taken away during the run ({error.strerror})"
            self.group.close()
            self.group = None
            return None

    def _read_paged(self, charged: GroupReading, level: Bytes) -> Bytes | None:
        """Read what the machine has paged, if a charge came and went that was not kernel memory."""
        if charged.kernel_peak_bytes is None:
            return None
        spike = charged.peak_bytes - charged.kernel_peak_bytes - charged.cache_bytes
        if spike > max(self._level, level) + SPIKE_BYTES or not self._level:
            return self._machine.read_paged()
        return None

    def _read_sizes(self, pids: Iterable[int]) -> dict[int, Sizes]:
        """Read the sizes of processes; without the shared memory that the group is charged for."""
        sizes = {}
        if self._charges_shared:
            for pid in pids:
                with contextlib.suppress(*Vanished):
                    rss, anon, _mark, _faults, shmem = self._files.read_counters(pid)
                    sizes[pid] = Sizes(anon, rss - anon - shmem)
            return sizes
        for pid in pids:
            with contextlib.suppress(*Vanished):
                sizes[pid] = self._files.read_sizes(pid)
        return sizes

    def _read_alone(
        self, owners: AbstractSet[int], began_ns: Nanoseconds
    ) -> tuple[dict[int, Sizes], Bytes, Bytes | None]:
        """Read the sizes of all processes; bound their anonymous memory from below and from above.

        The lower end is the tree's, at the moment between two readings of each process. What a
        process had in both it had then, too, except for what all of them together can have filled
        anew meanwhile. A single process needs no second reading. The upper end is that of the sum
        since the last reading began; None if the census does not tell of births and ends.
        """
        for _ in range(ATTEMPTS):
            faults = {}  # before the sizes: none in between is missed
            for pid in self._ceilings.processes | owners:
                with contextlib.suppress(*Vanished):
                    faults[pid] = self._files.read_faults(pid)
            counters = {}
            for pid in self._ceilings.note_faults(faults):
                with contextlib.suppress(*Vanished):
                    counters[pid] = self._files.read_counters(pid)
            sizes = self._read_sizes(owners)
            again = self._read_sizes(sizes) if len(sizes) > 1 else sizes
            now_ns = self._clock()
            took_ns, began_ns = now_ns - began_ns, now_ns
            if took_ns <= HELD_UP_NS:
                break
        most = self._ceilings.bound(owners, counters) if self._is_told else None
        for pid, size in sizes.items():
            self._inherited.setdefault(pid, size.anon_bytes)
        least = {pid: min(size, again[pid]) for pid, size in sizes.items() if pid in again}
        own = sum(max(0, size.anon_bytes - self._inherited[pid]) for pid, size in least.items())
        filled = took_ns * FILL_BYTES_PER_NS * CPUS
        self._ceilings.renew(least, filled)
        return sizes, max(0, own - self._shared - filled * (again is not sizes)), most

    def _note_moves(self, sizes: dict[int, Sizes], owners: AbstractSet[int]) -> None:
        for pid, size in sizes.items():
            self._moves.note(pid, size.shared_bytes)
        self.note_ended(owners)

    def _keep(self, row: Row) -> None:
        """Keep a reading, unless it only repeats the one before for a short while."""
        last = self._last
        if last is not None and self._is_folded and row.said == last.said:
            row = row._replace(since_ns=last.since_ns)  # its peak is that of all that it repeats
        self._last = row
        if last is not None:
            moved = row.said != last.said or row.moves not in (NO_MOVES, self._moves_written)
            if not moved and row.ended_ns - self._written_ns < FOLDED_NS:
                self._is_folded = True
                return
            if moved and self._is_folded:
                self._rows.append(last)  # nothing moved until then
        self._is_folded = False
        self._written_ns = row.ended_ns
        if row.moves is not NO_MOVES:
            self._moves_written = row.moves
        self._rows.append(row)
        if len(self._rows) >= min(WRITTEN_AT_ONCE, self.reads):
            self._write_all()


def open_totals(
    files: Files,
    main: int,
    write: Callable[[Sequence[ReadRecord]], None],
    group: GroupReader | None,
) -> Totals | None:
    """Read totals if this machine counts them; None where psutil reads the memory."""
    if not isinstance(files, MemoryFiles):
        return None
    return Totals(files, main, write, group)


def _is_near(one: Bytes, other: Bytes) -> bool:
    return abs(one - other) <= max(NEAR_BYTES, NEAR_SHARE * other)
