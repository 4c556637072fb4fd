"""Workers that are processes, each connected to main by two pipes.

    dispatch --> pipe --> worker --> pipe --> manager thread --> crew.finish
                            |                      ^
                          exit ---> descriptor ----+--> a new worker replaces it

Main knows which job each worker has, so a worker that ends or is killed loses only that job. In the
standard library's pool all workers share the queues: a killed worker may hold their lock, and the
whole pool is broken. A worker's end is read from a pidfd: an end of file would not arrive while a
process that a handler forked still holds the pipe. Kernels and sandboxes that refuse pidfds are
common enough; there the manager looks for the end of workers a few times a second.

Nothing here waits for a worker to read. What does not fit into its pipe is written by the manager
as the worker reads on, because it may be importing still, or have been killed. The manager is also
the only one that closes a worker's pipes.

A result may be of any type, and its unpickling may take long or for ever. The manager unpickles it
itself, because handing it to another thread would cost more than most results take. If one holds it
up, it is relieved: a new thread listens, and the old one still takes that result and then ends.

Of a batch, main sends all jobs with one write. The worker returns all outcomes with one write, too,
each pickled by itself, or each at once if the stage has a time-out: then main knows which job is
being served, and only that job is killed with the worker.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import selectors
import signal
import threading
import time
from collections import deque
from multiprocessing import util
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkerLostError
from stagebench.runner.jobs import RELIEF_S, CrewThread
from stagebench.runner.process_worker import (
    SINGLY,
    TOGETHER,
    Inputs,
    close_main_ends,
    frame,
    frame_batch,
    open_pipes,
    run_worker,
    stop_family,
    write_job,
    write_parts,
)
from stagebench.runner.stage import check_pickles
from stagebench.runner.worker import Served, Start, describe_error, format_error

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from stagebench.runner.jobs import Job, PoolPlan
    from stagebench.runner.process_worker import Ends


PATIENCE_S = 5.0
"""How long a worker that was asked to end may take before it is killed."""

LOOK_S = 0.1
"""How long the manager waits before it looks for the end of workers that have no pidfd."""

SERVER_S = 1.0
"""How long it is tried to start a worker after the fork server has ended."""

LEAST_STARTS = 3
"""How many workers may be killed before any is ready, if the stage has no more workers than that:
the kernel kills some when memory is short, but a module that crashes kills all."""

_forking = threading.Lock()
"""Held while a pool opens pipes and forks: the child of another pool would inherit pipe ends that
it never closes."""


def _renew_lock() -> None:
    global _forking  # noqa: PLW0603 - a lock that was held during a fork is useless in the child
    _forking = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class ProcessPool:
    """A stage's processes; see jobs.Pool."""

    def __init__(self, plan: PoolPlan) -> None:
        self._stage = plan.stage
        self._handler = pickle.dumps(plan.stage.handler)
        self._setup = plan.setup
        self._crew = plan.crew
        self._shares_memory = plan.shares_memory
        self._folder = plan.folder
        self._batches: str | None = None
        if plan.stage.batch > 1:
            self._batches = TOGETHER if plan.stage.timeout_s is None else SINGLY
        # Whether a worker may have more than one job at a time.
        self._sends_ahead = self._batches is not None or plan.stage.prefetch > 0
        self._context = multiprocessing.get_context(plan.stage.start_method)
        self._lock = threading.Lock()
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        # Jobs whose worker is being replaced.
        self._backlog: deque[Job] = deque()
        self._closing = False
        # How long to wait for events: for ever, unless a worker's end may bring none.
        self._pause_s: float | None = None
        self._at_exit: util.Finalize[Any] | None = None
        # Workers whose pipe has taken only a part of what was sent to them.
        self._clogged: SimpleQueue[WorkerProcess] = SimpleQueue()
        # Workers with more outcomes of a batch, once a thread that was relieved has taken one.
        self._resumed: SimpleQueue[WorkerProcess] = SimpleQueue()
        # How many workers in a row were killed before they were ready.
        self._killed_starts = 0
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = os.pipe()
        os.set_blocking(self._wake_sender, False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        # The worker whose result the manager takes, and since when.
        self._held: tuple[WorkerProcess, float] | None = None
        self._manager = self._make_manager()

    def open(self, requested_ns: int) -> None:
        """Start all processes, then the thread that listens to them."""
        # When the program or the worker process that runs this ends, multiprocessing waits for all
        # processes that it knows. This comes before; a hook of atexit would come after, and it is
        # not called in worker processes at all.
        self._at_exit = util.Finalize(None, self._crew.leave, exitpriority=20)
        if self._shares_memory:
            # All processes must share one resource tracker: a worker's own tracker would remove
            # segments that others still read when the worker ends.
            from multiprocessing import resource_tracker

            # Imported now, because main must not be importing it while it forks; see segment.py.
            import stagebench.runner.segment  # noqa: F401 - imported for its effect

            with _forking:
                resource_tracker.ensure_running()
        for _ in range(self._stage.workers):
            if self._crew.is_ending():
                return
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
                    worker.is_abandoned = True
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
            self._dismiss(worker, by_force=cancel)
        self._wake()
        if self._manager.ident is not None:  # if a worker cannot start, neither does the manager
            end = time.monotonic() + PATIENCE_S
            while self._manager.is_alive() and time.monotonic() < end:
                self._crew.join(self._manager, RELIEF_S)
                self._relieve()
                if self._crew.is_hurried():
                    break
            for worker in list(self._workers):
                worker.kill()
            while self._manager.is_alive():
                self._manager.join(RELIEF_S)
                self._relieve()
        for worker in list(self._workers):
            # There is no manager, or it has failed.
            worker.kill()
            self._let_go(worker)
        self._selector.close()
        os.close(self._wake_receiver)
        os.close(self._wake_sender)
        if self._at_exit is not None:
            self._at_exit.cancel()

    def _add(self, requested_ns: int) -> WorkerProcess:
        process, ours = self._start()
        try:
            worker = WorkerProcess(process, ours, requested_ns)
            self._selector.register(ours.receiver, selectors.EVENT_READ, (worker, self._receive))
            self._selector.register(worker.descriptor, selectors.EVENT_READ, (worker, self._bury))
        except BaseException:
            # No descriptors are left. Nobody would know of the process, and the program's end would
            # wait for it.
            process.kill()
            process.join()
            process.close()
            self._unregister(ours.receiver)
            close_main_ends(ours)
            raise
        if not worker.has_pidfd:
            self._pause_s = LOOK_S
        self._post(worker, frame(self._handler))
        with self._lock:
            self._workers.add(worker)
            is_late = self._closing
        if is_late:
            self._dismiss(worker, by_force=True)
        return worker

    def _start(self) -> tuple[Any, Ends]:
        """Start a process; again if the fork server has ended, which multiprocessing replaces.

        Ctrl-C in a terminal ends it while it starts.
        """
        if self._stage.start_method != "forkserver":
            return self._start_once()
        end = math.inf
        while True:
            with contextlib.suppress(EOFError, ConnectionError):
                return self._start_once()
            end = min(end, time.monotonic() + SERVER_S)
            if self._crew.is_ending() or time.monotonic() >= end:
                raise WorkerLostError(f"stage {self._stage.name!r}: the fork server has ended")
            time.sleep(0.01)  # until it can be replaced: its end is seen before it has ended

    def _start_once(self) -> tuple[Any, Ends]:
        with _forking:
            ours, theirs = open_pipes(self._context)
            transport = self._stage.transport
            arguments = (theirs, self._setup, transport, self._folder, self._batches)
            process: Any = self._context.Process  # type: ignore[attr-defined]
            process = process(target=run_worker, args=arguments, name=f"{self._stage.name}_worker")
            try:
                process.start()
            except BaseException:
                close_main_ends(ours)
                raise
            finally:
                theirs.close()
            return process, ours

    def _dismiss(self, worker: WorkerProcess, *, by_force: bool) -> None:
        """Ask a worker to end, or kill it."""
        if by_force:
            worker.kill()
        else:
            self._post(worker, frame(b""))

    def _post(self, worker: WorkerProcess, parts: list[memoryview]) -> None:
        """Send a message to a worker, or as much as its pipe takes; the manager sends the rest."""
        with worker.writing:
            is_clogged = bool(worker.unsent)
            worker.unsent += parts
            if not is_clogged:
                worker.write()
                is_clogged = bool(worker.unsent)
        if is_clogged:
            self._clogged.put(worker)
            self._wake()

    def _write_on(self, worker: WorkerProcess) -> None:
        """Send more of what a worker's pipe did not take before."""
        with worker.writing:
            worker.write()
            if not worker.unsent:
                self._unregister(worker.ends.sender)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it will wake up
            os.write(self._wake_sender, b"x")

    def _make_manager(self) -> threading.Thread:
        name = f"{self._stage.name}_manager"
        return CrewThread(self._crew, self._manage, name=name)

    def _manage(self) -> None:
        """Handle messages and ends of workers until the pool is closed and all have ended."""
        manager = threading.current_thread()
        while self._workers or not self._closing:
            for key, _ in self._selector.select(self._pause_s):
                if key.data is None:
                    self._answer()
                else:
                    worker, react = key.data
                    # Another event of the same batch may have buried it.
                    if worker in self._workers:
                        react(worker)
                if self._manager is not manager:
                    return  # relieved meanwhile
            if self._pause_s is not None:
                self._look_for_ends()
            if self._manager is not manager:
                return

    def _look_for_ends(self) -> None:
        """Bury workers whose end brings no event, because a child of theirs holds the pipe."""
        manager = threading.current_thread()
        for worker in list(self._workers):
            if self._manager is not manager:
                return  # relieved meanwhile
            if not worker.has_pidfd and worker.process.exitcode is not None:
                self._bury(worker)

    def _answer(self) -> None:
        """Handle a call: watch the pipes that have taken a part of a message, or have more."""
        os.read(self._wake_receiver, 4096)
        while not self._clogged.empty():
            worker = self._clogged.get()
            if worker in self._workers and worker.ends.sender not in self._selector.get_map():
                watched = worker.ends.sender, selectors.EVENT_WRITE, (worker, self._write_on)
                self._selector.register(*watched)
        while not self._resumed.empty():
            worker = self._resumed.get()
            if worker in self._workers:
                self._resume(worker)

    def _resume(self, worker: WorkerProcess) -> None:
        if worker.ends.receiver not in self._selector.get_map():
            heard = worker.ends.receiver, selectors.EVENT_READ, (worker, self._receive)
            self._selector.register(*heard)

    def _receive(self, worker: WorkerProcess) -> None:
        """Read one message: a worker is ready, it failed to start, or its job has an outcome."""
        if worker.is_settled and self._sends_ahead:
            # The next waits until the thread that was relieved has taken the last.
            self._unregister(worker.ends.receiver)
            return
        try:
            content = worker.ends.receiver.recv_bytes()
        except (EOFError, OSError):
            # The worker has ended; its descriptor reports that.
            self._unregister(worker.ends.receiver)
            return
        self._read(worker, content)

    def _read(self, worker: WorkerProcess, content: bytes) -> None:
        message = self._unpickle(worker, content)
        if isinstance(message, Start):
            worker.start = message
            self._killed_starts = 0
            if worker.job is not None:
                worker.job.begin(message)
            self._crew.ready(self._stage, message, worker.requested_ns)
        elif isinstance(message, tuple):
            self._take(worker, Served._make(message))
        else:
            self._fail(f"a worker process could not start:\n{message}")

    def _unpickle(self, worker: WorkerProcess, message: bytes) -> object:
        if worker.start is not None:
            self._held = worker, time.monotonic()
        try:
            return pickle.loads(message)  # noqa: S301 - written by our own workers
        except BaseException as error:  # recorded: a value's own unpickling may raise anything
            text = f"the result cannot be received by main:\n{format_error(error)}"
            return tuple(Served("failed", error=text))

    def _take(self, worker: WorkerProcess, served: Served) -> None:
        job = worker.job
        if job is not None and job.next is not None:
            self._take_batched(worker, job, job.next, served)
            return
        worker.job = None
        following = None if job is None else self._crew.finish(job, served, worker.start)
        del served
        with self._lock:
            worker.is_settled = False
            if self._manager is threading.current_thread():
                self._held = None
        worker.served += 1
        if worker.served == self._stage.max_tasks_per_worker:
            worker = self._renew(worker)
        self._assign(worker, following)

    def _renew(self, worker: WorkerProcess) -> WorkerProcess:
        """Let a worker end that has served as many tasks as it may; return a new one."""
        worker.is_retired = True
        self._post(worker, frame(b""))
        return self._add(time.monotonic_ns())

    def _take_batched(self, worker: WorkerProcess, job: Job, rest: Job, served: Served) -> None:
        """Take the outcome of a job that others of its batch follow."""
        self._crew.finish(job, served, worker.start)
        with self._lock:
            if self._manager is threading.current_thread():
                self._held = None
            # In this order: whoever finds it not settled takes the next outcome for the next job.
            worker.job = rest
            was_settled, worker.is_settled = worker.is_settled, False
        # If outcomes come together, it is unknown when the worker began.
        if self._batches == SINGLY and worker.start is not None:
            rest.begin(worker.start)
        if was_settled:
            self._resumed.put(worker)
            self._wake()

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
            # First of all: the new manager may read the next of a batch before `start` returns.
            self._held, worker.is_settled = None, True
            try:
                self._manager.start()
            except RuntimeError:
                # No threads are left; `relieve` is called again.
                self._manager, self._held, worker.is_settled = relieved, (worker, since), False

    def _assign(self, worker: WorkerProcess, job: Job | None) -> None:
        """Assign a job to a free worker; without one, take it from the backlog."""
        job = self._book(worker, job)
        if job is not None:
            self._send(worker, job)

    def _book(self, worker: WorkerProcess, job: Job | None) -> Job | None:
        """Note what a free worker gets next, and return it; None if the worker gets nothing."""
        left = None
        with self._lock:
            if worker.doomed:
                left, job = job, None
            else:
                job = job or (self._backlog.popleft() if self._backlog else None)
                worker.job = job
                if job is None:
                    self._idle.append(worker)
        if left is not None:
            # The worker that replaces this one may be idle already.
            self.dispatch(left)
        return job

    def _send(self, worker: WorkerProcess, job: Job) -> None:
        """Send a job; if it cannot be sent, record it as failed and send the next one."""
        if self._batches is not None:
            self._send_batch(worker, job)
            return
        following: Job | None = job
        while following is not None:
            job = following
            try:
                message = self._write(job)
            except BaseException as error:  # recorded: a value's own pickling may raise anything
                served = Served("failed", error=describe_failure(job, error))
            else:
                break
            following = self._book(worker, self._crew.finish(job, served, worker.start))
        else:
            return
        if worker.start is not None:
            job.begin(worker.start)
        # If the worker has ended, its descriptor reports that, and the job is recorded as lost.
        self._post(worker, frame(message))

    def _send_batch(self, worker: WorkerProcess, job: Job) -> None:
        """Send a job and those of its batch that follow; record as failed what cannot be sent.

        If nothing of it can be sent, send the next batch.
        """
        following: Job | None = job
        while following is not None:
            messages, failed = self._write_batch(worker, following)
            following = None
            for one, error in failed:
                served = Served("failed", error=describe_failure(one, error))
                following = self._crew.finish(one, served, worker.start)
            if messages:
                break
            following = self._book(worker, following)
        else:
            return
        if following is not None:
            self.dispatch(following)
        self._post(worker, frame_batch(messages))

    def _write_batch(
        self, worker: WorkerProcess, job: Job
    ) -> tuple[list[Any], list[tuple[Job, BaseException]]]:
        """Return the messages of a batch, and the jobs that have none, which are taken out of it.

        The first job that has one begins, if the worker is ready.
        """
        messages: list[Any] = []
        failed: list[tuple[Job, BaseException]] = []
        first: Job | None = None
        last: Job | None = None
        for one in job.chain():
            try:
                message = self._write(one)
            except BaseException as error:  # recorded, as above
                failed.append((one, error))
                continue
            messages.append(message)
            first = first or one
            if last is not None:
                last.next = one
            last = one
        if first is not None and last is not None:
            last.next = None
            worker.job = first
            if worker.start is not None:
                first.begin(worker.start)
        return messages, failed

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
        self._let_go(worker)
        if not self._closing and not worker.is_retired:
            self._replace(worker)

    def _let_go(self, worker: WorkerProcess) -> None:
        """Wait for a worker that has ended or was killed, and close what led to it."""
        self._unregister(worker.ends.receiver)
        self._unregister(worker.ends.sender)
        self._unregister(worker.descriptor)
        os.close(worker.descriptor)
        # A process that is forked in the middle of this would close the numbers once more.
        with worker.writing, _forking:
            worker.close()
        worker.process.join()
        with self._lock:
            self._workers.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)

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
        elif worker.job is not None:
            following = self._lose(worker, worker.job, reason)
        self._assign(successor, following)

    def _lose(self, worker: WorkerProcess, job: Job, reason: str) -> Job | None:
        """Record what a worker has lost; return the next job for the one that replaces it.

        A worker that was killed for a time-out has not begun the rest of its batch.
        """
        served = "the task" if job.next is None else "a batch of tasks"
        following = None
        for one in job.chain():
            if worker.is_abandoned and not worker.is_settled and one is not job:
                return one
            # A thread that was relieved still has the outcome of the first.
            if not worker.is_settled or one is not job:
                lost = Served("lost", error=f"{reason} while it served {served}")
                following = self._crew.finish(one, lost, worker.start)
        return following

    def _fail(self, reason: str) -> None:
        self._crew.fail(WorkerLostError(f"stage {self._stage.name!r}: {reason}"))

    def _unregister(self, file: Any) -> None:
        if file in self._selector.get_map():
            self._selector.unregister(file)


