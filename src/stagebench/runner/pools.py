"""Pools of workers: which one a stage has.

A pool starts all its workers for the stage's first task. It receives a job only when a worker is
free; jobs that have to wait do so in the stage's queue, not in the pool. The first job of a batch
stands for all of it, since each leads to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stagebench.runner.jobs import Pool, PoolPlan


def make_pool(plan: PoolPlan) -> Pool:
    """Return a stage's pool; workers start when it is opened."""
    # Imported only when needed: every import adds to the measured process's memory.
    if plan.stage.executor == "thread":
        from stagebench.runner.thread_pool import ThreadPool

        return ThreadPool(plan)
    if plan.stage.executor == "asyncio":
        from stagebench.runner.coroutine_pool import CoroutinePool

        return CoroutinePool(plan)
    if plan.stage.executor == "interpreter":
        from stagebench.runner.interpreter_pool import InterpreterPool

        return InterpreterPool(plan)
    if plan.stage.prefetch:
        from stagebench.runner.prefetching_pool import PrefetchingPool

        return PrefetchingPool(plan)
    from stagebench.runner.process_pool import ProcessPool

    return ProcessPool(plan)
