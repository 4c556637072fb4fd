"""Dask's distributed scheduler as an engine: one local cluster, whose workers belong to stages.

A stage of threads is one worker in this process with as many threads; a stage of processes has a
worker process for each of its workers, kept by a nanny. A result stays where it was made, and goes
to main as well, as results do in our runner.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, KilledWorker, Nanny, Scheduler, SpecCluster, Worker

from stagebench.engines.serving import perform
from stagebench.engines.steps import StepEngine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.engines.course import TaskStep
    from stagebench.engines.serving import Errand
    from stagebench.engines.steps import Done
    from stagebench.runner.stage import Stage


class DaskEngine(StepEngine):
    """A cluster on this machine, started for the first step."""

    lost = (KilledWorker,)

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._opening = threading.Lock()
        self._cluster: Any = None
        self._client: Any = None
        self._folder: Any = None

    def submit(self, step: TaskStep, errand: Errand, inputs: list[Any], done: Done) -> None:
        """See StepEngine."""
        with self._opening:
            if self._client is None:
                self._open()
        names = [name for name, _ in name_workers(step.stage)]
        future = self._client.submit(perform, errand, *inputs, workers=names, pure=False)
        future.add_done_callback(partial(_report, done))

    def close(self, kept: frozenset[str]) -> None:
        """End the cluster, which is one for all stages, unless one of them is kept."""
        if kept or self._client is None:
            return
        self._client.close()
        self._cluster.close()
        self._client = self._cluster = None
        self._folder.cleanup()

    def _open(self) -> None:
        # A task whose worker has ended is lost at once, as it is in other engines.
        settings: dict[str, Any] = {"distributed.scheduler.allowed-failures": 0}
        # As in a LocalCluster: no socket where there is no process.
        place = {"protocol": "inproc://"}
        method = next((one.start_method for one in self._stages if one.start_method), None)
        if method is not None:
            settings["distributed.worker.multiprocessing-method"] = method
            place = {"protocol": "tcp://", "host": "127.0.0.1"}
        self._folder = tempfile.TemporaryDirectory(prefix="dask-")
        settings["temporary-directory"] = self._folder.name
        options = {**place, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        with dask.config.set(settings):
            self._cluster = SpecCluster(
                scheduler={"cls": Scheduler, "options": options},
                workers=dict(one for stage in self._stages for one in describe(stage, options)),
                silence_logs=logging.ERROR,
            )
        self._client = Client(self._cluster)


def name_workers(stage: Stage) -> list[tuple[str, int]]:
    """Return the names of a stage's workers in the cluster, with their numbers of threads."""
    if stage.executor == "thread":
        return [(stage.name, stage.workers)]
    return [(f"{stage.name}-{number}", 1) for number in range(stage.workers)]


def describe(stage: Stage, options: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the workers of a stage as SpecCluster takes them."""
    return [
        (
            name,
            {
                "cls": Worker if stage.executor == "thread" else Nanny,
                "options": {**options, "nthreads": threads, "silence_logs": logging.ERROR},
            },
        )
        for name, threads in name_workers(stage)
    ]


def _report(done: Done, future: Any) -> None:
    error = future.exception()
    done(future.result() if error is None else error, future)
