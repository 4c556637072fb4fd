"""The requests of ptrace(2) that a census needs: attach, resume, ask; by ctypes, unprivileged.

Source: ptrace(2) and linux/ptrace.h. A tracee is a thread; only the thread that attached it may
make requests for it or wait for it.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import NamedTuple

PTRACE_CONT = 7
PTRACE_GETEVENTMSG, PTRACE_SEIZE, PTRACE_LISTEN = 0x4201, 0x4206, 0x4208

EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_EXIT, EVENT_STOP = 1, 2, 3, 4, 6, 128
BIRTHS = frozenset({EVENT_FORK, EVENT_VFORK, EVENT_CLONE})

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
