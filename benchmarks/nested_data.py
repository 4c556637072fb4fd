"""Simulated studies with a known truth: blocks, runs in blocks, tasks in runs, three stages.

A run is simulated as it is measured: 20 tasks, submitted at once, pass download (5 workers),
cpu_bound (as many workers as the treatment has) and upload (5 workers), first come first served.
Makespan and stage efficiency follow from the tasks' times. Times vary at random at three levels:
by block and by run, drawn separately for every stage, and by task. The spreads are those of the
default study on the machine where it was first measured: blocks 3 %, runs 7 %, tasks 15 %.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

TASKS = 20
OTHERS_S, OTHERS_WORKERS = 0.14, 5
"""Service time and workers of download and upload."""

HAND_OVER_S = 0.002
"""Mean time from a free worker to a task's start, drawn for every task."""

BLOCK_SPREAD = 0.03

OUTLIERS = 0.10
"""In a scenario with outliers, the share of runs that something else slows down in a stage."""

STUDIES_AT_ONCE = 250
"""A limit that bounds memory."""


class Treatment(NamedTuple):
    """The workers of cpu_bound, and its service time."""

    workers: int
    service_s: float


PUBLISHED = [
    Treatment(workers, service_s)
    for workers in (1, 2, 5)
    for service_s in (0.6, 0.6, 0.65, 0.04, 0.04, 0.05)
]
"""A grid of the published size: 18 treatments, the first of them the baseline."""

CELLS = {
    f"{workers}-{kind}-{logic}": {"workers": str(workers), "logic": logic, "executor": executor}
    | ({"start_method": kind} if executor == "process" else {})
    for workers in (1, 2, 5)
    for logic in ("native", "numpy")
    for kind, executor in (("thread", "thread"), ("fork", "process"), ("spawn", "process"))
}
"""The factors of each treatment of that grid, by its name."""

EQUAL = [PUBLISHED[0]] * len(PUBLISHED)
"""One treatment under 18 names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """How runs and tasks spread.

    `shape` holds for both: normal logarithms, or exponential delays on top of the shortest time.
    `run_spread` is interpolated from the first treatment to the last. `block_spread` is that of
    blocks, apart for each stage, so that treatments of which a stage is large share its luck. An
    outlier takes `slowed` times as long.
    """

    name: str
    shape: str = "normal"
    run_spread: tuple[float, float] = (0.07, 0.07)
    task_spread: float = 0.15
    block_spread: float = BLOCK_SPREAD
    slowed: float = 1.0

    def draw(self, rng: np.random.Generator, spread: Numbers, size: Sequence[int]) -> Numbers:
        """Draw factors of the times."""
        if self.shape == "exponential":
            return 1 + spread * rng.standard_exponential(size)
        factors: Numbers = np.exp(spread * rng.standard_normal(size))
        return factors

    @property
    def spreads_are_equal(self) -> bool:
        """Whether all treatments have the same spread."""
        return self.run_spread[0] == self.run_spread[1]

    @property
    def undisturbed(self) -> Scenario:
        """The same scenario without outliers."""
        return replace(self, slowed=1.0)


SCENARIOS = (
    Scenario(name="normal"),
    Scenario(name="exponential delays", shape="exponential"),
    Scenario(name="10 % outliers", slowed=1.5),
    Scenario(name="unequal spread", run_spread=(0.02, 0.20)),
    Scenario(name="uneven blocks", block_spread=0.10),
)


class Runs(NamedTuple):
    """Makespans, and stage efficiencies of cpu_bound: studies x treatments x blocks."""

    makespan_s: Numbers
    efficiency: Numbers


def simulate(
    rng: np.random.Generator,
    scenario: Scenario,
    treatments: Sequence[Treatment],
    studies: int,
    blocks: int,
) -> Runs:
    """Simulate studies, each treatment once in every block."""
    sizes = [min(STUDIES_AT_ONCE, studies - done) for done in range(0, studies, STUDIES_AT_ONCE)]
    parts = [_simulate_some(rng, scenario, treatments, size, blocks) for size in sizes]
    return Runs(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _simulate_some(
    rng: np.random.Generator,
    scenario: Scenario,
    treatments: Sequence[Treatment],
    studies: int,
    blocks: int,
) -> Runs:
    place = (studies, len(treatments), blocks)
    stages = list(_draw_factors(rng, scenario, place))
    hand_over = HAND_OVER_S * rng.standard_exponential((*place, TASKS))
    makespan_s, efficiency = np.empty(place), np.empty(place)
    for workers in {treatment.workers for treatment in treatments}:
        own = [index for index, each in enumerate(treatments) if each.workers == workers]
        seconds = np.array([treatments[index].service_s for index in own])[:, None, None]
        factors = [stage[:, own] for stage in stages]
        arrivals = none = np.zeros_like(factors[0])
        _, arrivals = pass_stage(arrivals, OTHERS_S * factors[0], OTHERS_WORKERS, none)
        service = seconds * factors[1]
        waiting, arrivals = pass_stage(arrivals, service, workers, hand_over[:, own])
        busy = service.sum(axis=-1)
        efficiency[:, own] = busy / (busy + waiting.sum(axis=-1))
        _, arrivals = pass_stage(arrivals, OTHERS_S * factors[2], OTHERS_WORKERS, none)
        makespan_s[:, own] = arrivals.max(axis=-1)
    return Runs(makespan_s, efficiency)


def _draw_factors(
    rng: np.random.Generator, scenario: Scenario, place: tuple[int, int, int]
) -> Iterator[Numbers]:
    """Yield, for each of the three stages, the factor of every task: block x run x task."""
    studies, treatments, blocks = place
    spread = np.linspace(*scenario.run_spread, treatments)[:, None]
    for _ in range(3):
        block = np.exp(scenario.block_spread * rng.standard_normal((studies, 1, blocks)))
        run = scenario.draw(rng, spread, place)
        run[rng.random(place) < OUTLIERS] *= scenario.slowed
        task = scenario.draw(rng, np.array(scenario.task_spread), (*place, TASKS))
        yield (block * run)[..., None] * task


def pass_stage(
    arrivals: Numbers, service: Numbers, workers: int, hand_over: Numbers
) -> tuple[Numbers, Numbers]:
    """Serve tasks (the last axis) first come first served; return waiting times and completions."""
    arrivals = np.sort(arrivals, axis=-1)
    free = np.zeros((*arrivals.shape[:-1], workers))
    waiting, completed = np.empty_like(arrivals), np.empty_like(arrivals)
    for task in range(arrivals.shape[-1]):
        next_free = free.argmin(axis=-1)[..., None]
        ready = np.maximum(arrivals[..., task], np.take_along_axis(free, next_free, -1)[..., 0])
        begun = ready + hand_over[..., task]
        waiting[..., task] = begun - arrivals[..., task]
        completed[..., task] = begun + service[..., task]
        np.put_along_axis(free, next_free, completed[..., task, None], -1)
    return waiting, completed


class Sizes(NamedTuple):
    """How many studies a benchmark simulates, and how many for the truth."""

    seed: int
    studies: int
    truths: int


def read_sizes(about: str | None) -> Sizes:
    """Read the command line of a benchmark; `about` is its docstring."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the studies")
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--truth-studies", type=int, default=20_000, help="studies for the truth")
    options = parser.parse_args()
    share = 10 if options.quick else 1
    return Sizes(options.seed, options.studies // share, options.truth_studies // share)
