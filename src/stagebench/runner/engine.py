"""The engine of a workflow: carries out what the router decides, and records every outcome.

A worker, or the thread that listens to it, calls `finish` with the outcome of its job:

    claim               with the lock: whoever ends a job first records it
    record --> Sink     without it: a slow sink holds up only its own worker
    retry or deliver    with the lock: bookkeeping (routing.py)
    dispatch --> Pool   without it; the worker's own next job is returned to it

A watchdog abandons jobs that exceed the time-out of their stage.
"""

from __future__ import annotations

import math
import os
import threading
import time
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkerLostError, WorkflowError
from stagebench.locks import YieldingLock
from stagebench.records import IMPORTED, EventRecord, Imports, TaskRecord, WorkerRecord
from stagebench.runner.jobs import RELIEF_S, CrewThread, PoolPlan, StageQueue
from stagebench.runner.pools import make_pool
from stagebench.runner.routing import Router
from stagebench.runner.stage import begin_stage, end_stage, find_following
from stagebench.runner.transport import Parcels
from stagebench.runner.worker import Served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from stagebench.runner.interrupts import Interrupts
    from stagebench.runner.jobs import Batch, Job, Outlet, Pool
    from stagebench.runner.sink import Sink
    from stagebench.runner.stage import Stage
    from stagebench.runner.transport import Delivery
    from stagebench.runner.worker import Imported, Start, WorkerSetup


START_S = 20.0
"""How much longer than its stage's time-out, if there is one, a worker may take to get ready; for
each time that the machine has fewer CPUs than the stage has workers, as long again."""

_SETTLING_S = 1.0
"""How long a cancelled run waits for records that are being written."""

_BREATH_S = 0.1
"""How long a wait for another thread lasts before it is looked whether it is still worth it."""


