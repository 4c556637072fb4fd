"""Whether intervals hold for studies whose blocks are of several nodes, and what that costs.

    python -m benchmarks.nodes            # simulated, some minutes on one core
    python -m benchmarks.nodes --quick    # a tenth of the studies: too few to judge

Runs are those of `benchmarks/nested_data.py`; beside that, every node makes each treatment slower
or faster in all of its blocks. How much nodes differ is the variance that this gives to the
logarithm of a ratio, as a multiple of that between blocks of one node: 0, a half, the same, four
times. It comes in several ways: to each treatment by itself, to groups of treatments, to all by
degrees, to the baseline alone.

**Single intervals**: the share that includes the truth, by four rules. *Blocks* takes all blocks
for independent. *Analysis of variance* estimates both variances, with Satterthwaite's degrees of
freedom; *pretest* takes nodes into account only where a test at 25 % finds that they differ.
*Nodes*, the analysis's own, takes the mean of each node for one value. **Families**: the share of
studies in which all intervals include the truth, and of studies of equal treatments that find a
difference; **price** is how many times as wide as those of *blocks* the intervals are where nodes
do not differ. Exits with 1 if by the analysis's rule a coverage is below 94 %, or more than 5 % of
families find a false difference, by more than the Monte Carlo error.
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

from stagebench.analyse.simultaneous import (
    Layout,
    share_between_nodes,
    share_spread,
    single_level,
)
from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.nested_data import Scenario
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

LEAST_COVERAGE = 0.94
MOST_FALSE = 0.05
MARGIN = 0.05

NODES = (
    *((1, 2), (5, 5), (2, 10)),
    *((3, 3, 3), (2, 3, 10)),
    *((5,) * 4, (2, 2, 3, 10)),
    *((2,) * 8, (5,) * 8, (2, 3, 4, 5, 6, 7, 8, 10)),
)
"""Blocks of each node."""

RATIOS = (0.0, 0.5, 1.0, 4.0)
"""How many times as much as blocks nodes differ."""

CONFIDENCE = 0.999
"""Of the Monte Carlo error of a family: each is the worst of four ways, and there are 480."""

MANY = 50
"""A family with more intervals is judged by a quarter of the studies."""
BLOCKS, VARIANCES, PRETEST, OWN = "blocks", "analysis of variance", "pretest", "nodes"
PRETEST_ALPHA = 0.25


def _describe_ways(treatments: int) -> dict[str, Numbers]:
    """Return ways in which nodes differ: how much each cause moves each treatment."""
    places = np.arange(treatments)
    return {
        "each by itself": np.eye(treatments),
        "groups": (places[:, None] % 3 == np.arange(3)).astype(float),
        "all by degrees": places[:, None] / treatments,
        "the baseline alone": (places == 0)[:, None].astype(float),
    }


class Summary(NamedTuple):
    """Contrasts of studies by node: number of blocks, means, and variances within."""

    counts: Numbers
    means: Numbers
    within: Numbers


class SingleCoverage(NamedTuple):
    """The coverage of single intervals by every rule, and their median half-widths."""

    nodes: tuple[int, ...]
    ratio: float
    shares: Mapping[str, float]
    widths: Mapping[str, float]
    error: float

    @property
    def is_too_low(self) -> bool:
        """Whether the analysis misses the bar by more than the error."""
        return self.shares[OWN] + self.error < LEAST_COVERAGE


class NodeFamily(NamedTuple):
    """What the analysis's rule does to one family, in the worst of the ways in which nodes differ.

    `blocks_false` is the same with blocks taken for independent; `price` is of no difference.
    """

    scenario: str
    family: str
    nodes: tuple[int, ...]
    ratio: float
    studies: int
    holding: int
    false: int
    blocks_false: int
    way: str
    price: float

    @property
    def is_wrong(self) -> bool:
        """Whether a bar is missed by more than the Monte Carlo error."""
        held, found = (
            stats.binomtest(count, self.studies).proportion_ci(CONFIDENCE)
            for count in (self.holding, self.false)
        )
        return bool(held.high < LEAST_COVERAGE or found.low > MOST_FALSE)


def add_nodes(
    values: Numbers, causes: Numbers, nodes: Sequence[int], variance: float, draw: Numbers
) -> Numbers:
    """Add to logarithms, of studies × treatments × blocks, what nodes do to treatments.

    `variance` is what that gives to the ratios to the first treatment, in their mean; `draw` are
    standard normal numbers, of studies × causes × nodes.
    """
    of_ratios = ((causes[1:] - causes[0]) ** 2).sum(axis=-1).mean()
    effects = np.einsum("tk,skm->stm", causes, draw) * np.sqrt(variance / of_ratios)
    shifted: Numbers = values + np.repeat(effects, nodes, axis=-1)
    return shifted


def summarise(values: Numbers, nodes: Sequence[int]) -> Summary:
    """Summarise contrasts, whose last axis has blocks, by node."""
    parts = np.split(values, np.cumsum(nodes)[:-1], axis=-1)
    means = np.stack([part.mean(axis=-1) for part in parts], axis=-1)
    squares = [((part - part.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1) for part in parts]
    return Summary(np.array(nodes, dtype=float), means, np.stack(squares, axis=-1).sum(axis=-1))


class Estimated(NamedTuple):
    """Estimates with the distance of their 95 % limits."""

    mean: Numbers
    reach: Numbers


def _quantile(freedom: Numbers | float) -> Numbers:
    return np.asarray(special.stdtrit(freedom, 1 - ALPHA / 2))


def estimate_by_blocks(found: Summary) -> Estimated:
    """Take all blocks for independent."""
    counts, means, within = found
    total = counts.sum()
    mean = (means * counts).sum(axis=-1) / total
    between = (counts * (means - mean[..., None]) ** 2).sum(axis=-1)
    error = np.sqrt((within + between) / (total - 1) / total)
    return Estimated(mean, _quantile(total - 1) * error)


def estimate_by_variances(found: Summary) -> Estimated:
    """Estimate the variance between and within nodes, with Satterthwaite's degrees of freedom."""
    counts, means, within = found
    nodes, total = len(counts), counts.sum()
    mean = (means * counts).sum(axis=-1) / total
    between = (counts * (means - mean[..., None]) ** 2).sum(axis=-1) / (nodes - 1)
    inner = within / max(total - nodes, 1)
    typical = (total - (counts**2).sum() / total) / (nodes - 1)
    share = (counts**2).sum() / total**2
    # The variance of the mean is that between nodes times `share`, plus that within over all.
    first, second = share / typical, 1 / total - share / typical
    is_more = between > inner
    variance = np.where(is_more, first * between + second * inner, inner / total)
    parts = (first * between) ** 2 / (nodes - 1) + (second * inner) ** 2 / max(total - nodes, 1)
    freedom = np.where(is_more, variance**2 / parts, total - nodes)
    return Estimated(mean, _quantile(np.maximum(freedom, 1.0)) * np.sqrt(variance))


