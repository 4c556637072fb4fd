"""Whether studies that stop when they are precise enough may be believed, and what they save.

    python -m benchmarks.sequential            # simulated, some minutes on one core
    python -m benchmarks.sequential --quick    # a tenth of the studies: too few to judge

Studies of `benchmarks/nested_data.py` are looked at after 5 blocks, then as `stagebench run` looks,
up to 30. A treatment gets no more blocks once its interval is as narrow as wanted. **All hold** is
the share of studies whose final intervals all include the truth, **each** that of single intervals;
**false** is the share of studies of equal treatments that find a difference. **Runs** is the mean
number of runs of a treatment, the baseline included, and **fixed** the number of blocks after which
as many studies with fixed blocks, and usual intervals, have all of them as narrow.

Three levels compete: the usual one (5 %), the one that the analysis takes (`LOOKED_ALPHA`), and one
that holds whatever the reason to stop (a Pocock boundary over all looks). Exits with 1 if with that
of the analysis a single interval covers less than 94 %, if more than 5 % of families find a false
difference (by more than the Monte Carlo error), or if the mean number of runs is above 60 % of the
fixed number, over all cases in which at least 90 % of the intervals became as narrow as wanted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from benchmarks.families import FAMILIES
from benchmarks.many_intervals import make_balanced
from benchmarks.markdown import format_share, format_table
from benchmarks.nested_data import EQUAL, PUBLISHED, SCENARIOS, read_sizes, simulate
from scipy import special, stats

from stagebench.analyse.simultaneous import share_spread, single_level
from stagebench.analyse.stopping import count_next
from stagebench.blocks import LOOKED_ALPHA
from stagebench.design.grid import AT_LEAST, AT_MOST
from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.nested_data import Scenario
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Counts = NDArray[np.int64]

LEAST_COVERAGE = 0.94
MOST_FALSE = 0.05
MOST_RUNS = 0.60
REACHED = 0.90
"""A case counts for the saving if so many intervals became as narrow as wanted."""

FIRST, LAST = AT_LEAST, AT_MOST
LONGEST = 60
"""Studies with a fixed number of blocks have at most so many."""

WANTED = (0.10, 0.15, 0.20)
CHOSEN = ("17 ratios to the baseline", "5 ratios to the baseline", "2 ratios to the baseline")

USUAL, LOOKED, ANY_REASON = "usual", "analysis", "any reason to stop"


class Ended(NamedTuple):
    """Studies that have ended: blocks, means and half-widths of logarithms, all by contrast."""

    blocks: Counts
    mean: Numbers
    reach: Numbers


class Sums(NamedTuple):
    """Sums of values and of their squares, up to each block."""

    values: Numbers
    squares: Numbers


class Case(NamedTuple):
    """What one rule did in one scenario with one half-width wanted."""

    scenario: str
    family: str
    wanted: float
    rule: str
    each: float
    together: float
    false: int
    studies: int
    narrow: float
    runs: float
    fixed: int | None

    @property
    def ratio(self) -> float | None:
        """The runs as a share of those with a fixed number of blocks, where both are as precise."""
        if self.fixed is None or self.narrow < REACHED:
            return None
        return self.runs / self.fixed

    @property
    def is_wrong(self) -> bool:
        """Whether the analysis's rule covers too little or finds too much."""
        limits = stats.binomtest(self.false, self.studies).proportion_ci()
        missed = self.each < LEAST_COVERAGE or limits.low > MOST_FALSE
        return self.rule == LOOKED and bool(missed)


def list_looks(first: int = FIRST, last: int = LAST) -> list[int]:
    """Return the numbers of blocks after which a study is looked at."""
    looks = [first]
    while looks[-1] < last:
        looks.append(min(last, looks[-1] + count_next(looks[-1])))
    return looks


def add_up(values: Numbers) -> Sums:
    """Add up studies × contrasts × blocks, as far as each block."""
    return Sums(values.cumsum(axis=-1), (values**2).cumsum(axis=-1))


def stop_when_narrow(
    sums: Sums, size: Numbers, levels: Mapping[int, float], wanted: float
) -> Ended:
    """Stop every contrast of studies when its interval is narrow.

    `levels` has the level of an interval by its number of blocks, those of all looks.
    """
    table = np.zeros(max(levels) + 1)
    table[list(levels)] = list(levels.values())
    looks = [look for look in list_looks(min(levels)) if look in levels]
    blocks = np.full(sums.values.shape[:2], looks[0])
    is_open = np.ones(blocks.shape, dtype=bool)
    for look in looks:
        blocks = np.where(is_open, look, blocks)
        ended = _estimate(sums, blocks, size, table[blocks])
        is_open &= np.expm1(ended.reach) > wanted
    return ended


def _estimate(sums: Sums, blocks: Counts, size: Numbers, level: Numbers) -> Ended:
    """Return the intervals of contrasts after so many blocks of each."""
    places = (blocks - 1)[..., None]
    total, squares = (np.take_along_axis(one, places, -1)[..., 0] for one in sums)
    mean = total / blocks
    variance = np.maximum(squares - blocks * mean**2, 0) / (blocks - 1)
    freedom = blocks.astype(np.float64) - 1
    spread = share_spread(variance, freedom, np.broadcast_to(size, variance.shape))
    quantile = special.stdtrit(spread.freedom, 1 - level / 2)
    return Ended(blocks, mean, quantile * np.sqrt(spread.variance / blocks))


