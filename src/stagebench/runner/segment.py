"""Shared memory segments: made by one process, mapped by others, and removed by main.

Not the standard library's SharedMemory: if that cannot map a segment it removes it, even one that
another process made, and whoever opens a segment registers it to be removed.
"""

from __future__ import annotations

import mmap
import os
import threading
from _posixshmem import shm_open, shm_unlink  # type: ignore[import-not-found]
from multiprocessing import resource_tracker

_MODE = 0o600

_tracking = threading.Lock()
"""Held while a segment is registered with the resource tracker, and during every fork. The tracker
has a lock of its own, which would stay locked for ever in a process forked meanwhile."""

os.register_at_fork(
    before=_tracking.acquire,
    after_in_parent=_tracking.release,
    after_in_child=_tracking.release,
)


def make_segment(name: str) -> int:
    """Make an empty segment and return its descriptor; raises FileExistsError."""
    with _tracking:
        descriptor: int = shm_open(f"/{name}", os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=_MODE)
        # If this process and main are killed, the tracker removes the segment.
        resource_tracker.register(f"/{name}", "shared_memory")
    return descriptor


def map_segment(name: str) -> mmap.mmap:
    """Map a segment, for as long as anything uses the mapping. Raises FileNotFoundError.

    What is written to the mapping stays in it: nobody else sees it.
    """
    descriptor = shm_open(f"/{name}", os.O_RDONLY, mode=_MODE)
    try:
        return mmap.mmap(descriptor, os.fstat(descriptor).st_size, access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)


def remove_segment(name: str) -> None:
    """Remove a segment; processes that have it open keep it. Raises FileNotFoundError."""
    with _tracking:
        # A worker that was killed right after making it may not have registered it, and
        # unregistering an unknown name is an error.
        resource_tracker.register(f"/{name}", "shared_memory")
        try:
            shm_unlink(f"/{name}")
        finally:
            resource_tracker.unregister(f"/{name}", "shared_memory")
