"""`stagebench trace` runs a command and records its memory; `stagebench show` reads it back.

The command runs as it would without a tracer, or runs already. Its records, summary and figure go
to a folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shlex
import signal
import time
import traceback
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from stagebench import store
from stagebench.errors import (
    CommandError,
    MissingPackageError,
    OptionError,
    StagebenchError,
    StoreError,
)
from stagebench.measure import process
from stagebench.measure.machine import read_environment
from stagebench.sampler.portable import open_files
from stagebench.sampler.procfs import check_proc
from stagebench.sampler.totals import open_totals
from stagebench.terminal import STDERR, print_error
from stagebench.trace.attach import (
    AttachedCensus,
    EndWatch,
    check_target,
    name_target,
    sample_until_end,
)
from stagebench.trace.curves import build_curves
from stagebench.trace.live import INTERVAL_S, LiveLine, format_line
from stagebench.trace.recording import read_recording
from stagebench.trace.relay import Relay, end_like
from stagebench.trace.startup import read_initial_environment
from stagebench.trace.summary import format_summary, shorten, summarise_recording
from stagebench.trace.tracer import (
    Journal,
    Settings,
    Tracer,
    describe_traced,
    let_leave,
    make_trace_folder,
    raise_limits,
    read_cpu_before,
    start_sampler,
)
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from stagebench.measure.process import Started
    from stagebench.sampler.processes import Census
    from stagebench.trace.recording import Recording
    from stagebench.units import Nanoseconds


def run_trace(request: TraceRequest, *, figure: bool) -> NoReturn:
    """Trace a command, write its summary and figure, and end as it ended.

    For a process that runs already, the exit code is 0: its own is not known to us.
    """
    ended = trace_command(request) if request.pid is None else trace_process(request, request.pid)
    try:
        _present(ended, quiet=request.quiet, figure=figure)
    except StagebenchError as error:
        print_error(f"stagebench: {error}\n")
    except (Exception, KeyboardInterrupt):  # reported, but we still end as the command did
        print_error(traceback.format_exc())
    end_like(ended.exit_code)


def show_trace(folder: Path, figure: Path | None) -> str:
    """Return the summary of a trace folder as text; draw its figure if a path is given."""
    if figure is not None and figure.suffix != ".png":
        raise OptionError(f"--figure {figure}: must end in .png")
    recording = read_recording(folder)
    summary = summarise_recording(recording)
    if figure is not None:
        reason = draw_apart(recording, summary, figure)
        if reason:
            raise OptionError(f"--figure {figure}: cannot be written ({reason})")
    return format_summary(summary)


def _present(ended: Ended, *, quiet: bool, figure: bool) -> None:
    folder = ended.folder
    if not folder.is_dir():
        raise StoreError(f"{folder}: was removed while the command ran, and its records with it")
    recording = read_recording(folder, ended.run)
    summary = summarise_recording(recording)
    if not quiet:
        print_error(format_summary(summary, os.fspath(folder)))
    failed = ""
    try:
        store.write_json(folder / store.SUMMARY_FILE, summary)
    except OSError as error:
        failed = f"{store.SUMMARY_FILE}: {error.strerror}"
    if figure:
        reason = draw_apart(recording, summary, folder / store.TRACE_FIGURE_FILE)
        failed = failed or (reason and f"{store.TRACE_FIGURE_FILE}: {reason}")
    if failed:
        print_error(f"stagebench: {folder}: some files could not be written ({failed})\n")


FIGURE_S = 60
"""A figure takes a second or two; a library that cannot start under a limit may never return."""


def draw_apart(recording: Recording, summary: dict[str, Any], path: Path) -> str:
    """Draw the figure in a process of its own; returns why that failed, or an empty text.

    Its libraries heed variables, files and limits that the user set for other programs.
    """
    read, write = os.pipe()
    try:
        pid = os.fork()  # this process has one thread again
    except OSError as error:
        os.close(read)
        os.close(write)
        return f"no further process: {error.strerror}"
    if pid == 0:
        try:
            reason = _draw(recording, summary, path.absolute())
            os.write(write, b"." + reason.encode(errors="replace")[:500])
        finally:
            os._exit(0)
    os.close(write)
    try:
        in_time = bool(select.select([read], [], [], FIGURE_S)[0])
        said = os.read(read, 501) if in_time else b""
    finally:
        os.close(read)
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if said:
        return said[1:].decode(errors="replace")
    path.unlink(missing_ok=True)
    ended = f"ended with {os.waitstatus_to_exitcode(status)}"
    return f"drawing {ended if in_time else f'took over {FIGURE_S} s'}"


def _draw(recording: Recording, summary: dict[str, Any], path: Path) -> str:
    """Draw in this process, with settings of our own; returns why that failed, or nothing."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, STDERR)  # matplotlib writes what it thinks of the user's configuration
    os.environ |= dict.fromkeys(process.BLAS_VARIABLES, "1")
    os.environ["MPLBACKEND"] = "agg"
    try:
        curves = build_curves(recording)
        os.chdir("/")  # away from a matplotlibrc
        # Importing matplotlib takes longer than drawing and must not compete with the command.
        from stagebench.trace.figure import draw_trace

        draw_trace(summary, curves, path)
    except ModuleNotFoundError as error:
        return str(MissingPackageError(str(error.name)))
    except Exception as error:
        path.unlink(missing_ok=True)
        own = error.strerror if isinstance(error, OSError) else None
        return own or shorten(f"{type(error).__name__}: {error}", 200)
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """A command, how to trace it, and where to write; without `out`, to a new folder here.

    With `pid` it is the command of a process that runs already.

    `live`: show a line meanwhile. It is off by default, because it shares a line of the terminal
    with the output of the command, whose cursor nobody knows.
    """

    command: Sequence[str]
    pid: int | None = None
    settings: Settings
    out: Path | None
    live: bool
    quiet: bool


