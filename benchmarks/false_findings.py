"""How often studies find a difference although nothing differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from benchmarks.markdown import format_share, format_table
from benchmarks.nested_data import EQUAL, simulate
from benchmarks.words import find_words
from scipy import stats

from stagebench.analyse.comparisons import EQUIVALENT, INCONCLUSIVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.nested_data import Scenario

MOST_FALSE = 0.05
MARGIN = 0.05
BLOCKS = 5

SHIFTED_EACH = 5
"""Finding words is slow, so false equivalences are counted in every fifth study."""


class FalseFindings(NamedTuple):
    """Counts of studies without a difference, of studies at the margin, and of false findings."""

    scenario: str
    family: str
    studies: int
    different: int
    shifted: int
    equivalent: int
    has_bar: bool

    @property
    def is_too_high(self) -> bool:
        """Whether the bar is missed."""
        return self.has_bar and self.different > MOST_FALSE * self.studies


def check_false_findings(
    scenario: Scenario, seed: np.random.SeedSequence, studies: int
) -> Iterator[FalseFindings]:
    """Yield the families of tests: of makespans, and of stage efficiencies."""
    runs = simulate(np.random.default_rng(seed), scenario, EQUAL, studies, BLOCKS)
    # Unequal spreads do not change the means of logarithms, and hardly those of efficiencies.
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
            has_bar=scenario.spreads_are_equal,
        )


def tabulate_false_findings(families: list[FalseFindings]) -> str:
    """Format a row per family."""
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
