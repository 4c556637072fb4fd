"""Worker processes that have their next jobs before they need them.

    dispatch --> pipe: job 9, job 7 --> worker, with job 5 --> pipe --> manager: finish 5, send 11

A worker that has to wait for its next job sleeps, and waking it costs more than a small task. With
the next one in its pipe it goes on at once. In return a job may wait behind a long one while
another worker has nothing to do, and up to `prefetch` more jobs wait in each pipe beyond the bound
of the stage's queue. Jobs and outcomes of a worker are in the same order, so the first job of its
line is always the one that it serves.

System calls are what small tasks cost most, and each lets another thread have the GIL. So once a
worker has half a line in its pipe, further jobs are kept, and written together when the first half
is done; and what a worker has sent is read at once, however many outcomes it is.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from struct import unpack_from
from typing import TYPE_CHECKING

from stagebench.runner.process_pool import ProcessPool, describe_failure
from stagebench.runner.process_worker import frame
from stagebench.runner.worker import Served

if TYPE_CHECKING:
    from stagebench.runner.jobs import Job, PoolPlan
    from stagebench.runner.process_pool import WorkerProcess


class PrefetchingPool(ProcessPool):
    """A stage's processes, each with a line of jobs in its pipe; see jobs.Pool."""

    def __init__(self, plan: PoolPlan) -> None:
        super().__init__(plan)
        self._longest = 1 + plan.stage.prefetch
        self._lines: dict[WorkerProcess, _Line] = {}

    def dispatch(self, job: Job) -> None:
        """Send a job to the worker with the shortest line; may be called from any thread."""
        with self._lock:
            worker = self._choose()
            if worker is None:
                self._backlog.append(job)
                return
            self._lines[worker].jobs += 1
        self._send(worker, job)

    def _choose(self) -> WorkerProcess | None:
        """Return the worker with the shortest line; None if all are full."""
        chosen, least = None, self._longest
        for worker, line in self._lines.items():
            if line.jobs < least and not worker.doomed:
                chosen, least = worker, line.jobs
        return chosen

    def _add(self, requested_ns: int) -> WorkerProcess:
        worker = super()._add(requested_ns)
        with self._lock:
            self._lines[worker] = _Line()
        return worker

    def _assign(self, worker: WorkerProcess, job: Job | None) -> None:
        """Send a job to a worker that has taken fewer than it may, or one of the backlog."""
        with self._lock:
            line = self._lines.get(worker)
            if line is not None and line.jobs < self._longest and not worker.doomed:
                job = job or (self._backlog.popleft() if self._backlog else None)
                if job is None:
                    return
                line.jobs += 1
            else:
                line = None
        if line is not None and job is not None:
            self._send(worker, job)
        elif job is not None:
            self.dispatch(job)

    def _send(self, worker: WorkerProcess, job: Job) -> None:
        """Send a job, for which a place in the worker's line is taken already.

        If it cannot be sent, record it as failed and send the next one.
        """
        following: Job | None = job
        while following is not None:
            job = following
            try:
                message = self._write(job)
            except BaseException as error:  # recorded: a value's own pickling may raise anything
                served = Served("failed", error=describe_failure(job, error))
                following = self._crew.finish(job, served, worker.start)
            else:
                break
        else:
            with self._lock:
                if worker in self._lines:
                    self._lines[worker].jobs -= 1
            return
        with self._lock:
            line = self._lines.get(worker)
        if line is None or not self._put(worker, line, job, message):
            self.dispatch(job)

    def _put(self, worker: WorkerProcess, line: _Line, job: Job, message: object) -> bool:
        """Add a job to a worker's line and its pipe, in the same order; False if it has ended."""
        with line.order:
            with self._lock:
                if worker.doomed:
                    return False
                job.is_ahead = worker.job is not None
                if worker.job is None:
                    worker.job = job
                else:
                    line.ahead.append(job)
            if not job.is_ahead and worker.start is not None:
                job.begin(worker.start)
            line.unwritten += frame(message)
            self._write_line(worker, line)
        return True

    def _write_line(self, worker: WorkerProcess, line: _Line) -> None:
        """Write the jobs of a line that are not in the pipe yet, unless there are enough."""
        with self._lock:
            is_short = 2 * line.written <= self._longest
            if is_short:
                line.written = len(line.ahead) + (worker.job is not None)
        if is_short and line.unwritten:
            parts, line.unwritten = line.unwritten, []
            self._post(worker, parts)

    def _receive(self, worker: WorkerProcess) -> None:
        """Read all that a worker has sent."""
        if worker.is_settled:
            # A thread that was relieved takes an outcome; the next ones wait for that.
            self._unregister(worker.ends.receiver)
            return
        try:
            content = os.read(worker.ends.receiver.fileno(), _PIPE_BYTES)
        except OSError:
            content = b""
        if not content:
            # The worker has ended; its descriptor reports that.
            self._unregister(worker.ends.receiver)
            return
        self._lines[worker].inbox.add(content)
        self._read_on(worker)

    def _resume(self, worker: WorkerProcess) -> None:
        super()._resume(worker)
        self._read_on(worker)

    def _read_on(self, worker: WorkerProcess) -> None:
        """Take what was read, one message after another, until this thread is relieved."""
        manager, inbox = threading.current_thread(), self._lines[worker].inbox
        while self._manager is manager and (message := inbox.take()) is not None:
            self._read(worker, message)

    def _take(self, worker: WorkerProcess, served: Served) -> None:
        job = worker.job
        following = None if job is None else self._crew.finish(job, served, worker.start)
        del served
        with self._lock:
            if self._manager is threading.current_thread():
                self._held = None
            line = self._lines.get(worker)
            current = None
            if line is not None:  # else the worker has ended meanwhile
                line.jobs -= 1
                line.written -= 1
                worker.job = current = line.ahead.popleft() if line.ahead else None
            was_settled, worker.is_settled = worker.is_settled, False
            if current is not None:
                current.is_ahead = False
        if current is not None and worker.start is not None:
            current.begin(worker.start)
        if was_settled:
            self._resumed.put(worker)
            self._wake()
        self._assign(worker, following)
        if line is not None and line.unwritten:
            with line.order:
                self._write_line(worker, line)

    def _replace(self, worker: WorkerProcess) -> None:
        """Replace a worker that has ended; what it had not begun goes to whichever is free."""
        with self._lock:
            line = self._lines.pop(worker)
        super()._replace(worker)
        for job in line.ahead:
            job.is_ahead = False
            self.dispatch(job)


