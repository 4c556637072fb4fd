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
from typing import TYPE_CHECKING, Any

from stagebench.runner.process_pool import ProcessPool, describe_failure
from stagebench.runner.process_worker import frame
from stagebench.runner.worker import Served

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self._supply(worker, [] if job is None else [job])

    def _supply(self, worker: WorkerProcess, jobs: list[Job]) -> None:
        """Send jobs to a worker, and some of the backlog if it may take more; dispatch the rest."""
        with self._lock:
            line = self._lines.get(worker)
            room = 0 if line is None or worker.doomed else self._longest - line.jobs
            while self._backlog and len(jobs) < room:
                jobs.append(self._backlog.popleft())
            own, others = jobs[:room], jobs[room:]
            if line is not None:
                line.jobs += len(own)
        for job in others:
            self.dispatch(job)
        if own:
            self._send_all(worker, own)

    def _send(self, worker: WorkerProcess, job: Job) -> None:
        self._send_all(worker, [job])

    def _send_all(self, worker: WorkerProcess, jobs: Sequence[Job]) -> None:
        """Send jobs, for which places in the worker's line are taken already.

        One that cannot be sent is recorded as failed, and the next one takes its place.
        """
        ready, left = [], 0
        for job in jobs:
            following: Job | None = job
            while following is not None:
                one = following
                try:
                    ready.append((one, self._write(one)))
                except BaseException as error:  # recorded: a value's pickling may raise anything
                    served = Served("failed", error=describe_failure(one, error))
                    following = self._crew.finish(one, served, worker.start)
                else:
                    break
            left += following is None
        with self._lock:
            line = self._lines.get(worker)
            if line is not None:
                line.jobs -= left
        if ready and (line is None or not self._put(worker, line, ready)):
            for one, _ in ready:
                self.dispatch(one)

    def _put(self, worker: WorkerProcess, line: _Line, ready: Sequence[tuple[Job, Any]]) -> bool:
        """Add jobs to a worker's line and its pipe, in the same order; False if it has ended."""
        with line.order:
            first = None
            with self._lock:
                if worker.doomed:
                    return False
                for job, _ in ready:
                    if worker.job is None:
                        worker.job = first = job
                    else:
                        job.is_ahead = True
                        line.ahead.append(job)
            if first is not None and worker.start is not None:
                first.begin(worker.start)
            for _, message in ready:
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
        """Take what was read, one message after another, until this thread is relieved.

        The jobs that follow are sent together, but none waits until a large result is taken.
        """
        manager, line = threading.current_thread(), self._lines[worker]
        while self._manager is manager and (message := line.inbox.take()) is not None:
            if line.following and len(message) > _SMALL_BYTES:
                self._send_following(worker)
            self._read(worker, message)
        self._send_following(worker)

    def _send_following(self, worker: WorkerProcess) -> None:
        """Send the jobs that follow those whose outcomes were taken, and what is unwritten."""
        with self._lock:
            line = self._lines.get(worker)
            if line is None:
                return  # it has ended, and they were dispatched
            jobs, line.following = line.following, []
        self._supply(worker, jobs)
        if line.unwritten:
            with line.order:
                self._write_line(worker, line)

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
                if following is not None:
                    line.following.append(following)
            was_settled, worker.is_settled = worker.is_settled, False
            if current is not None:
                current.is_ahead = False
        if current is not None and worker.start is not None:
            current.begin(worker.start)
        if was_settled:
            self._resumed.put(worker)
            self._wake()
        if line is None and following is not None:
            self.dispatch(following)

    def _replace(self, worker: WorkerProcess) -> None:
        """Replace a worker that has ended; what it had not begun goes to whichever is free."""
        with self._lock:
            line = self._lines.pop(worker)
        super()._replace(worker)
        for job in line.ahead:
            job.is_ahead = False
            self.dispatch(job)
        for job in line.following:
            self.dispatch(job)


_SMALL_BYTES = 4096
"""A message up to this size is unpickled in less time than a system call takes, mostly."""


class _Line:
    """The jobs that a worker has: those `ahead` of it follow the one that it serves.

    `jobs` counts all of them, and those that are being sent; `written` those whose messages are in
    the pipe, `unwritten` has the messages of the others. `order` is held while one is added or
    written, so that the line and the pipe have one order. `following` are the jobs that the engine
    has returned for the outcomes just taken, and that are not sent yet.
    """

    __slots__ = ("ahead", "following", "inbox", "jobs", "order", "unwritten", "written")

    def __init__(self) -> None:
        self.ahead: deque[Job] = deque()
        self.following: list[Job] = []
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
        self._content = b""
        self._start = 0

    def add(self, content: bytes) -> None:
        """Add what was read."""
        rest = self._content[self._start :]
        self._content, self._start = rest + content if rest else content, 0

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
        return content[start : start + size]
