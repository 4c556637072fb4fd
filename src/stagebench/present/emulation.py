"""What figure and report both ask of runs that were sampled both ways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stagebench.tables import numbers
from stagebench.units import MIB

if TYPE_CHECKING:
    import pandas as pd

    from stagebench.present.experiment import Experiment

FIGURE_NAME = "both-ways"
"""File name without ending of the figure that these runs have."""

SAME = 0.05
"""Two peaks that differ by less, as a share of the larger one, are told as the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BothWays:
    """One run as the published way recorded it and as our sweeps did.

    `run` is its row of the table of runs, `emulated` and `sweeps` are its rows of the tables
    `emulated` and `memory`.
    """

    run: pd.Series[float]
    emulated: pd.DataFrame
    sweeps: pd.DataFrame

    @property
    def treatment(self) -> str:
        """Id of the treatment."""
        return str(self.run["treatment"])

    @property
    def has_false_peak(self) -> bool:
        """Whether a record adds children that had ended."""
        return self.known("emulated_false_peak_bytes")

    @property
    def false_peak_is_the_peak(self) -> bool:
        """Whether it is the peak that the published way reports."""
        return self.has_false_peak and self.mib("emulated_false_peak") == self.mib("emulated_peak")

    @property
    def children(self) -> int | None:
        """How many processes the census found beside main."""
        created = self.run["processes_created"]
        return int(created) - 1 if self.known("processes_created") else None

    @property
    def seen(self) -> int:
        """Most children that a discovery found."""
        return int(self.run["emulated_most_children"])

    @property
    def missed_children(self) -> bool:
        """Whether there were children and it saw none, or fewer at once than a sweep did."""
        if not self.children or not self.known("most_children"):
            return False
        return self.seen == 0 or self.seen < int(self.run["most_children"])

    @property
    def discoveries_s(self) -> list[float]:
        """When the children were discovered, each once."""
        return sorted(set(self.emulated["discovered_s"]))

    @property
    def sums_mib(self) -> list[float]:
        """The sums of the children's PSS, one for each discovery that found any."""
        found = self.emulated[self.emulated["children"] > 0].drop_duplicates("discovered_s")
        return list(in_mib(found, "children"))

    @property
    def children_mib(self) -> pd.Series[float]:
        """The children's PSS in every sweep that read any."""
        return in_mib(self.sweeps[self.sweeps["processes"] > 1], "children")

    def never_held(self, mib: float) -> bool:
        """Tell whether so much is above the upper bound of the tree's peak, if that is known."""
        return mib > self.mib("tree_peak_upper")

    def known(self, column: str) -> bool:
        """Tell whether a column of the run has a value."""
        return bool(self.run[[column]].notna().all())

    def mib(self, name: str) -> float:
        """Give the run's column `<name>_bytes` in MiB; NaN where it is missing."""
        return self._number(f"{name}_bytes") / MIB

    def seconds(self, name: str) -> float:
        """Give the run's column `<name>_s`; NaN where it is missing."""
        return self._number(f"{name}_s")

    def _number(self, column: str) -> float:
        return float(self.run[column]) if self.known(column) else math.nan


def compare(one: float, other: float) -> int:
    """Give 1, −1 or 0: more, less, or the same; 0 also where one is missing."""
    if abs(one - other) <= SAME * max(one, other):
        return 0
    return (one > other) - (one < other)


def emulated_treatments(experiment: Experiment) -> list[str]:
    """List the treatments of which a run was also sampled the published way."""
    runs = experiment.tables["runs"]
    asked = set(runs.loc[runs["emulated_interval_s"].notna(), "treatment"])
    return [treatment for treatment in experiment.treatments if treatment in asked]


def find_both_ways(experiment: Experiment, treatment: str) -> BothWays | None:
    """Give the run of median makespan; None where no run of the treatment was ok."""
    run = experiment.shown("runs", treatment)
    emulated = experiment.shown("emulated", treatment)
    if run.empty or emulated.empty:
        return None
    sweeps = experiment.shown("memory", treatment)
    return BothWays(run=run.iloc[0], emulated=emulated, sweeps=sweeps)


def count_children(number: int) -> str:
    """Give "no child", "1 child", "5 children"."""
    return {0: "no child", 1: "1 child"}.get(number, f"{number} children")


def there_were(number: int) -> str:
    """Give "there was 1", "there were 5"."""
    return f"there {'was' if number == 1 else 'were'} {number or 'none'}"


def in_mib(table: pd.DataFrame, part: str) -> pd.Series[float]:
    """Give the column `<part>_pss_bytes` in MiB."""
    return numbers(table, f"{part}_pss_bytes") / MIB