def describe_failure(job: Job, error: BaseException) -> str:
    """Return why a job cannot be sent: its parameters, or else its upstream results."""
    return "\n".join(check_pickles(job.parameters)) or (
        f"upstream results cannot be sent to a process: {describe_error(error)}"
    )


class WorkerProcess:
    """One worker process as main sees it.

    `descriptor` becomes readable when the process ends, unless it is no pidfd and a child of the
    process lives. `start` is None until the worker is ready. Of a batch, `job` is the one whose
    outcome comes next. A worker that is `doomed` has ended or was killed, and gets no further job;
    one that `is_abandoned` was killed because its job has timed out; one that `is_retired` was
    asked to end, having `served` as many tasks as it may. `unsent` is what its pipe has not taken
    yet; `writing` is held while that changes, and while the pipes are closed. If
    `is_settled`, the outcome of its job has arrived, and a thread that was relieved unpickles it.
    """

    __slots__ = (
        "descriptor",
        "doomed",
        "ends",
        "has_pidfd",
        "is_abandoned",
        "is_closed",
        "is_retired",
        "is_settled",
        "job",
        "process",
        "requested_ns",
        "served",
        "start",
        "unsent",
        "writing",
    )

    def __init__(self, process: BaseProcess, ends: Ends, requested_ns: int) -> None:
        self.process = process
        self.ends = ends
        self.descriptor, self.has_pidfd = _open_life(process)
        self.requested_ns = requested_ns
        self.start: Start | None = None
        self.job: Job | None = None
        self.doomed = False
        self.is_abandoned = False
        self.is_closed = False
        self.is_retired = False
        self.is_settled = False
        self.served = 0
        self.unsent: list[memoryview] = []
        self.writing = threading.Lock()

    def write(self) -> None:
        """Write as much of what is unsent as the pipe takes; nothing if nobody reads it."""
        if self.is_closed:
            self.unsent.clear()
            return
        try:
            write_parts(self.ends.sender.fileno(), self.unsent)
        except OSError:
            self.unsent.clear()

    def close(self) -> None:
        """Close the pipes."""
        self.is_closed = True
        self.unsent.clear()
        close_main_ends(self.ends)

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


def _open_life(process: BaseProcess) -> tuple[int, bool]:
    """Return a new descriptor that tells of a process's end, and whether it is a pidfd."""
    if hasattr(os, "pidfd_open"):
        # The process may have ended and been reaped already. Or the kernel is too old, or a sandbox
        # refuses what it does not know, with an error of its own choice.
        with contextlib.suppress(OSError):
            return os.pidfd_open(process.pid or 0), True
    return os.dup(process.sentinel), False


def guard_hint(start_method: str | None) -> str:
    """Return the most likely reason why a worker ends before it is ready; empty for fork."""
    if start_method == "fork":
        return ""
    return (
        f"; {start_method} workers import the main script again: put the code that it runs under"
        ' if __name__ == "__main__"'
    )
