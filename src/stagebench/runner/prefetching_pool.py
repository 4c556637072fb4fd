"""Worker processes that have their next jobs before they need them.

    dispatch --> pipe: job 9, job 7 --> worker, with job 5 --> pipe --> manager: finish 5, send 11

A worker that has to wait for its next job sleeps, and waking it costs more than a small task. With
the next one in its pipe it goes on at once. In return a job may wait behind a long one while
another worker has nothing to do, and up to `prefetch` more jobs wait in each pipe beyond the bound
of the stage's queue. Jobs and outcomes of a worker are in the same order, so the first job of its
line is always the one that it serves.
"""

from __future__ import annotations

import threading
from collections import deque
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
            self._post(worker, frame(message))
        return True

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

    `jobs` counts all of them, and those that are being sent. `order` is held while one is added, so
    that the line and the pipe have one order.
    """

    __slots__ = ("ahead", "jobs", "order")

    def __init__(self) -> None:
        self.ahead: deque[Job] = deque()
        self.jobs = 0
        self.order = threading.Lock()
