"""A lock for short sections of Python code that many threads enter in turn."""

from __future__ import annotations

import threading
import time

TRIES = 100
"""After this many failed tries, block: the holder is probably waiting itself."""


class YieldingLock:
    """A lock that a thread only takes while it holds the GIL; not reentrant.

    A thread blocked on an ordinary lock gets it while another thread runs Python code, and then
    holds it, idle, until it gets the GIL, up to a switch interval later. Threads that want the lock
    meanwhile block and get it in the same way: a convoy that never ends, with a context switch for
    every use of the lock. Here, a thread that finds the lock taken yields the GIL and tries again.
    """

    __slots__ = ("_release", "_take")

    def __init__(self) -> None:
        lock = threading.Lock()
        self._take, self._release = lock.acquire, lock.release

    def __enter__(self) -> None:
        if not self._take(False):
            self._wait()

    def __exit__(self, *_: object) -> None:
        self._release()

    def _wait(self) -> None:
        for _ in range(TRIES):
            time.sleep(0)
            if self._take(blocking=False):
                return
        self._take()