def find_any_reason_level(weights: Numbers, studies: int) -> float:
    """Return the level at which all intervals of all looks hold together."""
    rng, size = np.random.default_rng(1), (weights**2).sum(axis=-1)
    runs = rng.standard_normal((studies, weights.shape[1], LAST))
    values = np.einsum("ct,stb->scb", weights, runs)
    smallest = np.ones(studies)
    for look in list_looks():
        mean = values[..., :look].mean(axis=-1)
        variance: Numbers = values[..., :look].var(axis=-1, ddof=1)
        spread = share_spread(variance, np.full(variance.shape, look - 1.0), size)
        statistic = np.abs(mean) / np.sqrt(spread.variance / look)
        smallest = np.minimum(smallest, (2 * special.stdtr(spread.freedom, -statistic)).min(-1))
    return float(np.quantile(smallest, ALPHA))


def check_stopping(
    scenario: Scenario, seed: np.random.SeedSequence, studies: int, truths: int
) -> Iterator[Case]:
    """Yield what every rule does in one scenario."""
    rng = np.random.default_rng(seed)
    long_run = simulate(rng, scenario.undisturbed, PUBLISHED, truths, FIRST).makespan_s
    truth = np.log(long_run).mean(axis=(0, 2))
    different = np.log(simulate(rng, scenario, PUBLISHED, studies, LONGEST).makespan_s)
    equal = np.log(simulate(rng, scenario, EQUAL, studies, LAST).makespan_s)
    for family in CHOSEN:
        weights = FAMILIES[family]
        size = (weights**2).sum(axis=-1)
        values, alike = (
            add_up(np.einsum("ct,stb->scb", weights, some)) for some in (different, equal)
        )
        shape = values.values.shape[:2]
        layouts = {n: make_balanced(weights, n) for n in range(FIRST, LONGEST + 1)}
        usual = {n: single_level(layout) for n, layout in layouts.items()}
        looked = {n: single_level(layouts[n], LOOKED_ALPHA) for n in list_looks()}
        always = dict.fromkeys(list_looks(), find_any_reason_level(weights, 4000))
        fixed = [
            _estimate(values, np.full(shape, n), size, np.full(shape, level))
            for n, level in usual.items()
        ]
        for wanted in WANTED:
            shares = [_all_narrow(one, wanted) for one in fixed]
            narrow_after = dict(zip(usual, shares, strict=True))
            for rule, levels in ((USUAL, usual), (LOOKED, looked), (ANY_REASON, always)):
                ended = stop_when_narrow(values, size, levels, wanted)
                aa = stop_when_narrow(alike, size, levels, wanted)
                holds = np.abs(ended.mean - weights @ truth) <= ended.reach
                reached = _all_narrow(ended, wanted)
                blocks = ended.blocks
                yield Case(
                    scenario=scenario.name,
                    family=family,
                    wanted=wanted,
                    rule=rule,
                    each=float(holds.mean()),
                    together=float(holds.all(axis=-1).mean()),
                    false=int((np.abs(aa.mean) > aa.reach).any(axis=-1).sum()),
                    studies=studies,
                    narrow=float((np.expm1(ended.reach) <= wanted).mean()),
                    # The baseline has as many as the treatment with the most.
                    runs=float(
                        ((blocks.sum(axis=-1) + blocks.max(axis=-1)) / (len(weights) + 1)).mean()
                    ),
                    fixed=_find_fixed(narrow_after, reached),
                )


def _all_narrow(ended: Ended, wanted: float) -> float:
    return float((np.expm1(ended.reach) <= wanted).all(axis=-1).mean())


def _find_fixed(narrow_after: Mapping[int, float], reached: float) -> int | None:
    """Return the first number of blocks after which as many studies are narrow."""
    return next((n for n, share in narrow_after.items() if share >= reached), None)


def mean_ratio(cases: Sequence[Case], rule: str) -> float:
    """Return the mean share of runs that a rule needs, of those with fixed blocks."""
    own = [one.ratio for one in cases if one.rule == rule]
    return float(np.mean([ratio for ratio in own if ratio is not None]))


def tabulate_stopping(cases: Sequence[Case]) -> str:
    """Format a row per case."""
    header = ["scenario", "family", "wanted ±", "level", "each", "all hold", "false", "narrow"]
    header += ["runs", "fixed", "share", ""]
    rows = [
        [
            one.scenario,
            one.family,
            format_share(one.wanted, 0),
            one.rule,
            format_share(one.each),
            format_share(one.together),
            format_share(one.false / one.studies),
            format_share(one.narrow),
            f"{one.runs:.1f}",
            "–" if one.fixed is None else str(one.fixed),
            "–" if one.ratio is None else format_share(one.ratio, 0),
            "missed" if one.is_wrong else "",
        ]
        for one in cases
    ]
    return format_table(header, rows)


def main() -> None:
    """Run the checks and print the table."""
    begin, studies, truths = read_sizes(__doc__)
    seeds = np.random.SeedSequence(begin).spawn(len(SCENARIOS))
    cases = [
        case
        for scenario, seed in zip(SCENARIOS, seeds, strict=True)
        for case in check_stopping(scenario, seed, studies, truths)
    ]
    print(tabulate_stopping(cases))
    ratios = {rule: mean_ratio(cases, rule) for rule in (USUAL, LOOKED, ANY_REASON)}
    for rule, share in ratios.items():
        print(f"{rule}: {format_share(share, 0)} of the runs with fixed blocks, on average")
    sys.exit(round(ratios[LOOKED], 2) > MOST_RUNS or any(one.is_wrong for one in cases))


if __name__ == "__main__":
    main()
