"""The setting `arrival`: when the tasks of a run arrive."""

from __future__ import annotations

from typing import Any

from stagebench.design.placeholders import is_open
from stagebench.problems import Path, Problem, problem, show

Json = dict[str, Any]

NEEDS = {"at_once": (), "fixed_rate": ("rate_per_s",), "poisson": ("rate_per_s", "seed")}
"""What each kind of arrival has to be given."""

_ALLOWED = {
    "rate_per_s": "tasks a second, above 0 and at most 1000000",
    "seed": "a whole number, 0 or more",
}


def find_arrival_problems(arrival: Any, path: Path) -> list[Problem]:
    """Check that a kind of arrival is given what it needs; `path` leads to the setting."""
    if not isinstance(arrival, dict) or is_open(arrival.get("kind")):
        return []
    lacking = [name for name in NEEDS[arrival["kind"]] if arrival.get(name) is None]
    texts = {name: f"missing for {arrival['kind']}; allowed: {_ALLOWED[name]}" for name in lacking}
    return [problem((*path, name), text) for name, text in texts.items()]


def find_idle_arrival(arrival: Any, path: Path) -> list[Problem]:
    """Tell what a kind that the config itself names has no use for.

    Where the kind is a factor, one mapping serves all of its levels: each treatment leaves out what
    its kind does not need.
    """
    if not isinstance(arrival, dict) or is_open(arrival.get("kind")):
        return []
    kind = arrival["kind"]
    idle = [n for n in _ALLOWED if arrival.get(n) is not None and n not in NEEDS[kind]]
    return [
        problem(
            (*path, name),
            f"{show(arrival[name])} changes nothing for {kind}; allowed: no such key",
        )
        for name in idle
    ]


def complete_arrival(given: Json | None) -> Json:
    """Give the part of a specification that says so; nothing where all tasks arrive at once."""
    if given is None or given["kind"] == "at_once":
        return {}
    numbers: Json = {"rate_per_s": float(given["rate_per_s"])}
    if "seed" in NEEDS[given["kind"]]:
        numbers["seed"] = given["seed"]
    return {"arrival": {"kind": given["kind"], **numbers}}
