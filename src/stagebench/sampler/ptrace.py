"""The requests of ptrace(2) that a census needs: attach, resume, ask; by ctypes, unprivileged.

Source: ptrace(2) and linux/ptrace.h. A tracee is a thread; only the thread that attached it may
make requests for it or wait for it.

The census: every process that ever lived in a tree, told by the kernel and not by polling.

Each birth, exec and exit stops the thread that does it until its report is taken here; nothing
else does. Reports come in any order: a child may be seen to exit before its parent's fork is told.
So facts are merged into what is known of a process, never assumed to be the first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from stagebench.records import TransitionRecord
from stagebench.sampler.processes import Life
from stagebench.sampler.procfs import Vanished, read_command, read_counters, read_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.sampler.procfs import Counters


PTRACE_CONT = 7
PTRACE_GETEVENTMSG, PTRACE_SEIZE, PTRACE_LISTEN = 0x4201, 0x4206, 0x4208

EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_EXIT, EVENT_STOP = 1, 2, 3, 4, 6, 128
BIRTH_EVENTS = frozenset({EVENT_FORK, EVENT_VFORK, EVENT_CLONE})

OPTION_FORK, OPTION_VFORK, OPTION_CLONE, OPTION_EXEC, OPTION_EXIT = 2, 4, 8, 0x10, 0x40
OPTION_EXITKILL = 0x100000

WAIT_ALL = 0x40000000
"""__WALL: wait for threads as well as for children."""

STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class Report(NamedTuple):
    """What a wait said of one thread: the raw status, the resources if it ended, told apart."""

    thread: int
    status: int
    max_rss_bytes: int

    @property
    def ended(self) -> bool:
        """Whether the thread is no more."""
        return os.WIFEXITED(self.status) or os.WIFSIGNALED(self.status)

    @property
    def event(self) -> int:
        """The ptrace event of a stop, 0 for the delivery of a signal."""
        return self.status >> 16

    @property
    def signal(self) -> int:
        """The signal of a stop."""
        return os.WSTOPSIG(self.status)


def seize(thread: int, options: int) -> None:
    """Attach to a running thread without stopping it; raises OSError where that is not allowed."""
    _request(PTRACE_SEIZE, thread, 0, options)


def wait_report() -> Report | None:
    """Take the next report of any tracee or child, without waiting; None when there is none.

    Raises ChildProcessError when there is neither tracee nor child.
    """
    thread, status, usage = os.wait4(-1, os.WNOHANG | WAIT_ALL)
    return Report(thread, status, usage.ru_maxrss * 1024) if thread else None


def event_message(thread: int) -> int:
    """Ask for the value that comes with an event: the new thread, or the exit status."""
    message = ctypes.c_ulong()
    _request(PTRACE_GETEVENTMSG, thread, 0, ctypes.addressof(message))
    return message.value


def resume(report: Report) -> None:
    """Let a stopped thread go on as it would without us: with its signal, or stopped, if it was.

    A thread that was killed while stopped is gone: nothing is left to resume.
    """
    request, value = PTRACE_CONT, 0
    if report.event == 0:
        value = report.signal
    elif report.event == EVENT_STOP and report.signal in STOPPING:
        request = PTRACE_LISTEN
    try:
        _request(request, report.thread, 0, value)
    except ProcessLookupError:
        return


def _request(request: int, thread: int, address: int, data: int) -> None:
    if _libc.ptrace(request, thread, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"ptrace of {thread}")


OPTIONS = OPTION_FORK | OPTION_VFORK | OPTION_CLONE | OPTION_EXEC | OPTION_EXIT

BIRTH_NAMES = {
    EVENT_FORK: "fork",
    EVENT_VFORK: "vfork",
    EVENT_CLONE: "clone",
}


class PtraceCensus:
    """Follows a tree from the seizing of its first process on.

    `update` is called, by the thread that made this, whenever SIGCHLD has arrived. `changes` counts
    births, execs and ends: a sweep over which it differs is torn. `write_transition` is given every
    process's counters at those moments; `observe` is shown every stop.
    """

    means = "ptrace"

    def __init__(
        self,
        main: int,
        *,
        exit_kill: bool,
        write_transition: Callable[[TransitionRecord], None],
        observe: Callable[[Report], None] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._write_transition = write_transition
        self._observe = observe
        self._updated_ns = clock()
        self.lives: list[Life] = []
        self.alive: dict[int, Life] = {}
        self.changes = 0
        self._process_of: dict[int, int] = {}
        self._births: dict[int, tuple[int, str]] = {}
        self._ended: dict[int, Life] = {}
        seize(main, OPTIONS | (OPTION_EXITKILL if exit_kill else 0))
        self._process(main)
        self.lives[0].owns_memory = True

    def update(self) -> None:
        """Take all reports that wait."""
        began_ns = self._clock()
        self._take_reports()
        self._updated_ns = began_ns

    def _take_reports(self) -> None:
        try:
            while (report := wait_report()) is not None:
                if report.ended:
                    self._end(report)
                else:
                    self._note(report)
                    if self._observe:
                        self._observe(report)
                    resume(report)
        except ChildProcessError:
            return  # neither tracee nor child is left

    def _note(self, report: Report) -> None:
        try:
            process = self._process(report.thread)
            if report.event in BIRTH_NAMES:
                child = event_message(report.thread)
                self._birth(child, process, BIRTH_NAMES[report.event])
            elif report.event == EVENT_EXEC:
                self._exec(process, former=event_message(report.thread))
            elif report.event == EVENT_EXIT:
                self._exit(process, report.thread)
        except Vanished:
            return  # killed while it was stopped: its end is reported next

    def _process(self, thread: int) -> int:
        """Tell the process of a thread that is stopped, and meet it if it is new."""
        process = self._process_of.get(thread)
        if process is None:
            process = self._process_of[thread] = read_process(thread)
        if process not in self.alive:
            self._meet(process)
        return process

    def _meet(self, pid: int) -> None:
        parent, birth = self._births.pop(pid, (None, None))
        life = Life(
            pid=pid,
            execs=0,
            parent_pid=parent,
            birth=birth,
            owns_memory=_owns_memory(birth),
            since_ns=self._updated_ns,
            started_ns=self._clock(),
            command=read_command(pid),
        )
        self.lives.append(life)
        self.alive[pid] = life
        self.changes += 1
        self._transition("birth", life, read_counters(pid))

    def _birth(self, child: int, parent: int, birth: str) -> None:
        """Note who made a thread or process, which may have been met before, or even ended."""
        life = self.alive.get(child) or self._ended.pop(child, None)
        if life is None:
            self._births[child] = parent, birth
        elif life.parent_pid is None:
            life.parent_pid, life.birth = parent, birth
            life.owns_memory = life.owns_memory or _owns_memory(birth)
            self.changes += 1

    def _exec(self, pid: int, former: int) -> None:
        """Note a new program; a thread other than the first takes the first one's number."""
        if former != pid:
            self._process_of.pop(former, None)
        life = self.alive[pid]
        life.execs = (life.execs or 0) + 1
        life.owns_memory = True
        life.high_water_bytes = None
        life.command = read_command(pid)
        self.changes += 1
        self._transition("exec", life, read_counters(pid))

    def _exit(self, process: int, thread: int) -> None:
        """Read the counters while the memory is still there: this thread may be the last."""
        self._transition("exit", self.alive[process], read_counters(thread))

    def _transition(self, kind: str, life: Life, counters: Counters | None) -> None:
        if counters is None:
            return
        life.note_mark(counters.high_water_bytes)
        record = TransitionRecord(
            pid=life.pid, kind=kind, time_ns=self._clock(), **counters._asdict()
        )
        self._write_transition(record)

    def _end(self, report: Report) -> None:
        self._process_of.pop(report.thread, None)
        self._births.pop(report.thread, None)
        life = self.alive.pop(report.thread, None)
        if life is None:
            return  # a thread, not a process
        life.ended_ns = self._clock()
        life.exit_status = os.waitstatus_to_exitcode(report.status)
        life.max_rss_bytes = report.max_rss_bytes
        if life.parent_pid is None:
            self._ended[report.thread] = life
        self.changes += 1


def _owns_memory(birth: str | None) -> bool:
    """Tell whether a process born so has memory of its own; unknown until its birth is told."""
    return birth in {"fork", "clone"}