class Engine:
    """The queues, pools and records of one workflow; the `Crew` of its pools (jobs.py)."""

    def __init__(
        self,
        stages: Sequence[Stage],
        sink: Sink,
        setup: WorkerSetup,
        in_flight: int | None,
        outlet: Outlet | None = None,
    ) -> None:
        self.queues = {stage.name: StageQueue(stage, index) for index, stage in enumerate(stages)}
        for name, following in find_following(stages).items():
            self.queues[name].connect([self.queues[stage.name] for stage in following])
            if outlet is not None and not following:
                self.queues[name].takers += 1
        self.failure: BaseException | None = None
        self._parcels = Parcels()
        self._router = Router(list(self.queues.values()), in_flight, self._parcels)
        queues = list(self.queues.values())
        self._watchdog = Watchdog(self, queues, self._expire, self._give_up)
        self._sink = sink
        self._outlet = outlet
        self._setup = setup
        self._shares_memory = any(stage.transport == "shared_memory" for stage in stages)
        self._uses_files = any(
            queue.stage.transport == "path" and (queue.packs or queue.stage.executor == "process")
            for queue in self.queues.values()
        )
        self._lock = YieldingLock()
        self._opening = threading.Lock()
        self._closing = threading.Lock()
        # Holds a token if there may be something to do. It may be put by a signal handler in the
        # midst of a wait, which would find the lock of an Event taken.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._pid = os.getpid()
        # The thread that `run` was called in, while it runs, and what holds signals back in it.
        self._runner: int | None = None
        self._interrupts: Interrupts | None = None
        # What holds signals back in the thread that closes the pools.
        self._closer: Interrupts | None = None
        self._fed = 0
        self._is_awaited = False

    # Called by the workflow, in the caller's thread.

    def reserve(self, interrupts: Interrupts) -> None:
        """Note that a run starts in this thread; raises WorkflowError if it must not."""
        if os.getpid() != self._pid:
            raise WorkflowError(
                f"this workflow belongs to process {self._pid}; create one in each process"
            )
        with self._lock:
            if self._runner is not None:
                raise WorkflowError("this workflow is running already; one run at a time")
            if self.failure is not None:
                raise WorkflowError("this workflow has failed before; create a new one")
            self._runner, self._interrupts = threading.get_ident(), interrupts

    def hand_over(self, interrupts: Interrupts | None) -> None:
        """Note that a run goes on in this thread, or that nothing holds signals back for now."""
        with self._lock:
            self._runner, self._interrupts = threading.get_ident(), interrupts

    def release(self) -> None:
        """Note that the run has ended."""
        with self._lock:
            self._runner = self._interrupts = None

    def begin(self) -> None:
        """Begin a run; tasks are numbered from 0."""
        self._fed = 0
        self._parcels.open()
        for queue in self.queues.values():
            # Only the last run's results are kept.
            self._drop_results(queue)
            queue.is_closed = False
        self._note("workflow_started")
        self._watchdog.start()

    def feed(self, task: int, overrides: Mapping[str, Mapping[str, Any]], due_ns: int) -> bool:
        """Start a task and return True; return False if there is no room yet: then call `wait`."""
        with self._lock:
            if not self._router.may_feed():
                self._await()
                return False
            self._router.feed(task, overrides, due_ns, time.monotonic_ns())
            self._fed += 1
            starts, _, _ = self._router.take()
        for job in starts:
            self._dispatch(job)
        return True

    def has_ended(self) -> bool:
        """Return whether every task fed has ended in every stage; if not, call `wait`."""
        with self._lock:
            if self._router.tasks:
                self._await()
                return False
            return True

    def wait(self, longest_s: float = RELIEF_S) -> None:
        """Wait until there may be something to do, a signal to deliver, or an end; or shorter.

        Meanwhile no result may hold a pool up for long.
        """
        if self.failure is not None:
            return
        try:
            self._wake.get(timeout=min(longest_s, RELIEF_S))
        except Empty:
            for queue in self.queues.values():
                if queue.pool is not None:
                    queue.pool.relieve()

    def wake(self) -> None:
        """Let `wait` return; may be called by a signal handler."""
        self._wake.put(None)

    def end(self, tasks: int) -> None:
        """End a run of `tasks` tasks; after a failure, cancel those that have not ended."""
        self._watchdog.stop()
        if self.failure is not None:
            self._cancel(range(self._fed, tasks))
        self._note("workflow_finished")
        if self.failure is not None and not self._router.closed:
            # The sink failed just now, or closed the workflow.
            self._cancel(range(self._fed, tasks))

    def fail(self, error: BaseException) -> None:
        """End the run with an error, which `run` raises."""
        with self._lock:
            if self.failure is None:
                self.failure = error
        self.wake()

    def release_result(self, delivery: Delivery) -> None:
        """Drop a result that the outlet has taken."""
        self._parcels.release(delivery)

    def results(self, stage: str) -> dict[int, Any]:
        """Return the retained results of a stage by task."""
        return {
            task: _take(delivery, f"the result of task {task} in stage {stage!r}")
            for task, delivery in sorted(self.queues[stage].deliveries.items())
        }

    def is_closed(self, stage: str) -> bool:
        """Return whether a stage was closed since its last run."""
        return self.queues[stage].is_closed

    def close(self, interrupts: Interrupts | None, *, keep_retained: bool) -> None:
        """End the pools and drop all results; with `keep_retained`, spare retaining stages.

        A run that is going on is cancelled. In a process that was forked meanwhile nothing is done:
        pools and results belong to the process that has made them.
        """
        if os.getpid() == self._pid and not self._leave_to_run():
            self._close(interrupts, keep_retained=keep_retained)

    def _leave_to_run(self) -> bool:
        """End a run that is going on; return whether it is left to it to close the pools.

        It is, if it waits for the caller: a sink, a handler, or a signal handler.
        """
        with self._lock:
            if self._runner is None:
                return False
            if self.failure is None:
                self.failure = WorkflowError("the workflow was closed while it ran")
            runner = self._runner
        self.wake()
        thread = threading.current_thread()
        return runner == thread.ident or (isinstance(thread, CrewThread) and thread.crew is self)

    def _close(self, interrupts: Interrupts | None, *, keep_retained: bool) -> None:
        with self._closing:
            self._closer = interrupts
            self._end_pools(keep_retained=keep_retained)

    def _end_pools(self, *, keep_retained: bool) -> None:
        for queue in self.queues.values():
            if keep_retained and queue.stage.retain:
                continue
            self._close_pool(queue)
            self._drop_results(queue)
            queue.is_closed = True
        if not keep_retained:
            self._parcels.close()

    def _close_pool(self, queue: StageQueue) -> None:
        with self._opening:
            # Released before the pool closes: a thread of the pool may be opening another.
            pool, queue.pool = queue.pool, None
            served_by, queue.served_by = queue.served_by, None
        if pool is not None:
            pool.close(cancel=self.failure is not None)
        end_stage(served_by)

    def _drop_results(self, queue: StageQueue) -> None:
        deliveries, queue.deliveries = queue.deliveries, {}
        for delivery in deliveries.values():
            self._parcels.release(delivery)

    # Called by pools, in their own threads.

    def ready(self, stage: Stage, start: Start, requested_ns: int) -> None:
        """Record that a worker is ready."""
        self.queues[stage.name].is_ready = True
        record = WorkerRecord(
            stage=stage.name,
            pid=start.pid,
            thread_id=start.thread_id,
            requested_ns=requested_ns,
            started_ns=start.started_ns,
            ready_ns=start.ready_ns,
        )
        self._emit(self._sink.worker, record)

    def finish(self, job: Job, served: Served, start: Start | None) -> Job | None:
        """Record a job's outcome and pass the task on; return the worker's next job, if any.

        A worker that has more jobs of a batch gets none.
        """
        own = None
        for following in self._end(job, served, start):
            if own is None and following.queue is job.queue and job.next is None:
                own = following
            else:
                self._dispatch(following)
        return own

    def issue_parcel(self, transport: str) -> str:
        """Return a name to store a result under."""
        return self._parcels.issue(transport)

    def is_ending(self) -> bool:
        """Return whether the run is ending; in its own thread, call signal handlers first."""
        if self._interrupts is not None and self._runner == threading.get_ident():
            self._interrupts.deliver()
        return self.failure is not None

    def join(self, thread: threading.Thread, longest_s: float | None) -> None:
        """Wait for the end of a pool's thread, but not once Ctrl-C has been pressed."""
        end = None if longest_s is None else time.monotonic() + longest_s
        while thread.is_alive() and (end is None or time.monotonic() < end):
            if self.is_hurried():
                return
            thread.join(_BREATH_S)

    def is_hurried(self) -> bool:
        """Return whether Ctrl-C was pressed while the pools end."""
        return self._closer is not None and self._closer.has_held()

    def leave(self) -> None:
        """Close the workflow, because its process ends."""
        self.close(None, keep_retained=False)

    def _cancel(self, unfed: Iterable[int]) -> None:
        """Stop routing, record every task that has not ended as cancelled, and end the pools.

        Results that are retained stay, until `close`.
        """
        with self._lock:
            left = self._router.close()
        self._let_records_settle()
        for task, queue, attempt in left:
            self._record_unserved(task, queue, "cancelled", attempt)
        for task in unfed:
            for queue in self.queues.values():
                self._record_unserved(task, queue, "cancelled")
        kept: list[Delivery] = []
        with self._closing:
            self._closer = self._interrupts
            for queue in self.queues.values():
                self._close_pool(queue)
                kept += queue.deliveries.values()
                queue.is_closed = not queue.stage.retain
            self._parcels.close(kept)

    def _note(self, event: str, stage: str = "", detail: str = "") -> None:
        record = EventRecord(event=event, stage=stage, time_ns=time.monotonic_ns(), detail=detail)
        self._emit(self._sink.event, record)

    def _expire(self, job: Job) -> None:
        """Abandon a job that has timed out."""
        error = f"timed out after {job.queue.stage.timeout_s:g} s"
        for following in self._end(job, Served("timed_out", error=error), job.worker, abandon=True):
            self._dispatch(following)

    def _give_up(self, queue: StageQueue, limit_s: float) -> None:
        """End the run: a task waits for a worker that does not get ready."""
        reason = f"a worker was not ready after {limit_s:g} s; does an import of it end?"
        self.fail(WorkerLostError(f"stage {queue.stage.name!r}: {reason}"))

    def _end(  # noqa: C901 - the steps that every outcome takes, in their order
        self, job: Job, served: Served, start: Start | None, *, abandon: bool = False
    ) -> list[Job]:
        """Record an attempt and pass the task on; return the jobs that may start now."""
        received_ns = time.monotonic_ns()
        queue = job.queue
        stage = queue.stage
        transport = stage.transport if queue.packs else None
        served, delivery = self._parcels.wrap(served, job.parcel, transport, queue.takers)
        is_retried = served.status in stage.retry_on and job.attempt <= stage.retries
        with self._lock:
            is_ours = self._router.claim(job, final=not is_retried)
            job.abandoned |= is_ours and abandon
        if not is_ours:
            if delivery is not None:
                self._parcels.remove(delivery)
            return []
        if delivery is not None and stage.retain:
            job.queue.deliveries[job.task] = delivery
        record = record_served(job, served, received_ns, start)
        self._emit(self._sink.attempt if is_retried else self._sink.task, record)
        if served.imported is not None:
            self._note_imports(job, served.imported)
        if abandon:
            self._abandon(job)
        if self._outlet is not None and not is_retried:
            self._outlet.take(job, served, delivery)
        with self._lock:
            if is_retried:
                self._router.retry(job, received_ns)
            else:
                self._router.deliver(job, delivery, received_ns)
            starts, skipped, overflows = self._router.take()
            has_ended = job.task not in self._router.tasks
            self._wake_if_awaited()
        for queue in overflows:
            self._note("queue_overflow", queue.stage.name)
        if skipped:
            self._skip(job.task, skipped)
        elif has_ended and self._outlet is not None:
            self._outlet.end(job.task)
        return starts

    def _note_imports(self, job: Job, imported: Imported) -> None:
        imports = Imports(job.task, job.attempt, *imported)
        self._note(IMPORTED, job.queue.stage.name, imports.write())

    def _abandon(self, job: Job) -> None:
        if job.queue.pool is not None:
            job.queue.pool.abandon(job)

    def _dispatch(self, job: Job) -> None:
        pool = job.queue.pool or self._open(job)
        if pool is not None:
            pool.dispatch(job)

    def _open(self, job: Job) -> Pool | None:
        """Open a stage's pool for its first job, so its start-up counts towards the makespan."""
        queue = job.queue
        while not self._opening.acquire(timeout=_BREATH_S):
            if self.is_ending():
                return None
        try:
            if queue.pool is None and self.failure is None:
                folder = self._parcels.open_folder() if self._uses_files else None
                queue.served_by = begin_stage(queue.stage)
                stage = replace(queue.stage, handler=queue.served_by)
                plan = PoolPlan(stage, self._setup, self, self._shares_memory, folder)
                pool = make_pool(plan)
                try:
                    pool.open(job.submitted_ns or 0)
                finally:
                    queue.pool = pool  # also if only some of its workers have started
        except BaseException as error:  # raised again by run()
            self.fail(error)
        finally:
            self._opening.release()
        return None if self.failure is not None else queue.pool

    def _skip(self, task: int, skipped: list[StageQueue]) -> None:
        for queue in skipped:
            self._record_unserved(task, queue, "skipped")
        with self._lock:
            self._router.count_skipped(task, len(skipped))
            has_ended = task not in self._router.tasks
            self._wake_if_awaited()
        if has_ended and self._outlet is not None:
            self._outlet.end(task)

    def _record_unserved(self, task: int, queue: StageQueue, status: str, attempt: int = 1) -> None:
        self._emit(self._sink.task, record_unserved(task, queue.stage.name, status, attempt))

    def _emit(self, take: Callable[[Any], None], record: object) -> None:
        try:
            take(record)
        except BaseException as error:  # raised again by run(), in the caller's thread
            self.fail(error)

    def _await(self) -> None:
        self._is_awaited = True

    def _wake_if_awaited(self) -> None:
        if self._is_awaited and (self._router.may_feed() or not self._router.tasks):
            self._is_awaited = False
            self.wake()

    def _let_records_settle(self) -> None:
        end = time.monotonic() + _SETTLING_S
        while self._router.handling and time.monotonic() < end:
            time.sleep(0.001)


