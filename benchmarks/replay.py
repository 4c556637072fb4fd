"""What the replay of a large workflow costs, and how near it is to real runs.

    python -m benchmarks.replay [--tasks N]

A hundred thousand tasks pass three stages in the model. Real workers serve a few tasks that only
wait, for times that are known; their makespan is compared with that of the model.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from multiprocessing import get_context
from typing import NamedTuple

from benchmarks.markdown import format_number, format_table

from stagebench.handlers.wait import wait
from stagebench.model.replay import Alone, Model, ModelStage, replay
from stagebench.model.sharing import Host, Mix
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Stage
from stagebench.runner.workflow import Workflow

MOST_S, MOST_MIB = 15.0, 500.0
"""What any of the replays may take."""

SPREAD = 0.3
"""Spread of the logarithms of service times; each task has its own."""

READS = Mix(cpu=0.1, held=0.05, asks=50.0, wakes=60.0)
COMPUTES = Mix(cpu=1.0, wakes=5.0)
HOLDS = Mix(cpu=0.95, held=0.9, asks=200.0, wakes=20.0)


class Case(NamedTuple):
    """A pipeline of threads, processes and threads, and what they do."""

    name: str
    mixes: tuple[Mix, Mix, Mix]
    queue_size: int | None
    in_flight: int | None
    workers: tuple[int, int, int] = (5, 4, 5)


ASLEEP = (Mix(), Mix(), Mix())
CONTENDED = (READS, COMPUTES, HOLDS)
CASES = (
    Case("nothing shared", ASLEEP, None, None),
    Case("nothing shared, queues of 4", ASLEEP, 4, None),
    Case("contended", CONTENDED, None, None),
    Case("contended, queues of 4", CONTENDED, 4, None),
    Case("contended, queues of 4, 32 in flight", CONTENDED, 4, 32),
    Case("contended, 20 workers in each stage", CONTENDED, 4, None, (20, 20, 20)),
)


class Graph(NamedTuple):
    """Stages that wait: the workers of each, and the stages that it follows."""

    name: str
    workers: tuple[int, ...]
    after: tuple[tuple[int, ...], ...]
    queue_size: int | None = None
    in_flight: int | None = None


PIPELINE, DIAMOND = ((), (0,), (1,)), ((), (0,), (0,), (1, 2))
GRAPHS = (
    Graph("pipeline", (2, 3, 2), PIPELINE),
    Graph("pipeline, queues of 1", (2, 3, 2), PIPELINE, 1),
    Graph("pipeline, 3 in flight", (2, 3, 2), PIPELINE, None, 3),
    Graph("diamond", (2, 2, 2, 2), DIAMOND),
    Graph("diamond, queues of 1", (2, 2, 2, 2), DIAMOND, 1),
)
REAL_TASKS = 60
KINDS: dict[str, dict[str, str]] = {
    "thread": {"executor": "thread"},
    "fork": {"executor": "process", "start_method": "fork"},
}


class Cost(NamedTuple):
    """What a replay took, and the makespan that it found."""

    seconds: float
    peak_mib: float
    makespan_s: float


def main() -> None:
    """Replay all cases, each in a process of its own; fail where one takes too much."""
    parser = argparse.ArgumentParser(description="What the replay of a large workflow costs.")
    parser.add_argument("--tasks", type=int, default=100_000)
    tasks = parser.parse_args().tasks
    costs = [(case, measure(case, tasks)) for case in CASES]
    print(format_costs(costs, tasks))
    ratios = [(graph, kind, run_both(graph, kind)) for graph in GRAPHS for kind in KINDS]
    print(format_ratios(ratios))
    sys.exit(any(cost.seconds > MOST_S or cost.peak_mib > MOST_MIB for _, cost in costs))


def measure(case: Case, tasks: int) -> Cost:
    """Replay a case in a fresh process, so that its peak of memory is its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(run, (case, tasks))


