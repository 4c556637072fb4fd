"""Whether a handler takes equally long on every engine: the service times are comparable.

    python -m benchmarks.engines [--rounds N]

One core-bound handler on one worker, on every engine that is installed. In each round, all of them
run once, in random order, each in a fresh process. A ratio is of the lower quartiles of one engine
and of the runner in the same round. The exit code is 1 if the median of the ratios of an engine's
CPU time differs from 1 by more than 3 %: whatever else wants a core lengthens service, and an
engine's own threads may be among it. Takes about four minutes on two cores; do nothing else
meanwhile.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.engines_work import count
from benchmarks.markdown import format_table

from stagebench.engines.engine_workflow import EngineWorkflow
from stagebench.engines.support import OWN, find_engine_limit, list_installed
from stagebench.measure.supervisor import measurement_lock
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Stage
from stagebench.runner.worker import WorkerSetup
from stagebench.runner.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = 12
ROUNDS = 2_000_000
LIMIT = 0.03
KINDS = {"thread": None, "process": "spawn"}


def main() -> None:
    """Measure all engines in turn and print the ratios; or measure one and print its times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "EXECUTOR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure_service(*options.one)))
        return
    programs = list(list_programs())
    order = random.Random(1)
    rounds: list[dict[tuple[str, str], dict[str, float]]] = []
    with measurement_lock():
        for _ in range(options.rounds):
            shuffled = order.sample(programs, k=len(programs))
            rounds.append({program: run_alone(*program) for program in shuffled})
    rows, missed = [], 0
    for engine, executor in programs:
        ratios = {
            clock: statistics.median(
                one[engine, executor][clock] / one[OWN, executor][clock] for one in rounds
            )
            for clock in ("service_s", "cpu_s")
        }
        missed += abs(ratios["cpu_s"] - 1) > LIMIT
        own = statistics.median(one[engine, executor]["service_s"] for one in rounds)
        numbers = [f"{own * 1000:.2f}", *(f"{ratio:.3f}" for ratio in ratios.values())]
        rows.append([engine, executor, *numbers])
    columns = ["engine", "executor", "service ms", "service / runner's", "CPU time / runner's"]
    print(format_table(columns, rows))
    sys.exit(min(missed, 1))


def list_programs() -> Iterator[tuple[str, str]]:
    """Yield each engine with the executors that it has for one worker."""
    for executor, method in KINDS.items():
        stage: dict[str, Any] = {"name": "work", "executor": executor, "workers": 1, "after": []}
        stage |= {"start_method": method} if method else {}
        for engine in list_installed():
            if not find_engine_limit({"engine": engine, "stages": [stage]}):
                yield engine, executor


def run_alone(engine: str, executor: str) -> dict[str, float]:
    """Measure one engine in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.engines", "--one", engine, executor]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure_service(engine: str, executor: str) -> dict[str, float]:
    """Return the lower quartiles of service and CPU time of all tasks but the first."""
    stage = Stage(
        name="work",
        handler=count,
        executor=executor,
        start_method=KINDS[executor],
        workers=1,
        parameters={"rounds": ROUNDS},
    )
    sink, setup = ListSink(), WorkerSetup()
    workflow: Workflow | EngineWorkflow
    if engine == OWN:
        workflow = Workflow([stage], sink, setup=setup)
    else:
        workflow = EngineWorkflow(engine, [stage], sink, setup=setup)
    with workflow:
        workflow.run(TASKS)
    served = sorted(sink.tasks, key=lambda task: task.started_ns or 0)[1:]
    times = [(task.finished_ns or 0) - (task.started_ns or 0) for task in served]
    return {
        "service_s": statistics.quantiles(times, n=4)[0] / 1e9,
        "cpu_s": statistics.quantiles([task.cpu_ns or 0 for task in served], n=4)[0] / 1e9,
    }


if __name__ == "__main__":
    main()
