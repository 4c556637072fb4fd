"""One worker process as main knows it: pipes, job, and the descriptor that tells its end."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from stagebench.runner.jobs import Job
    from stagebench.runner.pipes import Ends
    from stagebench.runner.worker import Start


class WorkerProcess:
    """What main needs of one worker.

    `start` is None until it is ready; `doomed` says that it has ended, or was killed, and gets no
    further job.
    """

    __slots__ = ("descriptor", "doomed", "ends", "job", "process", "requested_ns", "start")

    def __init__(self, process: BaseProcess, ends: Ends, requested_ns: int) -> None:
        self.process = process
        self.ends = ends
        self.descriptor = _open_life(process)
        self.requested_ns = requested_ns
        self.start: Start | None = None
        self.job: Job | None = None
        self.doomed = False

    def end(self, *, by_force: bool) -> None:
        """Ask it to end, or kill it."""
        if by_force:
            self.process.kill()
            return
        # Where it has ended by itself, nothing is to be done.
        with contextlib.suppress(OSError):
            self.ends.sender.send_bytes(b"")

    def describe_end(self) -> str:
        """Say how it ended: by which signal, or with which exit code."""
        code = self.process.exitcode
        if code is not None and code < 0:
            try:
                return f"signal {signal.Signals(-code).name}"
            except ValueError:
                return f"signal {-code}"
        return f"exit code {code}"


def _open_life(process: BaseProcess) -> int:
    """Give a descriptor of our own that becomes readable when the process has ended."""
    if hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(process.pid or 0)
        except ProcessLookupError:
            pass  # ended and reaped already: its sentinel tells that at once
    return os.dup(process.sentinel)


def guard_hint(start_method: str | None) -> str:
    """Say what most probably ends a worker that imports the main script again."""
    if start_method == "fork":
        return ""
    return (
        f"; workers by {start_method} import the main script again: what it runs belongs under"
        ' if __name__ == "__main__"'
    )
