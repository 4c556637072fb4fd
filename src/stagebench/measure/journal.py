"""Writes a trace into its folder for as long as that can be written."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from stagebench import store
from stagebench.records import (
    MemorySample,
    ProcessRecord,
    SweepRecord,
    TransitionRecord,
    count_processes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from stagebench.measure.tracer import Traced
    from stagebench.units import Bytes


class Journal:
    """The files of one trace.

    Sweeps, samples and transitions are written as they are made, until that fails once: a full disk
    is not the command's affair. A sweep is written after its samples, so that one whose line is
    whole is whole. `failure` says which file could not be written, and why. The tree's PSS in the
    latest sweep, and the highest in one that was not torn, are for showing meanwhile.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        self._folder = folder
        self.run = dict(run)
        self._sweeps = store.RecordWriter(folder / store.SWEEPS_FILE, SweepRecord)
        self._samples = store.RecordWriter(folder / store.SAMPLES_FILE, MemorySample)
        self._transitions = store.RecordWriter(folder / store.TRANSITIONS_FILE, TransitionRecord)
        self._sum: Bytes = 0
        self.failure: str | None = None
        self.began_ns: int | None = None
        self.tree_bytes: Bytes | None = None
        self.highest_bytes: Bytes | None = None

    def begin(self, main: int, means: str) -> None:
        """Write what is known before the command starts; raises OSError where it cannot be."""
        began_ns = time.monotonic_ns()
        self.run |= {"main": main, "exec_ns": began_ns, "census": {"means": means}}
        store.write_json(self._folder / store.RUN_FILE, self.run)
        self.began_ns = began_ns

    def write_sample(self, sample: MemorySample) -> None:
        """Record one process of the sweep that is being made."""
        self._sum += sample.pss_bytes or 0
        self._attempt(store.SAMPLES_FILE, lambda: self._samples.write(sample))

    def write_sweep(self, sweep: SweepRecord) -> None:
        """Record a sweep, whose samples were written before."""
        if sweep.kind == "pss":
            self.tree_bytes = self._sum
            if not sweep.torn:
                self.highest_bytes = max(self._sum, self.highest_bytes or 0)
        self._sum = 0
        self._attempt(store.SWEEPS_FILE, lambda: self._sweeps.write(sweep))

    def write_transition(self, transition: TransitionRecord) -> None:
        """Record a birth, an exec or an exit."""
        self._attempt(store.TRANSITIONS_FILE, lambda: self._transitions.write(transition))

    def finish(self, traced: Traced) -> None:
        """Write what is known when the command has ended."""
        self._write_processes(traced.processes)
        self.run |= {
            "exited_ns": traced.exited_ns,
            "exit_code": traced.exit_code,
            "instrument_cpu_s": traced.instrument_cpu_s,
            "sampler": traced.use._asdict(),
            "census": {"means": traced.means} | count_processes(traced.processes),
            "stayed": [{"pid": life.pid, "command": life.command} for life in traced.stayed],
        }
        self._write_status()

    def finish_unseen(self, exit_code: int, reason: str) -> None:
        """Write that the command ended with nobody watching it any more."""
        self.failure = reason
        self.run |= {"exit_code": exit_code}
        self._write_status()

    def close(self) -> None:
        """Close the files; what could not be written before cannot be written now."""
        for writer in (self._samples, self._sweeps, self._transitions):
            with contextlib.suppress(OSError):
                writer.close()

    def _write_processes(self, processes: Sequence[ProcessRecord]) -> None:
        path = self._folder / store.PROCESSES_FILE
        try:
            store.write_records(path, ProcessRecord, processes)
        except OSError as error:
            self.failure = self.failure or _describe(path.name, error)
            path.unlink(missing_ok=True)  # a part of them would pass for all

    def _write_status(self) -> None:
        """Put an end to the status "running"; what keeps it was cut off.

        Truncated: the command went on to its end, but could not be recorded up to there.
        """
        status = "complete" if self.failure is None else "truncated"
        self.run |= {"status": status, "detail": self.failure or ""}
        # Where not even this can be written, the file goes on to say that the trace was cut off.
        with contextlib.suppress(OSError):
            store.write_json(self._folder / store.RUN_FILE, self.run)

    def _attempt(self, name: str, write: Callable[[], Any]) -> None:
        if self.failure is not None:
            return
        try:
            write()
        except OSError as error:
            self.failure = _describe(name, error)


def _describe(name: str, error: OSError) -> str:
    return f"{name}: {error.strerror or error}"
