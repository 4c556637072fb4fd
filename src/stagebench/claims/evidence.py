"""The tables of a study → the evidence on its experiments, and what it measures for a test.

A test takes one value per run, and their interval over blocks. A value is a pair of bounds: for a
peak, the largest sum of a sweep and the upper bound between sweeps; for what is known by a lower
end alone, that and infinity; for anything else, the same number twice.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from stagebench.analyse.conditions import count_nodes
from stagebench.analyse.intervals import (
    LEAST_BLOCKS,
    Interval,
    mean_interval,
    ratio_interval,
    unpaired_mean_interval,
    unpaired_ratio_interval,
)
from stagebench.analyse.pairs import choose
from stagebench.claims.apart import find_apart, median_interval
from stagebench.claims.model import DIFFERENCE, RATIO
from stagebench.tables.decisions import USUAL_MARGIN
from stagebench.tables.io import list_rows
from stagebench.tables.quantities import (
    MEMORY_PARTS,
    PARAMETER,
    is_lower_end,
    is_moment,
    upper_of,
)
from stagebench.tables.schema import IN_BLOCKS
from stagebench.units import format_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from stagebench.analyse.intervals import Node, Nodes
    from stagebench.analyse.pairs import Chosen, Place
    from stagebench.claims.model import ClaimTest, Measure


Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evidence of a study on one experiment: its ok runs by treatment, its machine, its scale.

    `planned` are the treatments in its plan; `cores` is None if unknown; `misfit` names a parameter
    that differs from the published one, "" at full scale. `margin` is what the study counts as
    equivalent in practice.
    """

    study: str
    planned: frozenset[str]
    runs: Mapping[str, Sequence[Run]]
    cores: int | None
    misfit: str
    margin: float = USUAL_MARGIN


def gather_evidence(
    study: str,
    tables: Mapping[str, pd.DataFrame],
    reference: list[Json],
    margin: float = USUAL_MARGIN,
) -> dict[str, Evidence]:
    """Return the evidence on each experiment of a study, from its runs, stages and environment."""
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
            margin=margin,
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
        node=row["node"],
        numbers={"": _floats(row), **{stage["stage"]: _floats(stage) for stage in stages}},
    )


def _floats(row: Json) -> dict[str, float]:
    """Keep the numbers that are known; a missing count is neither int nor float."""
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _cores(environment: pd.DataFrame) -> int | None:
    own = environment.loc[environment["property"] == "cores_usable", "value"]
    return min(map(int, own), default=None)


def _find_misfit(experiment: str, stages: pd.DataFrame, reference: list[Json]) -> str:
    """Describe the first parameter that differs from the published one; "" if none does."""
    own = stages[stages["experiment"] == experiment].drop_duplicates(["stage", "parameters"])
    for row in reference:
        name = row["quantity"].removeprefix(PARAMETER)
        if row["experiment"] != experiment or name == row["quantity"]:
            continue
        published = row["stated"] if not math.isnan(row["stated"]) else row["logged"]
        rows = own[own["stage"] == row["stage"]] if row["stage"] else own
        given = [json.loads(text).get(name) for text in rows["parameters"]]
        known = [value for value in given if value is not None]
        if not known or any(value != published for value in known):
            here = format_parameter(known[0]) if known else "unknown"
            return f"{name} is {here} here, {format_parameter(published)} there"
    return ""


Bounds: TypeAlias = "tuple[float, float]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A successful run with its numbers: those of the run under "", of a stage under its name."""

    block: int
    campaign: str
    numbers: Mapping[str, Mapping[str, float]]
    node: Node = ""


class Estimate(NamedTuple):
    """An estimate from `n` blocks with its 95 % limits; None where there is none.

    `upper` is the estimate from the upper bounds, if they differ; it and `high` are infinite if
    nothing limits the value from above. `apart` is the one value that lies far from all others, if
    there is one: then the estimate is the median, and the limits are those of the median. `why`
    says what is missing; `is_missing` whether that is the measurement itself.
    """

    estimate: float | None = None
    upper: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    pairing: str = ""
    why: str = ""
    apart: float | None = None
    is_missing: bool = False


