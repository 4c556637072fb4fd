"""Workers that are processes, each connected to main by two pipes.

    dispatch --> pipe --> worker --> pipe --> manager thread --> crew.finish
                            |                      ^
                          exit ---> descriptor ----+--> a new worker replaces it

Main knows which job each worker has, so a worker that ends or is killed loses only that job. In the
standard library's pool all workers share the queues: a killed worker may hold their lock, and the
whole pool is broken. A worker's end is read from a pidfd if the system has them: an end of file
would not arrive while a process that a handler forked still holds the pipe.

A result may be of any type, and its unpickling may take long or for ever. The manager unpickles it
itself, because handing it to another thread would cost more than most results take. If one holds it
up, it is relieved: a new thread listens, and the old one still takes that result and then ends.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import pickle
import selectors
import signal
import threading
import time
import traceback
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkerLostError
from stagebench.runner.jobs import RELIEF_S
from stagebench.runner.process_worker import (
    Inputs,
    close_main_ends,
    open_pipes,
    run_worker,
    stop_family,
    write_job,
)
from stagebench.runner.stage import check_pickles
from stagebench.runner.worker import Served, Start

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from stagebench.runner.jobs import Job, PoolPlan
    from stagebench.runner.process_worker import Ends


PATIENCE_S = 5.0
"""How long a worker that was asked to end may take before it is killed."""

LEAST_STARTS = 3
"""How many workers may be killed before any is ready, if the stage has no more workers than that:
the kernel kills some when memory is short, but a module that crashes kills all."""

_forking = threading.Lock()
"""Held while a pool opens pipes and forks: the child of another pool would inherit pipe ends that
it never closes."""

_pools: weakref.WeakSet[ProcessPool] = weakref.WeakSet()


def _forget_parent() -> None:
    """In a forked process, reset the lock, which was held during the fork, and forget all pools."""
    global _forking  # noqa: PLW0603 - a lock that was held during a fork is useless in the child
    _forking = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget_parent)


class ProcessPool:
    """A stage's processes; see jobs.Pool."""

    def __init__(self, plan: PoolPlan) -> None:
        self._stage = plan.stage
        self._handler = pickle.dumps(plan.stage.handler)
        self._setup = plan.setup
        self._crew = plan.crew
        self._shares_memory = plan.shares_memory
        self._folder = plan.folder
        self._context = multiprocessing.get_context(plan.stage.start_method)
        self._lock = threading.Lock()
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        # Jobs whose worker is being replaced.
        self._backlog: deque[Job] = deque()
        self._closing = False
        # How many workers in a row were killed before they were ready.
        self._killed_starts = 0
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = os.pipe()
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        # The worker whose result the manager takes, and since when.
        self._held: tuple[WorkerProcess, float] | None = None
        self._manager = self._make_manager()

    def open(self, requested_ns: int) -> None:
        """Start all processes, then the thread that listens to them."""
        _pools.add(self)
        if self._shares_memory:
            # All processes must share one resource tracker: a worker's own tracker would remove
            # segments that others still read when the worker ends.
            from multiprocessing import resource_tracker

            # Imported now, because main must not be importing it while it forks; see segment.py.
            import stagebench.runner.segment  # noqa: F401 - imported for its effect

            with _forking:
                resource_tracker.ensure_running()
        for _ in range(self._stage.workers):
            self._idle.append(self._add(requested_ns))
        self._manager.start()

    def dispatch(self, job: Job) -> None:
        """Send a job to a free worker; may be called from any thread."""
        with self._lock:
            if not self._idle:
                self._backlog.append(job)
                return
            worker = self._idle.pop()
            worker.job = job
        self._send(worker, job)

    def abandon(self, job: Job) -> None:
        """Kill the worker of a job; the manager replaces it."""
        with self._lock:
            for worker in self._workers:
                if worker.job is job:
                    worker.kill()
        self._relieve(job)

    def relieve(self) -> None:
        """Let a new thread listen if a result has held up the present one for too long."""
        self._relieve()

    def close(self, *, cancel: bool) -> None:
        """End all processes and wait for them; kill those that do not end in time."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            workers = list(self._workers)
            self._backlog.clear()
        for worker in workers:
            worker.end(by_force=cancel)
        os.write(self._wake_sender, b"x")
        if self._manager.ident is None:
            # Some worker failed to start, so the manager was never started.
            self._manager.start()
        end = time.monotonic() + PATIENCE_S
        while self._manager.is_alive():
            self._manager.join(RELIEF_S)
            self._relieve()
            if time.monotonic() > end:
                for worker in workers:
                    worker.kill()
        for worker in list(self._workers):
            # The manager has failed because it could not replace a worker.
            worker.kill()
            self._bury(worker)
        self._selector.close()
        os.close(self._wake_receiver)
        os.close(self._wake_sender)
        _pools.discard(self)

    def _add(self, requested_ns: int) -> WorkerProcess:
        with _forking:
            ours, theirs = open_pipes(self._context)
            arguments = (theirs, self._handler, self._setup, self._stage.transport, self._folder)
            process: Any = self._context.Process  # type: ignore[attr-defined]
            process = process(target=run_worker, args=arguments, name=f"{self._stage.name}_worker")
            try:
                process.start()
            except BaseException:
                close_main_ends(ours)
                raise
            finally:
                theirs.close()
        worker = WorkerProcess(process, ours, requested_ns)
        with self._lock:
            self._workers.add(worker)
            is_late = self._closing
        if is_late:
            worker.end(by_force=True)
        self._selector.register(ours.receiver, selectors.EVENT_READ, (worker, self._receive))
        self._selector.register(worker.descriptor, selectors.EVENT_READ, (worker, self._bury))
        return worker

    def _make_manager(self) -> threading.Thread:
        name = f"{self._stage.name}_manager"
        return threading.Thread(target=self._manage, name=name, daemon=True)

    def _manage(self) -> None:
        """Handle messages and ends of workers until the pool is closed and all have ended."""
        manager = threading.current_thread()
        try:
            while self._workers or not self._closing:
                for key, _ in self._selector.select():
                    if key.data is None:
                        os.read(self._wake_receiver, 1)
                    else:
                        worker, react = key.data
                        # Another event of the same batch may have buried it.
                        if worker in self._workers:
                            react(worker)
                    if self._manager is not manager:
                        return  # relieved meanwhile
        except BaseException as error:  # without a manager, the run would hang
            self._crew.fail(error)

    def _receive(self, worker: WorkerProcess) -> None:
        """Read one message: a worker is ready, it failed to start, or its job has an outcome."""
        try:
            message = self._unpickle(worker, worker.ends.receiver.recv_bytes())
        except (EOFError, OSError):
            # The worker has ended; its descriptor reports that.
            self._unregister(worker.ends.receiver)
            return
        if isinstance(message, Start):
            worker.start = message
            self._killed_starts = 0
            if worker.job is not None:
                worker.job.begin(message)
            self._crew.ready(self._stage, message, worker.requested_ns)
        elif isinstance(message, Served):
            self._take(worker, message)
        else:
            self._fail(f"a worker process could not start:\n{message}")

    def _unpickle(self, worker: WorkerProcess, message: bytes) -> object:
        if worker.start is not None:
            self._held = worker, time.monotonic()
        try:
            return pickle.loads(message)  # noqa: S301 - written by our own workers
        except BaseException:  # recorded: a value's own unpickling may raise anything
            error = f"the result cannot be received by main:\n{traceback.format_exc()}"
            return Served("failed", error=error)

    def _take(self, worker: WorkerProcess, served: Served) -> None:
        job, worker.job = worker.job, None
        following = None if job is None else self._crew.finish(job, served, worker.start)
        del served
        with self._lock:
            worker.is_settled = False
            if self._manager is threading.current_thread():
                self._held = None
        self._assign(worker, following)

    def _relieve(self, job: Job | None = None) -> None:
        """Relieve the manager, if the result of `job`, or any for `RELIEF_S`, holds it up."""
        with self._lock:
            if self._held is None:
                return
            worker, since = self._held
            is_due = worker.job is job if job else time.monotonic() - since >= RELIEF_S
            if not is_due:
                return
            relieved, self._manager = self._manager, self._make_manager()
            try:
                self._manager.start()
            except RuntimeError:
                self._manager = relieved  # no threads are left; `relieve` is called again
                return
            self._held = None
            worker.is_settled = True

    def _assign(self, worker: WorkerProcess, job: Job | None) -> None:
        """Assign a job to a free worker; without one, take it from the backlog."""
        with self._lock:
            if worker.doomed:
                if job is None:
                    return
                if not self._idle:
                    self._backlog.append(job)
                    return
                worker = self._idle.pop()  # it has been replaced already
            job = job or (self._backlog.popleft() if self._backlog else None)
            if job is None:
                self._idle.append(worker)
                return
            worker.job = job
        self._send(worker, job)

    def _send(self, worker: WorkerProcess, job: Job) -> None:
        """Send a job; if it cannot be sent, record it as failed and send the next one."""
        while True:
            try:
                message = self._write(job)
            except Exception as error:  # recorded: a value's own pickling may raise anything
                served = Served("failed", error=_describe(job, error))
            else:
                break
            following = self._crew.finish(job, served, worker.start)
            if following is None:
                worker.job = None
                self._assign(worker, None)
                return
            job = worker.job = following
        if worker.start is not None:
            job.begin(worker.start)
        # If the worker has ended, its descriptor reports that, and the job is recorded as lost.
        with contextlib.suppress(OSError):
            worker.ends.sender.send_bytes(message)

    def _write(self, job: Job) -> Any:
        if self._stage.transport != "pickle":
            job.parcel = self._crew.issue_parcel(self._stage.transport)
        upstream = job.send_inputs()
        if isinstance(upstream, dict) and len(self._stage.after) > 1:
            upstream = Inputs(upstream)
        return write_job(job.parameters, None if job.inputs is None else (upstream,), job.parcel)

    def _bury(self, worker: WorkerProcess) -> None:
        """Clean up after a worker that has ended, and replace it."""
        with self._lock:
            # From here on its pid may be that of another process.
            worker.doomed = True
        receiver, manager = worker.ends.receiver, self._manager
        while receiver in self._selector.get_map() and receiver.poll():
            self._receive(worker)
            if self._manager is not manager:
                return  # relieved meanwhile; the new manager has been told of this end, too
        self._unregister(receiver)
        self._unregister(worker.descriptor)
        os.close(worker.descriptor)
        close_main_ends(worker.ends)
        worker.process.join()
        with self._lock:
            self._workers.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)
        if not self._closing:
            self._replace(worker)

    def _replace(self, worker: WorkerProcess) -> None:
        reason = f"worker process {worker.process.pid} ended ({worker.describe_end()})"
        if worker.start is None:
            self._killed_starts += worker.was_killed()
            if not worker.was_killed() or self._killed_starts > max(
                LEAST_STARTS, self._stage.workers
            ):
                self._fail(f"{reason} before it was ready{guard_hint(self._stage.start_method)}")
                return
        successor = self._add(time.monotonic_ns())
        following = None
        if worker.start is None:
            following = worker.job  # it has not begun
        elif worker.job is not None and not worker.is_settled:
            lost = Served("lost", error=f"{reason} while it served the task")
            following = self._crew.finish(worker.job, lost, worker.start)
        self._assign(successor, following)

    def _fail(self, reason: str) -> None:
        self._crew.fail(WorkerLostError(f"stage {self._stage.name!r}: {reason}"))

    def _unregister(self, file: Any) -> None:
        if file in self._selector.get_map():
            self._selector.unregister(file)


def _describe(job: Job, error: Exception) -> str:
    """Return why a job cannot be sent: its parameters, or else its upstream results."""
    return "\n".join(check_pickles(job.parameters)) or (
        f"upstream results cannot be sent to a process: {type(error).__name__}: {error}"
    )


@atexit.register
def _end_all() -> None:
    """End pools that are still open at exit: multiprocessing would wait for them for ever."""
    for pool in list(_pools):
        pool.close(cancel=True)


class WorkerProcess:
    """One worker process as main sees it.

    `descriptor` becomes readable when the process ends. `start` is None until the worker is ready.
    A worker that is `doomed` has ended or was killed, and gets no further job. If `is_settled`, the
    outcome of its job has arrived, and a thread that was relieved unpickles it.
    """

    __slots__ = (
        "descriptor",
        "doomed",
        "ends",
        "is_settled",
        "job",
        "process",
        "requested_ns",
        "start",
    )

    def __init__(self, process: BaseProcess, ends: Ends, requested_ns: int) -> None:
        self.process = process
        self.ends = ends
        self.descriptor = _open_life(process)
        self.requested_ns = requested_ns
        self.start: Start | None = None
        self.job: Job | None = None
        self.doomed = False
        self.is_settled = False

    def end(self, *, by_force: bool) -> None:
        """Ask the process to end, or kill it."""
        if by_force:
            self.kill()
            return
        # It may have ended by itself already.
        with contextlib.suppress(OSError):
            self.ends.sender.send_bytes(b"")

    def kill(self) -> None:
        """Kill the process, unless it is doomed already, and everything that it has started."""
        if self.doomed:
            return
        self.doomed = True
        children = stop_family(self.process.pid or 0)
        self.process.kill()
        for pid in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def was_killed(self) -> bool:
        """Return whether a signal ended it."""
        return (self.process.exitcode or 0) < 0

    def describe_end(self) -> str:
        """Return how it ended: the signal or the exit code."""
        code = self.process.exitcode
        if code is not None and code < 0:
            try:
                return f"signal {signal.Signals(-code).name}"
            except ValueError:
                return f"signal {-code}"
        return f"exit code {code}"


def _open_life(process: BaseProcess) -> int:
    """Return a new descriptor that becomes readable when the process has ended."""
    if hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(process.pid or 0)
        except ProcessLookupError:
            pass  # ended and reaped already: its sentinel is readable at once
    return os.dup(process.sentinel)


def guard_hint(start_method: str | None) -> str:
    """Return the most likely reason why a worker ends before it is ready; empty for fork."""
    if start_method == "fork":
        return ""
    return (
        f"; {start_method} workers import the main script again: put the code that it runs under"
        ' if __name__ == "__main__"'
    )
