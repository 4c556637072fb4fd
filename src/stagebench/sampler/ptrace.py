"""The census by ptrace: the kernel reports every process of a tree, however short its life.

A thread stops at each birth, exec and exit until its report is taken here, and at nothing else.
Reports come in any order: a child's exit may be reported before its parent's fork. So every report
is merged into what is known about a process, and none is assumed to be the first.

The first half of the module makes the requests of ptrace(2), through ctypes and without privileges.
A tracee is a thread, and only the thread that attached to it may make requests for it or wait for
it. Source: ptrace(2) and linux/ptrace.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import platform
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from stagebench.records import SHARING_BIRTHS, TransitionRecord
from stagebench.sampler.processes import Life, read_cpu_ns, share_memory
from stagebench.sampler.procfs import Vanished, read_command, read_counters, read_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.sampler.procfs import Counters


PTRACE_CONT = 7
PTRACE_GETEVENTMSG, PTRACE_SEIZE, PTRACE_LISTEN = 0x4201, 0x4206, 0x4208

EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_EXIT, EVENT_STOP = 1, 2, 3, 4, 6, 128

OPTION_FORK, OPTION_VFORK, OPTION_CLONE, OPTION_EXEC, OPTION_EXIT = 2, 4, 8, 0x10, 0x40
OPTION_EXITKILL = 0x100000

WAIT_ALL = 0x40000000
"""__WALL: wait for threads as well as for child processes."""

ENDS = frozenset({os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED})

STOPPING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class Report(NamedTuple):
    """The result of waiting for one thread; the last two values are valid only if it ended.

    `cpu_ns` is the CPU time of a process that has ended, all of it; None for a thread.
    """

    thread: int
    status: int
    max_rss_bytes: int
    cpu_ns: int | None

    @property
    def ended(self) -> bool:
        """Whether the thread has ended."""
        return os.WIFEXITED(self.status) or os.WIFSIGNALED(self.status)

    @property
    def event(self) -> int:
        """The ptrace event of a stop; 0 if a signal is being delivered."""
        return self.status >> 16

    @property
    def signal(self) -> int:
        """The signal of a stop."""
        return os.WSTOPSIG(self.status)


class PtraceRefusedError(Exception):
    """The kernel, or a sandbox, refuses ptrace(2): by which error number differs."""


def seize(thread: int, options: int) -> None:
    """Attach to a running thread without stopping it; raises PtraceRefusedError if that fails.

    If the thread has ended, it raises ProcessLookupError.
    """
    try:
        _request(PTRACE_SEIZE, thread, 0, options)
    except ProcessLookupError:
        raise
    except OSError as error:
        raise PtraceRefusedError(error.strerror) from error


def wait_report() -> Report | None:
    """Return the next report of any tracee or child without waiting; None if there is none.

    Raises ChildProcessError if there is neither a tracee nor a child.
    """
    # Once the end of a process is taken, its parent may reap it, and its clock is gone.
    while (found := _peek()) is not None:
        chosen, cpu_ns = found
        with contextlib.suppress(ChildProcessError):  # gone, as a thread by another one's exec
            thread, status, usage = os.wait4(chosen, os.WNOHANG | WAIT_ALL)
            if thread:
                return Report(thread, status, usage.ru_maxrss * 1024, cpu_ns)
            if chosen == -1:
                break
    return None


def _peek() -> tuple[int, int | None] | None:
    """Return which thread has something to report, and its CPU time if it is a process's end."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WNOHANG | WAIT_ALL | os.WEXITED | os.WNOWAIT)
    except OSError as error:
        if error.errno == errno.ECHILD:
            raise
        return -1, None  # sandboxes, and Linux before 4.7: whichever is next
    if found is None:
        return None
    return found.si_pid, read_cpu_ns(found.si_pid) if found.si_code in ENDS else None


def event_message(thread: int) -> int:
    """Return the value that comes with an event: the new thread, or the exit status."""
    message = ctypes.c_ulong()
    _request(PTRACE_GETEVENTMSG, thread, 0, ctypes.addressof(message))
    return message.value


