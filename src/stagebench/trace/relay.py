"""Passing signals and terminal stops on to a traced command, as if nothing stood in between."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn, Self

from stagebench.measure.process import forbid_core_file
from stagebench.sampler import ptrace

if TYPE_CHECKING:
    from stagebench.sampler.ptrace import Report
    from stagebench.units import Seconds

HANDED_ON = frozenset({signal.SIGTERM, signal.SIGHUP})
"""Signals that are sent to one process; the user means the command."""

INTERRUPTS = frozenset({signal.SIGINT, signal.SIGQUIT})
"""Ctrl-C and Ctrl-\\: the terminal sends them to the whole group, so the command gets them, too."""

STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""Signals by which a terminal stops a whole group."""

WAKE = signal.SIGURG
"""Sent by the tracing thread to wake the main one; ignored by default, so harmless if late."""

PYTHON_IGNORES = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""Ignored by the interpreter from its start; how they were handled before is unknown."""

RECENT_S = 0.05
"""A signal to a whole group, or to one process after the other, reaches all within this time."""

SETTLE_S = 0.01
"""The time that the tracing thread gets to notice a signal that was sent to both processes."""


class Deliveries:
    """The signals that `main` received, as the tracer saw them: when, and whether one stopped it.

    Written by the thread that traces, read by the one that relays.
    """

    def __init__(self, main: int) -> None:
        self._main = main
        self._sent_at: dict[int, float] = {}
        self.is_stopped = False
        self.stopped_by: int | None = None

    def observe(self, report: Report) -> None:
        """Note a ptrace stop of any thread of the tree."""
        if report.event == 0 and report.signal in HANDED_ON:
            if self._is_mains(report.thread):
                self._sent_at[report.signal] = time.monotonic()
        elif report.event == ptrace.EVENT_STOP and self._is_mains(report.thread):
            # All of its threads stop, and report it: the first may have ended before the others.
            is_stop = report.signal in ptrace.STOPPING
            if is_stop != self.is_stopped:
                self._note_stop(report.signal if is_stop else None)

    def _is_mains(self, thread: int) -> bool:
        return thread == self._main or os.path.exists(f"/proc/{self._main}/task/{thread}")  # a stat

    def poll(self) -> None:
        """Note whether main, an untraced child, was stopped or continued."""
        options = os.WSTOPPED | os.WCONTINUED | os.WNOHANG
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_PID, self._main, options)) is not None:
                self._note_stop(found.si_status if found.si_code == os.CLD_STOPPED else None)

    def _note_stop(self, number: int | None) -> None:
        self.is_stopped = number is not None
        self.stopped_by = number if number in STOPS else None

    def received_recently(self, number: int) -> bool:
        """Whether main received this signal just now, so that it was sent to the whole group."""
        sent_at = self._sent_at.get(number)
        return sent_at is not None and time.monotonic() - sent_at < RECENT_S


class Relay:
    """Blocks the signals of this process while a command runs, and passes on those meant for it.

    Because signals are blocked and not handled, the command inherits our original dispositions,
    such as those ignored under nohup. Use it in the main thread.
    """

    def __init__(self) -> None:
        ignored = {number for number in HANDED_ON if signal.getsignal(number) == signal.SIG_IGN}
        self._awaited = HANDED_ON - ignored | {WAKE}
        self._held = self._awaited | INTERRUPTS | STOPS | {signal.SIGCONT}
        self._main: int | None = None
        self._pid: int | None = None

    def __enter__(self) -> Self:
        # SIGCHLD is for the thread that traces.
        self._original_mask = signal.pthread_sigmask(
            signal.SIG_BLOCK, self._held | {signal.SIGCHLD}
        )
        return self

    def __exit__(self, *_: object) -> None:
        # Pending signals were meant for the command, which has handled them.
        while signal.sigtimedwait(self._held, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._original_mask)
        if self._main is not None:
            os.close(self._main)

    def prepare(self) -> None:
        """Restore in the forked process the signal handling that this program started with."""
        for number in PYTHON_IGNORES:
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._original_mask)

    def serve(self, main: int) -> None:
        """Pass signals on to this process from now on."""
        self._pid = main
        with contextlib.suppress(OSError):  # sandboxes and kernels before 5.3 refuse it
            self._main = os.pidfd_open(main)

    def attend_children(self) -> None:
        """From now on return from `attend` when a child has ended, too: nobody traces it."""
        self._awaited |= {signal.SIGCHLD}

    def attend(self, deliveries: Deliveries, timeout_s: Seconds) -> None:
        """Wait for one signal and pass it on; returns after it, or when the time is up."""
        found = signal.sigtimedwait(self._awaited, timeout_s)
        if found is None or found.si_signo in {WAKE, signal.SIGCHLD}:
            return
        time.sleep(SETTLE_S)
        if not deliveries.received_recently(found.si_signo):
            self.send(found.si_signo)

    def send(self, number: int) -> None:
        """Send the command a signal, unless it has ended or runs as another user."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._main is not None:
                signal.pidfd_send_signal(self._main, number)
            elif self._pid is not None:
                os.kill(self._pid, number)

    def stop_too(self, deliveries: Deliveries) -> None:
        """Stop as the command did, so that the shell sees a stopped job; returns when continued.

        If the shell continues this process alone, the command is continued, too.
        """
        number, deliveries.stopped_by = deliveries.stopped_by, None
        if number is None:
            return
        signal.sigtimedwait({signal.SIGCONT}, 0)
        # A stop signal for the whole group is still pending here, unless a SIGCONT discarded it.
        if number not in signal.sigpending():
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        # Without a SIGCONT this process never stopped: there is no shell that could continue it.
        if signal.sigtimedwait({signal.SIGCONT}, SETTLE_S) and deliveries.is_stopped:
            self.send(signal.SIGCONT)


def end_like(status: int) -> NoReturn:
    """End with an exit code or, if it is negative, by that signal, without leaving a core file."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
    if status < 0:
        forbid_core_file()
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
        os.kill(os.getpid(), -status)
    sys.exit(status if status >= 0 else 128 - status)
