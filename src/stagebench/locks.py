"""A lock for short stretches of Python code that many threads pass through in turn."""

from __future__ import annotations

import threading
import time

TRIES = 100
"""Who has found the lock taken so often waits for it as for any other: its holder waits itself."""


class YieldingLock:
    """A lock that is only taken together with the interpreter's own (the GIL).

    Who waits for a usual lock is given it while another thread runs Python code, and then holds it
    until the interpreter comes round, up to a switch interval later. All who want the lock by then
    go to sleep in turn, and each is given it in that way, too: a convoy that does not end, with a
    context switch for every passage. Here, who finds the lock taken lets others run and tries
    again. Not reentrant.
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
