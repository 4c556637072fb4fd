"""How often `compare` finds what is not there, and misses what is.

    python -m benchmarks.comparing            # simulated, two minutes on one core
    python -m benchmarks.comparing --quick    # a tenth of the pairs: too few to judge
    python -m benchmarks.comparing --real     # small studies, run again and again: half an hour

A simulated study has 18 treatments of the published size in blocks (`benchmarks/nested_data.py`).
**A/A**: a study is compared with another one of the same treatments; a pair of studies counts as
false if any treatment is found slower or faster. **Slower**: in the second study the handler of t1
takes 10 % longer. Its spreads are those of the default study here, by run and by block: those by
which `nested_data` judges intervals are three times as large, and hide 10 % at five blocks.
**Campaigns**: every campaign is faster or slower as a whole, by 1 or 2 %. A single one does not
show that: intervals allow for 1 %, so that the row of 2 % has no bar. Where there are several,
their means are compared.

Exits with 1 if more than 5 % of A/A pairs are false, by more than the Monte Carlo error, or if the
slower handler is missed in more than one of ten by single campaigns that do not differ.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from benchmarks.comparing_real import compare_real_studies
from benchmarks.markdown import format_share, format_table
from benchmarks.nested_data import PUBLISHED, SCENARIOS, Scenario, simulate
from scipy import stats

from stagebench.compare.findings import CAMPAIGNS_DIFFER
from stagebench.compare.samples import Sample, compare_samples
from stagebench.tables.decisions import WORDS_OF_ORDER
from stagebench.tables.quantities import HIGHER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.nested_data import Treatment
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

MOST_FALSE = 0.05
LEAST_FOUND = 0.9
MARGIN = 0.05
SLOWER = 1.1
WIDER_SPREAD = 2 * CAMPAIGNS_DIFFER

AS_MEASURED = Scenario(
    name="as measured here", run_spread=(0.02, 0.02), task_spread=0.05, block_spread=0.01
)


class Case(NamedTuple):
    """Pairs of studies: blocks of each campaign, and campaigns of both sides."""

    scenario: Scenario
    blocks: int
    campaigns: tuple[int, int] = (1, 1)
    campaign_spread: float = 0.0
    has_bar: bool = True


class Rates(NamedTuple):
    """Of so many pairs, those with a false finding, and those in which t1 was found slower."""

    case: Case
    pairs: int
    false: int
    found: int

    @property
    def is_too_high(self) -> bool:
        """Whether too many are false, by more than the Monte Carlo error."""
        limits = stats.binomtest(self.false, self.pairs).proportion_ci()
        return self.case.has_bar and bool(limits.low > MOST_FALSE)

    @property
    def is_missed(self) -> bool:
        """Whether the slower handler is found too seldom, where it must be found."""
        is_judged = self.case.scenario is AS_MEASURED and self.case.blocks >= 5
        is_single = self.case.campaigns == (1, 1) and not self.case.campaign_spread
        return is_judged and is_single and self.found < LEAST_FOUND * self.pairs


CASES = (
    *(Case(AS_MEASURED, blocks) for blocks in (3, 5, 10)),
    *(Case(scenario, 5, has_bar=scenario.spreads_are_equal) for scenario in SCENARIOS),
    Case(AS_MEASURED, 5, (1, 1), CAMPAIGNS_DIFFER),
    Case(AS_MEASURED, 5, (1, 1), WIDER_SPREAD, has_bar=False),
    Case(AS_MEASURED, 5, (4, 4), WIDER_SPREAD),
    Case(AS_MEASURED, 5, (8, 1), WIDER_SPREAD),
)


def main() -> None:
    """Run the requested checks and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pairs")
    parser.add_argument("--real", action="store_true", help="run small studies")
    options = parser.parse_args()
    if options.real:
        sys.exit(compare_real_studies())
    pairs = options.pairs // 10 if options.quick else options.pairs
    found = list(check_cases(CASES, options.seed, pairs))
    print(tabulate(found))
    sys.exit(any(one.is_too_high or one.is_missed for one in found))


def check_cases(cases: Sequence[Case], seed: int, pairs: int) -> Iterator[Rates]:
    """Simulate all cases, each with random numbers of its own."""
    seeds = np.random.SeedSequence(seed).spawn(len(cases))
    for case, own in zip(cases, seeds, strict=True):
        yield check_case(case, np.random.default_rng(own), pairs)


def check_case(case: Case, rng: np.random.Generator, pairs: int) -> Rates:
    """Compare pairs of studies that do the same, and pairs in which t1 is slower."""
    slower = [PUBLISHED[0]._replace(service_s=SLOWER * PUBLISHED[0].service_s), *PUBLISHED[1:]]
    base, same, changed = (
        _simulate(case, rng, treatments, pairs, number)
        for treatments, number in (
            (PUBLISHED, case.campaigns[0]),
            (PUBLISHED, case.campaigns[1]),
            (slower, case.campaigns[1]),
        )
    )
    false = found = 0
    for pair in range(pairs):
        to = _make_sample(base[pair], case, "base")
        outcomes = _list_outcomes(_make_sample(same[pair], case, "other"), to)
        false += any(outcome in WORDS_OF_ORDER for outcome in outcomes)
        found += _list_outcomes(_make_sample(changed[pair], case, "other"), to)[0] == HIGHER
    return Rates(case, pairs, false, found)


def _simulate(
    case: Case,
    rng: np.random.Generator,
    treatments: Sequence[Treatment],
    pairs: int,
    campaigns: int,
) -> Numbers:
    """Return logarithms of makespans: pairs × treatments × blocks of all campaigns."""
    runs = simulate(rng, case.scenario, treatments, pairs, case.blocks * campaigns)
    shifts = case.campaign_spread * rng.standard_normal((pairs, 1, campaigns))
    return np.asarray(np.log(runs.makespan_s) + np.repeat(shifts, case.blocks, axis=-1))


def _make_sample(values: Numbers, case: Case, side: str) -> Sample:
    places = tuple(
        (1 + place % case.blocks, f"{side} {place // case.blocks}", "")
        for place in range(values.shape[-1])
    )
    return Sample(values, values, places, np.ones(len(values)), np.ones(len(values)))


def _list_outcomes(of: Sample, to: Sample) -> list[str]:
    changes = compare_samples(of, to, campaigns_differ=CAMPAIGNS_DIFFER)
    return [one.outcome(MARGIN) for one in changes if one is not None]


def tabulate(found: Sequence[Rates]) -> str:
    """Format a row per case."""
    header = ["scenario", "blocks", "campaigns", "they differ by", "pairs"]
    header += ["false finding", "its 95 % interval", "t1 10 % slower found", ""]
    return format_table(header, map(_tabulate_case, found))


def _tabulate_case(one: Rates) -> list[str]:
    case = one.case
    limits = stats.binomtest(one.false, one.pairs).proportion_ci()
    notes = ["too many false"] * one.is_too_high + ["missed"] * one.is_missed
    return [
        case.scenario.name,
        str(case.blocks),
        f"{case.campaigns[0]} and {case.campaigns[1]}",
        format_share(case.campaign_spread, 0),
        f"{one.pairs:,}",
        format_share(one.false / one.pairs),
        f"{format_share(limits.low)} to {format_share(limits.high)}",
        format_share(one.found / one.pairs),
        ", ".join(notes) or ("" if case.has_bar else "no bar"),
    ]


if __name__ == "__main__":
    main()
