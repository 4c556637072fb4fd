"""concurrent.futures as an engine: a pool for each stage; a callback submits the next step."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from stagebench.engines.serving import perform
from stagebench.engines.steps import StepEngine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor, Future

    from stagebench.engines.course import TaskStep
    from stagebench.engines.serving import Errand
    from stagebench.engines.steps import Done
    from stagebench.runner.stage import Stage


class FuturesEngine(StepEngine):
    """A ThreadPoolExecutor or a ProcessPoolExecutor for each stage, made for its first step."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._pools: dict[str, Executor] = {}
        self._opening = threading.Lock()
        if any(stage.executor == "process" for stage in stages):
            from concurrent.futures.process import BrokenProcessPool

            self.lost = (BrokenProcessPool,)

    def submit(self, step: TaskStep, errand: Errand, inputs: list[Any], done: Done) -> None:
        """See StepEngine."""
        future = self._open(step.stage).submit(perform, errand, *inputs)
        future.add_done_callback(partial(_report, done))

    def close(self, kept: frozenset[str]) -> None:
        """See StepEngine."""
        for name in [name for name in self._pools if name not in kept]:
            self._pools.pop(name).shutdown()

    def _open(self, stage: Stage) -> Executor:
        with self._opening:
            if stage.name not in self._pools:
                self._pools[stage.name] = _make_pool(stage)
            return self._pools[stage.name]


def _make_pool(stage: Stage) -> Executor:
    if stage.executor == "thread":
        return ThreadPoolExecutor(stage.workers, thread_name_prefix=stage.name)
    # Imported only if it is needed: every import adds to the measured memory.
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context(stage.start_method)
    return ProcessPoolExecutor(stage.workers, mp_context=context)


def _report(done: Done, future: Future[Any]) -> None:
    error = future.exception()
    outcome = future.result() if error is None else error
    done(outcome, outcome)
