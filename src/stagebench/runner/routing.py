"""Where tasks go: which stage is next, which tasks wait for a place, and which may start.

Bookkeeping only: nothing here starts, sends, records or waits. Every method is called with the
workflow's lock held and leaves what follows from it in `starts`, `skipped` and `overflows` for the
caller to carry out.

A full queue blocks: the worker that brings a task keeps it, and serves no other, until there is a
place. With several upstream stages this can deadlock: tasks with missing parts take all places, and
the workers that could bring those parts are held up with other tasks. So when no worker serves and
some are held up, the oldest task that waits for a place gets one beyond the bound. Each such step
frees something that was held, so every acyclic graph comes to its end.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from stagebench.runner.jobs import Batch, Hold, Job, TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.runner.jobs import Overrides, StageQueue
    from stagebench.runner.transport import Delivery, Parcels


class Router:
    """Moves the tasks in flight between the queues of their stages."""

    def __init__(
        self, queues: Sequence[StageQueue], in_flight: int | None, parcels: Parcels
    ) -> None:
        self.queues = queues
        self.tasks: dict[int, TaskState] = {}
        self.starts: list[Job] = []
        self.skipped: list[StageQueue] = []
        self.overflows: list[StageQueue] = []
        self.handling = 0
        self.closed = False
        self._in_flight = in_flight
        self._parcels = parcels
        self._serving = 0
        self._blocked = 0
        self._feed_hold = Hold(None)
        self._changed: deque[StageQueue] = deque()
        self._now_ns = 0

    def take(self) -> tuple[list[Job], list[StageQueue], list[StageQueue]]:
        """Return `starts`, `skipped` and `overflows`, and empty them."""
        taken = self.starts, self.skipped, self.overflows
        self.starts, self.skipped, self.overflows = [], [], []
        return taken

    def may_feed(self) -> bool:
        """Return whether one more task may begin."""
        in_flight = self._in_flight
        return not self._feed_hold.remaining and (in_flight is None or len(self.tasks) < in_flight)

    def feed(self, task: int, overrides: Overrides, due_ns: int, now_ns: int) -> None:
        """Start a task in every stage that follows no other."""
        self._advance(now_ns)
        self.tasks[task] = TaskState(overrides, len(self.queues))
        self._feed_hold = Hold(None)
        for queue in self.queues:
            if not queue.stage.after:
                job = self._make_job(task, queue)
                job.due_ns = due_ns
                self._bring(job, self._feed_hold)

    def claim(self, job: Job, *, final: bool) -> bool:
        """Take a job out of service; return False if another thread already has."""
        if self.closed or job not in job.queue.in_service:
            return False
        del job.queue.in_service[job]
        if final:
            self.tasks[job.task].ended |= job.queue.bit
        else:
            self.tasks[job.task].attempts[job.queue] = job.attempt
        self.handling += 1
        return True

    def retry(self, job: Job, now_ns: int) -> None:
        """Retry a task with the same worker, or the one that replaces it."""
        self.handling -= 1
        if not self.closed:
            self._advance(now_ns)
            self._serving -= 1
            if job.batch is None:
                self._start(job.again(self._now_ns))
            else:
                job.batch.again.append(job.again(self._now_ns))
                self._continue(job.batch)

    def deliver(self, job: Job, delivery: Delivery | None, now_ns: int) -> None:
        """Pass on a task that has ended in a stage, and free its worker; None: it has failed.

        If this adds to `skipped`, the caller records that and then calls `count_skipped`.
        """
        self.handling -= 1
        if self.closed:
            return
        self._advance(now_ns)
        if job.inputs is not None:
            self._drop_inputs(job)
        if job.batch is not None:
            if job.queue.downstream:
                self._hand_on(job, delivery, job.batch)
            self._continue(job.batch)
            self._let_go(job.batch)
        elif job.queue.downstream:
            hold = Hold(job.queue)
            hold.remaining = 1
            self._hand_on(job, delivery, hold)
            self._let_go(hold)
        else:
            self._release(job.queue)
        self._serving -= 1
        self._settle()
        self.handling += bool(self.skipped)
        self._count_down(job.task, 1)

    def count_skipped(self, task: int, stages: int) -> None:
        """Count a task as ended in `stages` stages that it skipped."""
        self.handling -= 1
        if not self.closed:
            self._count_down(task, stages)

    def close(self) -> list[tuple[int, StageQueue, int]]:
        """Stop routing; return the task, stage and attempt of everything that has not ended."""
        self.closed = True
        left = [
            (task, queue, state.attempts.get(queue, 0) + 1)
            for task, state in self.tasks.items()
            for queue in self.queues
            if not state.ended & queue.bit
        ]
        for queue in self.queues:
            queue.in_service.clear()
            queue.waiting.clear()
            queue.blocked.clear()
        self.tasks.clear()
        self.starts.clear()
        return left

    def _advance(self, now_ns: int) -> None:
        """Set the current time, but never back: with a slow sink, calls arrive out of order."""
        if now_ns > self._now_ns:  # noqa: PLR1730 - twice as fast as max(), on the hot path
            self._now_ns = now_ns

    def _make_job(self, task: int, queue: StageQueue) -> Job:
        stage, state = queue.stage, self.tasks[task]
        own = state.overrides.get(stage.name)
        job = Job(task, queue, {**stage.parameters, **own} if own else stage.parameters)
        job.missing = len(stage.after)
        if job.missing > 1:
            state.joins[queue] = job
        return job

    def _hand_on(self, job: Job, delivery: Delivery | None, hold: Hold) -> None:
        """Bring a task to all stages that follow; skip those that it cannot reach."""
        done = [(job.queue, delivery)]
        while done:
            queue, brought = done.pop()
            for downstream in queue.downstream:
                arrived = self._arrive(job.task, downstream, queue.stage.name, brought)
                if not arrived.failed:
                    self._bring(arrived, hold)
                elif not arrived.missing:
                    self.tasks[job.task].ended |= downstream.bit
                    self.skipped.append(downstream)
                    done.append((downstream, None))

    def _arrive(self, task: int, queue: StageQueue, source: str, brought: Delivery | None) -> Job:
        """Note that one upstream stage of a task has ended; return the task's job."""
        joins = self.tasks[task].joins
        job = joins.get(queue) or self._make_job(task, queue)
        job.missing -= 1
        if not job.missing:
            joins.pop(queue, None)
        if brought is None:
            self._give_up(job)
        elif queue.takes_upstream and job.failed:
            self._parcels.release(brought)
        elif queue.takes_upstream:
            job.inputs = job.inputs or {}
            job.inputs[source] = brought
        return job

    def _give_up(self, job: Job) -> None:
        """Free a task's place and inputs: one of its parts will never arrive."""
        job.failed = True
        self._drop_inputs(job)
        if job.has_place:
            self._leave_place(job)
        elif job.holds:
            self._unblock(job)

    def _bring(self, job: Job, hold: Hold) -> None:
        """Admit a task, or a part of it; without a place, it holds up the worker that brings it."""
        queue = job.queue
        if not job.missing and job.due_ns is None:
            job.due_ns = self._now_ns
        if job.has_place:
            if not job.missing:
                self._leave_place(job)
                self._enter(job)
        elif not job.holds and ((queue.free and not job.missing) or queue.has_place()):
            self._enter(job)
        elif job.holds and queue.free and not job.missing:
            self._unblock(job)
            self._enter(job)
        else:
            self._block(job, hold)

    def _block(self, job: Job, hold: Hold) -> None:
        if not job.holds:
            job.queue.blocked[job] = None
            self._blocked += 1
        job.holds.append(hold)
        hold.remaining += 1

    def _unblock(self, job: Job) -> None:
        del job.queue.blocked[job]
        self._blocked -= 1
        holds, job.holds = job.holds, []
        for hold in holds:
            self._let_go(hold)

    def _leave_place(self, job: Job) -> None:
        job.has_place = False
        job.queue.partials -= 1
        self._changed.append(job.queue)

    def _enter(self, job: Job) -> None:
        """Serve a task if a worker is free; otherwise it waits for one, or for its other parts."""
        queue = job.queue
        if job.missing:
            job.has_place = True
            queue.partials += 1
        elif queue.free:
            queue.free -= 1
            self._start(job)
        else:
            job.submitted_ns = self._now_ns
            queue.waiting.append(job)

    def _start(self, job: Job) -> None:
        if job.submitted_ns is None:
            job.submitted_ns = self._now_ns
        job.queue.in_service[job] = None
        self._serving += 1
        self.starts.append(job)

    def _let_go(self, hold: Hold) -> None:
        hold.remaining -= 1
        if not hold.remaining and hold.queue is not None:
            self._release(hold.queue)

    def _release(self, queue: StageQueue) -> None:
        """Start the next task on a worker that neither serves nor is held up."""
        if queue.waiting:
            job = queue.waiting.popleft()
            self._start(job)
            if queue.waiting and queue.stage.batch > 1:
                self._add_mates(job)
        else:
            queue.free += 1
        if queue.blocked:
            self._changed.append(queue)

    def _add_mates(self, job: Job) -> None:
        """Hand over more of the tasks that wait together with a job that starts now."""
        queue = job.queue
        batch = job.batch = Batch(queue)
        batch.remaining = batch.serving = min(queue.stage.batch, len(queue.waiting) + 1)
        for _ in range(batch.serving - 1):
            job.next = queue.waiting.popleft()
            job = job.next
            job.batch = batch
            queue.in_service[job] = None
            self._serving += 1

    def _continue(self, batch: Batch) -> None:
        """Count one task of a batch as served; after the last, start those to be retried."""
        batch.serving -= 1
        if not batch.serving and batch.again:
            batch.serving = 1
            self._start(batch.again.popleft())

    def _settle(self) -> None:
        """Fill places that have become free; exceed a bound only if nothing else can continue."""
        while True:
            while self._changed:
                self._refill(self._changed.popleft())
            if self._serving or not self._blocked or not self._overflow():
                return

    def _refill(self, queue: StageQueue) -> None:
        job = queue.next_blocked()
        while job is not None:
            self._unblock(job)
            self._enter(job)
            job = queue.next_blocked()

    def _overflow(self) -> bool:
        """Admit the oldest task that holds up a worker beyond the bound; False if none does."""
        held = [job for queue in self.queues if queue.stage.after for job in queue.blocked]
        if not held:
            return False
        job = min(held, key=lambda job: job.task)
        self.overflows.append(job.queue)
        self._unblock(job)
        self._enter(job)
        return True

    def _drop_inputs(self, job: Job) -> None:
        for delivery in (job.inputs or {}).values():
            self._parcels.release(delivery)
        job.inputs = None

    def _count_down(self, task: int, stages: int) -> None:
        state = self.tasks[task]
        state.open -= stages
        if not state.open:
            del self.tasks[task]
