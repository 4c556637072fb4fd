"""The supervisor of one run: starts it, samples it, times it out, reaps it, writes its folder."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench import store
from stagebench.errors import MeasureError
from stagebench.measure import process
from stagebench.measure.cgroup import control_group
from stagebench.measure.environment import describe_noise, read_busy, read_environment
from stagebench.measure.lock import measurement_lock
from stagebench.measure.machine import read_machine
from stagebench.measure.outcome import judge_outcome
from stagebench.measure.quiet import read_ticks, wait_until_quiet
from stagebench.measure.watch import sample_until_exit
from stagebench.records import (
    MemorySample,
    ProcessRecord,
    SweepRecord,
    TransitionRecord,
    count_processes,
)
from stagebench.sampler.census import open_census
from stagebench.sampler.lives import record_lives
from stagebench.sampler.sampler import Sampler
from stagebench.units import Seconds, to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stagebench.sampler.lives import Census, Life

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES})
"""What the file system says when it takes no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One run to be made: a treatment's specification and its place in the study.

    `beside` is the folder of own handlers and files of tasks. It is no part of the specification: a
    checkout may move. `program` is the module that is run as the measured process.
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


class Exit(NamedTuple):
    """How the measured process ended."""

    exec_ns: int
    exited_ns: int
    exit_code: int
    timed_out: bool
    survivors: int
    cpu_user_s: float
    cpu_system_s: float
    context_switches_voluntary: int
    context_switches_involuntary: int
    cgroup: dict[str, Any]


def name_campaign() -> str:
    """Name the campaign of a run that no call of Snakemake makes: the present moment."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def measure_run(request: RunRequest, target: Path) -> str:
    """Make one run and write its folder to `target`; returns the run's status.

    A run that fails or times out is a result like any other. Nothing is written when this process
    is interrupted.
    """
    try:
        return _measure_run(request, target)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise MeasureError(
            f"{target}: cannot be written ({error.strerror}); the run was ended, and nothing of it"
            " was kept"
        ) from error


def _measure_run(request: RunRequest, target: Path) -> str:
    supervisor_started_ns = started_at_ns()
    # Asked to end, end as on Ctrl-C: with the tree killed and no folder written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    strangers = process.adopt_orphans()
    environment = read_environment()
    with store.atomic_folder(target) as folder, measurement_lock() as lock_wait_s:
        quiet = wait_until_quiet(request.quiet_wait_s, read_ticks)
        started_at = datetime.now(UTC)
        before, busy_before, own_cpu_before_s = read_machine(), read_busy(), own_cpu_s()
        exit_, sampler, census = supervise(request, folder, strangers)
        after, busy_after = read_machine(), read_busy()
        run_cpu_s = exit_.cpu_user_s + exit_.cpu_system_s + own_cpu_s() - own_cpu_before_s
        processes = record_lives(census.lives, census.lives[0].pid)
        store.write_records(folder / store.PROCESSES_FILE, ProcessRecord, processes)
        limit_s = request.time_limit_s if exit_.timed_out else None
        status, detail = judge_outcome(folder, exit_.exit_code, limit_s)
        run = {
            "schema_version": store.SCHEMA_VERSION,
            **describe_request(request),
            "status": status,
            "detail": detail,
            "started_at": started_at.isoformat(),
            "lock_wait_s": lock_wait_s,
            "supervisor_started_ns": supervisor_started_ns,
            **exit_._asdict(),
            "sampler": sampler.use()._asdict(),
            "census": {"means": census.means} | count_processes(processes),
            "environment": environment,
            "quiet": quiet._asdict(),
            "machine_before": before,
            "machine_after": after,
            "noise": describe_noise(busy_before, busy_after, run_cpu_s),
            "supervisor_ended_ns": time.monotonic_ns(),
        }
        store.write_json(folder / store.RUN_FILE, run)
    return status


def describe_request(request: RunRequest) -> dict[str, Any]:
    """Give the part of a run's record that was known before it was made."""
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
    request: RunRequest, folder: Path, strangers: frozenset[int]
) -> tuple[Exit, Sampler, Census]:
    """Start the measured process, sample its tree until it exits, and end what it leaves."""
    cpu_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (
        control_group() as group,
        store.RecordWriter(folder / store.TRANSITIONS_FILE, TransitionRecord) as transitions,
        store.RecordWriter(folder / store.SWEEPS_FILE, SweepRecord) as sweeps,
        store.RecordWriter(folder / store.SAMPLES_FILE, MemorySample) as samples,
    ):
        signals = process.ChildSignals()
        started = start_measured(request, folder)
        group.add(started.pid)
        means = request.specification["sampler"]["census"]
        census = open_census(
            means,
            started.pid,
            os.getpid(),
            strangers,
            exit_kill=True,
            write_transition=transitions.write,
        )
        try:
            sampler = open_sampler(request, census, sweeps, samples)
            watched = watch_run(request.time_limit_s, started, census, signals, sampler)
        finally:
            process.kill_tree(census)
        charged = group.read()
    cgroup = charged._asdict() if charged else {"reason": group.reason}
    return describe_exit(watched, census.lives[0], cpu_before, cgroup), sampler, census


class Watched(NamedTuple):
    """What was seen of a measured process to its end, and of how many others it left."""

    exec_ns: int
    timed_out: bool
    survivors: int


def describe_exit(
    watched: Watched, main: Life, cpu_before: resource.struct_rusage, cgroup: dict[str, Any]
) -> Exit:
    """Tell how main ended, and what its tree used, all of which has been collected."""
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
) -> Watched:
    """Let the measured process go, and sample its tree until it exits or its time is over."""
    exec_ns = time.monotonic_ns()
    started.release(census)
    deadline_ns = exec_ns + to_nanoseconds(time_limit_s)
    timed_out = sample_until_exit(started.pid, sampler, census, signals, deadline_ns)
    survivors = process.kill_tree(census) if timed_out else process.end_tree(census)
    return Watched(exec_ns, timed_out, survivors)


def start_measured(request: RunRequest, folder: Path) -> process.Started:
    """Start the measured process, held at its gate, with the specification as standard input."""
    settings = request.specification["process"]
    environment = process.measured_environment(
        settings["environment"], settings["blas_threads"], os.environ
    )
    # -P: where the caller happens to be decides about no import.
    command = [sys.executable, "-P", "-m", request.program, str(folder)]
    if request.beside is not None:
        command.append(str(request.beside.absolute()))
    with tempfile.TemporaryFile() as given, (folder / store.OUTPUT_FILE).open("wb") as said:
        given.write(store.canonical_json(request.specification).encode())
        given.seek(0)
        return process.start_program(
            command, environment, stdin=given.fileno(), output=said.fileno()
        )


def open_sampler(
    request: RunRequest,
    census: Census,
    sweeps: store.RecordWriter[SweepRecord],
    samples: store.RecordWriter[MemorySample],
) -> Sampler:
    """Make the sampler that the specification asks for."""
    settings = request.specification["sampler"]
    return Sampler(
        census,
        to_nanoseconds(settings["interval_s"]),
        settings["cpu_budget"],
        write_sweep=sweeps.write,
        write_sample=samples.write,
    )


def own_cpu_s() -> float:
    """Give the CPU time of this process, which is the run's and no other's noise."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def started_at_ns() -> int:
    """Give the moment at which this process was started, on the monotonic clock, to a tick."""
    fields = _read_stat().rpartition(")")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5), since boot
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic_ns() - to_nanoseconds(since_boot_s - started_s)


def _read_stat() -> str:
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        return file.read()
