"""A segment of shared memory that may be let go of while values are still built on it."""

from __future__ import annotations

import os
import threading
from _posixshmem import shm_unlink  # type: ignore[import-not-found]
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

_tracking = threading.Lock()
"""Held where the library's tracker is told of a segment, and by whoever forks: the tracker has a
lock of its own, which a process that is forked meanwhile would find taken for ever."""

os.register_at_fork(
    before=_tracking.acquire,
    after_in_parent=_tracking.release,
    after_in_child=_tracking.release,
)


class Segment(SharedMemory):
    """Shared memory whose mapping ends with the last value that is built on it.

    A handler may keep an array that lies in it: closing then waits for the array's end instead of
    raising BufferError.
    """

    # The library's own attributes, of which its close() gives up the first that is in use.
    _mmap: object
    _fd: int

    def __init__(self, name: str, *, create: bool = False, size: int = 0) -> None:
        with _tracking:
            super().__init__(name, create=create, size=size)

    def close(self) -> None:
        """Let go of the mapping, or leave that to the end of the values built on it."""
        try:
            super().close()
        except BufferError:
            # The mapping belongs to those values now; the descriptor would be left open.
            self._mmap = None
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def remove_segment(name: str) -> None:
    """Remove a segment, which those that have it open keep; FileNotFoundError where there is none.

    It is not opened for that, as the library would: one that a killed worker has only just made is
    still empty, and cannot be.
    """
    with _tracking:
        # That worker may not have told the tracker either, who does not forget what it never knew.
        resource_tracker.register(f"/{name}", "shared_memory")
        try:
            shm_unlink(f"/{name}")
        finally:
            resource_tracker.unregister(f"/{name}", "shared_memory")
