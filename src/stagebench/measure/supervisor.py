"""The supervisor of one run: starts it, samples it, times it out, reaps it and writes its folder.

A machine makes one measurement at a time, also across checkouts and users. Every run ends with a
status and, if it is not "ok", with a short reason.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench import store
from stagebench.errors import MeasureError, StoreError
from stagebench.interpreters import (
    Interpreter,
    ask_versions,
    find_code_folder,
    find_versions,
    own_interpreter,
)
from stagebench.measure import leftovers, process
from stagebench.measure.cause import describe_crash, describe_end, find_unsupported
from stagebench.measure.cgroup import OutOfMemory
from stagebench.measure.machine import (
    describe_noise,
    read_busy,
    read_environment,
    read_machine,
    read_memory_settings,
    read_ticks,
    wait_until_quiet,
)
from stagebench.measure.network import NO_NETWORK, make_network
from stagebench.measure.server import quote_output, run_server
from stagebench.measure.warm import warm_memory
from stagebench.records import (
    UNSUPPORTED,
    EventRecord,
    LoadedRecord,
    MemorySample,
    ProcessRecord,
    ReadRecord,
    SweepRecord,
    TaskRecord,
    TransitionRecord,
    count_processes,
    find_missing,
)
from stagebench.sampler.census import open_census
from stagebench.sampler.group import control_group
from stagebench.sampler.portable import open_files
from stagebench.sampler.processes import record_lives
from stagebench.sampler.procfs import check_proc
from stagebench.sampler.sampler import Sampler
from stagebench.sampler.totals import open_totals
from stagebench.task_list import count_tasks
from stagebench.units import Bytes, Seconds, to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from stagebench.measure.network import Network
    from stagebench.measure.process import ChildSignals
    from stagebench.measure.server import Server
    from stagebench.sampler.processes import Census, Life


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES})
"""Errors that mean that the file system accepts no more data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run to be measured: a treatment's specification and its place in the study.

    `beside` is the folder of the user's own handlers and task files. It is not part of the
    specification, because a checkout may move. `program` is the module that is run as the measured
    process. `warm_memory_bytes` is the most memory that is touched before the run. `interpreter`
    runs it, unless None: then it is the one that runs this.
    """

    study: str
    specification: Mapping[str, Any]
    replicate: int
    warm_up: bool
    seed: int
    block: int
    position: int
    rank: int
    time_limit_s: Seconds
    quiet_wait_s: Seconds
    campaign: str
    beside: Path | None = None
    program: str = "stagebench.measure.main"
    warm_memory_bytes: Bytes = 0
    interpreter: Interpreter | None = None


class Exit(NamedTuple):
    """How the measured process ended."""

    exec_ns: int
    exited_ns: int
    exit_code: int
    timed_out: bool
    survivors: list[str]
    cpu_user_s: float
    cpu_system_s: float
    context_switches_voluntary: int
    context_switches_involuntary: int
    cgroup: dict[str, Any]


def name_campaign() -> str:
    """Name the campaign of a run that is not started by Snakemake: the current time."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def measure_run(
    request: RunRequest, target: Path, check_inputs: Callable[[], None] = lambda: None
) -> str:
    """Measure one run and write its folder to `target`; returns the run's status.

    A run that fails or times out is a result like any other. If this process is interrupted,
    nothing is written. The same holds if `check_inputs` raises an error before or after the run,
    because a run whose files changed meanwhile says nothing about its treatment.
    """
    # SIGTERM ends this process as Ctrl-C does: the tree is killed and no folder is written.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _measure_run(request, target, check_inputs)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise MeasureError(
            f"{target}: cannot be written ({error.strerror}); the run was ended, and its records"
            " were discarded"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _measure_run(request: RunRequest, target: Path, check_inputs: Callable[[], None]) -> str:
    check_proc()
    supervisor_started_ns = started_at_ns()
    strangers = process.adopt_orphans()
    environment = read_environment()
    with store.atomic_folder(target) as folder, measurement_lock() as lock_wait_s:
        with (
            run_server(request.specification, folder, request.beside) as server,
            make_network(request.specification) as network,
        ):
            quiet = wait_until_quiet(request.quiet_wait_s, read_ticks)
            check_inputs()
            warmed, pages = warm_memory(
                request.warm_memory_bytes, request.specification, target, read_memory_settings()
            )
            started_at = datetime.now(UTC)
            server_cpu_before_s = server.read_cpu_s() if server else 0.0
            before, busy_before, own_cpu_before_s = read_machine(), read_busy(), own_cpu_s()
            exit_, sampler, census = supervise(request, folder, strangers, server, network)
            after, busy_after = read_machine(), read_busy()
            run_cpu_s = exit_.cpu_user_s + exit_.cpu_system_s + own_cpu_s() - own_cpu_before_s
            server_cpu_s = server.read_cpu_s() - server_cpu_before_s if server else None
            server_end = server.find_end() if server else ""
        check_kept(folder, target)
        processes = record_lives(census.lives, census.lives[0].pid)
        store.write_records(folder / store.PROCESSES_FILE, ProcessRecord, processes)
        check_inputs()
        shorten_output(folder / store.OUTPUT_FILE)
        shorten_output(folder / store.ERROR_FILE)
        shorten_output(folder / store.SERVER_FILE)
        limit_s = request.time_limit_s if exit_.timed_out else None
        if unsupported := find_unsupported(folder, exit_.exit_code):
            status, detail = UNSUPPORTED, unsupported
        else:
            outcome = judge_outcome(
                folder, request.specification, exit_.exit_code, limit_s, request.beside
            )
            status, detail = judge_memory(exit_.cgroup, *outcome)
        if exit_.survivors and not exit_.timed_out:
            detail = "; ".join(filter(None, (detail, name_survivors(exit_.survivors))))
        if server_end:
            status = "server_lost"
            detail = f"the server {server_end}{quote_output(folder, request.beside)}"
        run = {
            "schema_version": store.SCHEMA_VERSION,
            **describe_request(request),
            "status": status,
            "detail": store.shorten(detail, LONGEST_DETAIL),
            "started_at": started_at.isoformat(),
            "lock_wait_s": lock_wait_s,
            "supervisor_started_ns": supervisor_started_ns,
            **exit_._asdict(),
            "survivors": len(exit_.survivors),
            "sampler": sampler.use()._asdict(),
            "census": {"means": census.means} | count_processes(processes),
            "environment": environment,
            "interpreter": describe_interpreter(request, folder),
            "quiet": quiet._asdict(),
            "warmed": warmed._asdict(),
            "machine_before": before | pages._asdict(),
            "machine_after": after,
            "noise": describe_noise(busy_before, busy_after, run_cpu_s, server_cpu_s),
            "files": store.describe_files(folder),
            "supervisor_ended_ns": time.monotonic_ns(),
        }
        store.write_json(folder / store.RUN_FILE, run)
    return status


