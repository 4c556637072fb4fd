"""A lock for short sections of Python code that many threads enter in turn."""

from __future__ import annotations

import contextlib
import threading
import time

TRIES = 100
"""After this many failed tries, block: the holder is probably waiting itself."""


class YieldingLock:
    """A lock that a thread only takes while it holds the GIL; not to be entered twice.

    A thread blocked on an ordinary lock gets it while another thread runs Python code, and then
    holds it, idle, until it gets the GIL, up to a switch interval later. Threads that want the lock
    meanwhile block and get it in the same way: a convoy that never ends, with a context switch for
    every use of the lock. Here, a thread that finds the lock taken yields the GIL and tries again.

    A signal handler may raise at any moment, as Ctrl-C does, and the lock is not left taken.
    """

    __slots__ = ("__exit__", "_release", "_take")

    def __init__(self) -> None:
        # It knows which thread has taken it.
        lock = threading.RLock()
        self._take, self._release = lock.acquire, lock.release
        # Not a method of ours: a handler may be called before its first line, and raise.
        self.__exit__ = lock.__exit__

    def __enter__(self) -> None:
        try:
            if not self._take(False):
                self._wait()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # not taken yet
                self._release()
            raise

    def _wait(self) -> None:
        for _ in range(TRIES):
            time.sleep(0)
            if self._take(blocking=False):
                return
        self._take()
