"""The sampler: when to sweep, what to read, and what each sweep adds to the trace."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from stagebench.records import SweepRecord
from stagebench.sampler.portable import open_files
from stagebench.sampler.procfs import (
    PAGE_BYTES,
    counter_drift_bytes,
    read_anonymous_fault_bytes,
    read_huge_faults,
)
from stagebench.sampler.sweep import (
    Sweep,
    complete_readings,
    find_shared,
    read_counters_of,
    record_sample,
    record_sweep,
)
from stagebench.units import quantile_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.records import MemorySample
    from stagebench.sampler.processes import Census, Life
    from stagebench.sampler.procfs import Counters
    from stagebench.sampler.sweep import Files
    from stagebench.sampler.totals import Totals

WALK_SHARE = 0.75
"""Share of the budget for the census and for walking page tables; the rest is for counters."""


class Still(NamedTuple):
    """A tree that neither gained nor lost a page while its PSS was read.

    `counters` are those of its processes by pid, `changes` is the census's.
    """

    counters: dict[int, Counters]
    changes: int


class SamplerUse(NamedTuple):
    """What the sampler achieved, and at what cost.

    `metric` is one of `portable.METRICS`: PSS, or the best that this machine reports. `sweeps`
    counts the sweeps with a known PSS, including the `held` ones; gaps are between their starts.
    The bracket of the peak needs `counts_faults` and the last five fields. `reads` counts the cheap
    readings of the total, and `read_cpu_s` is their cost, which is outside of the budget. With a
    control group, `group_drift_bytes` is how far its counts may lag behind; else it is None.
    `group_failure` says why a group was given up during the run; the readings before have its
    counts.
    """

    metric: str
    counts_faults: bool
    interval_s: float
    cpu_budget: float
    sweeps: int
    held: int
    rss_sweeps: int
    left_out: int
    torn: int
    vanished: int
    cpu_s: float
    census_cpu_s: float
    median_gap_s: float | None
    p99_gap_s: float | None
    longest_gap_s: float | None
    reads: int
    read_cpu_s: float
    group_drift_bytes: int | None
    group_failure: str | None
    counter_drift_bytes: int
    page_bytes: int
    anonymous_fault_bytes: int
    huge_faults_before: int | None
    huge_faults: int | None


class Sampler:
    """Reads the tree's total at start + k × interval, and sweeps as far as the budget allows.

    The readings by `totals` are cheap and outside of the budget, which is a share of one core. So
    is the census then; without them, the budget covers it. Each sweep reads the counters of all
    processes. If none has changed since the last PSS sweep, the values of that sweep still hold.
    Otherwise, if the budget allows and `totals` says that it would tell something new, the page
    tables of all processes are walked: the cost grows with their memory, and their memory maps are
    locked meanwhile. Missed instants are skipped. The budget of `advance_s` seconds may be spent in
    advance.
    """

    def __init__(
        self,
        census: Census,
        interval_ns: int,
        cpu_budget: float,
        *,
        advance_s: float = 0,
        write_sweep: Callable[[SweepRecord], None],
        write_sample: Callable[[MemorySample], None],
        totals: Totals | None = None,
        files: Files | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        cpu_clock: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._census = census
        self._interval_ns = interval_ns
        self._cpu_budget = cpu_budget
        self._advance_ns = advance_s * 1e9
        self._write_sweep = write_sweep
        self._write_sample = write_sample
        self._totals = totals
        self._files = files or open_files()
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._cpu_ns = {"walk": 0, "counters": 0, "census": 0, "reads": 0}
        self._booked_ns = cpu_clock()
        self._still: Still | None = None
        self._pss_starts_ns: list[int] = []
        self._counts = dict.fromkeys(("pss", "held", "rss", "left_out", "torn", "vanished"), 0)
        self._huge_faults_before = read_huge_faults()
        self._known: dict[int, int | None] = {}
        self._owners: set[int] = set()
        self._totals_changes = -1
        self._origin_ns = self.due_ns = clock()

    def update(self) -> None:
        """Update the census, and close the files of processes that have ended."""
        self._booked_ns = self._cpu_clock()
        self._census.update()
        for pid in self._known.keys() - self._census.alive.keys():
            self._files.forget(pid)
            del self._known[pid]
        if self._totals is not None:
            self._totals.note_ended(self._census.alive.keys())
        self._book("census")

    def take(self) -> None:
        """Take the most complete sweep that the budget allows, and set the next due time."""
        self._booked_ns = self._cpu_clock()
        self._read_totals()
        elapsed_ns = self._clock() - self._origin_ns
        allowed_ns = self._cpu_budget * (elapsed_ns + self._advance_ns)
        # Beside readings of the total the budget is for sweeps alone. Else walks share it with the
        # census, which might leave none: so the first walk is free.
        others = () if self._totals is not None else ("census",)
        first = not self._pss_starts_ns
        walk = first or (
            self._spent("walk", *others) <= WALK_SHARE * allowed_ns
            and (self._totals is None or self._totals.tells_new())
        )
        if (
            walk
            or self._spent("counters") <= (1 - WALK_SHARE) * allowed_ns
            or self._spent("walk", *others, "counters") <= WALK_SHARE * allowed_ns
        ):
            self._sweep(walk=walk)
        else:
            self._counts["left_out"] += 1
        missed = max(0, self._clock() - self.due_ns) // self._interval_ns
        self.due_ns += (missed + 1) * self._interval_ns

    def take_last(self) -> None:
        """Read all counters once more, whatever the budget: they bound what happened before."""
        self._booked_ns = self._cpu_clock()
        self._read_totals()
        if self._census.alive:
            self._sweep(walk=False)
        if self._totals is not None:
            self._totals.flush()

    def use(self) -> SamplerUse:
        """Return the rate achieved and the sampler's own cost."""
        totals = self._totals
        gaps = sorted(late - early for early, late in itertools.pairwise(self._pss_starts_ns))
        return SamplerUse(
            metric=self._files.metric,
            counts_faults=self._files.counts_faults,
            interval_s=self._interval_ns / 1e9,
            cpu_budget=self._cpu_budget,
            sweeps=len(self._pss_starts_ns),
            held=self._counts["held"],
            rss_sweeps=self._counts["rss"],
            left_out=self._counts["left_out"],
            torn=self._counts["torn"],
            vanished=self._counts["vanished"],
            cpu_s=sum(self._cpu_ns.values()) / 1e9,
            census_cpu_s=self._cpu_ns["census"] / 1e9,
            median_gap_s=quantile_s(gaps, 0.5),
            p99_gap_s=quantile_s(gaps, 0.99),
            longest_gap_s=quantile_s(gaps, 1),
            reads=totals.reads if totals else 0,
            read_cpu_s=self._cpu_ns["reads"] / 1e9,
            group_drift_bytes=totals.drift_bytes if totals else None,
            group_failure=totals.group_failure if totals else None,
            counter_drift_bytes=counter_drift_bytes(os.cpu_count() or 1),
            page_bytes=PAGE_BYTES,
            anonymous_fault_bytes=read_anonymous_fault_bytes(),
            huge_faults_before=self._huge_faults_before,
            huge_faults=read_huge_faults(),
        )

    def _read_totals(self, *, whole: bool = False) -> None:
        """Read the tree's total, whatever the budget.

        A census by ptrace is up to date: every event wakes this thread. One that polls is updated
        with the sweeps.
        """
        if self._totals is None:
            return
        census = self._census
        polled = census.means == "poll"  # and sees no exec
        if polled or census.changes != self._totals_changes or not self._owners:
            self._totals_changes = census.changes
            self._owners = {pid for pid, life in census.alive.items() if life.owns_memory}
            for pid in self._owners:
                self._forget_old_program(pid, census.alive[pid].execs)
        self._totals.read(self._owners, census.changes, whole=whole)
        self._book("reads")

    def _spent(self, *kinds: str) -> int:
        return sum(self._cpu_ns[kind] for kind in kinds)

    def _book(self, kind: str) -> None:
        """Book the CPU time since the last booking."""
        now_ns = self._cpu_clock()
        self._cpu_ns[kind] += now_ns - self._booked_ns
        self._booked_ns = now_ns

    def _sweep(self, *, walk: bool) -> None:
        self._census.update()
        lives = {pid: life for pid, life in self._census.alive.items() if life.owns_memory}
        for pid, life in lives.items():
            self._forget_old_program(pid, life.execs)
        if walk and self._totals is not None:
            self._book("census")
            self._read_totals(whole=True)
            self._totals.begin_walk()
        changes, started_ns = self._census.changes, self._clock()
        self._book("census")
        counters = read_counters_of(lives, self._files)
        self._book("counters")
        if self._still == Still(counters, changes):
            self._hold(started_ns, len(lives))
            if walk and self._totals is not None:
                self._totals.note_held()
            return
        # A process that shares this memory may map pages between a reading and a reset.
        shared = {life.space for life in self._census.alive.values() if not life.owns_memory}
        kept = {pid for pid, life in lives.items() if life.space in shared}
        readings = complete_readings(counters, self._files, walk=walk, keep_marks=kept)
        if self._totals is not None:
            self._totals.note_reset(each.pid for each in readings if each.was_reset)
        ended_ns = self._clock()
        self._book("walk" if walk else "counters")
        self._census.update()
        changed = self._census.changes != changes
        self._book("census")
        kind, vanished = "pss" if walk else "rss", len(lives) - len(readings)
        sweep = Sweep(kind, started_ns, ended_ns, readings, vanished, changed)
        if walk and self._totals is not None:
            self._read_totals(whole=True)
            known = all(r.memory and r.memory.file_bytes is not None for r in readings)
            self._totals.note_walk(
                self._number(), is_whole=known, is_torn=sweep.is_torn, shared=find_shared(readings)
            )
        self._write(sweep, lives)
        self._book("counters")

    def _hold(self, started_ns: int, processes: int) -> None:
        """Record that the values of the last PSS sweep still hold."""
        self._count(
            SweepRecord(
                sweep=self._number(),
                kind="held",
                started_ns=started_ns,
                ended_ns=self._clock(),
                processes=processes,
                vanished=0,
                torn=0,
                huge_faults=None,
            )
        )
        self._book("counters")

    def _write(self, sweep: Sweep, lives: dict[int, Life]) -> None:
        record = record_sweep(self._number(), sweep, read_huge_faults())
        for reading in sweep.readings:
            sample = record_sample(record.sweep, reading)
            self._write_sample(sample)
            lives[reading.pid].samples += 1
            lives[reading.pid].note_mark(sample.high_water_bytes)
        self._count(record)
        still = Still({r.pid: r.after for r in sweep.readings}, self._census.changes)
        self._still = still if sweep.is_still and self._files.counts_faults else None

    def _number(self) -> int:
        return self._counts["pss"] + self._counts["held"] + self._counts["rss"]

    def _count(self, record: SweepRecord) -> None:
        self._write_sweep(record)
        self._counts[record.kind] += 1
        self._counts["vanished"] += record.vanished
        if record.kind != "rss":
            self._counts["torn"] += record.torn
            self._pss_starts_ns.append(record.started_ns)

    def _forget_old_program(self, pid: int, execs: int | None) -> None:
        """Close the files of a process that may have called exec since the last sweep.

        An open file still refers to the old memory, which after a vfork is the parent's. If the
        census does not see execs, no file can stay open.
        """
        if execs is None or self._known.get(pid, execs) != execs:
            self._files.forget(pid)
        self._known[pid] = execs
