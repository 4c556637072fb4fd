"""The sampler: when to sweep and for what, and what each sweep adds to the trace."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, NamedTuple

from stagebench.records import MemorySample, SweepRecord
from stagebench.sampler.procfs import MemoryFiles
from stagebench.sampler.sweep import sweep_pss, sweep_rss

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.sampler.lives import Census
    from stagebench.sampler.sweep import Reading, Sweep

PSS_SHARE = 0.75
"""Part of the budget for PSS sweeps and the census; the rest is for sweeps of RSS between them."""


class SamplerUse(NamedTuple):
    """What the sampler achieved, and what it took; gaps are between starts of PSS sweeps."""

    interval_s: float
    cpu_budget: float
    sweeps: int
    rss_sweeps: int
    left_out: int
    torn: int
    vanished: int
    cpu_s: float
    census_cpu_s: float
    median_gap_s: float | None
    p99_gap_s: float | None
    longest_gap_s: float | None


class Sampler:
    """Sweeps at start + k × interval: for PSS where the budget has room, or RSS, or not at all.

    The budget is a share of one core, and the census is paid from it, too. A PSS sweep walks the
    page tables of all processes, which costs the more the more memory they have, and holds their
    memory maps meanwhile. An instant that was missed is not made up for.
    """

    def __init__(  # noqa: PLR0913 - the loop's surroundings are arguments, so that tests replace them
        self,
        census: Census,
        interval_ns: int,
        cpu_budget: float,
        *,
        write_sweep: Callable[[SweepRecord], None],
        write_sample: Callable[[MemorySample], None],
        files: MemoryFiles | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        cpu_clock: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._census = census
        self._interval_ns = interval_ns
        self._cpu_budget = cpu_budget
        self._write_sweep = write_sweep
        self._write_sample = write_sample
        self._files = files or MemoryFiles()
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._cpu_ns = {"pss": 0, "rss": 0, "census": 0}
        self._pss_starts_ns: list[int] = []
        self._counts = {"sweeps": 0, "left_out": 0, "torn": 0, "vanished": 0}
        self._known: dict[int, int | None] = {}
        self._origin_ns = self.due_ns = clock()

    def update(self) -> None:
        """Let the census take in what has happened."""
        cpu_started_ns = self._cpu_clock()
        self._census.update()
        for pid in self._known.keys() - self._census.alive.keys():
            self._files.forget(pid)
            del self._known[pid]
        self._cpu_ns["census"] += self._cpu_clock() - cpu_started_ns

    def take(self) -> None:
        """Sweep for what the budget has room for, and set the next due time."""
        kind = self._affordable()
        if kind is None:
            self._counts["left_out"] += 1
        else:
            cpu_started_ns = self._cpu_clock()
            self._sweep(kind)
            self._cpu_ns[kind] += self._cpu_clock() - cpu_started_ns
        missed = max(0, self._clock() - self.due_ns) // self._interval_ns
        self.due_ns += (missed + 1) * self._interval_ns

    def use(self) -> SamplerUse:
        """Return the rate achieved and the sampler's own cost."""
        gaps = sorted(late - early for early, late in itertools.pairwise(self._pss_starts_ns))
        return SamplerUse(
            interval_s=self._interval_ns / 1e9,
            cpu_budget=self._cpu_budget,
            sweeps=len(self._pss_starts_ns),
            rss_sweeps=self._counts["sweeps"] - len(self._pss_starts_ns),
            left_out=self._counts["left_out"],
            torn=self._counts["torn"],
            vanished=self._counts["vanished"],
            cpu_s=sum(self._cpu_ns.values()) / 1e9,
            census_cpu_s=self._cpu_ns["census"] / 1e9,
            median_gap_s=_quantile_s(gaps, 0.5),
            p99_gap_s=_quantile_s(gaps, 0.99),
            longest_gap_s=_quantile_s(gaps, 1),
        )

    def _affordable(self) -> str | None:
        allowed_ns = self._cpu_budget * (self._clock() - self._origin_ns)
        if self._cpu_ns["pss"] + self._cpu_ns["census"] <= PSS_SHARE * allowed_ns:
            return "pss"
        return "rss" if self._cpu_ns["rss"] <= (1 - PSS_SHARE) * allowed_ns else None

    def _sweep(self, kind: str) -> None:
        self._census.update()
        changes = self._census.changes
        lives = dict(self._census.alive)
        for pid, life in lives.items():
            self._forget_old_program(pid, life.execs)
        sweep = (sweep_pss if kind == "pss" else sweep_rss)(lives, self._files, self._clock)
        self._census.update()
        read = [reading for reading in sweep.readings if _is_whole(reading, kind)]
        for reading in read:
            lives[reading.pid].samples += 1
        self._write(sweep, read, changed=self._census.changes != changes)

    def _forget_old_program(self, pid: int, execs: int | None) -> None:
        """Close what is open of a process that may run another program since.

        An open file goes on to tell of the old memory, which after a vfork is the parent's. A
        census that does not see execs leaves nothing to keep open.
        """
        if execs is None or self._known.get(pid, execs) != execs:
            self._files.forget(pid)
        self._known[pid] = execs

    def _write(self, sweep: Sweep, read: list[Reading], *, changed: bool) -> None:
        held = len(read) == len(sweep.readings) and not changed
        torn = not (held and all(r.before_bytes == r.after_bytes for r in read))
        record = SweepRecord(
            sweep=self._counts["sweeps"],
            kind=sweep.kind,
            started_ns=sweep.started_ns,
            ended_ns=sweep.ended_ns,
            processes=len(read),
            vanished=len(sweep.readings) - len(read),
            torn=int(torn),
        )
        for reading in read:
            self._write_sample(_sample(record.sweep, reading))
        self._write_sweep(record)
        self._count(record)

    def _count(self, record: SweepRecord) -> None:
        self._counts["sweeps"] += 1
        self._counts["vanished"] += record.vanished
        if record.kind == "pss":
            self._counts["torn"] += record.torn
            self._pss_starts_ns.append(record.started_ns)


def _is_whole(reading: Reading, kind: str) -> bool:
    if kind == "pss":
        return reading.memory is not None
    # A zombie still has a statm file, which tells of no page.
    return bool(reading.before_bytes)


def _sample(sweep: int, reading: Reading) -> MemorySample:
    memory = reading.memory
    if memory is not None:
        return MemorySample(sweep=sweep, pid=reading.pid, **memory._asdict())
    return MemorySample(
        sweep=sweep,
        pid=reading.pid,
        rss_bytes=reading.before_bytes or 0,
        pss_bytes=None,
        anon_bytes=None,
        file_bytes=None,
        shmem_bytes=None,
        uss_bytes=None,
        swap_bytes=None,
    )


def _quantile_s(ordered_ns: list[int], share: float) -> float | None:
    """Give the value below which a share of an ordered list lies, in seconds."""
    if not ordered_ns:
        return None
    return ordered_ns[min(len(ordered_ns) - 1, int(share * len(ordered_ns)))] / 1e9
