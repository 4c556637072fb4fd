"""Passing signals and terminal stops on to a traced command, as if nothing stood in between."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn, Self

from stagebench.measure.process import forbid_core_file
from stagebench.sampler import ptrace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagebench.measure.process import Started
    from stagebench.sampler.ptrace import Report
    from stagebench.units import Seconds

INTERRUPTS = frozenset({signal.SIGINT, signal.SIGQUIT})
"""Ctrl-C and Ctrl-\\: the terminal sends them to the whole group, so the command gets them, too."""

STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""Signals by which a terminal stops a whole group."""

WAKE = signal.SIGURG
"""Sent by the tracing thread to wake the main one; ignored by default, so harmless if late."""

KEPT = INTERRUPTS | STOPS | {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD}
"""Signals that are not handed on: sent to this process alone, they concern this process alone."""

HANDED_ON = frozenset(signal.valid_signals() - KEPT)
"""Signals that another process sends to this one; the user means the command."""

OWN_LIMITS = frozenset({signal.SIGXCPU, signal.SIGXFSZ})
"""Signals by which the kernel reports a limit that this process reached, not the command."""

PYTHON_IGNORES = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""Ignored by the interpreter from its start; how they were handled before is unknown."""

ENDING = INTERRUPTS | {signal.SIGTERM, signal.SIGHUP}
"""Signals by which a user ends a program."""

SI_KERNEL = 0x80
"""The kernel itself sent the signal. Source: asm-generic/siginfo.h."""

RECENT_S = 0.05
"""A signal to a whole group, or to one process after the other, reaches all within this time."""

SETTLE_S = 0.01
"""The time that the tracing thread gets to notice a signal that was sent to both processes."""

ANSWER_S = 1.0
"""A witness that does not answer for so long is stopped or overloaded; we go on without it."""


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

    def note_sent(self, numbers: Iterable[int]) -> None:
        """Note signals that were sent to the whole group just now."""
        self._sent_at |= dict.fromkeys(numbers, time.monotonic())

    def _note_stop(self, number: int | None) -> None:
        self.is_stopped = number is not None
        self.stopped_by = number if number in STOPS else None

    def received_recently(self, number: int) -> bool:
        """Whether main received this signal just now, so that it was sent to the whole group."""
        sent_at = self._sent_at.get(number)
        return sent_at is not None and time.monotonic() - sent_at < RECENT_S


class Witness:
    """A process in the command's group that gets what is sent to all of it, and reports it.

    Without ptrace, nothing else shows whether a signal was sent to the group or to us alone.
    """

    def __init__(self, started: Started) -> None:
        """Fork it; raises OSError if that is refused. All signals of `HANDED_ON` are blocked."""
        asked, self._ask = os.pipe()
        self._answer, answered = os.pipe()
        self._pid = os.fork()  # this process has one thread
        if self._pid == 0:
            try:
                # The command must see the end of its gate when we close it, or end.
                for descriptor in (self._ask, started.gate, started.entered):
                    os.close(descriptor)
                _bear_witness(asked, answered)
            finally:
                os._exit(0)
        os.close(asked)
        os.close(answered)

    def list_received(self) -> set[int]:
        """Return the signals that it received since the last call; empty if it has ended."""
        received: set[int] = set()
        with contextlib.suppress(BrokenPipeError):
            os.write(self._ask, b"?")
        while select.select([self._answer], [], [], ANSWER_S)[0]:
            part = os.read(self._answer, 512)
            received |= set(part) - {0}
            if not part or part[-1] == 0:
                break
        return received

    def close(self) -> None:
        """End it."""
        os.close(self._ask)
        os.close(self._answer)
        with contextlib.suppress(ChildProcessError):  # the census may have reaped it
            os.waitpid(self._pid, 0)


def _bear_witness(asked: int, answered: int) -> None:
    """Write the number of each signal, and 0 for each question; returns when nobody can ask.

    All signals that were sent before a question are reported before its answer: the kernel delivers
    them when the reading system call returns.
    """
    os.set_blocking(answered, False)
    signal.set_wakeup_fd(answered, warn_on_full_buffer=False)
    for number in HANDED_ON:
        signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
    while os.read(asked, 1):
        os.write(answered, b"\0")


class Relay:
    """Blocks the signals of this process while a command runs, and passes on those meant for it.

    Because signals are blocked and not handled, the command inherits our original dispositions,
    such as those ignored under nohup. Use it in the main thread. `polls`: the census may be by
    polling, which does not see signals.
    """

    def __init__(self, *, polls: bool = True) -> None:
        self._awaited = HANDED_ON
        self._held = HANDED_ON | INTERRUPTS | STOPS | {signal.SIGCONT}
        self._polls = polls
        self._witness: Witness | None = None
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
        self.dismiss_witness()
        if self._main is not None:
            os.close(self._main)

    def dismiss_witness(self) -> None:
        """End the witness; with ptrace, the tracer sees which signals the command receives."""
        if self._witness is not None:
            self._witness.close()
            self._witness = None

    def prepare(self) -> None:
        """Restore in the forked process the signal handling that this program started with."""
        for number in PYTHON_IGNORES:
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._original_mask)

    def serve(self, started: Started) -> None:
        """Pass signals on to this process from now on."""
        self._pid = started.pid
        with contextlib.suppress(OSError):  # sandboxes and kernels before 5.3 refuse it
            self._main = os.pidfd_open(started.pid)
        if self._polls:
            with contextlib.suppress(OSError):  # no further process is allowed
                self._witness = Witness(started)

    def attend_children(self) -> None:
        """From now on return from `attend` when a child has ended, too: nobody traces it."""
        self._awaited |= {signal.SIGCHLD}

    def attend(self, deliveries: Deliveries, timeout_s: Seconds) -> None:
        """Wait for signals and pass them on; returns after them, or when the time is up."""
        found = signal.sigtimedwait(self._awaited, timeout_s)
        numbers = []
        while found is not None:
            if found.si_signo in HANDED_ON and not _is_own(found):
                numbers.append(found.si_signo)
            found = signal.sigtimedwait(self._awaited, 0)
        if not numbers:
            return
        time.sleep(SETTLE_S)
        if self._witness is not None:
            deliveries.note_sent(self._witness.list_received())
        for number in numbers:
            if not deliveries.received_recently(number):
                self.send(number)

    def forget(self) -> None:
        """Drop what was sent until now: it was meant for the command, which has ended."""
        while signal.sigtimedwait(HANDED_ON | INTERRUPTS, 0) is not None:
            pass

    def is_told_to_end(self, timeout_s: Seconds) -> bool:
        """Wait for a signal that is meant for us now; False if another comes or the time is up."""
        found = signal.sigtimedwait(ENDING | {WAKE}, timeout_s)
        return found is not None and found.si_signo in ENDING

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


def _is_own(found: signal.struct_siginfo) -> bool:
    """Whether a signal concerns this process itself: it sent it, or reached a limit of its own."""
    if found.si_code == SI_KERNEL:
        return found.si_signo in OWN_LIMITS
    return found.si_pid == os.getpid() and found.si_code <= 0


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
