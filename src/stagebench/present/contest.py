"""Treatments that do the same work, ranked by one quantity, as the table of winners has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stagebench.present.markdown import format_number
from stagebench.present.report_comparisons import ratio_cell
from stagebench.units import MIB

if TYPE_CHECKING:
    import pandas as pd

    from stagebench.present.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Treatments that do the same work, ranked by one quantity; `rows` has them by name."""

    experiment: Experiment
    quantity: str
    rows: pd.DataFrame

    @property
    def winner(self) -> str:
        """The treatment of the least median."""
        return str(self.rows["winner"].iloc[0])

    @property
    def names(self) -> list[str]:
        """All treatments that compete, in the order of the plan."""
        return list(self.rows.index)

    @property
    def ranked(self) -> list[str]:
        """Those of them that have a median."""
        return list(self.rows.index[self.rows["median"].notna()])

    @property
    def alike(self) -> list[str]:
        """The winner, and what cannot be told apart from it."""
        return list(self.rows.index[self.rows["alike"].fillna(value=False).astype(bool)])

    @property
    def is_memory(self) -> bool:
        """Whether what is ranked is memory."""
        return self.quantity.endswith("_bytes")

    @property
    def is_judged(self) -> bool:
        """Whether any other treatment has an interval."""
        return bool(self.rows["low"].notna().any())

    @property
    def decided(self) -> list[str]:
        """The treatments of which it is known whether they are alike."""
        return list(self.rows.index[self.rows["alike"].notna()])

    def median(self, treatment: str) -> float:
        """Give a treatment's median."""
        return float(str(self.rows.loc[treatment, "median"]))

    def ratio(self, treatment: str) -> str:
        """Give the ratio to the winner: "1.09 [1.02–1.17]"."""
        return ratio_cell(self.rows[self.rows.index == treatment].iloc[0])

    def size(self, treatment: str) -> str:
        """Give a treatment's median with its unit."""
        number = format_number(self.median(treatment), scale=1 / MIB if self.is_memory else 1)
        return f"{number} {'MiB' if self.is_memory else 's'}"


def list_contests(experiment: Experiment, rows: pd.DataFrame) -> dict[str, Contest]:
    """Give by quantity how the treatments of one kind of work rank; `rows` are of `winners`."""
    return {
        str(quantity): Contest(
            experiment=experiment, quantity=str(quantity), rows=own.set_index("treatment")
        )
        for quantity, own in rows.groupby("quantity", sort=False)
    }
