"""Dask's distributed scheduler as an engine: one cluster, whose workers belong to stages.

A stage of threads is one worker in this process with as many threads; a stage of processes has a
worker process for each of its workers, kept by a nanny. A result stays where it was made, and goes
to main as well, as results do in our runner.

On several nodes, the workers of each stage are dealt out to them in turn. The scheduler is in main,
on the first node; each other node has a process that keeps its workers (dask_node.py).
"""

from __future__ import annotations

import logging
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
from distributed import Client, KilledWorker, Nanny, Scheduler, SpecCluster, Worker

from stagebench.engines.dask_node import RunningNode
from stagebench.engines.serving import perform
from stagebench.engines.steps import StepEngine
from stagebench.errors import WorkerLostError
from stagebench.network_nodes import LINK
from stagebench.records import MET_NODE, TRAFFIC, MetNode, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from stagebench.engines.course import Overrides, TaskCourse, TaskStep
    from stagebench.engines.serving import Errand
    from stagebench.engines.steps import Done
    from stagebench.network_nodes import NetworkNode
    from stagebench.runner.stage import Arrival, Stage

LOCAL = "127.0.0.1"

PORT = 8786
"""Where the scheduler of several nodes listens."""


class DaskWorker(NamedTuple):
    """A worker of the cluster; `node` counts from 0."""

    name: str
    executor: str
    nthreads: int
    node: int


class DaskEngine(StepEngine):
    """A cluster on the nodes of the run, or on this machine; started for the first step."""

    lost = (KilledWorker,)

    def __init__(self, stages: Sequence[Stage], nodes: Sequence[NetworkNode] = ()) -> None:
        self._stages = stages
        self._nodes = nodes
        self._others: list[RunningNode] = []
        self._course: Any = None
        self._names = {
            stage.name: [one.name for one in list_workers(stage, len(nodes) or 1)]
            for stage in stages
        }
        self._opening = threading.Lock()
        self._cluster: Any = None
        self._client: Any = None
        self._folder: Any = None

    def run(self, tasks: int | Iterable[Overrides], arrival: Arrival, course: TaskCourse) -> None:
        """See StepEngine; at the end, note what each node has sent and received."""
        self._course = course
        super().run(tasks, arrival, course)
        if self._others:
            self._note_traffic(course)

    def submit(self, step: TaskStep, errand: Errand, inputs: list[Any], done: Done) -> None:
        """See StepEngine."""
        with self._opening:
            if self._client is None:
                try:
                    self._open()
                except WorkerLostError as error:
                    self._course.fail(error)  # no further step may try it again
                    raise
        names = self._names[step.stage.name]
        future = self._client.submit(perform, errand, *inputs, workers=names, pure=False)
        future.add_done_callback(partial(_report, done))

    def close(self, kept: frozenset[str]) -> None:
        """End the cluster, which is one for all stages, unless one of them is kept."""
        if kept or self._client is None:
            return
        self._client.close()
        for node in self._others:
            node.close()
        self._cluster.close()
        self._client = self._cluster = None
        self._folder.cleanup()

    def _open(self) -> None:
        # A task whose worker has ended is lost at once, as it is in other engines.
        settings: dict[str, Any] = {"distributed.scheduler.allowed-failures": 0}
        method = next((one.start_method for one in self._stages if one.start_method), None)
        if method is not None:
            settings["distributed.worker.multiprocessing-method"] = method
        self._folder = tempfile.TemporaryDirectory(prefix="dask-")
        settings["temporary-directory"] = self._folder.name
        host = self._nodes[0].address if self._nodes else LOCAL
        # As in a LocalCluster: no socket where there is no process.
        place = {"protocol": "inproc://"}
        if method is not None or self._nodes[1:]:
            place = {"protocol": "tcp://", "host": host}
        options = {**place, "dashboard": False, "dashboard_address": f"{host}:0"}
        workers = [
            one for stage in self._stages for one in list_workers(stage, len(self._nodes) or 1)
        ]
        # The nodes start while the cluster starts here. Nobody else is in their network, so the
        # port is free; they try until the scheduler listens.
        for number, node in enumerate(self._nodes[1:], 1):
            own = [one._asdict() for one in workers if one.node == number]
            self._others.append(RunningNode(node, f"tcp://{host}:{PORT}", settings, own))
        for one in self._others:
            self._course.note(MET_NODE, detail=MetNode(one.number, one.pid).write())
        with dask.config.set(settings):
            self._cluster = SpecCluster(
                scheduler={
                    "cls": Scheduler,
                    "options": {**options, "port": PORT if self._others else 0},
                },
                workers={one.name: describe(one, options) for one in workers if not one.node},
                silence_logs=logging.ERROR,
            )
        for other in self._others:
            other.wait_until_ready()
        self._client = Client(self._cluster)

    def _note_traffic(self, course: TaskCourse) -> None:
        pids = ["self", *(node.pid for node in self._others)]
        for node, pid in zip(self._nodes, pids, strict=True):
            for sent, received in read_traffic(Path(f"/proc/{pid}/net/dev")):
                course.note(TRAFFIC, detail=Traffic(node.number, sent, received).write())


def list_workers(stage: Stage, nodes: int) -> list[DaskWorker]:
    """Return a stage's workers in the cluster, spread over a number of nodes."""
    if stage.executor == "thread":
        return [
            DaskWorker(
                f"{stage.name}-{node}", "thread", len(range(node, stage.workers, nodes)), node
            )
            for node in range(nodes)
        ]
    return [
        DaskWorker(f"{stage.name}-{number}", "process", 1, number % nodes)
        for number in range(stage.workers)
    ]


def describe(worker: DaskWorker, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a worker as SpecCluster takes it."""
    return {
        "cls": Worker if worker.executor == "thread" else Nanny,
        "options": {**options, "nthreads": worker.nthreads, "silence_logs": logging.ERROR},
    }


def read_traffic(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the bytes that a node's link has sent and received, if the node is still there.

    Source: Linux, Documentation/networking/statistics.rst; proc(5), net/dev.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, counts = line.partition(":")
        if name.strip() == LINK:
            yield int(counts.split()[8]), int(counts.split()[0])


def _report(done: Done, future: Any) -> None:
    error = future.exception()
    done(future.result() if error is None else error, future)
