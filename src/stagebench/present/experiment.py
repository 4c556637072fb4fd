"""The tables of one experiment, and what figures and report both need from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Rows of one experiment of a study; treatments and stages in the order of the plan."""

    name: str
    tables: Mapping[str, pd.DataFrame]

    @property
    def treatments(self) -> list[str]:
        """Ids of the treatments."""
        return list(dict.fromkeys(self.tables["runs"]["treatment"]))

    @property
    def stages(self) -> list[str]:
        """Names of all stages that a treatment has."""
        return list(dict.fromkeys(self.tables["stages"]["stage"]))

    @property
    def baseline(self) -> str:
        """Id of the baseline, or "" if there is none."""
        runs = self.tables["runs"]
        return str(next(iter(runs.loc[runs["baseline"], "treatment"]), ""))

    def runs(self, treatment: str, *, only_ok: bool = True) -> pd.DataFrame:
        """Return the runs of a treatment."""
        runs = self.tables["runs"]
        own = runs["treatment"] == treatment
        return runs[own & (runs["status"] == "ok")] if only_ok else runs[own]

    def shown(self, table: str, treatment: str) -> pd.DataFrame:
        """Return the rows of the treatment's run of median makespan; none if no run was ok."""
        runs = self.tables["runs"]
        replicates = runs.loc[(runs["treatment"] == treatment) & runs["shown"], "replicate"]
        rows = self.tables[table]
        return rows[(rows["treatment"] == treatment) & rows["replicate"].isin(replicates)]

    def summary(self, treatment: str, quantity: str, stage: str = "") -> pd.Series[float]:
        """Return median, min, max and n of a quantity of a treatment or of one of its stages."""
        rows = self.tables["treatment_stages" if stage else "treatments"]
        own = rows[(rows["treatment"] == treatment) & (rows["quantity"] == quantity)]
        if stage:
            own = own[own["stage"] == stage]
        return own[["median", "min", "max", "n"]].astype("float64").iloc[0]

    def has_stage(self, treatment: str, stage: str) -> bool:
        """Return whether the treatment's workflow has this stage."""
        rows = self.tables["stages"]
        return bool(((rows["treatment"] == treatment) & (rows["stage"] == stage)).any())

    def failure_note(self, treatment: str) -> str:
        """Return how a treatment's runs ended if none was ok: "no ok run (timed_out × 3)"."""
        ended = Counter(self.runs(treatment, only_ok=False)["status"])
        return f"no ok run ({', '.join(f'{status} × {n}' for status, n in ended.items())})"


def split_experiments(tables: Mapping[str, pd.DataFrame]) -> list[Experiment]:
    """Return every experiment of a study with its own rows of each table."""
    return [
        Experiment(
            name=name,
            tables={
                key: table[table["experiment"] == name]
                for key, table in tables.items()
                if "experiment" in table.columns
            },
        )
        for name in dict.fromkeys(tables["runs"]["experiment"])
    ]
