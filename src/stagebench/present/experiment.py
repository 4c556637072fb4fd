"""The tables of one experiment, its design, and what figures and report both need from them."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.records import UNSUPPORTED
from stagebench.tables.decisions import WORDS_OF_ORDER
from stagebench.tables.io import list_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


UNSET = "unset"
"""The level of a factor that is null."""

MOST_LISTED = 100
"""Tables of the report have at most so many treatments; those in `tables/` have all."""

Design = dict[str, dict[str, str]]
"""Factor → treatment → level as text; of factors that differ between the treatments."""


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
        if list(ended) == [UNSUPPORTED]:
            return "cannot run here"
        return f"no ok run ({', '.join(f'{status} × {n}' for status, n in ended.items())})"

    @cached_property
    def limits(self) -> dict[str, dict[str, Any]]:
        """The row of `limits` of every treatment that has one."""
        rows = list_rows(self.tables["limits"])
        return {row["treatment"]: row for row in reversed(rows)}

    @cached_property
    def medians(self) -> dict[str, float]:
        """Median makespan of every treatment, the shortest first; NaN at the end if none is ok."""
        found = {one: self.median(one, "makespan_s") for one in self.treatments}
        return dict(sorted(found.items(), key=lambda item: (math.isnan(item[1]), item[1])))

    @cached_property
    def listed(self) -> list[str]:
        """Ids of the treatments that tables of the report have, in the order of the plan."""
        kept = set(choose_treatments(self, MOST_LISTED))
        return [one for one in self.treatments if one in kept]

    @property
    def advised(self) -> list[str]:
        """The treatment to use of each kind of work."""
        return [str(name) for name in self.tables["advice"]["treatment"]]

    def list_advised(self, column: str) -> list[str]:
        """Return the treatments that a column of the table of advice lists."""
        cells = self.tables["advice"][column].dropna()
        return [name for cell in cells for name in str(cell).split(", ") if name]


def find_design(experiment: Experiment) -> Design:
    """Return the factors of an experiment, those with the most levels last.

    A factor that only some levels of another have is one with it: the levels of `executor` are
    "thread", "process fork" and "process spawn". Without factors, or if they do not tell treatments
    apart, the treatment itself is the factor.
    """
    rows = experiment.tables["runs"].drop_duplicates("treatment")
    given = {
        str(one): {name: _level(value) for name, value in json.loads(text or "{}").items()}
        for one, text in zip(rows["treatment"], rows["factors"], strict=True)
    }
    names = dict.fromkeys(name for levels in given.values() for name in levels)
    found = {name: {t: own[name] for t, own in given.items() if name in own} for name in names}
    for name in [name for name, levels in found.items() if len(levels) < len(given)]:
        _join(found, name, list(given))
    design = _without_aliases(
        {name: own for name, own in found.items() if len(set(own.values())) > 1}
    )
    told_apart = {tuple(own[t] for own in design.values()) for t in given}
    if len(told_apart) < len(given):
        return {"treatment": {one: one for one in given}}
    return dict(sorted(design.items(), key=lambda item: len(set(item[1].values()))))


def _without_aliases(found: Design) -> Design:
    """Keep one of the factors that change together, if possible one whose levels are words."""
    kept: dict[tuple[int, ...], str] = {}
    for name, own in found.items():
        places = {level: place for place, level in enumerate(dict.fromkeys(own.values()))}
        key = tuple(places[level] for level in own.values())
        other = kept.get(key)
        if other is None or (_are_numbers(found[other]) and not _are_numbers(own)):
            kept[key] = name
    return {name: found[name] for name in found if name in kept.values()}


def _are_numbers(levels: Mapping[str, str]) -> bool:
    return all(level.replace(".", "").isdecimal() for level in levels.values())


def _level(value: object) -> str:
    if value is None:
        return UNSET
    if isinstance(value, list):
        return ", ".join(map(_level, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _join(found: Design, name: str, treatments: list[str]) -> None:
    """Join a factor that some treatments lack to the one that decides which; else fill it up."""
    own = found[name]
    for other, levels in found.items():
        having = {levels.get(t) for t in own}
        lacking = {levels.get(t) for t in treatments if t not in own}
        if other != name and len(levels) == len(treatments) and not having & lacking:
            del found[name]
            found[other] = {t: f"{levels[t]} {own[t]}" if t in own else levels[t] for t in levels}
            return
    found[name] = {t: own.get(t, UNSET) for t in treatments}


def leading_factor(experiment: Experiment, design: Design, quantity: str = "makespan_s") -> str:
    """Return the factor with the largest effect on a quantity; the first if none has been found."""
    strengths = dict(rank_factors(experiment, quantity))
    known = [name for name in design if name in strengths]
    return max(known, key=lambda name: strengths[name], default=next(iter(design), ""))


def rank_factors(experiment: Experiment, quantity: str) -> Iterator[tuple[str, float]]:
    """Yield each factor that has an effect on a quantity, with the logarithm of its largest one."""
    rows = experiment.tables["factor_effects"]
    own = rows[
        (rows["quantity"] == quantity)
        & (rows["kind"] == "effect")
        & rows["word"].isin(WORDS_OF_ORDER)
        & (rows["ratio"] > 0)
    ]
    for name, effects in own.groupby("factor", sort=False):
        yield str(name), max(abs(math.log(ratio)) for ratio in effects["ratio"])


def choose_treatments(experiment: Experiment, most: int) -> list[str]:
    """Return at most so many treatments, the shortest median first.

    Of more, these stay: the baseline, the advised ones, both ends, those tied with the advised
    ones, the front of makespan and peak; then those next to the ends.
    """
    ordered = list(experiment.medians)
    if len(ordered) <= most:
        return ordered
    known = [one for one, median in experiment.medians.items() if not math.isnan(median)]
    inwards = [one for pair in zip(ordered, reversed(known), strict=False) for one in pair]
    wanted = [
        experiment.baseline,
        *experiment.advised,
        *inwards[:2],
        *experiment.list_advised("tied"),
        *experiment.list_advised("front"),
        *inwards,
        *ordered,
    ]
    kept = set([one for one in dict.fromkeys(wanted) if one in ordered][:most])
    return [one for one in ordered if one in kept]


_SUMMARY = ["median", "min", "max", "n"]


def split_experiments(tables: Mapping[str, pd.DataFrame]) -> list[Experiment]:
    """Return every experiment of a study with its own rows of each table."""
    places = {
        key: table.groupby("experiment", sort=False).indices
        for key, table in tables.items()
        if "experiment" in table.columns
    }
    none = {key: tables[key].iloc[:0] for key in places}
    return [
        Experiment(
            name=name,
            tables={
                key: tables[key].iloc[own[name]] if name in own else none[key]
                for key, own in places.items()
            },
        )
        for name in dict.fromkeys(tables["runs"]["experiment"])
    ]