MOST_SURVIVORS, LONGEST_COMMAND = 3, 60


def name_survivors(commands: Sequence[str]) -> str:
    """Name the processes that a run has left behind, by their command lines."""
    named = [store.shorten(command, LONGEST_COMMAND) for command in commands[:MOST_SURVIVORS]]
    more = len(commands) - len(named)
    return f"left behind and ended: {', '.join(named)}{f' and {more} more' if more else ''}"


def check_kept(folder: Path, target: Path) -> None:
    """Raise StoreError if somebody removed a file of the run while it was being written."""
    for name in (store.TRANSITIONS_FILE, store.SWEEPS_FILE, store.SAMPLES_FILE, store.OUTPUT_FILE):
        if not (folder / name).exists():
            raise StoreError(
                f"{target / name}: was removed while the run was measured; {store.START_AGAIN}"
            )


def describe_request(request: RunRequest) -> dict[str, Any]:
    """Return the part of a run's record that is known before the run."""
    return {
        "study": request.study,
        "experiment": request.specification["experiment"],
        "treatment": request.specification["treatment"],
        "replicate": request.replicate,
        "warm_up": request.warm_up,
        "seed": request.seed,
        "block": request.block,
        "position": request.position,
        "rank": request.rank,
        "campaign": request.campaign,
        "time_limit_s": request.time_limit_s,
        "specification": request.specification,
    }


