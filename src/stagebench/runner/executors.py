"""Pools of workers: threads, or processes started by fork, forkserver or spawn."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING

from stagebench.runner.worker import start_worker

if TYPE_CHECKING:
    from stagebench.runner.stage import Stage
    from stagebench.runner.worker import WorkerSetup


def open_pool(stage: Stage, setup: WorkerSetup) -> Executor:
    """Make a stage's pool; it starts no worker before the first submission."""
    modules = (*setup.preload, stage.handler.__module__)
    if stage.executor == "thread":
        # Threads share the interval with main, which has set it.
        return ThreadPoolExecutor(
            stage.workers, stage.name, initializer=start_worker, initargs=(modules, None)
        )
    # Imported only where processes are used: it is memory of the measured process.
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

    return ProcessPoolExecutor(
        stage.workers,
        mp_context=multiprocessing.get_context(stage.start_method),
        initializer=start_worker,
        initargs=(modules, setup.switch_interval_s),
    )