class _Line:
    """The jobs that a worker has: those `ahead` of it follow the one that it serves.

    `jobs` counts all of them, and those that are being sent; `written` those whose messages are in
    the pipe, `unwritten` has the messages of the others. `order` is held while one is added or
    written, so that the line and the pipe have one order.
    """

    __slots__ = ("ahead", "inbox", "jobs", "order", "unwritten", "written")

    def __init__(self) -> None:
        self.ahead: deque[Job] = deque()
        self.inbox = _Inbox()
        self.jobs = 0
        self.order = threading.Lock()
        self.unwritten: list[memoryview] = []
        self.written = 0


_PIPE_BYTES = 64 * 1024
"""What a pipe holds: more is never there at once."""


class _Inbox:
    """What a worker has sent and nobody has taken, as `Connection.send_bytes` writes it."""

    __slots__ = ("_content", "_start")

    def __init__(self) -> None:
        self._content = bytearray()
        self._start = 0

    def add(self, content: bytes) -> None:
        """Add what was read."""
        del self._content[: self._start]
        self._start = 0
        self._content += content

    def take(self) -> bytes | None:
        """Return the next message; None if it is not whole yet."""
        content, start = self._content, self._start
        if len(content) < start + 4:
            return None
        (size,) = unpack_from("!i", content, start)
        start += 4
        if size == -1:
            if len(content) < start + 8:
                return None
            (size,) = unpack_from("!Q", content, start)
            start += 8
        if len(content) < start + size:
            return None
        self._start = start + size
        return bytes(content[start : start + size])
