"""One stage's task queue: hands tasks to the pool, and turns what comes back into records."""

from __future__ import annotations

import threading
import time
from concurrent.futures import BrokenExecutor, CancelledError, Future
from functools import partial
from typing import TYPE_CHECKING, Any

from stagebench.records import TaskRecord, WorkerRecord
from stagebench.runner.executors import open_pool
from stagebench.runner.worker import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from stagebench.runner.stage import Stage
    from stagebench.runner.worker import Served, WorkerSetup


class TaskQueue:
    """The tasks submitted to one stage and not yet done, in front of the stage's pool.

    `on_task` and `on_worker` are called with records, from whatever thread completes a task.
    """

    def __init__(
        self,
        stage: Stage,
        setup: WorkerSetup,
        on_task: Callable[[TaskRecord], None],
        on_worker: Callable[[WorkerRecord], None],
    ) -> None:
        self.stage = stage
        self._setup = setup
        self._pool: Executor | None = None
        self._on_task = on_task
        self._on_worker = on_worker
        self._lock = threading.Lock()
        self._requested_ns: int | None = None
        self._known_workers: set[tuple[int, int]] = set()
        self._retained: list[Future[Served]] = []

    def submit(self, task: int, parameters: Mapping[str, Any]) -> None:
        """Queue one task; its record follows through `on_task`, also when the pool refuses it."""
        submitted_ns = time.monotonic_ns()
        try:
            future = self._open(submitted_ns).submit(serve, self.stage.handler, parameters)
        except RuntimeError as error:  # a broken pool, or one that was shut down
            self._refuse(task, submitted_ns, error)
            return
        if self.stage.retain:
            self._retained.append(future)
        future.add_done_callback(partial(self._receive, task, submitted_ns))

    def close(self, *, cancel: bool = False) -> None:
        """End the pool and drop retained results; `cancel` gives up tasks not yet served."""
        if self._pool is not None:
            self._pool.shutdown(wait=not cancel, cancel_futures=cancel)
        self._retained.clear()

    def _open(self, now_ns: int) -> Executor:
        """Make the pool at the first submission: all of its start-up is inside the makespan."""
        with self._lock:
            if self._pool is None:
                self._requested_ns = now_ns
                self._pool = open_pool(self.stage, self._setup)
            return self._pool

    def _receive(self, task: int, submitted_ns: int, future: Future[Served]) -> None:
        received_ns = time.monotonic_ns()
        try:
            served = future.result()
        except Exception as error:  # noqa: BLE001 - recorded: the pool or a pickle failed
            self._refuse(task, submitted_ns, error)
            return
        self._note_worker(served)
        self._on_task(
            TaskRecord(
                task=task,
                stage=self.stage.name,
                status="ok" if served.error is None else "failed",
                submitted_ns=submitted_ns,
                started_ns=served.started_ns,
                finished_ns=served.finished_ns,
                received_ns=received_ns,
                cpu_ns=served.cpu_ns,
                pid=served.pid,
                thread_id=served.thread_id,
                error=served.error,
            )
        )

    def _refuse(self, task: int, submitted_ns: int, error: BaseException) -> None:
        status = _unserved_status(error)
        self._on_task(record_unserved(task, self.stage.name, status, submitted_ns, error))

    def _note_worker(self, served: Served) -> None:
        worker = (served.pid, served.thread_id)
        with self._lock:
            if worker in self._known_workers or self._requested_ns is None:
                return
            self._known_workers.add(worker)
        self._on_worker(
            WorkerRecord(
                stage=self.stage.name,
                pid=served.pid,
                thread_id=served.thread_id,
                requested_ns=self._requested_ns,
                started_ns=served.worker_started_ns,
                ready_ns=served.worker_ready_ns,
            )
        )


def record_unserved(
    task: int,
    stage: str,
    status: str,
    submitted_ns: int | None = None,
    error: BaseException | None = None,
) -> TaskRecord:
    """Make the record of a task that no worker of a stage served."""
    return TaskRecord(
        task=task,
        stage=stage,
        status=status,
        submitted_ns=submitted_ns,
        started_ns=None,
        finished_ns=None,
        received_ns=None,
        cpu_ns=None,
        pid=None,
        thread_id=None,
        error=None if error is None else f"{type(error).__name__}: {error}",
    )


def _unserved_status(error: BaseException) -> str:
    """Tell a broken pool (lost) from a closed one (cancelled) and from what could not travel."""
    if isinstance(error, BrokenExecutor):
        return "lost"
    if isinstance(error, CancelledError) or "after shutdown" in str(error):
        return "cancelled"
    return "failed"
