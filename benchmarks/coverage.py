"""How often the intervals of the analysis include the truth of simulated studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from benchmarks.many_intervals import (
    Limits,
    bootstrap_limits,
    difference_limits,
    mean_limits,
    ratio_limits,
    unpaired_ratio_limits,
)
from benchmarks.markdown import format_share, format_table
from benchmarks.nested_data import PUBLISHED, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.nested_data import Runs, Scenario
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

LEAST_COVERAGE = 0.93

BLOCKS = (3, 5, 10)
TRUTH_BLOCKS = 3

BOOTSTRAPPED = slice(None, None, 6)
"""The bootstrap is slow, so it gets every sixth treatment only."""


class Truth(NamedTuple):
    """The long-run means of log makespan, makespan and efficiency, for every treatment."""

    log_makespan: Numbers
    makespan_s: Numbers
    efficiency: Numbers


class Coverage(NamedTuple):
    """The coverage of one kind of interval in one cell.

    Widths are medians, relative for ratios and in points otherwise. `error` is half the width of a
    95 % interval over studies; `worst` is the lowest coverage of a treatment.
    """

    interval: str
    share: float
    error: float
    worst: float
    width: float
    scenario: str = ""
    blocks: int = 0
    bootstrap: float | None = None
    bootstrap_width: float | None = None
    has_bar: bool = True

    @property
    def is_too_low(self) -> bool:
        """Whether the bar is missed."""
        return self.has_bar and self.share < LEAST_COVERAGE


def check_coverage(
    scenario: Scenario, seed: np.random.SeedSequence, studies: int, truths: int
) -> Iterator[Coverage]:
    """Yield the coverage of every kind of interval at every number of blocks.

    If a scenario has outliers, also yield it, without a bar, for a truth that includes them.
    """
    rng, other = (np.random.default_rng(each) for each in (seed, *seed.spawn(1)))
    truth = _simulate_truth(rng, scenario.undisturbed, truths)
    disturbed = _simulate_truth(other, scenario, truths) if scenario.slowed != 1 else None
    for blocks in BLOCKS:
        runs = simulate(rng, scenario, PUBLISHED, studies, blocks)
        yield from _cover(rng, scenario.name, runs, truth)
        if disturbed is not None:
            for cell in _cover(other, f"{scenario.name}, a part of the truth", runs, disturbed):
                yield cell._replace(has_bar=False)


def _simulate_truth(rng: np.random.Generator, scenario: Scenario, studies: int) -> Truth:
    makespan_s, efficiency = simulate(rng, scenario, PUBLISHED, studies, TRUTH_BLOCKS)
    values = np.log(makespan_s), makespan_s, efficiency
    return Truth(*(each.mean(axis=(0, 2)) for each in values))


def _cover(rng: np.random.Generator, scenario: str, runs: Runs, truth: Truth) -> Iterator[Coverage]:
    blocks = runs.makespan_s.shape[-1]
    cells = (*_cover_makespans(rng, runs.makespan_s, truth), *_cover_shares(rng, runs, truth))
    for cell in cells:
        yield cell._replace(scenario=scenario, blocks=blocks)


def _cover_makespans(
    rng: np.random.Generator, makespan_s: Numbers, truth: Truth
) -> Iterator[Coverage]:
    ratio = np.exp(truth.log_makespan[1:] - truth.log_makespan[0])
    base, others = makespan_s[:, :1], makespan_s[:, 1:]
    logs = bootstrap_limits(rng, np.log(others / base)[:, BOOTSTRAPPED])
    contrast = Limits(np.exp(logs.low), np.exp(logs.high))
    yield _describe(
        "ratio, paired (makespan)", ratio_limits(others, base), ratio, _relative
    )._replace(
        bootstrap=float(_holds(contrast, ratio[BOOTSTRAPPED]).mean()),
        bootstrap_width=_relative(contrast),
    )
    # The baseline of the next study has no block in common with this one.
    unpaired = unpaired_ratio_limits(others, np.roll(base, 1, axis=0))
    yield _describe("ratio, unpaired (makespan)", unpaired, ratio, _relative)
    seconds = _describe("mean (seconds)", mean_limits(makespan_s), truth.makespan_s, _relative)
    yield seconds._replace(has_bar=False)


def _cover_shares(rng: np.random.Generator, runs: Runs, truth: Truth) -> Iterator[Coverage]:
    shares, true = runs.efficiency, truth.efficiency
    contrast = bootstrap_limits(rng, shares[:, BOOTSTRAPPED])
    yield _describe("mean (stage efficiency)", mean_limits(shares), true, _absolute)._replace(
        bootstrap=float(_holds(contrast, true[BOOTSTRAPPED]).mean()),
        bootstrap_width=_absolute(contrast),
    )
    limits = difference_limits(shares[:, 1:], shares[:, :1])
    yield _describe("difference, paired (stage efficiency)", limits, true[1:] - true[0], _absolute)


def _describe(
    interval: str, limits: Limits, truth: Numbers, width: Callable[[Limits], float]
) -> Coverage:
    """Average per study first: the treatments of a study share its blocks and baseline."""
    holds = _holds(limits, truth)
    by_study = holds.mean(axis=1)
    return Coverage(
        interval=interval,
        share=float(by_study.mean()),
        error=float(1.96 * by_study.std(ddof=1) / np.sqrt(len(by_study))),
        worst=float(holds.mean(axis=0).min()),
        width=width(limits),
    )


def _holds(limits: Limits, truth: Numbers) -> NDArray[np.bool_]:
    holds: NDArray[np.bool_] = (limits.low <= truth) & (truth <= limits.high)
    return holds


def _relative(limits: Limits) -> float:
    return float(np.median((limits.high - limits.low) / np.sqrt(limits.high * np.abs(limits.low))))


def _absolute(limits: Limits) -> float:
    return float(np.median(limits.high - limits.low))


def tabulate_coverage(cells: list[Coverage]) -> str:
    """Format a row per cell."""
    header = ["scenario", "blocks", "interval", "coverage", "Monte Carlo ±", "over 95 %"]
    header += ["worst treatment", "median width", "bootstrap", "its width", ""]
    rows = [
        [
            cell.scenario,
            str(cell.blocks),
            cell.interval,
            format_share(cell.share),
            format_share(cell.error, 2),
            f"{100 * (cell.share - 0.95):+.1f}",
            format_share(cell.worst),
            format_share(cell.width),
            format_share(cell.bootstrap),
            format_share(cell.bootstrap_width),
            "too low" if cell.is_too_low else "" if cell.has_bar else "no bar",
        ]
        for cell in cells
    ]
    return format_table(header, rows)
