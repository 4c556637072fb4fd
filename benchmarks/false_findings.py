"""How often studies find a difference although nothing differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from benchmarks.families import FAMILIES
from benchmarks.many_intervals import family_limits
from benchmarks.markdown import format_share, format_table
from benchmarks.nested_data import EQUAL, simulate
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.nested_data import Scenario

MOST_FALSE = 0.05
MARGIN = 0.05
BLOCKS = 5


class FalseFindings(NamedTuple):
    """Counts of studies, and of those with a false difference or a false equivalence."""

    scenario: str
    family: str
    studies: int
    different: int
    equivalent: int
    has_bar: bool

    @property
    def is_too_high(self) -> bool:
        """Whether the bar is missed by more than the Monte Carlo error.

        The intervals of a family use up the 5 %, so half of all rates would be above by chance.
        """
        limits = stats.binomtest(self.different, self.studies).proportion_ci()
        return self.has_bar and bool(limits.low > MOST_FALSE)


def check_false_findings(
    scenario: Scenario, seed: np.random.SeedSequence, studies: int
) -> Iterator[FalseFindings]:
    """Yield the families of intervals, of makespans and of stage efficiencies."""
    runs = simulate(np.random.default_rng(seed), scenario, EQUAL, studies, BLOCKS)
    # Unequal spreads do not change the means of logarithms, and hardly those of efficiencies.
    for quantity, values in runs._asdict().items():
        for family, weights in FAMILIES.items():
            low, high = family_limits(np.log(values), weights)
            is_equivalent = (low >= 1 / (1 + MARGIN)) & (high <= 1 + MARGIN)
            is_different = ((low > 1) | (high < 1)) & ~is_equivalent
            # If what each contrast has in its numerator were larger by the margin.
            by_margin = (1 + MARGIN) ** np.clip(weights, 0, None).sum(axis=-1)
            at_margin = (low * by_margin >= 1 / (1 + MARGIN)) & (high * by_margin <= 1 + MARGIN)
            yield FalseFindings(
                scenario=scenario.name,
                family=f"{quantity.partition('_')[0]}: {family}",
                studies=studies,
                different=int(is_different.any(axis=-1).sum()),
                equivalent=int(at_margin.any(axis=-1).sum()),
                has_bar=scenario.spreads_are_equal,
            )


def tabulate_false_findings(families: list[FalseFindings]) -> str:
    """Format a row per family."""
    header = ["scenario", "family", "studies", "false difference", "its 95 % interval"]
    header += ["false equivalence", "its 95 % interval", ""]
    rows = [
        [
            each.scenario,
            each.family,
            f"{each.studies:,}",
            *_format_count(each.different, each.studies),
            *_format_count(each.equivalent, each.studies),
            "too high" if each.is_too_high else "" if each.has_bar else "no bar",
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