class Ended(NamedTuple):
    """A traced command: its folder, and the content of its `run.json`, which may not be on disk.

    The exit code is negative if a signal ended the command.
    """

    folder: Path
    run: Mapping[str, Any]
    exit_code: int


def trace_command(request: TraceRequest) -> Ended:
    """Run a command and write the folder of its trace.

    Raises StagebenchError, and leaves nothing behind, if the command could not be started.
    """
    check_proc()
    now = datetime.now(UTC)
    run = describe_request(request, now)
    folder = make_trace_folder(request.out, request.command[0], now)
    try:
        relay = Relay(polls=request.settings.census != "ptrace")
        with contextlib.closing(open_journal(folder.path, run)) as journal, relay:
            exit_code = run_traced(request, journal, relay)
    except StagebenchError:
        folder.discard()
        raise
    return Ended(folder.path, journal.run, exit_code)


def trace_process(request: TraceRequest, pid: int) -> Ended:
    """Trace a process that runs already, and write the folder of its trace.

    Raises StagebenchError, and leaves nothing behind, if it cannot be traced.
    """
    check_proc()
    check_target(pid)
    now = datetime.now(UTC)
    request = replace(request, command=name_target(pid))
    run = describe_request(request, now) | {"pid": pid}
    folder = make_trace_folder(request.out, request.command[0], now)
    raise_limits()
    try:
        with contextlib.closing(open_journal(folder.path, run)) as journal:
            follow_process(request, journal, pid)
    except StagebenchError:
        folder.discard()
        raise
    return Ended(folder.path, journal.run, exit_code=0)


def follow_process(request: TraceRequest, journal: Journal, pid: int) -> None:
    """Sample a process until it has ended or the user ends the trace, and complete the journal.

    Raises StagebenchError if it has ended already.
    """
    settings = request.settings
    line = LiveLine(STDERR) if request.live and os.isatty(STDERR) else None
    with EndWatch(pid) as watch:
        census = AttachedCensus(pid)
        begin(journal, pid, census.means)
        before = read_cpu_before(census)
        began_cpu_ns = time.thread_time_ns()
        files = open_files()
        totals = open_totals(files, pid, journal.write_reads, None)
        sampler = start_sampler(census, settings, journal, totals, files)
        try:
            sample_until_end(
                sampler,
                census,
                watch,
                waits_for_all=settings.waits_for_all,
                show=lambda: show_progress(line, journal, census),
            )
            if not watch.is_told:
                let_leave(census, time.sleep)
            sampler.take_last()
        except OSError as error:
            journal.finish_untraced(None, time.monotonic_ns(), f"the tracer failed: {error!r}")
        else:
            traced = describe_traced(
                sampler,
                census,
                before,
                waits_for_all=settings.waits_for_all,
                began_cpu_ns=began_cpu_ns,
            )
            journal.finish(traced)
    if line:
        line.clear()


def begin(journal: Journal, main: int, means: str) -> None:
    """Begin the journal of a process that runs already; raises OptionError if that fails."""
    try:
        journal.begin(main, means)
    except OSError as error:
        raise OptionError(f"{store.RUN_FILE}: cannot be written ({error.strerror})") from error


def describe_request(request: TraceRequest, now: datetime) -> dict[str, Any]:
    """Return what is known about a trace before its command starts."""
    settings = request.settings
    return {
        "schema_version": store.SCHEMA_VERSION,
        "kind": "trace",
        "command": list(request.command),
        "started_at": now.isoformat(),
        "status": "running",
        "detail": "",
        "sampler": {"interval_s": settings.interval_s, "cpu_budget": settings.cpu_budget},
        "environment": read_environment(),
    }


