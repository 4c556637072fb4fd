"""Shared counter: all workers count in one place, and hold a lock while they do.

Which lock and which place, `by` says:

    thread   threading.Lock and a list; for threads
    process  multiprocessing.Lock and a block of memory; for threads and forked processes
    manager  a lock and a list of multiprocessing.Manager, a process that serves every use of them
    file     a lock on a file that holds the count; for workers of any kind

The standard library passes its process lock only to a process that it starts at that moment, so
workers that get their handler later must have inherited it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import threading
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from stagebench.errors import UnsupportedError
from stagebench.handlers.bounds import Bounds, MemoryNeed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from multiprocessing.managers import SyncManager

By: TypeAlias = Literal["thread", "process", "manager", "file"]

STEPS, SHARE, ROUNDS = 1_000_000, 0.1, 100


def shared_counter(
    *,
    by: By,  # noqa: ARG001 - begin_stage reads it
    steps: Annotated[int, Bounds(at_least=0)] = STEPS,
    share: Annotated[float, Bounds(at_least=0, at_most=1)] = SHARE,
    rounds: Annotated[int, Bounds(at_least=1)] = ROUNDS,
) -> int:
    """Do `steps` steps of work in `rounds` rounds, and count each round; return the last count.

    by: what the counter is behind: thread, process, manager or file. share: of the work, that is
    done with the lock held; the rest comes before it, in each round. A step is one turn of a loop
    that holds the GIL. Between all workers the counts are 1, 2, 3 …, each once. A call outside a
    stage has a counter for itself.
    """
    return count_rounds(_ThreadCounter(), steps, share, rounds)


def memory_need(**_parameters: object) -> MemoryNeed:
    """Estimate: nothing."""
    return MemoryNeed(working_bytes=0, result_bytes=0)


def why_unsupported(*, executor: str, start_method: str | None, by: By, **_others: object) -> str:
    """Return why a stage's workers cannot share such a counter, or an empty text."""
    if by == "file":
        return ""
    if executor == "interpreter":
        return f"by {by}: subinterpreters share no such lock; a file's lock works everywhere"
    if by == "thread" and executor != "thread":
        return "by thread: a lock of threads works within one process; process, manager or file"
    if by == "process" and start_method not in (None, "fork"):
        return (
            f"by process: a worker that is started by {start_method} inherits no lock from main;"
            " manager or file"
        )
    return ""


def count_rounds(counter: _Counter, steps: int, share: float, rounds: int) -> int:
    """Do the work of one task; return its last count."""
    counted = 0
    done = done_held = 0
    for part in range(1, rounds + 1):
        # Whole steps that add up to the whole, however many rounds there are.
        until = round(steps * (1 - share) * part / rounds)
        until_held = round(steps * share * part / rounds)
        work(until - done)
        with counter.lock:
            work(until_held - done_held)
            counted = counter.add()
        done, done_held = until, until_held
    return counted


def work(steps: int) -> int:
    """Take `steps` turns of a loop that holds the GIL."""
    value = 0
    for step in range(steps):
        value = (value * 31 + step) & 0xFFFFFFFF
    return value


def begin_stage(
    *, executor: str, start_method: str | None, parameters: Mapping[str, Any]
) -> StageCounter:
    """Make the counter in main; return what the workers call."""
    by = parameters["by"]
    reason = why_unsupported(executor=executor, start_method=start_method, by=by)
    if reason:
        raise UnsupportedError(reason)
    return StageCounter(by, _COUNTERS[by](start_method))


shared_counter.begin_stage = begin_stage  # type: ignore[attr-defined]


class StageCounter:
    """What the workers of one stage call instead of `shared_counter`."""

    def __init__(self, by: By, counter: _Counter) -> None:
        self._by = by
        self._counter = counter

    def __call__(
        self, *, by: By, steps: int = STEPS, share: float = SHARE, rounds: int = ROUNDS
    ) -> int:
        """Work and count as `shared_counter` does."""
        if by != self._by:
            raise ValueError(f"by {by} is not the stage's own, {self._by}; allowed: the same")
        return count_rounds(self._counter, steps, share, rounds)

    def begin_worker(self) -> None:
        """Open what each worker has of its own."""
        self._counter.open()

    def end_worker(self) -> None:
        """Close what this worker has opened."""
        self._counter.close()

    def end_stage(self) -> None:
        """Remove the counter from main."""
        self._counter.remove()


