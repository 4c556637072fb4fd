"""Whether our own statistics hold: coverage of every interval, and false findings where none are.

    python -m benchmarks.statistics_check            # simulated, a few minutes on one core
    python -m benchmarks.statistics_check --quick    # a tenth of the studies: no judgement
    python -m benchmarks.statistics_check --real     # one treatment under 11 names, really run

Simulated studies (`benchmarks/nested_data.py`) have the published experiment's size: 18 treatments,
20 tasks, three stages, in blocks. **Coverage** is the share of intervals that hold the truth, over
all treatments; its Monte Carlo error is that of 95 % limits over studies. The truth is what
undisturbed runs come to in the long run: an outlier is a run that something else slowed down.
**A/A studies** have one treatment under 18 names: a difference that they find is false; where all
but the baseline are made 5 % larger, an equivalence is. Exits with 1 where a coverage is below
93 %, or more than 5 % of the families of tests (one quantity of a study) claim a difference where
none is.
"""

from __future__ import annotations

import argparse
import sys
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
from benchmarks.nested_data import EQUAL, PUBLISHED, SCENARIOS, simulate
from benchmarks.real_aa import count_real_findings, make_config
from benchmarks.words import EQUIVALENT, INCONCLUSIVE, find_words
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.nested_data import Runs, Scenario
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

LEAST_COVERAGE = 0.93
MOST_FALSE = 0.05
MARGIN = 0.05

BLOCKS = (3, 5, 10)
AA_BLOCKS = 5
TRUTH_BLOCKS = 3
BOOTSTRAPPED_EACH = 6
"""The bootstrap is slow: every sixth treatment has to do."""

SHIFTED_EACH = 5
"""So are words: of every fifth study false equivalences are counted, too."""


class Truth(NamedTuple):
    """Of every treatment: long-run means of the logarithm of the makespan, and of efficiency."""

    log_makespan: Numbers
    makespan_s: Numbers
    efficiency: Numbers


class Coverage(NamedTuple):
    """One kind of interval in one cell; widths are medians, relative to ratios or in points.

    `error` is half the width of a 95 % interval over studies, `worst` the least of a treatment.
    """

    scenario: str
    blocks: int
    interval: str
    share: float
    error: float
    worst: float
    width: float
    bootstrap: float | None = None
    bootstrap_width: float | None = None
    has_bar: bool = True

    @property
    def is_too_low(self) -> bool:
        """Whether the bar is missed."""
        return self.has_bar and self.share < LEAST_COVERAGE


class FalseFindings(NamedTuple):
    """Studies in which nothing differs, those in which all is at the margin, and those that err."""

    scenario: str
    family: str
    studies: int
    different: int
    shifted: int
    equivalent: int

    @property
    def is_too_high(self) -> bool:
        """Whether the bar is missed."""
        return self.different > MOST_FALSE * self.studies


