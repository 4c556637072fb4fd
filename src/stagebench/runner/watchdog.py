"""Gives up tasks that are served for longer than their stage allows."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stagebench.runner.jobs import Job
    from stagebench.runner.queues import StageQueue


class Watchdog:
    """Looks at the tasks in service whenever one of them may have become too old.

    It needs no word of those that begin: none of them is too old before the shortest time-out.
    """

    def __init__(self, queues: Sequence[StageQueue], expire: Callable[[Job], None]) -> None:
        self._limits_ns = {
            queue: int(queue.stage.timeout_s * 1e9) for queue in queues if queue.stage.timeout_s
        }
        self._expire = expire
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch, if any stage has a time-out."""
        if self._limits_ns and self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        while not self._stop.wait(self.look(time.monotonic_ns()) / 1e9):
            pass

    def look(self, now_ns: int) -> int:
        """Give up what is too old; returns the nanoseconds until the next may be."""
        soonest_ns = min(self._limits_ns.values())
        for queue, limit_ns in self._limits_ns.items():
            for job in list(queue.in_service):
                if job.since_ns is None:
                    continue
                left_ns = job.since_ns + limit_ns - now_ns
                if left_ns <= 0:
                    self._expire(job)
                else:
                    soonest_ns = min(soonest_ns, left_ns)
        return soonest_ns
