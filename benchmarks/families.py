"""How often all intervals of a family include the truth of simulated studies at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from benchmarks.many_intervals import family_limits, separate_limits
from benchmarks.markdown import format_share, format_table
from benchmarks.nested_data import CELLS, PUBLISHED, simulate

from stagebench.analyse.factors import FactorGrid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.many_intervals import Limits
    from benchmarks.nested_data import Scenario
    from numpy.typing import NDArray

    from stagebench.analyse.factors import Cell

    Numbers = NDArray[np.float64]

LEAST_COVERAGE = 0.93
BLOCKS = (3, 5, 10)


def weigh_baseline(others: int) -> Numbers:
    """Return the weights of the ratios of so many treatments to the first one."""
    return np.hstack([-np.ones((others, 1)), np.eye(len(CELLS) - 1)[:others]])


def weigh_questions(cells: Mapping[str, Cell]) -> Numbers:
    """Return the weights of all effects of factors that the analysis may show, and quotients."""
    distinct: dict[bytes, Numbers] = {}
    for pairs in FactorGrid(cells).questions.values():
        weights = np.zeros(len(cells))
        for shares in pairs:
            for cell, share in shares.items():
                weights[cell] += share / len(pairs)
        distinct[np.round(weights, 12).tobytes()] = weights
    return np.array(list(distinct.values()))


FAMILIES = {
    "17 ratios to the baseline": weigh_baseline(17),
    "5 ratios to the baseline": weigh_baseline(5),
    "2 ratios to the baseline": weigh_baseline(2),
    "effects of factors": weigh_questions(CELLS),
}


class FamilyCoverage(NamedTuple):
    """The coverage of one family in one cell.

    `share` is that of studies in which all intervals hold, `error` half the width of its 95 %
    interval, `each` the mean over single intervals. Widths are medians of half-widths. `separate`
    is the same with a variance for each contrast, for contrast.
    """

    scenario: str
    blocks: int
    family: str
    intervals: int
    share: float
    error: float
    each: float
    width: float
    separate: float
    separate_width: float

    @property
    def is_too_low(self) -> bool:
        """Whether the bar is missed by more than the error."""
        return self.share + self.error < LEAST_COVERAGE


def check_families(
    scenario: Scenario, seed: np.random.SeedSequence, studies: int, truths: int
) -> Iterator[FamilyCoverage]:
    """Yield the coverage of every family of makespans at every number of blocks."""
    rng = np.random.default_rng(seed)
    runs = simulate(rng, scenario.undisturbed, PUBLISHED, truths, 3)
    truth = np.log(runs.makespan_s).mean(axis=(0, 2))
    for blocks in BLOCKS:
        values = np.log(simulate(rng, scenario, PUBLISHED, studies, blocks).makespan_s)
        for family, weights in FAMILIES.items():
            limits, separate = (make(values, weights) for make in (family_limits, separate_limits))
            holds, alone = (_holds(some, np.exp(weights @ truth)) for some in (limits, separate))
            together = holds.all(axis=-1)
            yield FamilyCoverage(
                scenario=scenario.name,
                blocks=blocks,
                family=family,
                intervals=len(weights),
                share=float(together.mean()),
                error=float(1.96 * together.std(ddof=1) / np.sqrt(studies)),
                each=float(holds.mean()),
                width=_half_width(limits),
                separate=float(alone.all(axis=-1).mean()),
                separate_width=_half_width(separate),
            )


def _holds(limits: Limits, truth: Numbers) -> NDArray[np.bool_]:
    holds: NDArray[np.bool_] = (limits.low <= truth) & (truth <= limits.high)
    return holds


def _half_width(limits: Limits) -> float:
    return float(np.median(np.sqrt(limits.high / limits.low))) - 1


def tabulate_families(cells: list[FamilyCoverage]) -> str:
    """Format a row per cell."""
    header = [
        "scenario",
        "blocks",
        "family",
        "intervals",
        "all hold",
        "Monte Carlo ±",
        "each alone",
    ]
    header += ["half-width", "own variance: all hold", "its half-width", ""]
    rows = [
        [
            cell.scenario,
            str(cell.blocks),
            cell.family,
            str(cell.intervals),
            format_share(cell.share),
            format_share(cell.error, 2),
            format_share(cell.each),
            format_share(cell.width),
            format_share(cell.separate),
            format_share(cell.separate_width),
            "too low" if cell.is_too_low else "",
        ]
        for cell in cells
    ]
    return format_table(header, rows)