def measure_test(test: ClaimTest, runs: Mapping[str, Sequence[Run]]) -> Estimate:
    """Measure what a test is about; `runs` are those of its experiment, by treatment."""
    found = _measure(test, runs)
    is_bounded = found.high is not None and math.isfinite(found.high)
    if found.estimate is None or is_bounded or not is_moment(test.measure.quantity):
        return found
    what = f"a sweep saw {test.measure.quantity}, which bounds it from neither side"
    return found._replace(upper=None, low=None, high=None, why=what)


def _measure(test: ClaimTest, runs: Mapping[str, Sequence[Run]]) -> Estimate:
    of = _values(test, test.treatment, runs)
    if isinstance(of, str):
        return Estimate(why=of, is_missing=True)
    if not test.to:
        return _estimate(list(of.values()), mean_interval, "", [node for _, _, node in of])
    to = _values(test, test.to, runs)
    if isinstance(to, str):
        return Estimate(why=to, is_missing=True)
    if test.by == RATIO and min(low for low, _ in [*of.values(), *to.values()]) <= 0:
        return Estimate(why="a value of 0 or less has no ratio")
    return _compare(of, to, test.by)


_Values: TypeAlias = "dict[Place, Bounds]"


def _values(test: ClaimTest, treatment: str, runs: Mapping[str, Sequence[Run]]) -> _Values | str:
    """Return the value of each run by its place, or the reason why there is none."""
    own = runs.get(treatment, ())
    if not own:
        return f"no run of {treatment} succeeded"
    found = {(run.block, run.campaign, run.node): read_value(run, test.measure) for run in own}
    known = {key: value for key, value in found.items() if value is not None}
    if known:
        return known
    what = f"the upper bound of {test.measure.quantity}" if upper_of(test.measure.quantity) else ""
    return f"{what or test.measure.quantity} is unknown in all runs of {treatment}"


def read_value(run: Run, measure: Measure) -> Bounds | None:
    """Take a measure of one run; None if a part of it was not observed."""
    numbers = run.numbers.get(measure.stage, {})
    # What a stage does not have is of the run: its makespan, for example.
    others = {**run.numbers.get("", {}), **numbers}
    value = _bounds(numbers, measure.quantity)
    if value is not None and measure.minus:
        less = _bounds(numbers, measure.minus)
        value = None if less is None else _subtract(value, less)
    if value is not None and measure.times:
        factor = _bounds(others, measure.times)
        value = None if factor is None else _multiply(value, factor)
    if value is not None and measure.over:
        parts = _bounds(others, measure.over)
        value = None if parts is None or parts[0] <= 0 else _divide(value, parts)
    return value


_PEAKS = frozenset(f"{part}_peak_bytes" for part in MEMORY_PARTS)
"""A peak whose upper end nobody knows is not known."""


def _bounds(numbers: Mapping[str, float], quantity: str) -> Bounds | None:
    low, upper = numbers.get(quantity, math.nan), upper_of(quantity)
    if quantity == "most_children":  # the census has seen all processes
        high = numbers.get("processes_created", low + 1) - 1
    else:
        high = numbers.get(upper or quantity, math.nan)
        is_open = upper is None or math.isnan(high)
        if is_open and is_lower_end(quantity) and quantity not in _PEAKS:
            high = math.inf
    return None if math.isnan(low) or math.isnan(high) else (low, high)


def _multiply(value: Bounds, by: Bounds) -> Bounds:
    products = [part * factor for part in value for factor in by]
    return min(products), max(products)


def _divide(value: Bounds, by: Bounds) -> Bounds:
    quotients = [
        part / divisor
        for part in value
        for divisor in by
        if not (math.isinf(part) and math.isinf(divisor))
    ]
    return min(quotients), max(quotients)


