"""Where the runs of a study were made: every property and value, and which runs saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagebench.analyse.traces import Trace

Row = dict[str, Any]

MOST_NAMED = 4
"""Treatments of an experiment that are named one by one; of more, the runs are counted."""


def summarise_environment(traces: list[Trace]) -> list[Row]:
    """Give one row per property and value; more than one value a property means mixed places."""
    seen: dict[str, dict[str, list[int]]] = {}
    for index, trace in enumerate(traces):
        for name, value in _properties(trace.run):
            seen.setdefault(name, {}).setdefault(value, []).append(index)
    runs = [(trace.planned["experiment"], trace.planned["treatment"]) for trace in traces]
    return [
        {
            "property": name,
            "value": value,
            "runs": len(own),
            "where": "" if len(own) == len(traces) else name_places(runs, own),
        }
        for name, values in seen.items()
        for value, own in values.items()
    ]


def name_places(runs: list[tuple[str, str]], own: list[int]) -> str:
    """Name the experiments, or else the treatments, that some runs are of: "a, b/t1 (2 of 3)"."""
    chosen = [runs[index] for index in own]
    places = []
    for experiment in dict.fromkeys(name for name, _ in chosen):
        here = [run for run in chosen if run[0] == experiment]
        all_here = sum(name == experiment for name, _ in runs)
        treatments = list(dict.fromkeys(here))
        if len(here) == all_here:
            places.append(experiment)
        elif len(treatments) > MOST_NAMED:
            places.append(f"{experiment} ({len(here)} of {all_here} runs)")
        else:
            places += [_name_treatment(run, here.count(run), runs.count(run)) for run in treatments]
    return ", ".join(places)


def _name_treatment(run: tuple[str, str], count: int, of: int) -> str:
    return "/".join(run) + ("" if count == of else f" ({count} of {of} runs)")


def _properties(run: Row) -> Iterator[tuple[str, str]]:
    for name, value in [*run["environment"].items(), *run["machine_before"]["settings"].items()]:
        if isinstance(value, dict):
            yield from ((f"{name}.{part}", str(version)) for part, version in value.items())
        elif value is not None:
            yield name, str(value)