def record_served(job: Job, served: Served, received_ns: int, start: Start | None) -> TaskRecord:
    """Return the record of an attempt; `start` is its worker, None if no worker started it."""
    return TaskRecord(
        task=job.task,
        stage=job.queue.stage.name,
        attempt=job.attempt,
        status=served.status,
        due_ns=job.due_ns,
        submitted_ns=job.submitted_ns,
        # A lost or abandoned worker sends no times: use main's own view of when it began.
        started_ns=served.started_ns or job.since_ns,
        finished_ns=served.finished_ns,
        received_ns=received_ns,
        cpu_ns=served.cpu_ns,
        pid=None if start is None else start.pid,
        thread_id=None if start is None else start.thread_id,
        error=served.error,
    )


def record_unserved(task: int, stage: str, status: str, attempt: int) -> TaskRecord:
    """Return the record of a task that was skipped or cancelled in a stage."""
    return TaskRecord(
        task=task,
        stage=stage,
        attempt=attempt,
        status=status,
        due_ns=None,
        submitted_ns=None,
        started_ns=None,
        finished_ns=None,
        received_ns=None,
        cpu_ns=None,
        pid=None,
        thread_id=None,
        error=None,
    )


def _take(delivery: Delivery, what: str) -> object:
    try:
        return delivery.take()
    except (Exception, SystemExit, GeneratorExit) as error:
        # A packed result's own unpickling may raise anything; SystemExit would end the program.
        raise WorkflowError(f"{what} cannot be read: {type(error).__name__}: {error}") from error