def main() -> None:
    """Check what was asked for, print the tables."""
    options = parse_options()
    if options.real:
        sys.exit(check_real(options))
    sizes = (options.studies, options.truth_studies, options.aa_studies)
    studies, truths, aa_studies = (size // 10 if options.quick else size for size in sizes)
    seeds = np.random.SeedSequence(options.seed).spawn(2 * len(SCENARIOS))
    covered = [
        cell
        for scenario, seed in zip(SCENARIOS, seeds, strict=False)
        for cell in check_coverage(scenario, seed, studies, truths)
    ]
    print(tabulate_coverage(covered), flush=True)
    found = [
        family
        for scenario, seed in zip(SCENARIOS, seeds[len(SCENARIOS) :], strict=True)
        for family in check_false_findings(scenario, seed, aa_studies)
    ]
    print(tabulate_false_findings(found))
    is_missed = any(cell.is_too_low for cell in covered) or any(f.is_too_high for f in found)
    sys.exit(is_missed)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the studies")
    parser.add_argument("--studies", type=int, default=4000, help="for coverage")
    parser.add_argument("--truth-studies", type=int, default=20_000, help="that tell the truth")
    parser.add_argument("--aa-studies", type=int, default=5000)
    parser.add_argument("--real", action="store_true", help="run a study of equal treatments")
    parser.add_argument("--names", type=int, default=11, help="of the real one: names")
    parser.add_argument("--blocks", type=int, default=5, help="of the real one: blocks")
    parser.add_argument("--tasks", type=int, default=20, help="of the real one: tasks")
    parser.add_argument(
        "--elements", type=int, default=1_000_000, help="of the real one: their size"
    )
    return parser.parse_args()


def check_real(options: argparse.Namespace) -> bool:
    """Run a real A/A study; tells whether it found anything."""
    size = options.names, options.blocks, options.tasks, options.elements
    findings = count_real_findings(make_config(*size, seed=options.seed))
    print(f"{findings.false} findings in {findings.comparisons} comparisons of equal treatments")
    return findings.false > 0


def check_coverage(
    scenario: Scenario, seed: np.random.SeedSequence, studies: int, truths: int
) -> Iterator[Coverage]:
    """Yield every kind of interval at every number of blocks."""
    rng = np.random.default_rng(seed)
    runs = simulate(rng, scenario.undisturbed, PUBLISHED, truths, TRUTH_BLOCKS)
    axes = (0, 2)
    log_makespan = np.log(runs.makespan_s).mean(axis=axes)
    truth = Truth(log_makespan, runs.makespan_s.mean(axis=axes), runs.efficiency.mean(axis=axes))
    for blocks in BLOCKS:
        runs = simulate(rng, scenario, PUBLISHED, studies, blocks)
        yield from _cover(rng, scenario.name, runs, truth)


def _cover(rng: np.random.Generator, scenario: str, runs: Runs, truth: Truth) -> Iterator[Coverage]:
    makespan_s, efficiency = runs
    place = scenario, makespan_s.shape[-1]
    ratio = np.exp(truth.log_makespan[1:] - truth.log_makespan[0])
    base, others = makespan_s[:, :1], makespan_s[:, 1:]
    limits = ratio_limits(others, base)
    some = slice(None, None, BOOTSTRAPPED_EACH)
    contrast = Limits(*map(np.exp, bootstrap_limits(rng, np.log(others / base)[:, some])))
    yield _describe(
        (*place, "ratio, paired (makespan)"), limits, ratio, _relative(limits)
    )._replace(bootstrap=_holds(contrast, ratio[some]).mean(), bootstrap_width=_relative(contrast))
    # The baseline of the next study has blocks of its own.
    limits = unpaired_ratio_limits(others, np.roll(base, 1, axis=0))
    yield _describe((*place, "ratio, unpaired (makespan)"), limits, ratio, _relative(limits))
    limits = mean_limits(efficiency)
    contrast = bootstrap_limits(rng, efficiency[:, some])
    yield _describe(
        (*place, "mean (stage efficiency)"), limits, truth.efficiency, _absolute(limits)
    )._replace(
        bootstrap=_holds(contrast, truth.efficiency[some]).mean(),
        bootstrap_width=_absolute(contrast),
    )
    limits = difference_limits(efficiency[:, 1:], efficiency[:, :1])
    difference = truth.efficiency[1:] - truth.efficiency[0]
    yield _describe(
        (*place, "difference, paired (stage efficiency)"), limits, difference, _absolute(limits)
    )
    limits = mean_limits(makespan_s)
    yield _describe(
        (*place, "mean (seconds)"), limits, truth.makespan_s, _relative(limits)
    )._replace(has_bar=False)


def _describe(
    place: tuple[str, int, str], limits: Limits, truth: Numbers, width: float
) -> Coverage:
    """Count over studies: treatments of one study share its blocks and its baseline."""
    holds = _holds(limits, truth)
    by_study = holds.mean(axis=1)
    error = 1.96 * by_study.std(ddof=1) / np.sqrt(len(by_study))
    return Coverage(*place, by_study.mean(), error, holds.mean(axis=0).min(), width)


def _holds(limits: Limits, truth: Numbers) -> NDArray[np.bool_]:
    holds: NDArray[np.bool_] = (limits.low <= truth) & (truth <= limits.high)
    return holds


def _relative(limits: Limits) -> float:
    return float(np.median((limits.high - limits.low) / np.sqrt(limits.high * np.abs(limits.low))))


def _absolute(limits: Limits) -> float:
    return float(np.median(limits.high - limits.low))


def check_false_findings(
    scenario: Scenario, seed: np.random.SeedSequence, studies: int
) -> Iterator[FalseFindings]:
    """Yield the families of tests: of makespans, and of stage efficiencies."""
    runs = simulate(np.random.default_rng(seed), scenario, EQUAL, studies, AA_BLOCKS)
    # Where spreads differ their logarithms' means do not; those of efficiencies hardly do.
    shift = np.full((len(EQUAL), 1), 1 + MARGIN)
    shift[0] = 1
    for family, values in runs._asdict().items():
        found = [set(find_words(study, MARGIN)) for study in values]
        shifted = [find_words(study * shift, MARGIN) for study in values[::SHIFTED_EACH]]
        yield FalseFindings(
            scenario=scenario.name,
            family=family,
            studies=studies,
            different=sum(bool(words - {EQUIVALENT, INCONCLUSIVE}) for words in found),
            shifted=len(shifted),
            equivalent=sum(EQUIVALENT in words for words in shifted),
        )


def tabulate_coverage(cells: list[Coverage]) -> str:
    """Format a row a cell."""
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


def tabulate_false_findings(families: list[FalseFindings]) -> str:
    """Format a row a family."""
    header = ["scenario", "family", "studies", "false difference", "its 95 % interval"]
    header += ["studies at the margin", "false equivalence", "its 95 % interval", ""]
    rows = [
        [
            each.scenario,
            each.family,
            f"{each.studies:,}",
            *_format_count(each.different, each.studies),
            f"{each.shifted:,}",
            *_format_count(each.equivalent, each.shifted),
            "too high" if each.is_too_high else "",
        ]
        for each in families
    ]
    return format_table(header, rows)


def _format_count(count: int, studies: int) -> list[str]:
    limits = stats.binomtest(count, studies).proportion_ci()
    return [
        format_share(count / studies, 2),
        f"{format_share(limits.low, 2)} to {format_share(limits.high, 2)}",
    ]


if __name__ == "__main__":
    main()