def estimate_by_pretest(found: Summary) -> Estimated:
    """Take blocks for independent unless a test finds that nodes differ."""
    counts, means, within = found
    nodes, total = len(counts), counts.sum()
    mean = (means * counts).sum(axis=-1) / total
    between = (counts * (means - mean[..., None]) ** 2).sum(axis=-1) / (nodes - 1)
    inner = within / max(total - nodes, 1)
    differ = stats.f.sf(between / inner, nodes - 1, max(total - nodes, 1)) < PRETEST_ALPHA
    pooled, apart = estimate_by_blocks(found), estimate_by_nodes(found)
    return Estimated(
        np.where(differ, apart.mean, pooled.mean), np.where(differ, apart.reach, pooled.reach)
    )


def estimate_by_nodes(found: Summary) -> Estimated:
    """Take the mean of each node for one value, as the analysis does."""
    nodes = len(found.counts)
    error = found.means.std(axis=-1, ddof=1) / np.sqrt(nodes)
    return Estimated(found.means.mean(axis=-1), _quantile(nodes - 1.0) * error)


RULES: Mapping[str, Callable[[Summary], Estimated]] = {
    BLOCKS: estimate_by_blocks,
    VARIANCES: estimate_by_variances,
    PRETEST: estimate_by_pretest,
    OWN: estimate_by_nodes,
}


