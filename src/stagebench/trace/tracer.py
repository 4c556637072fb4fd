"""The thread that traces a command, the files that it writes, and the folder that holds them.

The thread runs the census and the sampler, and nothing that could block it.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import threading
import time
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from stagebench import store
from stagebench.errors import OptionError
from stagebench.measure.process import ChildSignals, adopt_orphans
from stagebench.measure.supervisor import sample_until_exit
from stagebench.records import (
    CpuRecord,
    MemorySample,
    ProcessRecord,
    ReadRecord,
    SweepRecord,
    TransitionRecord,
    count_processes,
)
from stagebench.sampler.census import open_census
from stagebench.sampler.group import group_around
from stagebench.sampler.portable import open_files
from stagebench.sampler.processes import read_cpu_ns, record_lives
from stagebench.sampler.procfs import read_children
from stagebench.sampler.sampler import Sampler, SamplerUse
from stagebench.sampler.totals import open_totals
from stagebench.trace.relay import WAKE, Deliveries
from stagebench.trace.thinning import ReadThinning, Thinning
from stagebench.units import to_nanoseconds, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from stagebench.measure.process import Started
    from stagebench.sampler.group import Group
    from stagebench.sampler.processes import Census, Life
    from stagebench.sampler.sweep import Files
    from stagebench.sampler.totals import Totals
    from stagebench.units import Bytes, Nanoseconds, Seconds


Record = TypeVar("Record")

ADVANCE_S = 5
"""A trace may spend the budget of so many seconds in advance, because most commands are short."""

LEAVING_S = 0.1
"""Main's helpers (resource tracker, end of a pipe) get this long to end by themselves."""


class Settings(NamedTuple):
    """How to trace; with `waits_for_all` until every process has ended, not main alone."""

    interval_s: Seconds
    cpu_budget: float
    census: str
    waits_for_all: bool = False


class Traced(NamedTuple):
    """How the command ended; `failure` is 0, or the error number if it could not be run.

    The exit code of a process that is not our child is unknown.
    """

    failure: int
    exit_code: int | None
    exited_ns: int
    means: str
    use: SamplerUse
    instrument_cpu_s: Seconds
    processes: Sequence[ProcessRecord]
    cpu: Sequence[CpuRecord]
    stayed: Sequence[Life]


def start_sampler(
    census: Census,
    settings: Settings,
    journal: Journal,
    totals: Totals | None,
    files: Files,
) -> Sampler:
    """Create the sampler of a trace, which writes to the journal; `totals` reads by `files`."""
    return Sampler(
        census,
        to_nanoseconds(settings.interval_s),
        settings.cpu_budget,
        advance_s=ADVANCE_S,
        write_sweep=journal.write_sweep,
        write_sample=journal.write_sample,
        totals=totals,
        files=files,
    )


def describe_traced(
    sampler: Sampler,
    census: Census,
    before: Sequence[Nanoseconds],
    *,
    waits_for_all: bool,
    began_cpu_ns: Nanoseconds = 0,
    failure: int = 0,
    exit_code: int | None = None,
) -> Traced:
    """Describe a trace that has just ended; `before` is what `read_cpu_before` returned.

    `began_cpu_ns` is the CPU time of this thread when the trace began.
    """
    cpu = record_cpu(census, before)  # read before the end is noted: it lies within the trace
    return Traced(
        failure=failure,
        exit_code=exit_code,
        exited_ns=find_end(census, waits_for_all=waits_for_all),
        means=census.means,
        use=sampler.use(),
        instrument_cpu_s=to_seconds(time.thread_time_ns() - began_cpu_ns),
        processes=record_lives(census.lives, census.lives[0].pid),
        cpu=cpu,
        stayed=list(census.alive.values()),
    )


def find_end(census: Census, *, waits_for_all: bool) -> Nanoseconds:
    """Return when main ended, or with `waits_for_all` when the last process did."""
    now_ns = time.monotonic_ns()
    followed = census.lives if waits_for_all else census.lives[:1]
    return max(life.ended_ns or now_ns for life in followed)


