"""Pools of workers: threads, processes started by fork, forkserver or spawn, or coroutines.

A pool has as many workers as its stage says from its first task on. It is given a job only when one
of them is free for it, and never keeps a queue of its own: what waits, waits in the stage's queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from stagebench.runner.jobs import Job
    from stagebench.runner.stage import Stage
    from stagebench.runner.worker import Served, Start, WorkerSetup


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


def make_pool(plan: PoolPlan) -> Pool:
    """Make a stage's pool; it starts no worker before it is opened."""
    # Each is imported only where it is used: it is memory of the measured process.
    if plan.stage.executor == "thread":
        from stagebench.runner.thread_pool import ThreadPool

        return ThreadPool(plan)
    if plan.stage.executor == "asyncio":
        from stagebench.runner.coroutine_pool import CoroutinePool

        return CoroutinePool(plan)
    from stagebench.runner.process_pool import ProcessPool

    return ProcessPool(plan)
