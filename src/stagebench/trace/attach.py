"""Tracing a process that runs already: which one it may be, its tree, and when its trace ends.

It is not our child: its tree is polled, its exit code stays unknown, and no signal is sent to it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from stagebench.errors import OptionError
from stagebench.sampler.census import PollCensus
from stagebench.sampler.portable import open_files
from stagebench.sampler.procfs import Vanished, children_reader, read_process
from stagebench.sampler.sweep import walk_tree
from stagebench.trace.relay import ENDING
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.sampler.sampler import Sampler
    from stagebench.units import Seconds


PF_KTHREAD = 0x200000
"""A flag of the kernel's own threads. Source: linux/sched.h."""


class Standing(NamedTuple):
    """What /proc/PID/stat says: `begun` (in ticks since boot) tells processes with one id apart."""

    is_alive: bool
    is_kernels: bool
    parent: int
    begun: int


def read_standing(pid: int) -> Standing:
    """Read whether a process has ended; raises one of `Vanished` if it was reaped, too."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    # Fields 3, 4, 9, 20 and 22 of proc(5). If only its first thread has ended, others are left.
    has_ended = fields[0] in {b"Z", b"X"} and int(fields[17]) <= 1
    is_kernels = bool(int(fields[6]) & PF_KTHREAD)
    return Standing(not has_ended, is_kernels, int(fields[1]), int(fields[19]))


def check_target(pid: int) -> None:
    """Raise OptionError unless a process can be traced."""
    refused = "not permitted; it belongs to another user or forbids it (root may be allowed to)"
    try:
        problem = _find_problem(pid)
        if not problem:
            open_files().read_memory(pid)
    except Vanished:
        problem = refused if _exists(pid) else "no such process"
    except PermissionError:
        problem = refused
    if problem:
        raise OptionError(f"--pid {pid}: {problem}")


def _find_problem(pid: int) -> str:
    """Say what is wrong with a process, or return an empty text; raises one of `Vanished`."""
    process = read_process(pid)
    standing = read_standing(process)
    if process == os.getpid():
        return "this is stagebench itself"
    if process != pid:
        return f"not a process but a thread; its process is {process}"
    if not standing.is_alive:
        return f"has ended; its parent {standing.parent} has not waited for it yet (a zombie)"
    if standing.is_kernels:
        return "a thread of the kernel, which has no memory of its own"
    return ""


def _exists(pid: int) -> bool:
    """Return whether there is a process that /proc may hide from us (`hidepid`)."""
    try:
        os.kill(pid, 0)  # sends nothing
    except PermissionError:
        return True
    except OSError:
        return False
    return False  # it has ended meanwhile, or /proc would show it


def read_words(pid: int) -> list[str]:
    """Read the words of a command line; those of the kernel's threads have none."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        text = file.read().rstrip(b"\0")
    return [os.fsdecode(word) for word in text.split(b"\0")] if text else []


def name_target(pid: int) -> list[str]:
    """Return the command line of a process, or its name if it has cleared that."""
    with contextlib.suppress(*Vanished):
        if words := read_words(pid):
            return words
        with open(f"/proc/{pid}/comm", "rb") as file:
            return [os.fsdecode(file.read().rstrip(b"\n"))]
    raise OptionError(f"--pid {pid}: has ended")


class AttachedCensus(PollCensus):
    """Lists the tree of a process that is not ours, also those whose parent has ended meanwhile."""

    def __init__(self, root: int) -> None:
        super().__init__(root, frozenset({os.getpid()}))
        self._root = root
        self._begun: dict[int, int] = {}
        self.update()
        if root not in self.alive:
            raise OptionError(f"--pid {root}: has ended")

    def _reap(self) -> None:
        """Leave them to their parents."""

    def _find(self) -> dict[int, int | None]:
        children = children_reader()
        self._begun = {
            pid: begun for pid, begun in self._begun.items() if pid in {self._root, *self.alive}
        }
        roots: dict[int, int | None] = {self._root: None}
        roots |= {pid: life.parent_pid for pid, life in self.alive.items()}
        found: dict[int, int | None] = {}
        for root, above in roots.items():
            if root in found or not self._is_there(root):
                continue
            found[root] = above
            for pid, parent in walk_tree(root, children, self._strangers):
                if pid not in found and self._is_there(pid):
                    found[pid] = parent
        return found

    def _is_there(self, pid: int) -> bool:
        try:
            standing = read_standing(pid)
        except Vanished:
            return False
        return standing.is_alive and standing.begun == self._begun.setdefault(pid, standing.begun)


class EndWatch:
    """Notices at once when the traced process has ended, or when the user ends the trace."""

    def __init__(self, pid: int) -> None:
        self.is_told = False
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._process: int | None = None
        with contextlib.suppress(OSError):  # sandboxes and kernels before 5.3 refuse it
            self._process = os.pidfd_open(pid)

    def __enter__(self) -> Self:
        # What is ignored, such as SIGHUP by nohup, stays so.
        used = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._note) for number in used}
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for descriptor in (self._read, self._write, self._process):
            if descriptor is not None:
                os.close(descriptor)

    def _note(self, _number: int, _frame: object) -> None:
        self.is_told = True

    def wait(self, timeout_s: Seconds) -> bool:
        """Wait; True if there may be news, False if there is none and the time is up."""
        watched = [self._read] if self._process is None else [self._read, self._process]
        ready = select.select(watched, [], [], max(0.0, timeout_s))[0]
        if self._read in ready:
            os.read(self._read, 4096)
        if self._process in ready and self._process is not None:
            os.close(self._process)
            self._process = None
        return bool(ready) or self._process is None


LOOK_S = 0.2
"""So often the live line is renewed, and the end looked for if nothing reports it."""


def sample_until_end(
    sampler: Sampler,
    census: AttachedCensus,
    watch: EndWatch,
    *,
    waits_for_all: bool,
    show: Callable[[], None],
) -> None:
    """Sweep at each due time until the process, or all of its tree, has ended, or until told to."""
    root = census.lives[0].pid
    while not watch.is_told and (census.alive if waits_for_all else root in census.alive):
        due_s = to_seconds(sampler.due_ns - time.monotonic_ns())
        if watch.wait(min(due_s, LOOK_S)) and due_s > 0:
            sampler.update()
        if time.monotonic_ns() >= sampler.due_ns:
            sampler.take()
        show()