def supervise(
    request: RunRequest,
    folder: Path,
    strangers: frozenset[int],
    server: Server | None = None,
    network: Network = NO_NETWORK,
) -> tuple[Exit, Sampler, Census]:
    """Start the measured process, sample its tree until it exits, and kill what it leaves.

    A server that ends meanwhile ends the run.
    """
    cpu_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    settings = request.specification["process"]
    environment = process.measured_environment(
        settings["environment"],
        settings["blas_threads"],
        os.environ,
        None if request.interpreter is None else find_code_folder(),
    )
    with (
        leftovers.own_variables(environment) as variables,
        control_group() as group,
        store.RecordWriter(folder / store.TRANSITIONS_FILE, TransitionRecord) as transitions,
        store.RecordWriter(folder / store.READS_FILE, ReadRecord) as reads,
        store.RecordWriter(folder / store.SWEEPS_FILE, SweepRecord) as sweeps,
        store.RecordWriter(folder / store.SAMPLES_FILE, MemorySample) as samples,
    ):
        signals = process.ChildSignals()
        environment |= variables | (server.variables if server else {})
        environment.update(network.variables)
        started = start_measured(request, folder, environment, network)
        with contextlib.ExitStack() as held:
            held.callback(started.cancel)  # it holds the machine's lock as long as it lives
            group.add(started.pid)
            files = open_files()
            totals = open_totals(files, started.pid, reads.write_all, group.open_reader())

            def write_transition(transition: TransitionRecord) -> None:
                transitions.write(transition)
                if totals is not None:
                    totals.note_transition(transition)

            memory = OutOfMemory(group)
            means = request.specification["sampler"]["census"]
            census = open_census(
                means,
                started.pid,
                os.getpid(),
                strangers | {server.keeper} if server else strangers,
                exit_kill=True,
                write_transition=write_transition,
            )
            held.pop_all()
        try:
            settings = request.specification["sampler"]
            sampler = Sampler(
                census,
                to_nanoseconds(settings["interval_s"]),
                settings["cpu_budget"],
                write_sweep=sweeps.write,
                write_sample=samples.write,
                totals=totals,
                files=files,
            )
            stopped = server.has_ended if server else lambda: False
            watched = watch_run(request.time_limit_s, started, census, signals, sampler, stopped)
        finally:
            process.kill_tree(census)
        sampler.take_last()
        charged = group.read()
        cgroup = charged._asdict() if charged else {"reason": group.reason}
        cgroup |= memory.describe()
    return describe_exit(watched, census.lives[0], cpu_before, cgroup), sampler, census


class Watched(NamedTuple):
    """When the measured process started, whether it timed out, and what processes it left."""

    exec_ns: int
    timed_out: bool
    survivors: list[str]


def describe_exit(
    watched: Watched, main: Life, cpu_before: resource.struct_rusage, cgroup: dict[str, Any]
) -> Exit:
    """Describe how main ended, and the resources of its tree, which has been reaped."""
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Exit(
        exec_ns=watched.exec_ns,
        exited_ns=main.ended_ns or time.monotonic_ns(),
        exit_code=main.exit_status if main.exit_status is not None else -1,
        timed_out=watched.timed_out,
        survivors=watched.survivors,
        cpu_user_s=cpu.ru_utime - cpu_before.ru_utime,
        cpu_system_s=cpu.ru_stime - cpu_before.ru_stime,
        context_switches_voluntary=cpu.ru_nvcsw - cpu_before.ru_nvcsw,
        context_switches_involuntary=cpu.ru_nivcsw - cpu_before.ru_nivcsw,
        cgroup=cgroup,
    )


