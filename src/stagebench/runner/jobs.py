"""The runner's data: a task, its jobs, the queue of each stage, and the interface of pools."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from stagebench.errors import WorkflowError
from stagebench.runner.stage import takes_upstream
from stagebench.runner.worker import describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stagebench.runner.transport import Delivery
    from stagebench.runner.worker import Start

    Overrides = Mapping[str, Mapping[str, Any]]
    from stagebench.runner.stage import Stage
    from stagebench.runner.worker import Served, WorkerSetup


RELIEF_S = 0.5
"""How long one result may hold up a thread that serves all workers of a pool."""


class TaskState:
    """A task in flight.

    `open` counts the stages it has not ended in, `ended` is a bit mask of the others. `joins` holds
    jobs that wait for more upstream stages. `attempts` is, by stage, the last recorded attempt that
    was followed by a retry.
    """

    __slots__ = ("attempts", "ended", "joins", "open", "overrides")

    def __init__(self, overrides: Overrides, stages: int) -> None:
        self.overrides = overrides
        self.open = stages
        self.ended = 0
        self.joins: dict[StageQueue, Job] = {}
        self.attempts: dict[StageQueue, int] = {}


class Hold:
    """A worker (or, with queue None, the arrival of tasks) held up by full queues.

    `remaining` counts the tasks that must find a place before it continues.
    """

    __slots__ = ("queue", "remaining")

    def __init__(self, queue: StageQueue | None) -> None:
        self.queue = queue
        self.remaining = 0


class Batch(Hold):
    """The worker that several tasks were handed over to at once; it holds them all.

    `serving` counts the tasks in service. `again` has the attempts that follow: the worker serves
    them after the batch, one by one, so a task that kills its worker does so alone the next time.
    """

    __slots__ = ("again", "serving")

    def __init__(self, queue: StageQueue) -> None:
        super().__init__(queue)
        self.serving = 0
        self.again: deque[Job] = deque()


class Job:
    """One attempt of a task in a stage.

    `missing` counts upstream stages that have not delivered yet; `inputs` holds the deliveries of
    the others if the handler takes them. `worker` serves the job, since `since_ns` as seen by main.
    `abandoned` is set once the job has timed out; `is_ahead` while its worker has it already but
    still serves another. Of a job that was handed over with others,
    `batch` is what they share, and `next` the one that the worker serves after it.
    """

    __slots__ = (
        "abandoned",
        "attempt",
        "batch",
        "due_ns",
        "failed",
        "has_place",
        "holds",
        "inputs",
        "is_ahead",
        "missing",
        "next",
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
        self.is_ahead = False
        self.batch: Batch | None = None
        self.next: Job | None = None

    def begin(self, worker: Start) -> int:
        """Note that a worker starts the job now; return the time."""
        self.worker = worker
        # Last: from here on the watchdog may abandon the job.
        self.since_ns = time.monotonic_ns()
        return self.since_ns

    def again(self, now_ns: int) -> Job:
        """Return the next attempt of the same task."""
        job = Job(self.task, self.queue, self.parameters)
        job.inputs = self.inputs
        job.attempt = self.attempt + 1
        job.due_ns = job.submitted_ns = now_ns
        job.batch = self.batch
        return job

    def chain(self) -> Iterator[Job]:
        """Yield this job and those that the worker serves after it."""
        job: Job | None = self
        while job is not None:
            following = job.next
            yield job
            job = following

    def arguments(self, upstream: object) -> Mapping[str, Any]:
        """Return the handler's arguments; `upstream` is its input as the handler expects it."""
        if self.inputs is None:
            return self.parameters
        return {**self.parameters, "upstream": upstream}

    def has_packed_inputs(self) -> bool:
        """Return whether `take_inputs` has to read and unpickle something."""
        return self.inputs is not None and any(one.is_packed() for one in self.inputs.values())

    def take_inputs(self) -> object:
        """Return the inputs for a thread: one value, or a dictionary with one for each stage."""
        if self.inputs is None:
            return None
        if len(self.queue.stage.after) == 1:
            return next(iter(self.inputs.values())).take()
        return {name: delivery.take() for name, delivery in self.inputs.items()}

    def send_inputs(self) -> object:
        """Return the inputs for a process: one value, or a dictionary with one for each stage."""
        if self.inputs is None:
            return None
        if len(self.queue.stage.after) == 1:
            return next(iter(self.inputs.values())).for_process()
        return {name: delivery.for_process() for name, delivery in self.inputs.items()}