def read_cpu_before(census: Census) -> list[Nanoseconds]:
    """Return the CPU time that each process has had already, which is not a part of the trace."""
    return [read_cpu_ns(life.pid) or 0 for life in census.lives]


def record_cpu(census: Census, before: Sequence[Nanoseconds]) -> list[CpuRecord]:
    """Return the CPU time of every process without what the first ones had had `before`."""
    for pid, life in census.alive.items():
        life.note_cpu(read_cpu_ns(pid))
    return [
        CpuRecord(
            pid=life.pid,
            started_ns=life.started_ns,
            cpu_ns=None if life.cpu_ns is None else max(0, life.cpu_ns - earlier_ns),
            is_final=int(life.cpu_is_final),
        )
        for life, earlier_ns in zip(census.lives, chain(before, repeat(0)), strict=False)
    ]


class Tracer(threading.Thread):
    """Follows a held process from its release to its end.

    It is a thread of its own because the kernel releases all tracees when their tracing thread
    ends: processes that are still alive then run on untraced, even if an error ended the thread.
    """

    def __init__(self, started: Started, settings: Settings, journal: Journal) -> None:
        super().__init__(name="tracer", daemon=True)
        self._held = started
        self._settings = settings
        self._journal = journal
        self._strangers = frozenset(read_children(os.getpid())) - {started.pid}
        self._signals = ChildSignals()  # only the main thread may create it
        self.deliveries = Deliveries(started.pid)
        self.census: Census | None = None
        self.is_done = False
        self.is_left_over = False
        self.is_dismissed = False
        self.error: Exception | None = None
        self.traced: Traced | None = None

    def run(self) -> None:
        """Trace the command, store any error for the main thread, and wake that."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        try:
            self.traced = self._trace()
        except Exception as error:  # not swallowed: the main thread reports it
            self.error = error
        finally:
            self.is_done = True
            signal.pthread_kill(threading.main_thread().ident or 0, WAKE)

    def wait_gone(self) -> None:
        """Wait until the kernel has released all tracees."""
        self.join()
        while os.path.exists(f"/proc/self/task/{self.native_id}"):  # one stat
            time.sleep(0.0005)

    def _trace(self) -> Traced:
        with group_around(self._held.pid) as group:
            traced = self._trace_in(group)
            charged = group.read()
        self._journal.run["cgroup"] = charged._asdict() if charged else {"reason": group.reason}
        return traced

    def _trace_in(self, group: Group) -> Traced:
        started, settings, journal = self._held, self._settings, self._journal
        files = open_files()
        totals = open_totals(files, started.pid, journal.write_reads, group.open_reader())
        census = self.census = self._open_census(totals)
        reader = totals.group if totals else None
        journal.run["sampler"] |= {"group_drift_bytes": reader.drift_bytes if reader else None}
        journal.begin(started.pid, census.means)
        sampler = start_sampler(census, settings, journal, totals, files)
        before = read_cpu_before(census)
        failure = started.release(census)
        sample_until_exit(started.pid, sampler, census, self._signals)
        if settings.waits_for_all and not failure:
            self._follow_all(sampler, census)
        let_leave(census, self._signals.wait)
        sampler.take_last()
        main = census.lives[0]
        return describe_traced(
            sampler,
            census,
            before,
            waits_for_all=settings.waits_for_all,
            failure=failure,
            exit_code=0 if main.exit_status is None else main.exit_status,
        )

    def _open_census(self, totals: Totals | None) -> Census:
        def write_transition(transition: TransitionRecord) -> None:
            self._journal.write_transition(transition)
            if totals is not None:
                totals.note_transition(transition)

        census = open_census(
            self._settings.census,
            self._held.pid,
            os.getpid(),
            self._strangers,
            exit_kill=False,
            write_transition=write_transition,
            observe=self.deliveries.observe,
        )
        if census.means == "poll":
            adopt_orphans()  # they could not be found otherwise
        return census

    def _follow_all(self, sampler: Sampler, census: Census) -> None:
        """Sample until every process has ended, or until the user stops it."""
        self.is_left_over = True
        while census.alive and not self.is_dismissed:
            until_ns = time.monotonic_ns() + to_nanoseconds(LEAVING_S)
            some = next(iter(census.alive))
            sample_until_exit(some, sampler, census, self._signals, until_ns)


def let_leave(census: Census, wait: Callable[[Seconds], object]) -> None:
    """Wait a moment for the rest of a tree to end by itself."""
    deadline = time.monotonic() + LEAVING_S
    census.update()
    while census.alive and time.monotonic() < deadline:
        wait(0.005)
        census.update()


LIMITS = (
    resource.RLIMIT_NOFILE,  # the sampler keeps two files open per process
    resource.RLIMIT_AS,
    resource.RLIMIT_DATA,
    resource.RLIMIT_CPU,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NPROC,
)


def raise_limits() -> None:
    """Raise our own limits as far as allowed: the user set them for the command."""
    for limit in LIMITS:
        _, most = resource.getrlimit(limit)
        resource.setrlimit(limit, (most, most))


class Journal:
    """The files of one trace.

    Sweeps, samples and transitions are written as they are made, thinned out in long traces. After
    a first failure nothing more is written, since a full disk must not disturb the command;
    `failure` names the file and the reason. A sweep is written after its samples, so a complete
    line means a complete sweep.
    `tree_bytes` is the tree's PSS in the latest sweep that is not torn, and `highest_bytes` the
    largest in any of them; the live line shows both. Until there is one, a torn one is shown.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        self._folder = folder
        self.run = dict(run)
        self._sweeps = store.RecordWriter(folder / store.SWEEPS_FILE, SweepRecord)
        self._samples = store.RecordWriter(folder / store.SAMPLES_FILE, MemorySample)
        self._transitions = store.RecordWriter(folder / store.TRANSITIONS_FILE, TransitionRecord)
        self._thinning = Thinning(
            self.run["sampler"],
            lambda sweep: self._attempt(store.SWEEPS_FILE, lambda: self._sweeps.write(sweep)),
            lambda each: self._attempt(store.SAMPLES_FILE, lambda: self._samples.write(each)),
        )
        self._reads = store.RecordWriter(folder / store.READS_FILE, ReadRecord)
        self._read_thinning = ReadThinning(
            lambda some: self._attempt(store.READS_FILE, lambda: self._reads.write_all(some))
        )
        self._swept: list[MemorySample] = []
        self.failure: str | None = None
        self.began_ns: int | None = None
        self.tree_bytes: Bytes | None = None
        self.highest_bytes: Bytes | None = None

    def begin(self, main: int, means: str) -> None:
        """Write what is known before the command starts; raises OSError if that fails."""
        began_ns = time.monotonic_ns()
        self.run |= {"main": main, "exec_ns": began_ns, "census": {"means": means}}
        store.write_json(self._folder / store.RUN_FILE, self.run)
        self.began_ns = began_ns

    def write_reads(self, reads: Sequence[ReadRecord]) -> None:
        """Record readings of the tree's total."""
        self._read_thinning.add(reads)

    def write_sample(self, sample: MemorySample) -> None:
        """Record one process of the current sweep."""
        self._swept.append(sample)

    def write_sweep(self, sweep: SweepRecord) -> None:
        """Record a sweep after its samples."""
        samples, self._swept = self._swept, []
        if sweep.kind == "pss":
            swept_bytes = sum(sample.pss_bytes or 0 for sample in samples)
            if not sweep.torn:
                self.highest_bytes = max(swept_bytes, self.highest_bytes or 0)
            if not sweep.torn or self.highest_bytes is None:
                self.tree_bytes = swept_bytes
        self._thinning.add(sweep, samples, self.run.get("main"))

    def write_transition(self, transition: TransitionRecord) -> None:
        """Record a birth, an exec or an exit."""
        counted = self._thinning.count(transition)
        self._attempt(store.TRANSITIONS_FILE, lambda: self._transitions.write(counted))

    def finish(self, traced: Traced) -> None:
        """Write what is known after the command has ended."""
        self._thinning.flush()
        self._read_thinning.flush()
        self._write_all(store.PROCESSES_FILE, ProcessRecord, traced.processes)
        self._write_all(store.CPU_FILE, CpuRecord, traced.cpu)
        self.run |= {
            "exited_ns": traced.exited_ns,
            "exit_code": traced.exit_code,
            "instrument_cpu_s": traced.instrument_cpu_s,
            "sampler": traced.use._asdict(),
            "census": {"means": traced.means} | count_processes(traced.processes),
            "stayed": [{"pid": life.pid, "command": life.command} for life in traced.stayed],
        }
        self._write_status()

    def finish_untraced(self, exit_code: int | None, exited_ns: Nanoseconds, reason: str) -> None:
        """Write that the command ended after its tracer had failed."""
        self.failure = reason
        self.run |= {"exit_code": exit_code, "exited_ns": exited_ns}
        self._write_status()

    def close(self) -> None:
        """Close the files; errors are ignored, as the first failure was recorded already."""
        for writer in (self._samples, self._sweeps, self._transitions, self._reads):
            with contextlib.suppress(OSError):
                writer.close()

    def _write_all(self, name: str, kind: type[Record], records: Sequence[Record]) -> None:
        path = self._folder / name
        try:
            store.write_records(path, kind, records)
        except OSError as error:
            self.failure = self.failure or _describe(path.name, error)
            path.unlink(missing_ok=True)  # an incomplete file would pass for a complete one

    def _write_status(self) -> None:
        """Replace the status "running", which marks a trace that was cut off.

        "truncated": the command ran to its end but could not be recorded up to there.
        """
        status = "complete" if self.failure is None else "truncated"
        self.run |= {"status": status, "detail": self.failure or ""}
        # If not even this can be written, the file still says that the trace was cut off.
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


