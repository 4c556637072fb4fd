"""Whether our own statistics hold: coverage of every interval, and rates of false findings.

    python -m benchmarks.statistics_check            # simulated, a few minutes on one core
    python -m benchmarks.statistics_check --quick    # a tenth of the studies: too few to judge
    python -m benchmarks.statistics_check --real     # one treatment under 11 names, really run

Simulated studies (`benchmarks/nested_data.py`) have the size of the published experiment: 18
treatments, 20 tasks, three stages, in blocks. **Coverage** is the share of intervals that include
the truth, over all treatments; its Monte Carlo error is that of 95 % limits over studies. The truth
is the long-run value of undisturbed runs: an outlier is a run that something else slowed down.
**Families** are the intervals that stand beside words, those of ratios to the baseline and of
effects of factors: the share of studies in which all of a family include the truth.
**A/A studies** have one treatment under 18 names, so every difference that they find is false. If
all but the baseline are made 5 % larger, every equivalence is false. Exits with 1 if a coverage is
below 93 % (of a family by more than the Monte Carlo error), or if more than 5 % of the families
(one quantity of a study) claim a false difference, by more than that error. Two rows have no bar:
means of seconds, by which nothing is judged, and treatments with one mean but several spreads,
which cannot be one treatment.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from benchmarks.coverage import check_coverage, tabulate_coverage
from benchmarks.false_findings import check_false_findings, tabulate_false_findings
from benchmarks.families import check_families, tabulate_families
from benchmarks.nested_data import SCENARIOS
from benchmarks.real_aa import count_real_findings, make_config


def main() -> None:
    """Run the requested checks and print the tables."""
    options = parse_options()
    if options.real:
        sys.exit(check_real(options))
    sizes = (options.studies, options.truth_studies, options.aa_studies)
    studies, truths, aa_studies = (size // 10 if options.quick else size for size in sizes)
    seeds = np.random.SeedSequence(options.seed).spawn(3 * len(SCENARIOS))
    covered = [
        cell
        for scenario, seed in zip(SCENARIOS, seeds, strict=False)
        for cell in check_coverage(scenario, seed, studies, truths)
    ]
    print(tabulate_coverage(covered), flush=True)
    together = [
        cell
        for scenario, seed in zip(SCENARIOS, seeds[2 * len(SCENARIOS) :], strict=True)
        for cell in check_families(scenario, seed, studies, truths)
    ]
    print(tabulate_families(together), flush=True)
    found = [
        family
        for scenario, seed in zip(SCENARIOS, seeds[len(SCENARIOS) :], strict=False)
        for family in check_false_findings(scenario, seed, aa_studies)
    ]
    print(tabulate_false_findings(found))
    is_missed = any(cell.is_too_low for cell in covered) or any(
        cell.is_too_low for cell in together
    )
    sys.exit(is_missed or any(family.is_too_high for family in found))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the studies")
    parser.add_argument("--studies", type=int, default=4000, help="studies for coverage")
    parser.add_argument("--truth-studies", type=int, default=20_000, help="studies for the truth")
    parser.add_argument("--aa-studies", type=int, default=5000)
    parser.add_argument("--real", action="store_true", help="run a study of equal treatments")
    parser.add_argument("--names", type=int, default=11, help="names of the real study")
    parser.add_argument("--blocks", type=int, default=5, help="blocks of the real study")
    parser.add_argument("--tasks", type=int, default=20, help="tasks of the real study")
    parser.add_argument(
        "--elements", type=int, default=1_000_000, help="size of the tasks of the real study"
    )
    return parser.parse_args()


def check_real(options: argparse.Namespace) -> bool:
    """Run a real A/A study; return whether it found a difference."""
    size = options.names, options.blocks, options.tasks, options.elements
    findings = count_real_findings(make_config(*size, seed=options.seed))
    print(f"{findings.false} findings in {findings.comparisons} comparisons of equal treatments")
    return findings.false > 0


if __name__ == "__main__":
    main()
