"""The tables of a study → what they say of each experiment that claims are about."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stagebench.analyse.claim_values import Run
from stagebench.analyse.claim_words import tell_number
from stagebench.quantities import PARAMETER
from stagebench.tables import list_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a study says of one experiment: its ok runs by treatment, its place, its scale.

    `planned` are the treatments that it has; `cores` is None where it is unknown; `misfit` names
    what differs from the published parameters, "" at full scale.
    """

    study: str
    planned: frozenset[str]
    runs: Mapping[str, Sequence[Run]]
    cores: int | None
    misfit: str


def gather_evidence(
    study: str, tables: Mapping[str, pd.DataFrame], reference: list[Json]
) -> dict[str, Evidence]:
    """Give the evidence on each experiment of a study, from its runs, stages and environment."""
    runs = list_rows(tables["runs"])
    stages = _by_run(list_rows(tables["stages"]))
    cores = _cores(tables["environment"])
    planned: dict[str, dict[str, list[Run]]] = {}
    for row in runs:
        treatments = planned.setdefault(row["experiment"], {})
        own = treatments.setdefault(row["treatment"], [])
        if row["status"] == "ok":
            own.append(_read_run(row, stages.get(_key(row), [])))
    return {
        experiment: Evidence(
            study=study,
            planned=frozenset(treatments),
            runs=treatments,
            cores=cores,
            misfit=_find_misfit(experiment, tables["stages"], reference),
        )
        for experiment, treatments in planned.items()
    }


def _key(row: Json) -> tuple[str, str, int]:
    return row["experiment"], row["treatment"], row["replicate"]


def _by_run(stages: list[Json]) -> dict[tuple[str, str, int], list[Json]]:
    found: dict[tuple[str, str, int], list[Json]] = {}
    for row in stages:
        found.setdefault(_key(row), []).append(row)
    return found


def _read_run(row: Json, stages: list[Json]) -> Run:
    return Run(
        block=row["block"],
        campaign=row["campaign"],
        numbers={"": _floats(row), **{stage["stage"]: _floats(stage) for stage in stages}},
    )


def _floats(row: Json) -> dict[str, float]:
    """Keep the numbers that are there; a missing count is neither int nor float."""
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _cores(environment: pd.DataFrame) -> int | None:
    own = environment.loc[environment["property"] == "cores_usable", "value"]
    return min(map(int, own), default=None)


def _find_misfit(experiment: str, stages: pd.DataFrame, reference: list[Json]) -> str:
    """Name the first parameter that a study did not run with as it was published."""
    own = stages[stages["experiment"] == experiment].drop_duplicates(["stage", "parameters"])
    for row in reference:
        name = row["quantity"].removeprefix(PARAMETER)
        if row["experiment"] != experiment or name == row["quantity"]:
            continue
        published = row["stated"] if not math.isnan(row["stated"]) else row["logged"]
        rows = own[own["stage"] == row["stage"]] if row["stage"] else own
        given = [json.loads(text).get(name) for text in rows["parameters"]]
        told = [value for value in given if value is not None]
        if not told or any(value != published for value in told):
            here = tell_number(told[0]) if told else "unknown"
            return f"{name} is {here} here, {tell_number(published)} there"
    return ""
