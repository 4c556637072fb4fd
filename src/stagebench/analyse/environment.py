"""Where the runs of a study were made: every property and value, and how many runs saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stagebench.analyse.traces import Head

Row = dict[str, Any]


def summarise_environment(runs: Iterable[Head]) -> list[Row]:
    """Give one row per property and value; more than one value a property means mixed places."""
    counts: dict[str, dict[str, int]] = {}
    for head in runs:
        for name, value in _properties(head.run["environment"]):
            values = counts.setdefault(name, {})
            values[value] = values.get(value, 0) + 1
    return [
        {"property": name, "value": value, "runs": runs}
        for name, values in counts.items()
        for value, runs in values.items()
    ]


def _properties(environment: Row) -> Iterator[tuple[str, str]]:
    for name, value in environment.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{part}", str(version)) for part, version in value.items())
        elif value is not None:
            yield name, str(value)