class _Counter:
    """A count of whole numbers behind a lock; workers of one stage have the same."""

    lock: AbstractContextManager[Any]

    def add(self) -> int:
        """Count one more, with the lock held; return the count."""
        raise NotImplementedError

    def open(self) -> None:
        """Open, in a worker, what it has of its own."""

    def close(self) -> None:
        """Close that."""

    def remove(self) -> None:
        """Remove, in main, what the counter needs."""


class _ThreadCounter(_Counter):
    def __init__(self, _start_method: str | None = None) -> None:
        self.lock = threading.Lock()
        self._count = 0

    def add(self) -> int:
        self._count += 1
        return self._count


class _ProcessCounter(_Counter):
    """Its lock and memory cannot be pickled: a forked worker finds them by the counter's number."""

    def __init__(self, _start_method: str | None) -> None:
        # Imported only when needed: every import adds to the measured process's memory.
        import multiprocessing

        self._number = next(_numbers)
        _inherited[self._number] = (
            multiprocessing.get_context("fork").Lock(),
            mmap.mmap(-1, _COUNT.size),
        )
        self.open()

    def open(self) -> None:
        self.lock, self._memory = _inherited[self._number]

    def add(self) -> int:
        counted: int = _COUNT.unpack_from(self._memory)[0] + 1
        _COUNT.pack_into(self._memory, 0, counted)
        return counted

    def remove(self) -> None:
        del _inherited[self._number]

    def __getstate__(self) -> dict[str, int]:
        return {"_number": self._number}


_COUNT = struct.Struct("=q")

_inherited: dict[int, tuple[Any, mmap.mmap]] = {}
"""Locks and memory for the counts of this process and of those that it forks, by number."""

_numbers = count()


class _ManagerCounter(_Counter):
    def __init__(self, start_method: str | None) -> None:
        import multiprocessing
        from multiprocessing.managers import SyncManager

        self._manager: SyncManager | None = SyncManager(
            ctx=multiprocessing.get_context(start_method or "fork")
        )
        self._manager.start()
        self.lock = self._manager.Lock()
        self._counts = self._manager.list([0])

    def add(self) -> int:
        counted = self._counts[0] + 1
        self._counts[0] = counted
        return counted

    def remove(self) -> None:
        if self._manager is not None:
            self._manager.shutdown()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_manager": None}


class _FileCounter(_Counter):
    """Each worker opens the file for itself: a lock is of an open file, not of a process."""

    lock: _FileLock

    def __init__(self, _start_method: str | None) -> None:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(_COUNT.pack(0))
        self._path = file.name
        self.lock = _FileLock()

    def open(self) -> None:
        self.lock.open(self._path)

    def close(self) -> None:
        self.lock.close()

    def add(self) -> int:
        counted: int = _COUNT.unpack(os.pread(self.lock.descriptor, _COUNT.size, 0))[0] + 1
        os.pwrite(self.lock.descriptor, _COUNT.pack(counted), 0)
        return counted

    def remove(self) -> None:
        os.unlink(self._path)


class _FileLock:
    """A lock on a file that the calling thread has open.

    Not a threading.local: in a subinterpreter, what that holds is lost after each task.
    """

    def __init__(self) -> None:
        self._open: dict[int, int] = {}

    @property
    def descriptor(self) -> int:
        return self._open[threading.get_ident()]

    def open(self, path: str) -> None:
        self._open[threading.get_ident()] = os.open(path, os.O_RDWR)

    def close(self) -> None:
        os.close(self._open.pop(threading.get_ident()))

    def __enter__(self) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)


_COUNTERS: dict[By, type[Any]] = {
    "thread": _ThreadCounter,
    "process": _ProcessCounter,
    "manager": _ManagerCounter,
    "file": _FileCounter,
}
