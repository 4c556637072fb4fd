"""What a census knows about processes, their roles in a run, and the records made of both."""

from __future__ import annotations

import ctypes
import platform
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stagebench.records import SHARING_BIRTHS, ProcessRecord
from stagebench.sampler.procfs import Vanished, read_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(slots=True, kw_only=True)
class Life:
    """What is known so far about one process; its times are those at which the census noticed.

    Processes with the same `space` share one address space, and one of them `owns_memory`. The
    memory of the others (such as a child by vfork before its exec) must not be counted twice.
    `cpu_ns` is that of all its threads; unless it is final, the process may have used more.
    """

    pid: int
    parent_pid: int | None
    since_ns: int
    started_ns: int
    command: str
    birth: str | None = None
    space: int = 0
    owns_memory: bool = True
    max_rss_bytes: int | None = None
    execs: int | None = None
    high_water_bytes: int | None = None
    ended_ns: int | None = None
    exit_status: int | None = None
    samples: int = 0
    cpu_ns: int | None = None
    cpu_is_final: bool = False

    def note_cpu(self, cpu_ns: int | None, *, is_final: bool = False) -> None:
        """Take in a reading of its CPU time; None if there was nothing to read any more."""
        if cpu_ns is not None:
            self.cpu_ns, self.cpu_is_final = cpu_ns, is_final

    def note_mark(self, high_water_bytes: int) -> None:
        """Add a reading of the high-water mark, which the sampler resets between readings."""
        self.high_water_bytes = max(high_water_bytes, self.high_water_bytes or 0)


CPUCLOCK_SCHED = 2
"""The CPU clock of a process that counts all that it ran. Source: linux/posix-timers_types.h."""


def read_cpu_ns(pid: int) -> int | None:
    """Return the CPU time that all threads of a process have had; None if it cannot be read.

    The clock is that of clock_getcpuclockid(3). It can be read until the process is reaped.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)
    except OSError:
        return None


KCMP_NUMBERS = {"x86_64": 312, "aarch64": 272, "riscv64": 272, "ppc64le": 354, "s390x": 343}
KCMP_VM = 1
"""The system call kcmp(2), which the C library does not offer, and its type for memory."""

_libc = ctypes.CDLL(None)
_libc.syscall.restype = ctypes.c_long
_kcmp_number = KCMP_NUMBERS.get(platform.machine())


def share_memory(one: int, other: int) -> bool | None:
    """Return whether two threads or processes have the same address space; None if unknown."""
    if _kcmp_number is None:
        return None
    order = _libc.syscall(ctypes.c_long(_kcmp_number), one, other, KCMP_VM, 0, 0)
    return None if order < 0 else order == 0


def may_share_memory(one: int, other: int) -> bool:
    """Return whether two processes have the same address space, or may have for all that is known.

    Where kcmp(2) is not permitted, sizes that differ at one moment prove that they do not.
    """
    known = share_memory(one, other)
    if known is not None:
        return known
    try:
        before, others, after = read_sizes(one), read_sizes(other), read_sizes(one)
    except Vanished:
        return False
    return before != after or before == others


class Census(Protocol):
    """Keeps track of every process of a tree; `changes` counts births, execs and ends."""

    means: str
    changes: int

    @property
    def lives(self) -> Sequence[Life]:
        """Every process of the tree so far, in the order in which the census met them."""

    @property
    def alive(self) -> Mapping[int, Life]:
        """The processes that have not ended, by process id."""

    def update(self) -> None:
        """Take in everything that has happened since the last call."""


def record_lives(lives: Sequence[Life], main: int) -> list[ProcessRecord]:
    """Return the record of every process, in the order in which the census met them.

    A role depends on the parent, which was met before; if a pid was reused, the parent is the last
    process that had it.
    """
    records: list[ProcessRecord] = []
    latest: dict[int | None, ProcessRecord] = {}
    for life in lives:
        parent = latest.get(life.parent_pid)
        record = ProcessRecord(
            pid=life.pid,
            parent_pid=life.parent_pid,
            role=find_role(
                life.command,
                is_main=not records and life.pid == main,
                parent_role=parent.role if parent else "other",
                parent_command=parent.command if parent else "",
            ),
            birth=life.birth,
            since_ns=life.since_ns,
            started_ns=life.started_ns,
            ended_ns=life.ended_ns,
            exit_status=life.exit_status,
            high_water_bytes=None
            if life.birth in SHARING_BIRTHS and not life.owns_memory
            else life.high_water_bytes,
            max_rss_bytes=life.max_rss_bytes,
            execs=life.execs,
            samples=life.samples,
            command=life.command,
        )
        records.append(record)
        latest[life.pid] = record
    return records


TRACKERS = ("multiprocessing.resource_tracker", "loky.backend.resource_tracker")
"""What the command lines of resource trackers contain: multiprocessing's, and joblib's."""

ROLES_BY_COMMAND = {
    "resource_tracker": TRACKERS,
    "daemon": (
        *("ray::RuntimeEnvAgent", "ray::DashboardAgent", "/ray/_private/log_monitor.py"),
        *("/ray/core/src/ray/", "/ray/autoscaler/", "/ray/dashboard/"),
    ),
    "worker": (
        *("multiprocessing.spawn", "loky.backend.popen_loky"),
        *("ray::", "/ray/_private/workers/default_worker.py"),
    ),
}
"""Role → what only the command lines of such processes contain; the first match counts. A worker
of Ray names itself after its task."""


KEEPER = "stagebench.engines.dask_node"
"""What the command line of the process that keeps the workers of a node contains."""


def is_resource_tracker(command: str) -> bool:
    """Return whether a command line is that of a resource tracker."""
    return any(part in command for part in TRACKERS)


def find_role(command: str, *, is_main: bool, parent_role: str, parent_command: str) -> str:
    """Return the role of a process, one of `records.ROLES`, from its command line and its parent.

    A forked worker has its parent's command line. Those of spawned workers and of multiprocessing's
    helpers contain the function that they run, those of joblib's the module. What Ray starts beside
    its workers is a `daemon`, and so is what keeps the workers of a node. Anything else that a
    worker or the resource tracker forks is `other`.
    """
    if is_main:
        return "main"
    if KEEPER in command:
        return "worker" if KEEPER in parent_command else "daemon"
    for role, parts in ROLES_BY_COMMAND.items():
        if any(part in command for part in parts):
            return role
    if "multiprocessing.forkserver" in command and parent_role != "forkserver":
        return "forkserver"
    if command == parent_command and parent_role in {"main", "forkserver"}:
        return "worker"
    return "other"