def watch_run(
    time_limit_s: Seconds,
    started: process.Started,
    census: Census,
    signals: process.ChildSignals,
    sampler: Sampler,
    stopped: Callable[[], bool],
) -> Watched:
    """Release the measured process, and sample its tree until it exits, times out or is stopped."""
    exec_ns = time.monotonic_ns()
    started.release(census)
    deadline_ns = exec_ns + to_nanoseconds(time_limit_s)
    timed_out = sample_until_exit(started.pid, sampler, census, signals, deadline_ns, stopped)
    survivors = process.kill_tree(census) if timed_out else process.end_tree(census)
    return Watched(exec_ns, timed_out, survivors)


def start_measured(
    request: RunRequest, folder: Path, environment: Mapping[str, str], network: Network
) -> process.Started:
    """Start the measured process, held before exec, with the specification as standard input.

    Its working directory is the config's folder, as that is where all that a config names lies.
    """
    # -P: the working directory must not influence imports.
    executable = sys.executable if request.interpreter is None else request.interpreter.executable
    command = [executable, "-P", "-m", request.program, str(folder.absolute())]
    if request.beside is not None:
        command.append(str(request.beside.absolute()))
    with tempfile.TemporaryFile() as stdin, (folder / store.OUTPUT_FILE).open("wb") as output:
        stdin.write(store.canonical_json(request.specification).encode())
        stdin.seek(0)
        return process.start_program(
            command,
            environment,
            stdin=stdin.fileno(),
            output=output.fileno(),
            folder=request.beside,
            enter=network.enter,
        )


def describe_interpreter(request: RunRequest, folder: Path) -> dict[str, Any]:
    """Return what ran the measured process, and the versions of the packages that it imported.

    The GIL counts as on if it was on in any process at its end. Which packages were imported is
    known of processes that ended by themselves.
    """
    path = folder / store.LOADED_FILE
    try:
        loaded = store.read_records(path, LoadedRecord, cut_off=True)
    except StoreError:  # the run wrote something else into it, or it was killed as it did
        loaded = []
    names = sorted({name for record in loaded for name in record.modules.split()})
    other = request.interpreter
    if other is None:
        packages = find_versions(names, request.beside)
    else:
        packages = ask_versions(other, names, request.beside)
    interpreter = other or own_interpreter()
    jit = _is_any_on([record.jit for record in loaded]) if interpreter.may_compile else False
    return {
        **interpreter.describe(),
        "gil": _is_any_on([record.gil for record in loaded]),
        "gil_switched_on_by": find_switch(folder / store.OUTPUT_FILE),
        "jit": jit,
        "packages": packages,
    }


def find_switch(output: Path) -> str | None:
    """Return the module whose import switched the GIL on, by the interpreter's own warning."""
    text = output.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"\(GIL\) has been enabled to load module '([^'\n]{1,200})'", text)
    return found[1] if found else None


def _is_any_on(states: Sequence[int | None]) -> bool | None:
    known = [state for state in states if state is not None]
    return any(known) if known else None