def resume(report: Report) -> None:
    """Let a stopped thread continue as it would without us: with its signal, or still stopped.

    Does nothing if the thread was killed meanwhile.
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
    """Follows a tree of processes, starting with one that it attaches to.

    Call `update` whenever SIGCHLD has arrived, from the thread that created the census. `changes`
    counts births, execs and ends; if it differs before and after a sweep, the sweep is torn.
    `write_transition` gets every process's counters at those moments, `observe` every ptrace stop.
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
        self._births: dict[int, tuple[int, str, int]] = {}
        self._spaces = itertools.count()
        self._ended: dict[int, Life] = {}
        seize(main, OPTIONS | (OPTION_EXITKILL if exit_kill else 0))
        self._process(main)
        self.lives[0].owns_memory = True

    def update(self) -> None:
        """Take all pending reports."""
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
            return  # no tracee and no child is left

    def _note(self, report: Report) -> None:
        try:
            process = self._process(report.thread)
            if report.event in BIRTH_NAMES:
                child = event_message(report.thread)
                self._birth(child, process, name_birth(report, child))
            elif report.event == EVENT_EXEC:
                self._exec(process, former=event_message(report.thread))
            elif report.event == EVENT_EXIT:
                self._exit(process, report.thread)
        except Vanished:
            return  # killed while it was stopped; its end is reported next

    def _process(self, thread: int) -> int:
        """Return the process of a stopped thread; a new process is added to the census."""
        process = self._process_of.get(thread)
        if process is None:
            process = self._process_of[thread] = read_process(thread)
        if process not in self.alive:
            self._meet(process)
        return process

    def _meet(self, pid: int) -> None:
        parent, birth, space = self._births.pop(pid, (None, None, next(self._spaces)))
        life = Life(
            pid=pid,
            execs=0,
            parent_pid=parent,
            birth=birth,
            space=space,
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
        """Note the parent of a thread or process, which may be known already or even have ended."""
        life = self.alive.get(child) or self._ended.pop(child, None)
        shares = birth in SHARING_BIRTHS
        space = self.alive[parent].space if shares else next(self._spaces)
        if life is None:
            self._births[child] = parent, birth, space
            # Its own first report may come after its parent's end, which must not look like the end
            # of all.
            self._process(child)
        elif life.parent_pid is None:
            life.parent_pid, life.birth = parent, birth
            if not life.execs:
                life.space, life.owns_memory = space, not shares
            self.changes += 1

    def _exec(self, pid: int, former: int) -> None:
        """Note a new program; `former` is the old id of the thread that called exec."""
        if former != pid:
            self._process_of.pop(former, None)
        life = self.alive[pid]
        life.execs = (life.execs or 0) + 1
        self._hand_over(life)
        life.space, life.owns_memory = next(self._spaces), True
        life.high_water_bytes = None
        life.command = read_command(pid)
        self.changes += 1
        self._transition("exec", life, read_counters(pid))

    def _hand_over(self, former: Life) -> None:
        """Let another process own the memory that one gave up, if it has shared it."""
        heirs = (life for life in self.alive.values() if life.space == former.space)
        heir = next((life for life in heirs if life is not former), None)
        if former.owns_memory and heir is not None:
            heir.owns_memory = True
            self.changes += 1

    def _exit(self, process: int, thread: int) -> None:
        """Read the counters while the memory still exists: this may be the last thread."""
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
        life.note_cpu(report.cpu_ns, is_final=True)
        if life.parent_pid is None:
            self._ended[report.thread] = life
        self._hand_over(life)
        self.changes += 1


def _owns_memory(birth: str | None) -> bool:
    """Return whether a process has memory of its own after this birth; False if it is unknown."""
    return birth is not None and birth not in SHARING_BIRTHS


CLONE_VM = 0x100
CLONE_NUMBERS = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "ppc64le": 120}
CLONE3_NUMBER = 435
"""System calls that say by a flag whether the new process shares memory."""

_clone_number = CLONE_NUMBERS.get(platform.machine())


def name_birth(report: Report, child: int) -> str:
    """Name the birth that a stopped thread reports, by whether the child shares its memory.

    The event alone does not show that: clone(2) has flags for it.
    """
    name = BIRTH_NAMES[report.event]
    shares = share_memory(report.thread, child)
    if shares is None:  # the child has ended, or kcmp(2) is not permitted
        shares = _asks_to_share(report.thread)
    if shares is None or shares == (name in SHARING_BIRTHS):
        return name
    return "shared" if shares else "clone"


def _asks_to_share(thread: int) -> bool | None:
    """Return whether the system call that a stopped thread is in has CLONE_VM; None if unknown."""
    try:
        with open(f"/proc/{thread}/syscall", encoding="ascii") as file:
            number, argument = (int(word, 0) for word in file.read().split()[:2])
        if number == _clone_number:
            return bool(argument & CLONE_VM)
        if number != CLONE3_NUMBER:
            return None
        with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
            memory.seek(argument)
            return bool(int.from_bytes(memory.read(8), "little") & CLONE_VM)
    except (OSError, ValueError):  # "running", or not permitted
        return None
