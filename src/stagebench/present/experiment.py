"""The tables of one experiment, and what figures and report both need from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Rows of one experiment of a study; treatments and stages in the order of the plan.

    It has no slots: what is looked up thousands of times in a report is kept.
    """

    name: str
    tables: Mapping[str, pd.DataFrame]

    @cached_property
    def treatments(self) -> list[str]:
        """Ids of the treatments."""
        return list(dict.fromkeys(self.tables["runs"]["treatment"]))

    @cached_property
    def stages(self) -> list[str]:
        """Names of all stages that a treatment has."""
        return list(dict.fromkeys(self.tables["stages"]["stage"]))

    @cached_property
    def baseline(self) -> str:
        """Id of the baseline, or "" if there is none."""
        runs = self.tables["runs"]
        return str(next(iter(runs.loc[runs["baseline"], "treatment"]), ""))

    def runs(self, treatment: str, *, only_ok: bool = True) -> pd.DataFrame:
        """Return the runs of a treatment."""
        found = self._runs.get((treatment, only_ok))
        return self.tables["runs"].iloc[:0] if found is None else found

    @cached_property
    def _runs(self) -> dict[tuple[str, bool], pd.DataFrame]:
        runs = self.tables["runs"]
        return {
            (str(treatment), only_ok): own
            for only_ok, some in ((False, runs), (True, runs[runs["status"] == "ok"]))
            for treatment, own in some.groupby("treatment", sort=False)
        }

    def shown(self, table: str, treatment: str) -> pd.DataFrame:
        """Return the rows of the treatment's run of median makespan; none if no run was ok."""
        runs = self.tables["runs"]
        replicates = runs.loc[(runs["treatment"] == treatment) & runs["shown"], "replicate"]
        rows = self.tables[table]
        return rows[(rows["treatment"] == treatment) & rows["replicate"].isin(replicates)]

    def summary(self, treatment: str, quantity: str, stage: str = "") -> pd.Series[float]:
        """Return median, min, max and n of a quantity of a treatment or of one of its stages."""
        return pd.Series(self._summaries[treatment, stage, quantity], index=_SUMMARY)

    def median(self, treatment: str, quantity: str, stage: str = "") -> float:
        """Return the median of a quantity of a treatment or of one of its stages."""
        return self._summaries[treatment, stage, quantity][0]

    @cached_property
    def _summaries(self) -> dict[tuple[str, str, str], tuple[float, ...]]:
        found: dict[tuple[str, str, str], tuple[float, ...]] = {}
        for rows in (self.tables["treatments"], self.tables["treatment_stages"]):
            stages = rows["stage"] if "stage" in rows.columns else [""] * len(rows)
            keys = zip(rows["treatment"], stages, rows["quantity"], strict=True)
            values = rows[_SUMMARY].astype("float64").itertuples(index=False, name=None)
            found.update(zip(keys, values, strict=True))
        return found

    def has_stage(self, treatment: str, stage: str) -> bool:
        """Return whether the treatment's workflow has this stage."""
        return (treatment, stage) in self._places

    @cached_property
    def _places(self) -> set[tuple[str, str]]:
        rows = self.tables["stages"]
        return set(zip(rows["treatment"], rows["stage"], strict=True))

    def failure_note(self, treatment: str) -> str:
        """Return how a treatment's runs ended if none was ok: "no ok run (timed_out × 3)"."""
        ended = Counter(self.runs(treatment, only_ok=False)["status"])
        return f"no ok run ({', '.join(f'{status} × {n}' for status, n in ended.items())})"


_SUMMARY = ["median", "min", "max", "n"]


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