def check_single(seed: np.random.SeedSequence, studies: int) -> Iterator[SingleCoverage]:
    """Yield the coverage of single intervals of a ratio whose logarithm is normal."""
    rng = np.random.default_rng(seed)
    for nodes in NODES:
        for ratio in RATIOS:
            effects = np.sqrt(ratio) * rng.standard_normal((studies, len(nodes)))
            values = rng.standard_normal((studies, sum(nodes))) + np.repeat(effects, nodes, axis=-1)
            made = {name: rule(summarise(values, nodes)) for name, rule in RULES.items()}
            yield SingleCoverage(
                nodes,
                ratio,
                {n: float((np.abs(one.mean) <= one.reach).mean()) for n, one in made.items()},
                {name: float(np.median(one.reach)) for name, one in made.items()},
                float(1.96 * np.sqrt(ALPHA * (1 - ALPHA) / studies)),
            )


def estimate_family_by_nodes(values: Numbers, weights: Numbers, nodes: Sequence[int]) -> Estimated:
    """Return the intervals of a family that hold together, as the analysis makes them.

    `values` are logarithms, of studies × treatments × blocks.
    """
    means = summarise(np.einsum("ct,stb->scb", weights, values), nodes).means
    number = len(nodes)
    present = np.ones((len(weights), number), dtype=bool)
    level = single_level(Layout(weights, present, by_node=True))
    spread = share_between_nodes(
        means.var(axis=-1, ddof=1), np.full(len(weights), number - 1.0), (weights**2).sum(axis=-1)
    )
    quantile = special.stdtrit(spread.freedom, 1 - level / 2)
    error: Numbers = np.sqrt(spread.variance / number)
    return Estimated(means.mean(axis=-1), quantile * error)


def _estimate_family_by_blocks(values: Numbers, weights: Numbers) -> Estimated:
    contrasts = np.einsum("ct,stb->scb", weights, values)
    blocks = contrasts.shape[-1]
    level = single_level(make_balanced(weights, blocks))
    spread = share_spread(
        contrasts.var(axis=-1, ddof=1),
        np.full(len(weights), blocks - 1.0),
        (weights**2).sum(axis=-1),
    )
    quantile = special.stdtrit(spread.freedom, 1 - level / 2)
    return Estimated(contrasts.mean(axis=-1), quantile * np.sqrt(spread.variance / blocks))


def check_families(
    scenario: Scenario,
    seed: np.random.SeedSequence,
    studies: int,
    truths: int,
    families: Sequence[str] = tuple(FAMILIES),
) -> Iterator[NodeFamily]:
    """Yield what the analysis's rule does to families of makespans in one scenario."""
    rng = np.random.default_rng(seed)
    longest = max(map(sum, NODES))
    long_run = simulate(rng, scenario, PUBLISHED, truths, 3).makespan_s
    truth = np.log(long_run).mean(axis=(0, 2))
    different, equal = (
        np.log(simulate(rng, scenario, treatments, studies, longest).makespan_s)
        for treatments in (PUBLISHED, EQUAL)
    )
    ways = _describe_ways(len(PUBLISHED))
    for nodes in NODES:
        for ratio in RATIOS:
            made = {
                way: _shift((different, equal), causes, nodes, ratio, rng)
                for way, causes in ways.items()
            }
            for family in families:
                weights = FAMILIES[family]
                yield _judge(scenario.name, family, nodes, ratio, made, weights @ truth)


def _shift(
    sides: Sequence[Numbers],
    causes: Numbers,
    nodes: Sequence[int],
    ratio: float,
    rng: np.random.Generator,
) -> list[Numbers]:
    """Return logarithms of as many blocks as nodes have, each side moved by its nodes."""
    found = []
    for values in sides:
        own = values[..., : sum(nodes)]
        within = float((own[:, 1:] - own[:, :1]).var(axis=0).mean())
        draw = rng.standard_normal((len(own), causes.shape[-1], len(nodes)))
        found.append(add_nodes(own, causes, nodes, ratio * within, draw))
    return found


