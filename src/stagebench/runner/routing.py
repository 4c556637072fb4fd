"""Where tasks go: which stage is next, who waits for a place, and who may begin.

Bookkeeping only: nothing is started, sent or recorded here, and nobody waits. Every method is
called with the lock of the workflow held; what follows from a call is left in `starts`, `skipped`
and `overflows` for the caller to carry out.

A full queue blocks: who brings a task keeps it, and with it the worker that has made it, until
there is a place. With several upstream stages that can come to a stop: all places taken by tasks of
which a part is missing, and the workers that could bring the parts held up with other tasks. When
nobody serves and somebody is held up, the oldest of the tasks that wait for a place gets one beyond
the bound. So any acyclic graph comes to its end: each such step lets go of something that was held.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from stagebench.runner.jobs import Hold, Job, TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.runner.jobs import Overrides, StageQueue
    from stagebench.runner.transport import Delivery, Parcels


class Router:
    """The tasks in flight and the queues that they are in."""

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
        """Give `starts`, `skipped` and `overflows` since the last time."""
        taken = self.starts, self.skipped, self.overflows
        self.starts, self.skipped, self.overflows = [], [], []
        return taken

    def may_feed(self) -> bool:
        """Tell whether one more task may begin."""
        in_flight = self._in_flight
        return not self._feed_hold.remaining and (in_flight is None or len(self.tasks) < in_flight)

    def feed(self, task: int, overrides: Overrides, due_ns: int, now_ns: int) -> None:
        """Let a task begin in every stage that follows no other."""
        self._advance(now_ns)
        self.tasks[task] = TaskState(overrides, len(self.queues))
        self._feed_hold = Hold(None)
        for queue in self.queues:
            if not queue.stage.after:
                job = self._make_job(task, queue)
                job.due_ns = due_ns
                self._bring(job, self._feed_hold)

    def claim(self, job: Job, *, final: bool) -> bool:
        """Take a job out of service, to be recorded; False where somebody else has."""
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
        """Let a task be tried again by the worker that it had, or the one in its place."""
        self.handling -= 1
        if not self.closed:
            self._advance(now_ns)
            self._serving -= 1
            self._start(job.again(self._now_ns))

    def deliver(self, job: Job, delivery: Delivery | None, now_ns: int) -> None:
        """Hand a task on that has ended in a stage, and free its worker; None: it has failed.

        Where stages are `skipped`, `count_skipped` is to be called when that is recorded.
        """
        self.handling -= 1
        if self.closed:
            return
        self._advance(now_ns)
        if job.inputs is not None:
            self._drop_inputs(job)
        if job.queue.downstream:
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
        """Count a task as ended in the stages that it was skipped in."""
        self.handling -= 1
        if not self.closed:
            self._count_down(task, stages)

    def close(self) -> list[tuple[int, StageQueue, int]]:
        """Let nothing follow any more; gives what had not ended, and at which attempt it was."""
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
        """Take a moment as now, unless a later one has been: a slow sink lets others overtake."""
        if now_ns > self._now_ns:  # noqa: PLR1730 - twice as fast as max, once a task and stage
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
        """Bring a task to all stages that follow; those that it cannot reach are skipped."""
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
        """Count one upstream stage in."""
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
        """Let go of a task's place and inputs: a part of it will never come."""
        job.failed = True
        self._drop_inputs(job)
        if job.has_place:
            self._leave_place(job)
        elif job.holds:
            self._unblock(job)

    def _bring(self, job: Job, hold: Hold) -> None:
        """Let a task in, or a part of it; where there is no place, it holds up who brings it."""
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
        """Let a task be served if somebody is free, or wait for that, or for its other parts."""
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
        """Give a worker that is neither serving nor held up its next task."""
        if queue.waiting:
            self._start(queue.waiting.popleft())
        else:
            queue.free += 1
        if queue.blocked:
            self._changed.append(queue)

    def _settle(self) -> None:
        """Fill places that have become free, and go on beyond a bound where nothing else can."""
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
        """Give the oldest task that holds a worker up a place beyond the bound."""
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
