"""Workers that are threads.

They are daemon threads, so a handler that never returns does not keep the process from ending.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING

from stagebench.errors import UnsupportedError, WorkerLostError
from stagebench.runner.jobs import CrewThread
from stagebench.runner.worker import (
    Served,
    begin_worker,
    end_worker,
    format_error,
    introduce_worker,
    prepare_worker,
    serve,
    serve_first,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from stagebench.runner.jobs import Job, PoolPlan
    from stagebench.runner.worker import Start

    Act: TypeAlias = Callable[[Callable[..., Any], Mapping[str, Any]], Served]


class ThreadPool:
    """A stage's threads, which take jobs from one inbox; see jobs.Pool."""

    def __init__(self, plan: PoolPlan) -> None:
        self._stage = plan.stage
        # Threads share main's switch interval, which is set already.
        self._setup = plan.setup._replace(switch_interval_s=None)
        self._crew = plan.crew
        # How a worker serves its first task, and how every other.
        self._acts: tuple[Act, Act] = serve_first, serve
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        # The job that each thread serves; a thread whose job was abandoned is removed.
        self._serving: dict[threading.Thread, Job | None] = {}
        self._numbers = count()

    def open(self, requested_ns: int) -> None:
        """Start all threads."""
        for _ in range(self._stage.workers):
            self._add(requested_ns)

    def dispatch(self, job: Job) -> None:
        """Pass a job to a free thread."""
        self._inbox.put(job)

    def abandon(self, job: Job) -> None:
        """Replace the thread that serves a job; the old one ends when its handler returns."""
        for thread, serving in list(self._serving.items()):
            if serving is job:
                del self._serving[thread]
        self._add(time.monotonic_ns())
        if job.next is not None:
            self._inbox.put(job.next)

    def relieve(self) -> None:
        """Do nothing: no thread serves others."""

    def close(self, *, cancel: bool) -> None:
        """End the threads; with `cancel`, do not wait for running jobs."""
        threads = list(self._serving)
        for _ in threads:
            self._inbox.put(None)
        if not cancel:
            for thread in threads:
                self._crew.join(thread, None)

    def _add(self, requested_ns: int) -> None:
        name = f"{self._stage.name}_{next(self._numbers)}"
        thread = CrewThread(self._crew, self._work, requested_ns, name=name)
        self._serving[thread] = None
        try:
            thread.start()
        except BaseException:  # no threads are left
            del self._serving[thread]
            raise

    def _work(self, requested_ns: int) -> None:
        started_ns = time.monotonic_ns()
        try:
            self._begin()
        except UnsupportedError as error:
            self._crew.fail(error)
            return
        except BaseException as error:  # an import may raise anything
            reason = f"a thread could not start:\n{format_error(error)}"
            self._crew.fail(WorkerLostError(f"stage {self._stage.name!r}: {reason}"))
            return
        start = introduce_worker(started_ns)
        self._crew.ready(self._stage, start, requested_ns)
        try:
            self._serve_all(start)
        finally:
            self._end()

    def _serve_all(self, start: Start) -> None:
        thread = threading.current_thread()
        act, act_again = self._acts
        job = self._inbox.get()
        while job is not None:
            self._serving[thread] = job
            if job.next is None:
                following = self._serve(job, start, act)
            else:
                following = self._serve_batched(job, start, act)
            act = act_again
            if job.abandoned:
                return
            # Keep nothing of the last job while waiting for the next.
            job = following
            del following
            if job is None:
                self._serving[thread] = None
                job = self._inbox.get()

    def _serve_batched(self, job: Job, start: Start, act: Act) -> Job | None:
        """Serve a job that others of its batch follow; return the next job, if any.

        Without a time-out this serves the whole batch. With one, the watchdog has to find the job
        that is being served, and what is served already must not be lost with an abandoned thread.
        """
        if self._stage.timeout_s is not None:
            self._serve(job, start, act)
            return None if self._crew.is_ending() else job.next
        outcomes: deque[tuple[Job, Served]] = deque()
        for one in job.chain():
            outcomes.append((one, self._attempt(one, start, act)))
            act = self._acts[1]
            if self._crew.is_ending():
                break
        following = None
        while outcomes:
            following = self._crew.finish(*outcomes.popleft(), start)
        return following

    def _attempt(self, job: Job, start: Start, act: Act) -> Served:
        job.begin(start)
        try:
            arguments = job.arguments(job.take_inputs())
        except BaseException as error:  # recorded, as below
            return _fail_inputs(error)
        return act(self._stage.handler, arguments)

    def _serve(self, job: Job, start: Start, act: Act) -> Job | None:
        # First: taking the inputs may unpickle them, which counts towards the time-out.
        job.begin(start)
        try:
            arguments = job.arguments(job.take_inputs())
        except BaseException as error:  # recorded: a value's own unpickling may raise anything
            return self._crew.finish(job, _fail_inputs(error), start)
        return self._crew.finish(job, act(self._stage.handler, arguments), start)

    def _begin(self) -> None:
        """Get the calling thread ready to serve; raises whatever that raises."""
        prepare_worker(self._setup)
        begin_worker(self._stage.handler)

    def _end(self) -> None:
        """End what `_begin` has begun."""
        end_worker(self._stage.handler)


def _fail_inputs(error: BaseException) -> Served:
    text = f"an upstream result could not be read:\n{format_error(error)}"
    return Served("failed", error=text)