def _judge(
    scenario: str,
    family: str,
    nodes: tuple[int, ...],
    ratio: float,
    made: Mapping[str, Sequence[Numbers]],
    truth: Numbers,
) -> NodeFamily:
    weights = FAMILIES[family]
    part = 4 if len(weights) > MANY else 1
    made = {way: [side[: len(side) // part] for side in sides] for way, sides in made.items()}
    holding, false, blocks_false = {}, {}, {}
    for way, (different, equal) in made.items():
        own = estimate_family_by_nodes(different, weights, nodes)
        holding[way] = int((np.abs(own.mean - truth) <= own.reach).all(axis=-1).sum())
        false[way] = _count_false(estimate_family_by_nodes(equal, weights, nodes))
        blocks_false[way] = _count_false(_estimate_family_by_blocks(equal, weights))
    different = next(iter(made.values()))[0]
    wide = estimate_family_by_nodes(different, weights, nodes).reach
    narrow = _estimate_family_by_blocks(different, weights).reach
    worst = max(false, key=lambda way: false[way])
    return NodeFamily(
        scenario=scenario,
        family=family,
        nodes=nodes,
        ratio=ratio,
        studies=len(different),
        holding=min(holding.values()),
        false=false[worst],
        blocks_false=max(blocks_false.values()),
        way=worst,
        price=float(np.median(wide) / np.median(narrow)),
    )


def _count_false(found: Estimated) -> int:
    low, high = found.mean - found.reach, found.mean + found.reach
    is_equivalent = (np.abs(low) <= np.log1p(MARGIN)) & (np.abs(high) <= np.log1p(MARGIN))
    return int((((low > 0) | (high < 0)) & ~is_equivalent).any(axis=-1).sum())


def tabulate_single(cells: Sequence[SingleCoverage]) -> str:
    """Format a row per layout and difference of nodes."""
    header = ["blocks of nodes", "nodes differ", *RULES]
    header += [f"width: {name}" for name in RULES] + [""]
    rows = [
        [
            _name_nodes(cell.nodes),
            f"{cell.ratio:g} ×",
            *(format_share(cell.shares[name]) for name in RULES),
            *(f"{cell.widths[name]:.2f}" for name in RULES),
            "too low" if cell.is_too_low else "",
        ]
        for cell in cells
    ]
    return format_table(header, rows)


def _name_nodes(nodes: Sequence[int]) -> str:
    return f"{len(nodes)} × {nodes[0]}" if len(set(nodes)) == 1 else ", ".join(map(str, nodes))


def tabulate_families(cells: Sequence[NodeFamily]) -> str:
    """Format a row per family."""
    header = ["scenario", "family", "blocks of nodes", "nodes differ", "all hold"]
    header += ["false difference", "most by", "by blocks: false", "width", ""]
    rows = [
        [
            cell.scenario,
            cell.family,
            _name_nodes(cell.nodes),
            f"{cell.ratio:g} ×",
            format_share(cell.holding / cell.studies),
            format_share(cell.false / cell.studies),
            cell.way,
            format_share(cell.blocks_false / cell.studies),
            f"{cell.price:.1f} ×" if cell.ratio == 0 else "",
            "missed" if cell.is_wrong else "",
        ]
        for cell in cells
    ]
    return format_table(header, rows)


def main() -> None:
    """Run the checks and print the tables."""
    begin, studies, truths = read_sizes(__doc__)
    first, *seeds = np.random.SeedSequence(begin).spawn(1 + len(SCENARIOS))
    single = list(check_single(first, 10 * studies))
    print(tabulate_single(single), flush=True)
    is_wrong = any(one.is_too_low for one in single)
    # An outlier slows treatments down for good, so that their truth would be another one.
    for scenario, seed in zip(SCENARIOS, seeds, strict=True):
        if scenario.slowed == 1 and scenario.spreads_are_equal:
            cells = list(check_families(scenario, seed, studies, truths))
            print(tabulate_families(cells), flush=True)
            is_wrong |= any(one.is_wrong for one in cells)
    sys.exit(is_wrong)


if __name__ == "__main__":
    main()
