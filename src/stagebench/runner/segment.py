"""A shared memory segment that can be closed while arrays still use it."""

from __future__ import annotations

import os
import threading
from _posixshmem import shm_unlink  # type: ignore[import-not-found]
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

_tracking = threading.Lock()
"""Held while a segment is registered with the resource tracker, and during every fork. The tracker
has a lock of its own, which would stay locked for ever in a process forked meanwhile."""

os.register_at_fork(
    before=_tracking.acquire,
    after_in_parent=_tracking.release,
    after_in_child=_tracking.release,
)


class Segment(SharedMemory):
    """Shared memory that stays mapped until the last array that uses it is gone.

    If a handler keeps such an array, `close` leaves the mapping to it and raises no BufferError.
    """

    # Attributes of SharedMemory; its close() raises at the first one still in use.
    _mmap: object
    _fd: int

    def __init__(self, name: str, *, create: bool = False, size: int = 0) -> None:
        with _tracking:
            super().__init__(name, create=create, size=size)

    def close(self) -> None:
        """Unmap the segment, or leave that to the arrays that still use it."""
        try:
            super().close()
        except BufferError:
            # The arrays keep the mapping alive; the descriptor would stay open.
            self._mmap = None
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def remove_segment(name: str) -> None:
    """Remove a segment; processes that have it open keep it. Raises FileNotFoundError.

    The library would open the segment first. That fails for an empty one, which a worker leaves if
    it is killed right after creating it.
    """
    with _tracking:
        # Such a worker may not have registered it: unregistering an unknown name is an error.
        resource_tracker.register(f"/{name}", "shared_memory")
        try:
            shm_unlink(f"/{name}")
        finally:
            resource_tracker.unregister(f"/{name}", "shared_memory")
