"""Every treatment against its baseline: ratios with intervals, tests, and the word they allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from stagebench.analyse.intervals import (
    LEAST_BLOCKS,
    effect_interval,
    half_width,
    holm,
    more_blocks,
    p_difference,
    p_equivalence,
)
from stagebench.analyse.measured import find_median
from stagebench.analyse.pairs import Measured, describe_gaps, match
from stagebench.confidence import ALPHA
from stagebench.quantities import unit_of
from stagebench.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]

RUN_QUANTITIES = (
    "makespan_s",
    "throughput_per_s",
    "turnaround_p95_s",
    "tree_peak_bytes",
    "tree_peak_upper_bytes",
    "tree_memory_time_byte_s",
)
"""Quantities of runs that are compared; a peak by both ends of its bracket."""

STAGE_QUANTITIES = ("stage_efficiency", "on_cpu_share")
"""Quantities of every stage that are compared."""

EQUIVALENT, INCONCLUSIVE = "equivalent", "inconclusive"
_WORDS = {"makespan_s": ("faster", "slower"), "throughput_per_s": ("slower", "faster")}
_OTHER_WORDS = ("lower", "higher")
"""What a ratio below 1 and one above 1 are called."""


class Family(NamedTuple):
    """A quantity of one experiment: what is tested together, and adjusted for it."""

    experiment: str
    stage: str
    quantity: str


Values = dict[Family, dict[str, list[Measured]]]


def compare_treatments(
    tables: Mapping[str, pd.DataFrame], plan: Mapping[str, Any]
) -> dict[str, pd.DataFrame]:
    """Make the tables `comparisons` and `ratios` of the tables `runs` and `stages`."""
    runs = tables["runs"]
    baselines = dict(runs.loc[runs["baseline"], ["experiment", "treatment"]].to_numpy().tolist())
    compared: list[Row] = []
    ratios: list[Row] = []
    for family, values in _collect(runs, tables["stages"]).items():
        told = family._asdict() | {
            "unit": unit_of(family.quantity),
            "baseline": baselines[family.experiment],
            "margin": plan["margin"],
            "half_width_wanted": plan["precision"].get(family.quantity, plan["margin"]),
        }
        compared += compare_family(values, told)
        ratios += _list_ratios(family, values, told["baseline"])
    return {
        "comparisons": make_table("comparisons", _in_order(compared, runs)),
        "ratios": make_table("ratios", _in_order(ratios, runs)),
    }


def compare_family(values: Mapping[str, Sequence[Measured]], told: Row) -> list[Row]:
    """Compare the treatments of one family with their baseline: rows with tests and words.

    `told` has what all rows say: quantity, baseline, margin, and the half-width wanted.
    """
    base = values.get(told["baseline"], ())
    rows = [
        told | {"treatment": name} | _compare(own, base, told)
        for name, own in values.items()
        if name != told["baseline"]
    ]
    return _conclude(rows)


def _list_ratios(
    family: Family, values: Mapping[str, Sequence[Measured]], baseline: str
) -> list[Row]:
    base = values.get(baseline, ())
    matches = {name: match(own, base) for name, own in values.items() if name != baseline}
    return [
        family._asdict()
        | {"treatment": name, "block": block, "pairing": matched.pairing, "ratio": ratio}
        for name, matched in matches.items()
        for block, ratio in matched.ratios()
    ]


def _collect(runs: pd.DataFrame, stages: pd.DataFrame) -> Values:
    """Give the values of every run by what is compared and by treatment."""
    found: Values = {}
    places = {}
    for run in runs.to_dict("records"):
        key = run["experiment"], run["treatment"], run["replicate"]
        places[key] = int(run["block"]), str(run["campaign"]), str(run["status"])
        _add(found, run, "", RUN_QUANTITIES, places[key])
    for stage in stages.to_dict("records"):
        key = stage["experiment"], stage["treatment"], stage["replicate"]
        _add(found, stage, str(stage["stage"]), STAGE_QUANTITIES, places[key])
    return found


def _add(
    found: Values,
    row: Mapping[Any, Any],
    stage: str,
    quantities: Sequence[str],
    place: tuple[int, str, str],
) -> None:
    for quantity in quantities:
        family = Family(str(row["experiment"]), stage, quantity)
        value = None if pd.isna(row[quantity]) else float(row[quantity])
        own = found.setdefault(family, {}).setdefault(str(row["treatment"]), [])
        own.append(Measured(*place, value))


def _compare(own: Sequence[Measured], base: Sequence[Measured], told: Row) -> Row:
    matched, notes = match(own, base), describe_gaps(own, base)
    row: Row = {"median": find_median(own), "baseline_median": find_median(base), "n": 0}
    if matched.pairing:
        effect = matched.effect()
        interval = effect_interval(effect)
        if not effect.is_tested:
            notes.append(f"an interval takes {LEAST_BLOCKS} blocks, here are {effect.n}")
        row |= {
            "ratio": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "n": effect.n,
            "pairing": matched.pairing,
            "p_difference": p_difference(effect),
            "p_equivalence": p_equivalence(effect, told["margin"]),
            "half_width": half_width(interval),
            "more_blocks": more_blocks(effect, told["half_width_wanted"]),
        }
    return row | {"note": "; ".join(notes)}


def _conclude(family: list[Row]) -> list[Row]:
    """Adjust the tests of one family, and choose the words."""
    difference = holm([row.get("p_difference") for row in family])
    equivalence = holm([row.get("p_equivalence") for row in family])
    return [
        row
        | {"p_difference_adjusted": differs, "p_equivalence_adjusted": equals}
        | {"word": _word(row, differs, equals)}
        for row, differs, equals in zip(family, difference, equivalence, strict=True)
    ]


def _word(row: Row, differs: float | None, equals: float | None) -> str:
    if differs is None or equals is None:
        return ""
    if equals < ALPHA:
        return EQUIVALENT
    if differs < ALPHA:
        return _WORDS.get(row["quantity"], _OTHER_WORDS)[row["ratio"] > 1]
    return INCONCLUSIVE


def _in_order(rows: list[Row], runs: pd.DataFrame) -> list[Row]:
    """Put rows in the order of the plan; those of a treatment stay as they are."""
    names = runs[["experiment", "treatment"]].drop_duplicates().to_numpy().tolist()
    places = {tuple(name): place for place, name in enumerate(names)}
    return sorted(rows, key=lambda row: places[row["experiment"], row["treatment"]])