WRITTEN_FIRST = (
    store.RUN_FILE,
    store.SWEEPS_FILE,
    store.SAMPLES_FILE,
    store.TRANSITIONS_FILE,
    store.READS_FILE,
)
"""The files that exist in a folder before the command starts."""


class TraceFolder(NamedTuple):
    """A folder for one trace; if this program `made` it, it may remove it."""

    path: Path
    made: bool

    def discard(self) -> None:
        """Remove what was written so far, because the command could not be started."""
        with contextlib.suppress(OSError):  # such as those of a folder that is read-only
            for name in WRITTEN_FIRST:
                (self.path / name).unlink(missing_ok=True)
            if self.made:
                self.path.rmdir()


def make_trace_folder(chosen: Path | None, program: str, now: datetime) -> TraceFolder:
    """Create the chosen folder, or one with a new name in the current one; raises OptionError."""
    return _make_default(program, now) if chosen is None else _make_chosen(chosen)


def _make_chosen(path: Path) -> TraceFolder:
    try:
        path.mkdir()
    except FileExistsError:
        _check_empty(path)
        return TraceFolder(path, made=False)
    except OSError as error:
        raise OptionError(f"--out {path}: cannot be created ({error.strerror})") from error
    return TraceFolder(path, made=True)


def _check_empty(path: Path) -> None:
    try:
        found = any(path.iterdir())
    except OSError as error:
        raise OptionError(f"--out {path}: cannot be used ({error.strerror})") from error
    if found:
        raise OptionError(f"--out {path}: not empty; choose an empty folder or a new one")


def _make_default(program: str, now: datetime) -> TraceFolder:
    name = re.sub(r"[^\w.+-]", "_", Path(program).name).encode()[:100]  # 255 bytes are allowed
    stem = f"trace-{name.decode(errors='ignore')}-{now:%Y%m%dT%H%M%S}"
    path, number = Path(stem), 1
    while True:
        try:
            path.mkdir()
        except FileExistsError:  # another trace started in the same second
            number += 1
            path = Path(f"{stem}-{number}")
        except OSError as error:
            raise OptionError(
                f"{path}: cannot be created here ({error.strerror}); choose a place with --out"
            ) from error
        else:
            return TraceFolder(path, made=True)
