"""A segment of shared memory that may be let go of while values are still built on it."""

from __future__ import annotations

import os
from multiprocessing.shared_memory import SharedMemory


class Segment(SharedMemory):
    """Shared memory whose mapping ends with the last value that is built on it.

    A handler may keep an array that lies in it: closing then waits for the array's end instead of
    raising BufferError.
    """

    # The library's own attributes, of which its close() gives up the first that is in use.
    _mmap: object
    _fd: int

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
