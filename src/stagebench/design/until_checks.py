"""How many blocks a study has: a fixed number, or until its intervals are narrow enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.grid import AT_LEAST, AT_MOST, SHORT_NAMES
from stagebench.design.problems import problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stagebench.design.problems import Problem

BESIDE_UNTIL = ("at_least", "at_most", "time_budget")

_ALLOWED = "replicates (1 to 1000), or until with half-widths such as {makespan_s: 5 %}"


def find_until_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that a study has a fixed number of blocks or a rule to stop, and not both."""
    if "until" not in values:
        if "replicates" not in values:
            yield problem(("replicates",), f"missing; allowed: {_ALLOWED}")
        for key in BESIDE_UNTIL:
            if key in values:
                yield problem((key,), "has an effect only beside until; allowed: no such key")
        return
    if "replicates" in values:
        text = "not allowed beside until, which decides how many blocks there are"
        allowed = "at_least and at_most (without: [replicates] leaves an extended study's out)"
        yield problem(("replicates",), f"{text}; allowed: {allowed}, or no until")
    least, most = values.get("at_least", AT_LEAST), values.get("at_most", AT_MOST)
    if isinstance(least, int) and isinstance(most, int) and least > most:
        key = "at_most" if "at_most" in values else "at_least"
        default = "" if {"at_least", "at_most"} <= values.keys() else " by default"
        yield problem(
            (key,),
            f"at_least is {least} and at_most {most}{default}; allowed: at_least"
            " that is not above at_most",
        )
    given = list(values["until"]) if isinstance(values["until"], dict) else []
    wanted = values.get("precision", {})
    for name in given:
        quantity = SHORT_NAMES.get(str(name), str(name))
        if isinstance(wanted, dict) and quantity in wanted:
            text = f"{quantity} is in until, too; allowed: once"
            yield problem(("precision", quantity), text)