class StageQueue:
    """The tasks of one stage that have not ended in it; guarded by the workflow's lock.

    `downstream` lists the queues that follow. `takers` counts those whose handlers take results,
    plus one if results are retained. If `packs` is set, main packs the results of threads for the
    processes that take them.

    A task that has arrived from only some of its upstream stages takes a place, too; `partials`
    counts these. A task without a place is `blocked` and holds up the worker that brings it.
    `free` counts workers that neither serve nor are held up; `deliveries` are retained results.
    `is_ready` is set once any worker was ready.
    """

    def __init__(self, stage: Stage, index: int) -> None:
        self.stage = stage
        self.bit = 1 << index
        self.takes_upstream = bool(stage.after) and takes_upstream(stage.handler)
        self.downstream: list[StageQueue] = []
        self.takers = 0
        self.packs = False
        self.pool: Pool | None = None
        # What the pool's workers call, between begin_stage and end_stage.
        self.served_by: Callable[..., Any] | None = None
        # With prefetch, a worker takes more than one job at a time.
        self.free = stage.workers * (1 + stage.prefetch)
        self.waiting: deque[Job] = deque()
        self.partials = 0
        # Dictionaries: they keep their order, and any member is removed in constant time.
        self.in_service: dict[Job, None] = {}
        self.blocked: dict[Job, None] = {}
        self.deliveries: dict[int, Delivery] = {}
        self.is_closed = False
        self.is_ready = False

    def connect(self, downstream: list[StageQueue]) -> None:
        """Set the queues that follow this one."""
        takers = [queue.stage for queue in downstream if queue.takes_upstream]
        self.downstream = downstream
        self.takers = len(takers) + self.stage.retain
        self.packs = (
            self.stage.executor != "process"
            and self.stage.transport != "pickle"
            and any(stage.executor == "process" for stage in takers)
        )

    def has_place(self) -> bool:
        """Return whether one more task may wait."""
        size = self.stage.queue_size
        return size is None or len(self.waiting) + self.partials < size

    def next_blocked(self) -> Job | None:
        """Return the first blocked task that can now get a place or be served at once."""
        if not self.blocked:
            return None
        if self.has_place():
            return next(iter(self.blocked))
        if self.free and not self.waiting:
            return next((job for job in self.blocked if not job.missing), None)
        return None


class Outlet(Protocol):
    """Takes what leaves a workflow; called from several threads at once."""

    def take(self, job: Job, served: Served, delivery: Delivery | None) -> None:
        """Take an outcome of any stage; `delivery` is None if it is a failure.

        What a last stage delivers stays until it is released.
        """

    def end(self, task: int) -> None:
        """Note that a task has ended in all stages."""


class Crew(Protocol):
    """What a pool reports to (the engine); called from the pool's own threads."""

    def ready(self, stage: Stage, start: Start, requested_ns: int) -> None:
        """Note that a worker can serve."""

    def finish(self, job: Job, served: Served, start: Start | None) -> Job | None:
        """Take the outcome of a job; return the next job for the same worker, if any.

        There is none while the worker has more jobs of a batch. The outcome of an abandoned job is
        ignored.
        """

    def fail(self, error: BaseException) -> None:
        """End the run: the stage has no workers."""

    def is_ending(self) -> bool:
        """Return whether the run is ending; asked between the steps of long work.

        In the run's own thread this calls signal handlers that were held back; they may raise.
        """

    def issue_parcel(self, transport: str) -> str:
        """Return a name to store a result under."""

    def join(self, thread: threading.Thread, longest_s: float | None) -> None:
        """Wait for the end of a pool's thread, but not once Ctrl-C has been pressed."""

    def is_hurried(self) -> bool:
        """Return whether Ctrl-C was pressed while the pools end."""

    def leave(self) -> None:
        """Close the workflow, because its process ends."""


class CrewThread(threading.Thread):
    """A thread of the runner: whatever ends it by an error ends the run, with its reason.

    Without that, `run` would wait for ever for the tasks that the thread had.
    """

    def __init__(self, crew: Crew, work: Callable[..., None], *arguments: Any, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.crew = crew
        self._call: tuple[Callable[..., None], tuple[Any, ...]] | None = (work, arguments)

    def run(self) -> None:
        """Do the work."""
        if self._call is None:
            return
        (work, arguments), self._call = self._call, None
        try:
            work(*arguments)
        except Exception as error:
            self.crew.fail(error)
        except BaseException as error:  # not raised again by run(): the program would just exit
            text = f"thread {self.name} of the runner ended: {describe_error(error)}"
            self.crew.fail(WorkflowError(text))


class Pool(Protocol):
    """The workers of one stage."""

    def open(self, requested_ns: int) -> None:
        """Start all workers; raises OSError if the system refuses more."""

    def dispatch(self, job: Job) -> None:
        """Pass a job to a free worker, with those of its batch that follow it."""

    def abandon(self, job: Job) -> None:
        """Replace the worker of a job that has timed out; the next one gets the rest of a batch."""

    def relieve(self) -> None:
        """Replace a thread that serves all workers if a result has held it up for `RELIEF_S`."""

    def close(self, *, cancel: bool) -> None:
        """End all workers; with `cancel`, do not wait for running jobs."""


class PoolPlan(NamedTuple):
    """What a pool is built from.

    `shares_memory`: some stage's results use shared memory. `folder` is where others are stored.
    """

    stage: Stage
    setup: WorkerSetup
    crew: Crew
    shares_memory: bool
    folder: str | None
