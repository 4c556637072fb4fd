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
none is. Two rows have no bar: means of seconds, which nothing is judged by, and treatments of one
mean and several spreads, which cannot be one treatment.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from benchmarks.coverage import check_coverage, tabulate_coverage
from benchmarks.false_findings import check_false_findings, tabulate_false_findings
from benchmarks.nested_data import SCENARIOS
from benchmarks.real_aa import count_real_findings, make_config


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


if __name__ == "__main__":
    main()
