"""A task in one stage on its way through the runner, and what holds up those before it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stagebench.runner.parcels import Delivery
    from stagebench.runner.queues import StageQueue
    from stagebench.runner.worker import Start

    Overrides = Mapping[str, Mapping[str, Any]]


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
