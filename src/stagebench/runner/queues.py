"""One stage's queue: who waits, who is served, who waits for a place, and how many are free."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from stagebench.runner.stage import takes_upstream

if TYPE_CHECKING:
    from stagebench.runner.executors import Pool
    from stagebench.runner.jobs import Job
    from stagebench.runner.parcels import Delivery
    from stagebench.runner.stage import Stage


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