def run(case: Case, tasks: int) -> Cost:
    """Replay a case; the peak of memory is that of this process so far."""
    rng = random.Random(1)
    seconds = [[0.1 * rng.lognormvariate(0, SPREAD) for _ in range(tasks)] for _ in case.mixes]

    def alone(place: int, task: int, is_first: bool) -> Alone:  # noqa: FBT001 - as it is called
        return Alone(0.0005, seconds[place][task] * (1.5 if is_first else 1.0), 0.0005)

    stages = [
        ModelStage(
            name=str(place),
            workers=case.workers[place],
            mix=mix,
            after=(place - 1,) if place else (),
            queue_size=case.queue_size,
            starts_s=(0.1,),
            pins=place == 1,
        )
        for place, mix in enumerate(case.mixes)
    ]
    model = Model(
        stages=stages,
        arrivals=[0.0] * tasks,
        alone=alone,
        host=Host(cores=2, wake_s=0.002),
        in_flight=case.in_flight,
    )
    start = time.perf_counter()
    makespan_s = replay(model).makespan_s
    spent = time.perf_counter() - start
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Cost(spent, peak_kib / 1024, makespan_s)


def run_both(graph: Graph, kind: str) -> tuple[float, float]:
    """Return the makespan of real workers that wait, once they have started, and the model's."""
    rng = random.Random(2)
    delays = [[rng.uniform(0.02, 0.05) for _ in range(REAL_TASKS)] for _ in graph.workers]
    names = [str(place) for place in range(len(graph.workers))]
    stages = [
        Stage(
            name=names[place],
            handler=wait,
            workers=workers,
            after=tuple(names[before] for before in after),
            queue_size=graph.queue_size,
            **KINDS[kind],  # type: ignore[arg-type]
        )
        for place, (workers, after) in enumerate(zip(graph.workers, graph.after, strict=True))
    ]
    tasks = [
        {name: {"delay_s": own[task]} for name, own in zip(names, delays, strict=True)}
        for task in range(REAL_TASKS)
    ]
    sink = ListSink()
    with Workflow(stages, sink, in_flight=graph.in_flight) as workflow:
        workflow.run(tasks[:5])
        sink.tasks.clear()
        start_ns = time.monotonic_ns()
        workflow.run(tasks)
    real_s = (max(record.received_ns or 0 for record in sink.tasks) - start_ns) / 1e9
    model = Model(
        stages=[
            ModelStage(
                name=name,
                workers=workers,
                mix=Mix(),
                after=after,
                queue_size=graph.queue_size,
                pins=kind != "thread",
            )
            for name, workers, after in zip(names, graph.workers, graph.after, strict=True)
        ],
        arrivals=[0.0] * REAL_TASKS,
        alone=lambda place, task, _: Alone(0.0, delays[place][task], 0.0),
        host=Host(cores=2),
        in_flight=graph.in_flight,
    )
    return real_s, replay(model).makespan_s


def format_ratios(rows: list[tuple[Graph, str, tuple[float, float]]]) -> str:
    """Format the makespans of real runs and of the model, and their ratio."""
    cells = [
        [
            graph.name,
            kind,
            format_number(real_s),
            format_number(replayed_s),
            format_number(real_s / replayed_s),
        ]
        for graph, kind, (real_s, replayed_s) in rows
    ]
    return format_table(["stages that wait", "workers", "real s", "replayed s", "ratio"], cells)


def format_costs(costs: list[tuple[Case, Cost]], tasks: int) -> str:
    """Format what each replay took, and how much faster it was than the workflow itself."""
    rows = [
        [
            case.name,
            format_number(cost.seconds),
            format_number(1e6 * cost.seconds / (tasks * len(case.mixes))),
            f"{cost.peak_mib:.0f}",
            f"{cost.makespan_s:.0f}",
        ]
        for case, cost in costs
    ]
    header = ["three stages", "s", "µs a service", "peak RSS MiB", "replayed makespan s"]
    return format_table(header, rows)


if __name__ == "__main__":
    main()
