"""What a setting of the flow of tasks changes: treatments that differ in it and nothing else.

The settings are bounds of queues and of tasks in flight, and how results are transported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.analyse.measured import collect_measured, estimate_ratio, find_median
from stagebench.quantities import unit_of
from stagebench.store import canonical_json
from stagebench.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from stagebench.analyse.measured import Values

Row = dict[str, Any]
Json = dict[str, Any]

QUANTITIES = ("makespan_s", "turnaround_p95_s", "cpu_s", "tree_peak_bytes")
STAGE_SETTINGS = {"queue_size": "unbounded", "transport": "pickle"}
"""Settings of a stage → what it is called where no stage has one."""

RUN_SETTINGS = {"in_flight": "unbounded"}


class Contrast(NamedTuple):
    """Two treatments that differ in one setting alone."""

    experiment: str
    setting: str
    treatment: str
    level: str
    to: str
    to_level: str


def contrast_treatments(runs: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Make the table `contrasts` of the table `runs`."""
    found = list(find_contrasts(plan))
    values = {quantity: collect_measured(runs, quantity) for quantity in QUANTITIES if found}
    rows = [
        contrast._asdict() | {"quantity": quantity, "unit": unit_of(quantity)} | row
        for contrast in found
        for quantity in QUANTITIES
        if (row := _measure(contrast, values[quantity])) is not None
    ]
    return make_table("contrasts", rows)


def find_contrasts(plan: Mapping[str, Any]) -> Iterator[Contrast]:
    """Give each treatment with the one that it is held against, setting by setting.

    That is one in which the setting is off, or else the first.
    """
    known: dict[str, dict[str, Json]] = {}
    for key, treatment in plan["treatments"].items():
        experiment, _, name = key.partition("/")
        known.setdefault(experiment, {})[name] = treatment["specification"]
    for experiment, treatments in known.items():
        for setting, off in (STAGE_SETTINGS | RUN_SETTINGS).items():
            for levels in _group_by_rest(treatments, setting):
                to = next((name for name, level in levels.items() if level == off), None)
                to = to or next(iter(levels))
                for name, level in levels.items():
                    if level != levels[to]:
                        yield Contrast(experiment, setting, name, level, to, levels[to])


def name_level(specification: Json, setting: str) -> str:
    """Name the level of a setting: "4", or stage by stage where they differ: "parse 4, write 8"."""
    if setting in RUN_SETTINGS:
        level = specification.get(setting)
        return RUN_SETTINGS[setting] if level is None else str(level)
    off = STAGE_SETTINGS[setting]
    levels = {one["name"]: str(one.get(setting) or off) for one in specification["stages"]}
    if len(set(levels.values())) == 1:
        return next(iter(levels.values()))
    return ", ".join(f"{stage} {level}" for stage, level in levels.items() if level != off)


def _group_by_rest(treatments: Mapping[str, Json], setting: str) -> list[dict[str, str]]:
    """Give groups of treatments that are the same but for a setting, with its levels."""
    groups: dict[str, dict[str, str]] = {}
    for name, specification in treatments.items():
        rest = canonical_json(_without(specification, setting))
        groups.setdefault(rest, {})[name] = name_level(specification, setting)
    return [levels for levels in groups.values() if len(levels) > 1]


def _without(specification: Json, setting: str) -> Json:
    left_out = ("treatment", "factors", "stages", setting)
    rest = {name: value for name, value in specification.items() if name not in left_out}
    stages = [stage.items() for stage in specification["stages"]]
    rest["stages"] = [{k: v for k, v in items if k != setting} for items in stages]
    return rest


def _measure(contrast: Contrast, values: Values) -> Row | None:
    """Compare the two in one quantity; None where neither of both is known."""
    treatments = values.get(contrast.experiment, {})
    own, to = treatments.get(contrast.treatment, []), treatments.get(contrast.to, [])
    median, to_median = find_median(own), find_median(to)
    if median is None and to_median is None:
        return None
    return {"median": median, "to_median": to_median} | estimate_ratio(own, to)
