"""What measuring costs the measured program: by run, and by child process.

    python -m benchmarks.overhead

In each pair, a treatment of the default runtime study runs once as in a study and once unmeasured,
in random order. The table shows the ratios of the CPU times of the whole tree and of the makespans,
each with the 95 % interval of a paired t on its logarithms. The cost of a child is the time of
fork, exit and wait in a parent of a given size, with the census and without it. Takes about ten
minutes on two cores; do nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from scipy import stats

from stagebench.design.config import check_config, load_config
from stagebench.measure.process import measured_environment
from stagebench.measure.supervisor import RunRequest, measure_run, measurement_lock
from stagebench.records import TaskRecord
from stagebench.store import TASKS_FILE, canonical_json, read_records, read_run

HERE = Path(__file__).parent
TREATMENTS = ["t1", "p2-fork", "p5-spawn", "t5-numpy"]
PARENTS_MIB = [0, 500]

WARM = """
import mmap
size = 1536 << 20
block = mmap.mmap(-1, size)
block.madvise(mmap.MADV_HUGEPAGE)
for place in range(0, size, 4096):
    block[place] = 1
"""

CHILDREN = """
import os, statistics, sys, time
size, count = int(sys.argv[1]) << 20, int(sys.argv[2])
block = bytearray(size)
for place in range(0, size, 4096):
    block[place] = 1
for repeat in range(count):
    begun = time.perf_counter_ns()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    print(time.perf_counter_ns() - begun)
"""


def main() -> None:
    """Print both tables."""
    options = parse_options()
    if options.pairs:
        print_pairs(options)
    if options.children:
        print_children(options)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("treatments", nargs="*", default=TREATMENTS, help="default: %(default)s")
    parser.add_argument("--config", type=Path, default=HERE.parent / "config" / "config.yaml")
    parser.add_argument("--pairs", type=int, default=20, help="0 skips them")
    parser.add_argument("--children", type=int, default=300, help="per parent; 0 skips them")
    parser.add_argument("--rounds", type=int, default=5, help="of children, each on and off")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def print_pairs(options: argparse.Namespace) -> None:
    """Measure pairs with treatments interleaved, and print a line per treatment."""
    study = check_config(load_config(options.config))
    specifications = {
        treatment.id: treatment.specification
        for treatment in study.treatments
        if treatment.experiment == "runtime" and treatment.id in options.treatments
    }
    order = random.Random(options.seed)
    pairs: dict[str, list[tuple[Cost, Cost]]] = {name: [] for name in options.treatments}
    for _ in range(options.pairs):
        for name in order.sample(options.treatments, len(options.treatments)):
            pairs[name].append(measure_pair(specifications[name], order))
    print("| treatment | of | pairs | slowdown (median) | geometric mean | 95 % interval |")
    print("|---|---|---:|---:|---:|---|")
    for name, measured in pairs.items():
        for field in Cost._fields:
            values = [getattr(on, field) / getattr(off, field) for on, off in measured]
            low, mean, high = interval(values)
            median = statistics.median(values) - 1
            text = f"{low:+.2%} to {high:+.2%}"
            of = field.removesuffix("_s")
            print(f"| {name} | {of} | {len(values)} | {median:+.2%} | {mean:+.2%} | {text} |")


class Cost(NamedTuple):
    """What a run took: the CPU time of its tree, and its makespan."""

    cpu_s: float
    makespan_s: float


def measure_pair(specification: dict, order: random.Random) -> tuple[Cost, Cost]:
    """Run a treatment on and off in random order; return what each took."""
    runs = [observed, unobserved]
    order.shuffle(runs)
    made = {}
    for run in runs:
        subprocess.run([sys.executable, "-c", WARM], check=True)  # cold pages would cost more
        made[run] = run(specification)
    return made[observed], made[unobserved]


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Return lower limit, geometric mean and upper limit of ratios − 1."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, middle, high = (math.expm1(value) for value in (mean - half, mean, mean + half))
    return low, middle, high


def observed(specification: dict) -> Cost:
    """Measure a run as a study does."""
    request = RunRequest(
        study="overhead",
        campaign="overhead",
        replicate=1,
        seed=1,
        block=1,
        position=1,
        rank=1,
        specification=specification,
        warm_up=False,
        time_limit_s=600,
        quiet_wait_s=0,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "r1"
        status = measure_run(request, folder)
        if status != "ok":
            raise RuntimeError(f"the run ended with status {status}")
        run = read_run(folder)
        return Cost(run["cpu_user_s"] + run["cpu_system_s"], makespan(folder))


def unobserved(specification: dict) -> Cost:
    """Run the same process unmeasured."""
    settings = specification["process"]
    environment = measured_environment(
        settings["environment"], settings["blas_threads"], os.environ
    )
    with tempfile.TemporaryDirectory() as scratch, measurement_lock():
        command = [sys.executable, "-P", "-m", "stagebench.measure.main", scratch]
        given = canonical_json(specification).encode()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, input=given, env=environment, check=True, start_new_session=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Cost(cpu_s, makespan(Path(scratch)))


def makespan(folder: Path) -> float:
    """Return the time from the first submission to the last result."""
    tasks = read_records(folder / TASKS_FILE, TaskRecord)
    received = [task.received_ns for task in tasks if task.received_ns is not None]
    submitted = [task.submitted_ns for task in tasks if task.submitted_ns is not None]
    return (max(received) - min(submitted)) / 1e9


def print_children(options: argparse.Namespace) -> None:
    """Time children in parents of each size, on and off in turn; print a line per size."""
    print("| parent MiB | children | off: median, p99 ms | on: median, p99 ms | added ms |")
    print("|---:|---:|---:|---:|---:|")
    for size in PARENTS_MIB:
        times: dict[bool, list[float]] = {True: [], False: []}
        for round_ in range(2 * options.rounds):
            observed = round_ % 2 == 0
            times[observed] += time_children(size, options.children, observed=observed)
        off, on = (quantiles(times[observed]) for observed in (False, True))
        added = ", ".join(f"{b - a:+.2f}" for a, b in zip(off, on, strict=True))
        cells = [", ".join(f"{value:.2f}" for value in values) for values in (off, on)]
        count = len(times[True])
        print(f"| {size} | {count} | {cells[0]} | {cells[1]} | {added} |", flush=True)


def time_children(size_mib: int, count: int, *, observed: bool) -> list[float]:
    """Time a parent's children, created one after another, in milliseconds."""
    command = [sys.executable, "-c", CHILDREN, str(size_mib), str(count)]
    with tempfile.TemporaryDirectory() as scratch:
        if observed:
            trace = [sys.executable, "-m", "stagebench", "trace", "--quiet", "--no-figure"]
            command = [*trace, "--out", f"{scratch}/trace", "--", *command]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(line) / 1e6 for line in done.stdout.split()]


def quantiles(values: list[float]) -> tuple[float, float]:
    """Return median and 99th percentile."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))]


if __name__ == "__main__":
    main()