def _compare(of: _Values, to: _Values, by: str) -> Estimate:
    """Compare runs in pairs of one block, campaign and node, or else unpaired and labelled so."""
    chosen = choose(of, to)
    if not chosen.pairing:
        return Estimate(why="its two sides have no node in common", is_missing=True)
    if chosen.pairing != IN_BLOCKS:
        return _compare_unpaired(chosen, by)
    both, method = _WAYS[by]
    pairs = list(zip(chosen.of, chosen.to, strict=True))
    values = [both(first, second) for first, second in pairs]
    found = _estimate(values, method, IN_BLOCKS, chosen.nodes[0])
    if not _is_unbounded(found):
        return found
    # What was seen is shown, though it says nothing of the true value.
    seen = [both((first, first), (second, second))[0] for (first, _), (second, _) in pairs]
    return found._replace(estimate=method(seen, chosen.nodes[0]).estimate)


def _is_unbounded(found: Estimate) -> bool:
    return found.high == math.inf and found.low in (0, -math.inf)


def _subtract(value: Bounds, less: Bounds) -> Bounds:
    return value[0] - less[1], value[1] - less[0]


Method: TypeAlias = "Callable[[Sequence[float], Sequence[Node]], Interval]"
"""Makes the interval of values from those and their nodes."""

_WAYS: Mapping[str, tuple[Callable[[Bounds, Bounds], Bounds], Method]] = {
    RATIO: (_divide, ratio_interval),
    DIFFERENCE: (_subtract, mean_interval),
}
"""How two values are compared → the comparison of a pair, and the interval over pairs."""


def _estimate(
    values: list[Bounds], method: Method, pairing: str, nodes: Sequence[Node]
) -> Estimate:
    lower, upper = ([value[end] for value in values] for end in (0, 1))
    is_ratio = method is ratio_interval
    # On several nodes, a value that lies apart may be what its node does.
    apart = [
        find_apart(ends, in_logs=is_ratio) if count_nodes(nodes) == 1 else None
        for ends in (lower, upper)
    ]
    if any(one is not None for one in apart):
        method = _take_median
    joined = _join(_interval(lower, method, nodes), _interval(upper, method, nodes), pairing)
    return joined._replace(apart=next((one for one in apart if one is not None), None))


def _take_median(values: Sequence[float], _: Sequence[Node]) -> Interval:
    return median_interval(values)


def _interval(values: Sequence[float], method: Method, nodes: Sequence[Node]) -> Interval:
    # A value that is the same in every block, such as a count, is known exactly.
    first = values[0]
    endless = [value for value in values if math.isinf(value)]
    if endless or (method is ratio_interval and 0 in values):
        end = endless[0] if endless else 0.0
        return Interval(end, end, end, len(values))
    if len(values) >= LEAST_BLOCKS and all(value == first for value in values):
        return Interval(first, first, first, len(values))
    return method(values, nodes)


def _compare_unpaired(chosen: Chosen[Bounds], by: str) -> Estimate:
    lows, highs = ([value[end] for value in chosen.of] for end in (0, 1))
    base_lows, base_highs = ([value[end] for value in chosen.to] for end in (0, 1))
    nodes = chosen.nodes
    lower = _unpaired(lows, base_highs, by, nodes)
    found = _join(lower, _unpaired(highs, base_lows, by, nodes), chosen.pairing)
    if not _is_unbounded(found):
        return found
    return found._replace(estimate=_unpaired(lows, base_lows, by, nodes).estimate)


def _unpaired(of: list[float], to: list[float], by: str, nodes: Nodes) -> Interval:
    n = min(len(of), len(to))
    if math.inf in to:
        least = 0 if by == RATIO else -math.inf
        return Interval(least, least, least, n)
    if math.inf in of:
        return Interval(math.inf, math.inf, math.inf, n)
    method = unpaired_ratio_interval if by == RATIO else unpaired_mean_interval
    return method(of, to, nodes)


def _join(lower: Interval, upper: Interval, pairing: str) -> Estimate:
    """Make one interval of a bracket: from the lower ends' lowest to the upper ends' highest."""
    few = lower.n < LEAST_BLOCKS
    return Estimate(
        estimate=lower.estimate,
        upper=upper.estimate if upper.estimate != lower.estimate else None,
        low=lower.low,
        high=upper.high,
        n=lower.n,
        pairing=pairing,
        why=f"needs {LEAST_BLOCKS} blocks, has {lower.n}" if few else "",
    )