class Watchdog:
    """Abandons jobs that are served for longer than their stage's time-out.

    It wakes up when the next job may time out. A job that starts meanwhile needs no signal: it
    cannot time out before the shortest time-out has passed. The start of a worker does not count,
    but if it never ends, the watchdog gives up the stage.
    """

    def __init__(
        self,
        crew: Engine,
        queues: Sequence[StageQueue],
        expire: Callable[[Job], None],
        give_up: Callable[[StageQueue, float], None],
    ) -> None:
        self._crew = crew
        self._limits_ns = {
            queue: int(queue.stage.timeout_s * 1e9) for queue in queues if queue.stage.timeout_s
        }
        self._expire = expire
        self._give_up = give_up
        # Jobs that wait for their worker to get ready, and since when.
        self._unbegun_ns: dict[Job, int] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start watching, if any stage has a time-out."""
        if self._limits_ns and self._thread is None:
            self._stop.clear()
            thread = CrewThread(self._crew, self._watch, name="watchdog")
            thread.start()
            self._thread = thread

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        while not self._stop.wait(self.look(time.monotonic_ns()) / 1e9):
            pass

    def look(self, now_ns: int) -> int:
        """Abandon jobs that have timed out; return the nanoseconds until the next may."""
        soonest_ns = min(self._limits_ns.values())
        before, self._unbegun_ns = self._unbegun_ns, {}
        for queue, limit_ns in self._limits_ns.items():
            batches: set[Batch] = set()
            for job in list(queue.in_service):
                if job.batch is not None:
                    if job.batch in batches:
                        continue  # waits for one of its batch
                    batches.add(job.batch)
                if job.is_ahead:
                    continue
                if job.since_ns is None:
                    self._check_start(job, before.get(job, now_ns), now_ns)
                    continue
                left_ns = job.since_ns + limit_ns - now_ns
                if left_ns <= 0:
                    self._expire(job)
                else:
                    soonest_ns = min(soonest_ns, left_ns)
        return soonest_ns

    def _check_start(self, job: Job, since_ns: int, now_ns: int) -> None:
        stage = job.queue.stage
        if stage.executor == "asyncio" and job.queue.is_ready:
            return  # a coroutine holds up the loop
        self._unbegun_ns[job] = since_ns
        rounds = math.ceil(stage.workers / (os.cpu_count() or 1))
        limit_s = (stage.timeout_s or 0) + START_S * rounds
        if now_ns - since_ns > limit_s * 1e9:
            self._give_up(job.queue, limit_s)
