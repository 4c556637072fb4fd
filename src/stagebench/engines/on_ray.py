"""Ray as an engine: a local cluster; processes are its workers, threads are those of an actor.

Ray runs nothing in main, so a stage of threads lives in a process of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, WorkerCrashedError

from stagebench.engines.serving import perform
from stagebench.engines.steps import StepEngine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.engines.course import TaskStep
    from stagebench.engines.serving import Errand, Performed
    from stagebench.engines.steps import Done
    from stagebench.runner.stage import Stage


class Performing:
    """What the process of a stage of threads holds: nothing but the function."""

    def perform(self, errand: Errand, *inputs: Performed) -> Performed:
        """Perform an errand in one of the actor's threads."""
        return perform(errand, *inputs)


class RayEngine(StepEngine):
    """A cluster on this machine, started for the first step."""

    lost = (WorkerCrashedError, RayActorError)

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._opening = threading.Lock()
        self._calls: dict[str, Any] = {}

    def submit(self, step: TaskStep, errand: Errand, inputs: list[Any], done: Done) -> None:
        """See StepEngine."""
        with self._opening:
            if not self._calls:
                self._open()
        reference = self._calls[step.stage.name].remote(errand, *inputs)

        def report(future: Any) -> None:
            error = future.exception()
            done(future.result() if error is None else error, reference)

        reference.future().add_done_callback(report)

    def close(self, kept: frozenset[str]) -> None:
        """End the cluster, which is one for all stages, unless one of them is kept."""
        if self._calls and not kept:
            self._calls = {}
            ray.shutdown()

    def _open(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Its workers inherit the environment, but not main's import path, as all others do.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        processes = [stage for stage in self._stages if stage.executor == "process"]
        ray.init(
            # Each stage of processes has as many slots as workers; nothing else limits them.
            num_cpus=sum(stage.workers for stage in self._stages),
            resources={name_slots(stage): stage.workers for stage in processes},
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            _temp_dir=tempfile.gettempdir(),
        )
        self._calls = {stage.name: make_call(stage) for stage in self._stages}


def name_slots(stage: Stage) -> str:
    """Return the name of the resource that a stage's tasks need one of."""
    return f"slots of {stage.name}"


def make_call(stage: Stage) -> Any:
    """Return what takes the errands of a stage; it is never retried."""
    if stage.executor == "thread":
        actor = ray.remote(Performing).options(num_cpus=0, max_concurrency=stage.workers).remote()
        return actor.perform
    resources = {name_slots(stage): 1}
    return ray.remote(perform).options(num_cpus=0, resources=resources, max_retries=0)
