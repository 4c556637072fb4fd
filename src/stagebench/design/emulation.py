"""The setting `sampler.emulate`: the published way of sampling, beside our own."""

from __future__ import annotations

from typing import Any

from stagebench.problems import Path, Problem, problem, show

EMULATE = {"interval_s": 0.1, "discovery_s": 1.0}
"""The published study's: main every 0.1 s, its children discovered every second."""


def find_emulation_problems(sampler: Any, path: Path) -> list[Problem]:
    """Check that children are discovered no oftener than main is read: no record would tell.

    `path` is the sampler's place. What is no plain number is passed over: it has another problem,
    or a placeholder that each treatment fills in.
    """
    given = sampler.get("emulate") if isinstance(sampler, dict) else None
    if not isinstance(given, dict):
        return []
    interval, discovery = ({**EMULATE, **given}[name] for name in EMULATE)
    if not (_is_number(interval) and _is_number(discovery)) or discovery >= interval:
        return []
    named = "discovery_s" if "discovery_s" in given else "interval_s"
    allowed = (
        f"no less than interval_s ({show(interval)})"
        if named == "discovery_s"
        else f"no more than discovery_s ({show(discovery)})"
    )
    text = f"{show(given[named])} is not allowed; allowed: {allowed}"
    return [problem((*path, "emulate", named), text)]


def complete_emulation(given: dict[str, float] | None) -> dict[str, dict[str, float]]:
    """Give the part of a specification that says so; nothing where the emulation is off.

    A specification without it stays what it was before there was one: no run is measured anew.
    """
    if given is None:
        return {}
    return {"emulate": {name: float(value) for name, value in (EMULATE | given).items()}}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