def open_journal(folder: Path, run: Mapping[str, Any]) -> Journal:
    """Open the files of a trace; raises OptionError if that fails."""
    try:
        return Journal(folder, run)
    except OSError as error:
        raise OptionError(f"{folder}: cannot be written ({error.strerror})") from error


def run_traced(request: TraceRequest, journal: Journal, relay: Relay) -> int:
    """Start the command, wait until it has ended, and complete the journal.

    Returns its exit code; raises StagebenchError if it was never started.
    """
    program = request.command[0]
    try:
        started = process.fork_held(request.command, read_initial_environment(), relay.prepare)
    except OSError as error:
        reason = f"no process can be started ({error.strerror})"
        raise CommandError(f"{program}: {reason}", exit_code=126) from error
    relay.serve(started)
    raise_limits()
    tracer = Tracer(started, request.settings, journal)
    try:
        tracer.start()
    except RuntimeError as error:
        started.cancel()
        reason = f"not started because no thread can trace it ({error})"
        raise CommandError(f"{program}: {reason}", exit_code=126) from error
    shown = request.live and os.isatty(STDERR)
    stand_by(tracer, relay, journal, LiveLine(STDERR) if shown else None)
    tracer.wait_gone()
    if journal.began_ns is None:
        raise explain_refusal(program, started, tracer.error)
    traced = tracer.traced
    if traced is None:
        exit_code, exited_ns = wait_untraced(started.pid, tracer, relay)
        journal.finish_untraced(exit_code, exited_ns, f"the tracer failed: {tracer.error!r}")
        return exit_code
    if traced.failure:
        raise explain_failure(program, traced.failure)
    journal.finish(traced)
    return traced.exit_code or 0


def stand_by(tracer: Tracer, relay: Relay, journal: Journal, line: LiveLine | None) -> None:
    """Relay signals and show the live line until the command has ended."""
    deliveries = tracer.deliveries
    while not (tracer.is_done or tracer.is_left_over):
        relay.attend(deliveries, INTERVAL_S)
        if tracer.census is not None and tracer.census.means == "poll":
            deliveries.poll()
        elif tracer.census is not None:
            relay.dismiss_witness()
        if deliveries.stopped_by is not None:
            if line:
                line.clear()
            relay.stop_too(deliveries)
        elif not tracer.is_done:
            show_progress(line, journal, tracer.census)
    if not tracer.is_done:
        wait_for_rest(tracer, relay, journal, line)
    if line:
        line.clear()


def wait_for_rest(tracer: Tracer, relay: Relay, journal: Journal, line: LiveLine | None) -> None:
    """Wait until what outlives the command has ended; signals that end a program are ours now."""
    relay.forget()
    while not tracer.is_done:
        if relay.is_told_to_end(INTERVAL_S):
            tracer.is_dismissed = True
        show_progress(line, journal, tracer.census)


def show_progress(line: LiveLine | None, journal: Journal, census: Census | None) -> None:
    """Show the progress of the trace, if the user wants to see it."""
    if line is None or census is None or journal.began_ns is None:
        return
    elapsed_s = to_seconds(time.monotonic_ns() - journal.began_ns)
    counts = len(census.alive), len(census.lives)
    line.show(format_line(elapsed_s, journal.tree_bytes, journal.highest_bytes, counts))


def explain_refusal(program: str, started: Started, error: Exception | None) -> Exception:
    """End a process that was never released, and return the error that says why."""
    exit_code = started.cancel()
    if exit_code < 0:
        reason = f"was ended by signal {-exit_code} before it started"
        return CommandError(f"{program}: {reason}", exit_code=128 - exit_code)
    if isinstance(error, OSError):
        return OptionError(f"{program}: not started because it cannot be traced ({error})")
    return error or AssertionError("a tracer that did not start has an error")


def explain_failure(program: str, number: int) -> CommandError:
    """Return the error for a program that could not be run, with the exit code of a shell."""
    if number in {errno.ENOENT, errno.ENOTDIR}:
        return CommandError(f"{shlex.quote(program)}: command not found", exit_code=127)
    return CommandError(f"{program}: cannot be run ({os.strerror(number)})", exit_code=126)


def wait_untraced(main: int, tracer: Tracer, relay: Relay) -> tuple[int, Nanoseconds]:
    """Wait without a tracer until the command ends; returns its exit code and the time."""
    if tracer.census is not None and tracer.census.lives:
        life = tracer.census.lives[0]
        if life.exit_status is not None:
            return life.exit_status, life.ended_ns or time.monotonic_ns()
    relay.attend_children()
    while True:
        ended, status = os.waitpid(main, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), time.monotonic_ns()
        relay.attend(tracer.deliveries, INTERVAL_S)
