"""What follows the end of a long trace: time, memory and folder of one hour and of ten.

A busy pipeline of twelve processes, one of which is replaced every two seconds, is written as
`stagebench trace` writes it; `stagebench show` then reads it. Time has to grow with the length, not
with its square.

    python benchmarks/long_trace.py
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stagebench.records import CpuRecord, MemorySample, ProcessRecord, SweepRecord, TransitionRecord
from stagebench.sampler.sampler import SamplerUse
from stagebench.trace.tracer import Journal, Traced

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1_000_000_000
MIB = 1 << 20
PROCESSES = 12
SWEEPS_PER_S = 2
LIFE_S = 2
MAIN = 100
USE = SamplerUse(
    metric="pss",
    counts_faults=True,
    interval_s=0.01,
    cpu_budget=0.01,
    sweeps=1,
    held=0,
    rss_sweeps=0,
    left_out=0,
    torn=0,
    vanished=0,
    cpu_s=1.0,
    census_cpu_s=0.1,
    median_gap_s=0.5,
    p99_gap_s=0.5,
    longest_gap_s=0.5,
    counter_drift_bytes=MIB,
    page_bytes=4096,
    anonymous_fault_bytes=4096,
    huge_faults_before=0,
    huge_faults=0,
    reads=1,
    read_cpu_s=0.1,
    group_drift_bytes=None,
    group_failure=None,
)


class Process:
    """One process whose memory goes up and down."""

    def __init__(self, pid: int, born_ns: int) -> None:
        self.pid, self.born_ns = pid, born_ns
        self.rss = self.highest = 10 * MIB
        self.faults = 2500
        self.samples = 0

    def sample(self, sweep: int) -> MemorySample:
        """Go on, and be read."""
        pages = random.randint(-50, 60) if random.random() < 0.3 else 0
        self.rss = max(5 * MIB, self.rss + 4096 * pages)
        self.faults += max(0, pages)
        self.highest = max(self.highest, self.rss)
        self.samples += 1
        half, third = self.rss // 2, self.rss // 3
        return MemorySample(
            sweep=sweep,
            pid=self.pid,
            rss_bytes=self.rss,
            rss_anon_bytes=half,
            rss_after_bytes=self.rss,
            rss_anon_after_bytes=half,
            high_water_bytes=self.highest,
            mark_reset=0,
            faults_before=self.faults,
            faults=self.faults,
            pss_bytes=half,
            anon_bytes=third,
            file_bytes=half - third,
            shmem_bytes=0,
            uss_bytes=third,
            swap_bytes=0,
        )

    def move(self, kind: str, time_ns: int) -> TransitionRecord:
        """Return its counters at a moment."""
        return TransitionRecord(
            pid=self.pid,
            kind=kind,
            time_ns=time_ns,
            rss_bytes=self.rss,
            rss_anon_bytes=self.rss // 2,
            high_water_bytes=self.highest,
            faults=self.faults,
            rss_shmem_bytes=0,
        )

    def end(self, ended_ns: int) -> ProcessRecord:
        """Return its record."""
        is_main = self.pid == MAIN
        return ProcessRecord(
            pid=self.pid,
            parent_pid=None if is_main else MAIN,
            role="main" if is_main else "other",
            birth=None if is_main else "fork",
            since_ns=self.born_ns - 1000,
            started_ns=self.born_ns,
            ended_ns=ended_ns,
            exit_status=0,
            high_water_bytes=self.highest,
            max_rss_bytes=self.highest,
            execs=int(is_main),
            samples=self.samples,
            command="work",
        )


def write_trace(folder: Path, hours: float) -> None:
    """Write the folder of a trace of so many hours."""
    folder.mkdir()
    settings = {"interval_s": 0.01, "cpu_budget": 0.01}
    run = {"schema_version": 6, "kind": "trace", "command": ["busy"], "status": "running"}
    run |= {"started_at": "", "detail": "", "sampler": settings, "environment": {}}
    journal = Journal(folder, run)
    journal.begin(MAIN, "ptrace")
    began_ns = journal.run["exec_ns"]
    processes = list(_write_records(journal, began_ns, int(hours * 3600 * SWEEPS_PER_S)))
    processes.sort(key=lambda process: process.started_ns)
    ended_ns = began_ns + int(hours * 3600 * SECOND)
    cpu = [
        CpuRecord(pid=each.pid, started_ns=each.started_ns, cpu_ns=SECOND, is_final=1)
        for each in processes
    ]
    journal.finish(Traced(0, 0, ended_ns, "ptrace", USE, 1.0, processes, cpu, []))
    journal.close()


def _write_records(journal: Journal, began_ns: int, sweeps: int) -> Iterator[ProcessRecord]:
    alive = [Process(MAIN + place, began_ns + 2000 * place) for place in range(PROCESSES)]
    for process in alive:
        kind = "exec" if process.pid == MAIN else "birth"
        journal.write_transition(process.move(kind, process.born_ns))
    for number in range(sweeps):
        now_ns = began_ns + (number + 1) * SECOND // SWEEPS_PER_S - 20_000_000
        if number % (LIFE_S * SWEEPS_PER_S) == 0:
            ended = alive.pop(1)
            journal.write_transition(ended.move("exit", now_ns - 5000))
            yield ended.end(now_ns - 4000)
            alive.append(Process(alive[-1].pid + 1, now_ns - 2000))
            journal.write_transition(alive[-1].move("birth", now_ns - 2000))
        for process in alive:
            journal.write_sample(process.sample(number))
        journal.write_sweep(
            SweepRecord(
                sweep=number,
                kind="pss",
                started_ns=now_ns,
                ended_ns=now_ns + 1_000_000,
                processes=len(alive),
                vanished=0,
                torn=0,
                huge_faults=0,
            )
        )
    for process in reversed(alive):
        journal.write_transition(process.move("exit", now_ns + 2_000_000))
        yield process.end(now_ns + 3_000_000)


def main() -> None:
    """Write, show and measure."""
    random.seed(1)
    print("hours  folder_mb  show_s  highest_rss_mb")
    for hours in (1, 10):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "trace"
            write_trace(folder, hours)
            size = sum(path.stat().st_size for path in folder.iterdir())
            began = time.monotonic()
            command = [sys.executable, "-m", "stagebench", "show", str(folder)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            took = time.monotonic() - began
            most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
            print(f"{hours:5}  {size / 1e6:9.1f}  {took:6.1f}  {most / 1e6:14.0f}")


if __name__ == "__main__":
    main()
