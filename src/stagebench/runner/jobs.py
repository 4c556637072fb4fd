"""A task in one stage on its way through the runner, and what holds up those before it.

One stage's queue: who waits, who is served, who waits for a place, and how many are free.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from stagebench.runner.stage import takes_upstream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stagebench.runner.transport import Delivery
    from stagebench.runner.worker import Start

    Overrides = Mapping[str, Mapping[str, Any]]
    from stagebench.runner.stage import Stage
    from stagebench.runner.worker import Served, WorkerSetup


class TaskState:
    """A task in flight: how many stages it has not ended in, which it has, and what is joined.

    `attempts` counts those that were recorded and after which it is tried again.
    """

    __slots__ = ("attempts", "ended", "joins", "open", "overrides")

    def __init__(self, overrides: Overrides, stages: int) -> None:
        self.overrides = overrides
        self.open = stages
        self.ended = 0
        self.joins: dict[StageQueue, Job] = {}
        self.attempts: dict[StageQueue, int] = {}


class Hold:
    """What a full queue holds up: the worker of a finished task, or (queue None) the arrivals.

    `remaining` counts the tasks that it has to get rid of first.
    """

    __slots__ = ("queue", "remaining")

    def __init__(self, queue: StageQueue | None) -> None:
        self.queue = queue
        self.remaining = 0


class Job:
    """One attempt of a task in a stage.

    `missing` counts upstream stages that have not delivered yet; `inputs` are the deliveries of the
    others, where the handler takes them. `since_ns` is when a worker began with it, as far as main
    can tell, and `worker` which one; `abandoned` says that it was given up meanwhile.
    """

    __slots__ = (
        "abandoned",
        "attempt",
        "due_ns",
        "failed",
        "has_place",
        "holds",
        "inputs",
        "missing",
        "parameters",
        "parcel",
        "queue",
        "since_ns",
        "submitted_ns",
        "task",
        "worker",
    )

    def __init__(self, task: int, queue: StageQueue, parameters: Mapping[str, Any]) -> None:
        self.task = task
        self.queue = queue
        self.parameters = parameters
        self.inputs: dict[str, Delivery] | None = None
        self.missing = 0
        self.failed = False
        self.has_place = False
        self.holds: list[Hold] = []
        self.attempt = 1
        self.due_ns: int | None = None
        self.submitted_ns: int | None = None
        self.since_ns: int | None = None
        self.worker: Start | None = None
        self.parcel: str | None = None
        self.abandoned = False

    def begin(self, worker: Start) -> int:
        """Note that a worker begins with it now; gives the moment."""
        self.worker = worker
        # Last: from now on the watchdog may give it up.
        self.since_ns = time.monotonic_ns()
        return self.since_ns

    def again(self, now_ns: int) -> Job:
        """Make the next attempt of the same."""
        job = Job(self.task, self.queue, self.parameters)
        job.inputs = self.inputs
        job.attempt = self.attempt + 1
        job.due_ns = job.submitted_ns = now_ns
        return job

    def arguments(self, upstream: object) -> Mapping[str, Any]:
        """Give the handler's arguments; `upstream` are its inputs in the form that it gets them."""
        if self.inputs is None:
            return self.parameters
        return {**self.parameters, "upstream": upstream}

    def take_inputs(self) -> object:
        """Give the inputs as a thread of this process takes them: one value, or one a stage."""
        if self.inputs is None:
            return None
        if len(self.queue.stage.after) == 1:
            return next(iter(self.inputs.values())).take()
        return {name: delivery.take() for name, delivery in self.inputs.items()}

    def send_inputs(self) -> object:
        """Give the inputs as they are sent to a process: one value, or one a stage."""
        if self.inputs is None:
            return None
        if len(self.queue.stage.after) == 1:
            return next(iter(self.inputs.values())).for_process()
        return {name: delivery.for_process() for name, delivery in self.inputs.items()}


class StageQueue:
    """The tasks of one stage that have not ended in it; guarded by the lock of the workflow.

    `downstream` are the queues that follow. `takers` is the number of those whose handlers take
    results, and one more where they are retained; with `packs`, results that threads have made are
    packed for processes that take them.

    A task that has come from some of several upstream stages has a place, too: `partials` counts
    these. What finds no place is `blocked`, and holds up whoever brings it. `free` workers are
    those that neither serve nor are held up; `deliveries` are results that are retained.
    """

    def __init__(self, stage: Stage, index: int) -> None:
        self.stage = stage
        self.bit = 1 << index
        self.takes_upstream = bool(stage.after) and takes_upstream(stage.handler)
        self.downstream: list[StageQueue] = []
        self.takers = 0
        self.packs = False
        self.pool: Pool | None = None
        self.free = stage.workers
        self.waiting: deque[Job] = deque()
        self.partials = 0
        # Dictionaries, because they keep their order and let go of any member at once.
        self.in_service: dict[Job, None] = {}
        self.blocked: dict[Job, None] = {}
        self.deliveries: dict[int, Delivery] = {}
        self.is_closed = False

    def connect(self, downstream: list[StageQueue]) -> None:
        """Name the queues that follow this one."""
        takers = [queue.stage for queue in downstream if queue.takes_upstream]
        self.downstream = downstream
        self.takers = len(takers) + self.stage.retain
        self.packs = (
            self.stage.executor != "process"
            and self.stage.transport != "pickle"
            and any(stage.executor == "process" for stage in takers)
        )

    def has_place(self) -> bool:
        """Tell whether one more task may wait."""
        size = self.stage.queue_size
        return size is None or len(self.waiting) + self.partials < size

    def next_blocked(self) -> Job | None:
        """Give the first task without a place that can have one now, or be served at once."""
        if not self.blocked:
            return None
        if self.has_place():
            return next(iter(self.blocked))
        if self.free and not self.waiting:
            return next((job for job in self.blocked if not job.missing), None)
        return None


class Crew(Protocol):
    """Whom a pool tells what its workers do; called from the pool's own threads."""

    def ready(self, stage: Stage, start: Start, requested_ns: int) -> None:
        """Note that a worker can serve."""

    def finish(self, job: Job, served: Served, start: Start | None) -> Job | None:
        """Take what came of a job; gives the next one for the same worker, if there is one.

        Of a job that was abandoned meanwhile, nothing is taken.
        """

    def fail(self, error: BaseException) -> None:
        """End the run: the stage can have no workers."""

    def issue_parcel(self, transport: str) -> str:
        """Give a name to lay a result down under."""


class Pool(Protocol):
    """Workers of one stage."""

    def open(self, requested_ns: int) -> None:
        """Start all workers; raises OSError where the machine allows no more."""

    def dispatch(self, job: Job) -> None:
        """Let a free worker serve a job."""

    def abandon(self, job: Job) -> None:
        """Get rid of the worker of a job that was given up, and put another in its place."""

    def close(self, *, cancel: bool) -> None:
        """End all workers; with `cancel` without waiting for what they serve."""


class PoolPlan(NamedTuple):
    """What a pool is made of; `shares_memory`: workers lay results down in shared memory."""

    stage: Stage
    setup: WorkerSetup
    crew: Crew
    shares_memory: bool
