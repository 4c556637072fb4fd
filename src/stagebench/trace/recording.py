"""Reading the folder of a trace or of a study's run, whole or cut off."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench import store
from stagebench.errors import StoreError
from stagebench.peak.history import MemoryTrace
from stagebench.records import (
    CpuRecord,
    MemorySample,
    ProcessRecord,
    ReadRecord,
    SweepRecord,
    TransitionRecord,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from stagebench.units import Nanoseconds


class Recording(NamedTuple):
    """All records of one tree; the `census` in `run` has no counts if the trace was cut off.

    `cpu` is empty then, and for a run of a study.
    """

    run: Mapping[str, Any]
    memory: MemoryTrace
    cpu: Sequence[CpuRecord] = ()

    @property
    def is_cut(self) -> bool:
        """Whether its end is not recorded: it was cut off, or it is still running."""
        return bool(self.run["status"] == "running")

    @property
    def is_whole(self) -> bool:
        """Whether all of it was recorded."""
        return self.run["status"] not in {"running", "truncated"}

    @property
    def origin_ns(self) -> Nanoseconds:
        """The moment at which the command was started."""
        return int(self.run["exec_ns"])

    @property
    def ended_ns(self) -> Nanoseconds:
        """The end of the command, or of what was recorded."""
        known = self.run.get("exited_ns")
        if known is not None:
            return int(known)
        return self.memory.sweeps[-1].ended_ns if self.memory.sweeps else self.origin_ns


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of whole sweeps, read anew by each loop: a long trace has very many."""

    path: Path
    known: Container[int]
    cut_off: bool

    def __iter__(self) -> Iterator[MemorySample]:
        for sample in store.stream_records(self.path, MemorySample, cut_off=self.cut_off):
            if sample.sweep in self.known:
                yield sample


def read_recording(folder: Path, run: Mapping[str, Any] | None = None) -> Recording:
    """Read a folder up to its last whole sweep; raises StoreError if it is not a trace.

    `run` replaces a `run.json` that could not be completed.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder}: not a folder; expected one that `stagebench trace` wrote")
    run = store.read_run(folder) if run is None else run
    cut_off = run["status"] in {"running", "truncated"}
    sweeps = store.read_records(folder / store.SWEEPS_FILE, SweepRecord, cut_off=cut_off)
    known = {sweep.sweep for sweep in sweeps}
    samples = Samples(folder / store.SAMPLES_FILE, known, cut_off)
    next(iter(samples), None)  # raises an error now if there is no such file
    processes = store.read_records(folder / store.PROCESSES_FILE, ProcessRecord, cut_off=cut_off)
    return Recording(
        run,
        MemoryTrace(
            sweeps=sweeps,
            samples=samples,
            processes=processes or list_sampled_processes(run, sweeps, samples),
            transitions=store.read_records(
                folder / store.TRANSITIONS_FILE, TransitionRecord, cut_off=cut_off
            ),
            # Without the records of its end there is no upper bound.
            sampler={} if cut_off else run["sampler"],
            reads=() if cut_off else store.read_records(folder / store.READS_FILE, ReadRecord),
        ),
        store.read_records(folder / store.CPU_FILE, CpuRecord, cut_off=True),
    )


def list_sampled_processes(
    run: Mapping[str, Any], sweeps: Sequence[SweepRecord], samples: Iterable[MemorySample]
) -> list[ProcessRecord]:
    """Make records of the sampled processes, for a trace cut off before its census was written."""
    started = {sweep.sweep: sweep.started_ns for sweep in sweeps}
    met: defaultdict[int, list[Nanoseconds]] = defaultdict(list)
    for sample in samples:
        met[sample.pid].append(started[sample.sweep])
    return [
        ProcessRecord(
            pid=pid,
            parent_pid=None,
            role="main" if pid == run.get("main") else "other",
            birth=None,
            since_ns=moments[0],
            started_ns=moments[0],
            ended_ns=None,
            exit_status=None,
            high_water_bytes=None,
            max_rss_bytes=None,
            execs=None,
            samples=len(moments),
            command="",
        )
        for pid, moments in met.items()
    ]
