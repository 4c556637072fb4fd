"""Which treatment wins, and which cannot be told apart from it: by time and by memory.

Treatments compete where they do the same work: the same tasks, arriving alike, with the same
parameters, by whatever handlers and workers. By memory only those compete whose results are where
PSS sees them: one that waits in shared memory or in a file is mapped by no process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.analyse.measured import collect_measured, estimate_ratio, find_median
from stagebench.quantities import hides_results, unit_of
from stagebench.store import canonical_json
from stagebench.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from stagebench.analyse.pairs import Measured

Row = dict[str, Any]

QUANTITIES = ("makespan_s", "tree_peak_bytes", "turnaround_p95_s")
"""Of which the least wins; of a peak its lower end."""

_OF_MEMORY = "tree_peak_bytes"


def find_winners(runs: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Make the table `winners` of the table `runs`: a row for each treatment that has a rival."""
    values = {quantity: collect_measured(runs, quantity) for quantity in QUANTITIES}
    rows = [
        {"experiment": experiment, "work": number, "quantity": quantity, "unit": unit_of(quantity)}
        | row
        for experiment, works in group_by_work(plan).items()
        for number, treatments in enumerate(works, start=1)
        for quantity in QUANTITIES
        if len(competing := _admit(plan, experiment, treatments, quantity)) > 1
        for row in rank(_choose(values[quantity].get(experiment, {}), competing))
    ]
    return make_table("winners", rows)


def group_by_work(plan: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Give every experiment's treatments in groups that do the same work, in the plan's order."""
    groups: dict[str, dict[str, list[str]]] = {}
    for key, treatment in plan["treatments"].items():
        experiment, _, name = key.partition("/")
        work = describe_work(treatment["specification"])
        groups.setdefault(experiment, {}).setdefault(work, []).append(name)
    return {experiment: list(works.values()) for experiment, works in groups.items()}


def describe_work(specification: Mapping[str, Any]) -> str:
    """Give one text for the work of a treatment: tasks, arrival, and parameters of its stages."""
    return canonical_json(
        {
            "tasks": specification["tasks"],
            "arrival": specification.get("arrival"),
            "stages": [[one["name"], one["parameters"]] for one in specification["stages"]],
        }
    )


def rank(values: Mapping[str, Sequence[Measured]]) -> list[Row]:
    """Name the treatment of the least median, and compare the others with it.

    The winner and whatever is not surely more are alike: the limits of the ratio to the winner hold
    1, or lie below it where pairs and medians disagree. Without limits it is not known.
    """
    medians = {name: find_median(own) for name, own in values.items()}
    known = {name: value for name, value in medians.items() if value is not None}
    if not known:
        return []
    winner = min(known, key=lambda name: known[name])
    return [
        {"treatment": name, "winner": winner, "median": medians[name]}
        | ({"alike": True} if name == winner else _compare(own, values[winner]))
        for name, own in values.items()
    ]


def _compare(own: Sequence[Measured], best: Sequence[Measured]) -> Row:
    row = estimate_ratio(own, best)
    low = row.get("low")
    return row | {"alike": None if low is None else low <= 1}


def _admit(
    plan: Mapping[str, Any], experiment: str, names: Sequence[str], quantity: str
) -> list[str]:
    """Give the treatments that can be judged by this quantity."""
    if quantity != _OF_MEMORY:
        return list(names)
    stages = {
        name: plan["treatments"][f"{experiment}/{name}"]["specification"]["stages"]
        for name in names
    }
    return [
        name
        for name in names
        if not any(hides_results(stage.get("transport")) for stage in stages[name])
    ]


def _choose(
    values: Mapping[str, Sequence[Measured]], names: Sequence[str]
) -> dict[str, Sequence[Measured]]:
    return {name: values[name] for name in names if name in values}
