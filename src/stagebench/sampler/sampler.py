"""The sampler: when to sweep, and what each sweep adds to the trace."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from stagebench.records import MemorySample, ProcessRecord, SweepRecord
from stagebench.sampler.procfs import read_command
from stagebench.sampler.roles import tell_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.sampler.sweep import Reading, Sweep

SETTLING_NS = 500_000_000
"""For so long a new process's command line is read anew: a child shows its parent's until exec."""


class SamplerUse(NamedTuple):
    """What the sampler achieved, and what it took."""

    interval_s: float
    cpu_budget: float
    sweeps: int
    left_out: int
    vanished: int
    cpu_s: float
    median_gap_s: float | None
    longest_gap_s: float | None


class Sampler:
    """Sweeps at start + k × interval, where its CPU budget has room for it.

    The budget is a share of one core: a sweep is left out while the sampler's CPU time exceeds that
    share of the time since its start. An instant that was missed is not made up for. A sweep walks
    the page tables of all processes, which costs the more the more memory they have, and holds
    their memory maps meanwhile. `write_sweep` and `write_sample` take the records as they are made.
    """

    def __init__(  # noqa: PLR0913 - the loop's surroundings are arguments, so that tests replace them
        self,
        main_pid: int,
        interval_ns: int,
        cpu_budget: float,
        sweep: Callable[[], Sweep],
        *,
        write_sweep: Callable[[SweepRecord], None],
        write_sample: Callable[[MemorySample], None],
        clock: Callable[[], int] = time.monotonic_ns,
        cpu_clock: Callable[[], int] = time.thread_time_ns,
        command: Callable[[int], str] = read_command,
    ) -> None:
        self._main_pid = main_pid
        self._interval_ns = interval_ns
        self._cpu_budget = cpu_budget
        self._sweep = sweep
        self._write_sweep = write_sweep
        self._write_sample = write_sample
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._command = command
        self._cpu_ns = 0
        self._starts_ns: list[int] = []
        self._vanished = 0
        self._left_out = 0
        self._processes: dict[int, ProcessRecord] = {}
        self._origin_ns = self.due_ns = clock()

    def take(self) -> None:
        """Sweep once if the budget has room for it, and set the next due time."""
        cpu_started_ns = self._cpu_clock()
        if self._cpu_ns <= self._cpu_budget * (self._clock() - self._origin_ns):
            self._write(self._sweep())
        else:
            self._left_out += 1
        missed = max(0, self._clock() - self.due_ns) // self._interval_ns
        self.due_ns += (missed + 1) * self._interval_ns
        self._cpu_ns += self._cpu_clock() - cpu_started_ns

    def processes(self) -> list[ProcessRecord]:
        """Return every process met, in the order of meeting."""
        return list(self._processes.values())

    def use(self) -> SamplerUse:
        """Return the rate achieved and the sampler's own cost; gaps are between sweep starts."""
        starts = self._starts_ns
        gaps = sorted(late - early for early, late in itertools.pairwise(starts))
        return SamplerUse(
            interval_s=self._interval_ns / 1e9,
            cpu_budget=self._cpu_budget,
            sweeps=len(starts),
            left_out=self._left_out,
            vanished=self._vanished,
            cpu_s=self._cpu_ns / 1e9,
            median_gap_s=gaps[len(gaps) // 2] / 1e9 if gaps else None,
            longest_gap_s=gaps[-1] / 1e9 if gaps else None,
        )

    def _write(self, sweep: Sweep) -> None:
        number = len(self._starts_ns)
        self._starts_ns.append(sweep.started_ns)
        read = [reading for reading in sweep.readings if reading.memory is not None]
        for reading in read:
            self._meet(reading, sweep)
            self._write_sample(
                MemorySample(sweep=number, pid=reading.pid, **reading.memory._asdict())  # type: ignore[union-attr]
            )
        vanished = len(sweep.readings) - len(read)
        self._vanished += vanished
        self._write_sweep(
            SweepRecord(
                sweep=number,
                started_ns=sweep.started_ns,
                ended_ns=sweep.ended_ns,
                processes=len(read),
                vanished=vanished,
            )
        )

    def _meet(self, reading: Reading, sweep: Sweep) -> None:
        known = self._processes.get(reading.pid)
        if known and sweep.started_ns - known.first_seen_ns > SETTLING_NS:
            self._processes[reading.pid] = replace(known, last_seen_ns=sweep.ended_ns)
            return
        command = self._command(reading.pid) or (known.command if known else "")
        self._processes[reading.pid] = ProcessRecord(
            pid=reading.pid,
            # A process keeps the parent it was first met under: an orphan is adopted later.
            parent_pid=known.parent_pid if known else reading.parent_pid,
            role=self._role(reading, command),
            first_seen_ns=known.first_seen_ns if known else sweep.started_ns,
            last_seen_ns=sweep.ended_ns,
            command=command,
        )

    def _role(self, reading: Reading, command: str) -> str:
        parent = self._processes.get(reading.parent_pid)
        return tell_role(
            command,
            is_main=reading.pid == self._main_pid,
            parent_role=parent.role if parent else "other",
            parent_command=parent.command if parent else "",
        )
