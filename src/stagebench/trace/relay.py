"""Standing between a terminal, or whoever sends signals, and a command, without being noticed."""

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
"""Signals that are sent to one process, which a user takes to be the command."""

INTERRUPTS = frozenset({signal.SIGINT, signal.SIGQUIT})
"""Ctrl-C and Ctrl-\\: a terminal sends them to the whole group, the command too."""

STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""What a terminal stops a whole group by."""

WAKE = signal.SIGURG
"""Sent from one thread of this process to the other; ignored by default, and so without effect."""

PYTHON_IGNORES = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""Set by the interpreter when it starts; what they were before cannot be told any more."""

RECENT_S = 0.05
"""Who signals a whole group, or one process after the other, is done within this."""

SETTLE_S = 0.01
"""So long the other thread has to take in what was sent to both processes."""


class Deliveries:
    """What the tracer saw of the signals of `main`: what it was stopped by, what it was sent.

    Written by the thread that traces, read by the one that relays.
    """

    def __init__(self, main: int) -> None:
        self._main = main
        self._sent_at: dict[int, float] = {}
        self.is_stopped = False
        self.stopped_by: int | None = None

    def observe(self, report: Report) -> None:
        """Take in a stop of any thread of the tree."""
        if report.event == 0 and report.signal in HANDED_ON:
            if os.path.exists(f"/proc/{self._main}/task/{report.thread}"):  # one stat
                self._sent_at[report.signal] = time.monotonic()
        elif report.event == ptrace.EVENT_STOP and report.thread == self._main:
            self._note_stop(report.signal if report.signal in ptrace.STOPPING else None)

    def poll(self) -> None:
        """Ask whether main, an untraced child, was stopped or continued."""
        options = os.WSTOPPED | os.WCONTINUED | os.WNOHANG
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_PID, self._main, options)) is not None:
                self._note_stop(found.si_status if found.si_code == os.CLD_STOPPED else None)

    def _note_stop(self, number: int | None) -> None:
        self.is_stopped = number is not None
        self.stopped_by = number if number in STOPS else None

    def had_lately(self, number: int) -> bool:
        """Whether main was sent this signal just now: who ends a group sends it to both of us."""
        sent_at = self._sent_at.get(number)
        return sent_at is not None and time.monotonic() - sent_at < RECENT_S


class Relay:
    """Holds back the signals of this process while a command runs, and hands on those meant for it.

    They are blocked, not handled: the command inherits no handler and no ignored signal but those
    that this process was given (nohup). To be used in the main thread.
    """

    def __init__(self) -> None:
        ignored = {number for number in HANDED_ON if signal.getsignal(number) == signal.SIG_IGN}
        self._awaited = HANDED_ON - ignored | {WAKE}
        self._held = self._awaited | INTERRUPTS | STOPS | {signal.SIGCONT}
        self._main: int | None = None

    def __enter__(self) -> Self:
        # SIGCHLD is for the thread that traces.
        self._given_mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._held | {signal.SIGCHLD})
        return self

    def __exit__(self, *_: object) -> None:
        # What came meanwhile was the command's, and has been answered by it.
        while signal.sigtimedwait(self._held, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._given_mask)
        if self._main is not None:
            os.close(self._main)

    def prepare(self) -> None:
        """Give a forked process the signals as this one was given them, before its program."""
        for number in PYTHON_IGNORES:
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._given_mask)

    def serve(self, main: int) -> None:
        """Name the process that signals are handed on to."""
        self._main = os.pidfd_open(main)

    def attend(self, deliveries: Deliveries, timeout_s: Seconds) -> None:
        """Wait for a signal, hand it on; returns after the first one, or when the time is over."""
        found = signal.sigtimedwait(self._awaited, timeout_s)
        if found is None or found.si_signo == WAKE:
            return
        time.sleep(SETTLE_S)
        if not deliveries.had_lately(found.si_signo):
            self.send(found.si_signo)

    def send(self, number: int) -> None:
        """Send the command a signal; one that has ended, or runs as another user, gets none."""
        if self._main is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._main, number)

    def stop_too(self, deliveries: Deliveries) -> None:
        """Stop as the command did, so that the shell sees a stopped job; returns when it goes on.

        A shell that continues this process alone means the command.
        """
        number, deliveries.stopped_by = deliveries.stopped_by, None
        if number is None:
            return
        signal.sigtimedwait({signal.SIGCONT}, 0)
        # If the terminal sent it to the whole group, it waits here, and a SIGCONT takes it back.
        if number not in signal.sigpending():
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        # Without a SIGCONT it did not stop: nobody could continue a job without a shell.
        if signal.sigtimedwait({signal.SIGCONT}, SETTLE_S) and deliveries.is_stopped:
            self.send(signal.SIGCONT)


def end_like(status: int) -> NoReturn:
    """End this process with an exit code, or, if it is negative, by that signal; without a core."""
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
