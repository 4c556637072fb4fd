"""Workers that are processes of their own, each at the ends of two pipes of its own.

    dispatch --> pipe --> worker --> pipe --> manager thread --> crew.finish
                            |                      ^
                          its end --> descriptor --+--> another worker in its place

Main knows which job each worker has: when a worker ends, or has to be killed, that job alone is
concerned. The standard library's pool shares its queues among its workers, so that one of them that
is killed may take a lock along; it gives up then. Death is read from a pidfd where the system has
them: an end of file would not come while a process that a handler has forked holds the pipe.

One worker process as main knows it: pipes, job, and the descriptor that tells its end.
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
from stagebench.runner.process_worker import (
    Inputs,
    close_main_ends,
    open_pipes,
    run_worker,
    write_job,
)
from stagebench.runner.stage import check_pickles
from stagebench.runner.worker import Served, Start

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from stagebench.runner.jobs import Job, PoolPlan
    from stagebench.runner.process_worker import Ends


PATIENCE_S = 5.0
"""A worker that was asked to end is killed after this."""

_forking = threading.Lock()
"""No pool forks while another one makes a pipe: the child would hold an end that nobody closes."""

_pools: weakref.WeakSet[ProcessPool] = weakref.WeakSet()


def _forget_parent() -> None:
    """In a forked process: forget the lock that was held when it was forked, and other pools."""
    global _forking  # noqa: PLW0603 - the one thing a fork cannot pass on in working order
    _forking = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget_parent)


class ProcessPool:
    """A stage's processes; see executors.Pool."""

    def __init__(self, plan: PoolPlan) -> None:
        self._stage = plan.stage
        self._handler = pickle.dumps(plan.stage.handler)
        self._setup = plan.setup
        self._crew = plan.crew
        self._shares_memory = plan.shares_memory
        self._context = multiprocessing.get_context(plan.stage.start_method)
        self._lock = threading.Lock()
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        # Jobs whose worker is being replaced.
        self._backlog: deque[Job] = deque()
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = os.pipe()
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        name = f"{plan.stage.name}_manager"
        self._manager = threading.Thread(target=self._manage, name=name, daemon=True)

    def open(self, requested_ns: int) -> None:
        """Start all processes, and then the thread that listens to them."""
        _pools.add(self)
        if self._shares_memory:
            # All processes are to report to one tracker of shared memory: a worker's own would
            # remove, at the worker's end, what others still read.
            from multiprocessing import resource_tracker

            # And main must not be importing this while it forks: see segment.py.
            import stagebench.runner.segment  # noqa: F401 - for that alone

            with _forking:
                resource_tracker.ensure_running()
        for _ in range(self._stage.workers):
            self._idle.append(self._add(requested_ns))
        self._manager.start()

    def dispatch(self, job: Job) -> None:
        """Send a job to a free worker; from any thread."""
        with self._lock:
            if not self._idle:
                self._backlog.append(job)
                return
            worker = self._idle.pop()
            worker.job = job
        self._send(worker, job)

    def abandon(self, job: Job) -> None:
        """Kill the worker of a job; the manager puts another in its place."""
        with self._lock:
            for worker in self._workers:
                if worker.job is job:
                    worker.doomed = True
                    worker.process.kill()

    def close(self, *, cancel: bool) -> None:
        """End all processes, if need be by force, and wait until they have ended."""
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
            # Not all could be started, and so it was not.
            self._manager.start()
        self._manager.join(PATIENCE_S)
        if self._manager.is_alive():
            for worker in workers:
                worker.process.kill()
            self._manager.join()
        for worker in list(self._workers):
            # The manager has given up: it could not put another in a worker's place.
            worker.process.kill()
            self._bury(worker)
        self._selector.close()
        os.close(self._wake_receiver)
        os.close(self._wake_sender)
        _pools.discard(self)

    def _add(self, requested_ns: int) -> WorkerProcess:
        with _forking:
            ours, theirs = open_pipes(self._context)
            arguments = (theirs, self._handler, self._setup, self._stage.transport)
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

    def _manage(self) -> None:
        """Take what workers send, and bury those that have ended, until all have at the end."""
        try:
            while self._workers or not self._closing:
                for key, _ in self._selector.select():
                    if key.data is None:
                        os.read(self._wake_receiver, 1)
                    else:
                        worker, react = key.data
                        # Not if another event of the same batch has buried it.
                        if worker in self._workers:
                            react(worker)
        except BaseException as error:  # a run whose pool nobody listens to must end
            self._crew.fail(error)

    def _receive(self, worker: WorkerProcess) -> None:
        """Take one message: that a worker is ready, that it cannot be, or what came of its job."""
        try:
            message: object = worker.ends.receiver.recv()
        except (EOFError, OSError):
            # Its end is told by its descriptor.
            self._unregister(worker.ends.receiver)
            return
        except Exception:  # recorded: a value's own unpickling may raise anything
            error = f"the result cannot be received by main:\n{traceback.format_exc()}"
            message = Served("failed", error=error)
        if isinstance(message, Start):
            worker.start = message
            if worker.job is not None:
                worker.job.begin(message)
            self._crew.ready(self._stage, message, worker.requested_ns)
        elif isinstance(message, Served):
            self._take(worker, message)
        else:
            self._fail(f"a worker process could not start:\n{message}")

    def _take(self, worker: WorkerProcess, served: Served) -> None:
        job, worker.job = worker.job, None
        following = None if job is None else self._crew.finish(job, served, worker.start)
        del served
        self._give(worker, following)

    def _give(self, worker: WorkerProcess, job: Job | None) -> None:
        """Let a worker that has become free serve a job, or one that waits for any worker."""
        with self._lock:
            if job is not None and worker.doomed:
                self._backlog.append(job)
            if worker.doomed:
                return
            job = job or (self._backlog.popleft() if self._backlog else None)
            if job is None:
                self._idle.append(worker)
                return
            worker.job = job
        self._send(worker, job)

    def _send(self, worker: WorkerProcess, job: Job) -> None:
        """Send a job; one that cannot be sent has failed, and the worker is given the next."""
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
                self._give(worker, None)
                return
            job = worker.job = following
        if worker.start is not None:
            job.begin(worker.start)
        # Where it has ended, its descriptor tells, and its job is recorded as lost.
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
        """Take leave of a worker that has ended, and put another in its place."""
        worker.doomed = True
        receiver = worker.ends.receiver
        while receiver in self._selector.get_map() and receiver.poll():
            self._receive(worker)
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
            self._fail(f"{reason} before it was ready{guard_hint(self._stage.start_method)}")
            return
        successor = self._add(time.monotonic_ns())
        following = None
        if worker.job is not None:
            lost = Served("lost", error=f"{reason} while it served the task")
            following = self._crew.finish(worker.job, lost, worker.start)
        self._give(successor, following)

    def _fail(self, reason: str) -> None:
        self._crew.fail(WorkerLostError(f"stage {self._stage.name!r}: {reason}"))

    def _unregister(self, file: Any) -> None:
        if file in self._selector.get_map():
            self._selector.unregister(file)


def _describe(job: Job, error: Exception) -> str:
    """Name the parameters that cannot be sent, or else what else cannot."""
    return "\n".join(check_pickles(job.parameters)) or (
        f"upstream results cannot be sent to a process: {type(error).__name__}: {error}"
    )


@atexit.register
def _end_all() -> None:
    """End what nobody has closed: multiprocessing would wait for it for ever."""
    for pool in list(_pools):
        pool.close(cancel=True)


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