def own_cpu_s() -> float:
    """Return the CPU time of this process, which counts as part of the run, not as noise."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def started_at_ns() -> int:
    """Return when this process was started, on the monotonic clock, to the precision of a tick."""
    fields = _read_stat().rpartition(")")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), since boot
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic_ns() - to_nanoseconds(since_boot_s - started_s)


def _read_stat() -> str:
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        return file.read()


LOCK_PATH = "/tmp/stagebench-measure.lock"  # noqa: S108 - one path for the whole machine, whatever TMPDIR is


@contextlib.contextmanager
def measurement_lock(path: str = LOCK_PATH) -> Iterator[float]:
    """Hold the machine's measurement lock; yields the seconds that it took to get it.

    The kernel releases the lock when its holder ends, however it ends.
    """
    started = time.monotonic()
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield time.monotonic() - started
    finally:
        os.close(descriptor)


def _open_lock(path: str) -> int:
    """Open the lock file for reading, which is enough for flock and allowed to other users."""
    try:
        # Without O_CREAT, because in a sticky folder it is refused for files of other users.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise MeasureError(f"{path}: the measurement lock cannot be opened ({error})") from error


def judge_outcome(
    folder: Path,
    specification: Mapping[str, Any],
    exit_code: int,
    exceeded_s: Seconds | None,
    beside: Path | None = None,
) -> tuple[str, str]:
    """Return a run's status, judged by its folder and exit code, and why it is not "ok".

    "worker_lost": a task's worker was lost in its last attempt. "crashed": the measured process
    ended with a nonzero exit code, or before its workflow. `exceeded_s` is the time limit, if the
    run exceeded it.
    """
    if exceeded_s is not None:
        engine = specification.get("engine")
        text = f"still running after the time limit of {exceeded_s:g} s"
        return "timed_out", f"{text}, on the engine {engine}" if engine else text
    try:
        ended = read_ended(folder, specification)
    except StoreError as error:  # the run wrote something else into it
        return "crashed", f"{describe_end(exit_code)}; {error}"
    if ended.lost is not None:
        return "worker_lost", f"stage {ended.lost.stage!r}: {ended.lost.error}"
    if exit_code or ended.missing is not None:
        but = "" if exit_code else f", but {ended.missing}"
        cause = describe_crash(folder, exit_code, beside)
        return "crashed", f"{describe_end(exit_code)}{but}; {cause}"
    total = ended.statuses.total()
    failed = total - ended.statuses["ok"]
    if failed:
        return "tasks_failed", f"{failed} of {total} tasks and stages not ok"
    return "ok", ""


def judge_memory(cgroup: Mapping[str, Any], status: str, detail: str) -> tuple[str, str]:
    """Return "out_of_memory" instead if the kernel killed a process because memory ran out.

    Where the run had no group of its own, the process may have been another one of this process's
    group. Then the kill counts if the run lost a process.
    """
    reason, is_own = cgroup["out_of_memory"], "version" in cgroup
    if reason is None or not (is_own or status in {"worker_lost", "crashed"}):
        return status, detail
    return "out_of_memory", f"{reason}; {detail}" if detail else reason


class EndedTasks(NamedTuple):
    """How the tasks of a run ended: the first lost one, and what is missing of a whole run."""

    statuses: Counter[str]
    lost: TaskRecord | None
    missing: str | None


def read_ended(folder: Path, specification: Mapping[str, Any]) -> EndedTasks:
    """Read how tasks ended, one record at a time, as there may be very many."""
    statuses: Counter[str] = Counter()
    lost: list[TaskRecord] = []

    def note(record: TaskRecord) -> tuple[int, str]:
        statuses[record.status] += 1
        if record.status == "lost" and not lost:
            lost.append(record)
        return record.task, record.stage

    missing = find_missing(
        count_tasks(specification["tasks"]),
        [stage["name"] for stage in specification["stages"]],
        map(note, store.stream_records(folder / store.TASKS_FILE, TaskRecord)),
        store.stream_records(folder / store.EVENTS_FILE, EventRecord),
    )
    return EndedTasks(statuses, lost[0] if lost else None, missing)


LONGEST_OUTPUT = 1 << 20
"""Bytes of a run's output that are kept; of a longer one, its beginning and its end."""

LONGEST_DETAIL = 1000
"""Characters."""


def shorten_output(path: Path) -> None:
    """Keep the beginning and the end of a long text; there may be none."""
    size = path.stat().st_size if path.exists() else 0
    if size <= LONGEST_OUTPUT:
        return
    half = LONGEST_OUTPUT // 2
    with path.open("r+b") as file:
        file.seek(-half, os.SEEK_END)
        end = file.read()
        file.seek(half)
        file.truncate()
        file.write(f"\n[... {size - 2 * half:,} bytes left out ...]\n".encode() + end)


def sample_until_exit(
    main: int,
    sampler: Sampler,
    census: Census,
    signals: ChildSignals,
    deadline_ns: float = math.inf,
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Sweep at each due time until main exits or is stopped; True if the deadline comes first."""
    sampler.update()
    while main in census.alive and not stopped():
        now_ns = time.monotonic_ns()
        if now_ns >= deadline_ns:
            return True
        if signals.wait((min(sampler.due_ns, deadline_ns) - now_ns) / 1e9):
            sampler.update()
        if time.monotonic_ns() >= sampler.due_ns:
            sampler.take()
    return False
