"""Comparisons of treatments: with their baseline, by one setting, and with the best one.

- `comparisons` and `ratios`: every treatment against its baseline, as ratios with intervals, tests
  and the word that the tests support.
- `contrasts`: pairs of treatments that differ in one setting of the flow of tasks and in nothing
  else. The settings are the bounds of queues and of tasks in flight, and the transport of results.
- `winners`: the best treatment by time and by memory, and the treatments statistically tied with
  it. Treatments compete if they do the same work: the same tasks with the same arrival and
  parameters, whatever their handlers and workers. Treatments whose results wait where their
  memory was not counted do not compete by memory: in a file, or, without a control group, in shared
  memory.
"""

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
from stagebench.analyse.pairs import (
    Measured,
    collect_measured,
    describe_gaps,
    estimate_ratio,
    find_median,
    match,
)
from stagebench.store import canonical_json
from stagebench.tables.io import make_table
from stagebench.tables.quantities import HIGHER, LOWER, QUANTITIES, hides_results, unit_of
from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stagebench.analyse.pairs import Values


Row = dict[str, Any]

RUN_QUANTITIES = (
    "makespan_s",
    "throughput_per_s",
    "turnaround_p95_s",
    "tree_peak_bytes",
    "tree_peak_upper_bytes",
    "tree_memory_time_byte_s",
)
"""Quantities of runs to compare; a peak is compared by both ends of its bracket."""

STAGE_QUANTITIES = ("stage_efficiency", "on_cpu_share")
"""Quantities of stages to compare."""

EQUIVALENT, INCONCLUSIVE = "equivalent", "inconclusive"
_PACES = ("makespan_s", "throughput_per_s")
"""Quantities of which one side is called faster; of all others, lower."""


class Family(NamedTuple):
    """A quantity of one experiment; the tests of a family are adjusted together."""

    experiment: str
    stage: str
    quantity: str


_Families = dict[Family, dict[str, list[Measured]]]


def compare_treatments(
    tables: Mapping[str, pd.DataFrame], plan: Mapping[str, Any]
) -> dict[str, pd.DataFrame]:
    """Make the tables `comparisons` and `ratios` from the tables `runs` and `stages`."""
    runs = tables["runs"]
    baselines = dict(runs.loc[runs["baseline"], ["experiment", "treatment"]].to_numpy().tolist())
    compared: list[Row] = []
    ratios: list[Row] = []
    for family, values in _collect(runs, tables["stages"]).items():
        common = family._asdict() | {
            "unit": unit_of(family.quantity),
            "baseline": baselines[family.experiment],
            "margin": plan["margin"],
            "half_width_wanted": plan["precision"].get(family.quantity, plan["margin"]),
        }
        compared += compare_family(values, common)
        ratios += _list_ratios(family, values, common["baseline"])
    return {
        "comparisons": make_table("comparisons", _in_order(compared, runs)),
        "ratios": make_table("ratios", _in_order(ratios, runs)),
    }


def compare_family(values: Mapping[str, Sequence[Measured]], common: Row) -> list[Row]:
    """Compare the treatments of one family with their baseline: rows with tests and words.

    `common` has the columns that all rows share: quantity, baseline, margin, and the half-width
    wanted.
    """
    base = values.get(common["baseline"], ())
    rows = [
        common | {"treatment": name} | _compare_with_baseline(own, base, common)
        for name, own in values.items()
        if name != common["baseline"]
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


def _collect(runs: pd.DataFrame, stages: pd.DataFrame) -> _Families:
    """Return the values of all runs by family and treatment."""
    found: _Families = {}
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
    found: _Families,
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


def _compare_with_baseline(own: Sequence[Measured], base: Sequence[Measured], common: Row) -> Row:
    matched, notes = match(own, base), describe_gaps(own, base)
    row: Row = {"median": find_median(own), "baseline_median": find_median(base), "n": 0}
    if matched.pairing:
        effect = matched.effect()
        interval = effect_interval(effect)
        if not effect.is_tested:
            notes.append(f"an interval needs {LEAST_BLOCKS} blocks, there are {effect.n}")
        row |= {
            "ratio": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "n": effect.n,
            "pairing": matched.pairing,
            "p_difference": p_difference(effect),
            "p_equivalence": p_equivalence(effect, common["margin"]),
            "half_width": half_width(interval),
            "more_blocks": more_blocks(effect, common["half_width_wanted"]),
        }
    return row | {"note": "; ".join(notes)}


def _conclude(family: list[Row]) -> list[Row]:
    """Adjust the tests of one family and choose the words."""
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
        side = HIGHER if row["ratio"] > 1 else LOWER
        if row["quantity"] not in _PACES:
            return side
        return "faster" if side == QUANTITIES[row["quantity"]].better else "slower"
    return INCONCLUSIVE


def _in_order(rows: list[Row], runs: pd.DataFrame) -> list[Row]:
    """Sort rows by the order of the plan; rows of one treatment keep their order."""
    names = runs[["experiment", "treatment"]].drop_duplicates().to_numpy().tolist()
    places = {tuple(name): place for place, name in enumerate(names)}
    return sorted(rows, key=lambda row: places[row["experiment"], row["treatment"]])


Json = dict[str, Any]

CONTRAST_QUANTITIES = ("makespan_s", "turnaround_p95_s", "cpu_s", "tree_peak_bytes")
STAGE_SETTINGS = {"queue_size": "unbounded", "transport": "pickle"}
"""Setting of a stage → name of its level if it is not set."""

RUN_SETTINGS = {"in_flight": "unbounded"}


class Contrast(NamedTuple):
    """Two treatments that differ in one setting only."""

    experiment: str
    setting: str
    treatment: str
    level: str
    to: str
    to_level: str


def contrast_treatments(runs: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Make the table `contrasts` from the table `runs`."""
    found = list(find_contrasts(plan))
    values = {
        quantity: collect_measured(runs, quantity) for quantity in CONTRAST_QUANTITIES if found
    }
    rows = [
        contrast._asdict() | {"quantity": quantity, "unit": unit_of(quantity)} | row
        for contrast in found
        for quantity in CONTRAST_QUANTITIES
        if (row := _measure(contrast, values[quantity])) is not None
    ]
    return make_table("contrasts", rows)


def find_contrasts(plan: Mapping[str, Any]) -> Iterator[Contrast]:
    """Yield each treatment with the one that it is compared with, setting by setting.

    That is a treatment in which the setting is off or, if there is none, the first one.
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
    """Name the level of a setting: "4", or "parse 4, write 8" if stages differ."""
    if setting in RUN_SETTINGS:
        level = specification.get(setting)
        return RUN_SETTINGS[setting] if level is None else str(level)
    off = STAGE_SETTINGS[setting]
    levels = {one["name"]: str(one.get(setting) or off) for one in specification["stages"]}
    if len(set(levels.values())) == 1:
        return next(iter(levels.values()))
    return ", ".join(f"{stage} {level}" for stage, level in levels.items() if level != off)


def _group_by_rest(treatments: Mapping[str, Json], setting: str) -> list[dict[str, str]]:
    """Return groups of treatments that differ only in a setting, with its levels."""
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
    """Compare the two treatments in one quantity; None if it is known for neither."""
    treatments = values.get(contrast.experiment, {})
    own, to = treatments.get(contrast.treatment, []), treatments.get(contrast.to, [])
    median, to_median = find_median(own), find_median(to)
    if median is None and to_median is None:
        return None
    return {"median": median, "to_median": to_median} | estimate_ratio(own, to)


WINNER_QUANTITIES = ("makespan_s", "tree_peak_bytes", "turnaround_p95_s")
"""The smallest value wins; of a peak, the smallest lower bound."""

_OF_MEMORY = "tree_peak_bytes"


def find_winners(runs: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Make the table `winners` from the table `runs`: one row per treatment that has a rival."""
    values = {quantity: collect_measured(runs, quantity) for quantity in WINNER_QUANTITIES}
    rows = [
        {"experiment": experiment, "work": number, "quantity": quantity, "unit": unit_of(quantity)}
        | row
        for experiment, works in group_by_work(plan).items()
        for number, treatments in enumerate(works, start=1)
        for quantity in WINNER_QUANTITIES
        if len(competing := _admit(runs, plan, experiment, treatments, quantity)) > 1
        for row in rank(_choose(values[quantity].get(experiment, {}), competing))
    ]
    return make_table("winners", rows)


def group_by_work(plan: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return the treatments of each experiment in groups of equal work, in the plan's order."""
    groups: dict[str, dict[str, list[str]]] = {}
    for key, treatment in plan["treatments"].items():
        experiment, _, name = key.partition("/")
        work = describe_work(treatment["specification"])
        groups.setdefault(experiment, {}).setdefault(work, []).append(name)
    return {experiment: list(works.values()) for experiment, works in groups.items()}


def describe_work(specification: Mapping[str, Any]) -> str:
    """Return the work of a treatment as one text: tasks, arrival and parameters of its stages."""
    return canonical_json(
        {
            "tasks": specification["tasks"],
            "arrival": specification.get("arrival"),
            "stages": [[one["name"], one["parameters"]] for one in specification["stages"]],
        }
    )


def rank(values: Mapping[str, Sequence[Measured]]) -> list[Row]:
    """Find the treatment with the smallest median, and compare the others with it.

    A treatment is `alike` unless it is surely larger: the interval of its ratio to the winner
    includes 1, or lies below 1 if pairs and medians disagree. Without an interval, `alike` is
    unknown.
    """
    medians = {name: find_median(own) for name, own in values.items()}
    known = {name: value for name, value in medians.items() if value is not None}
    if not known:
        return []
    winner = min(known, key=lambda name: known[name])
    return [
        {"treatment": name, "winner": winner, "median": medians[name]}
        | ({"alike": True} if name == winner else _compare_with_best(own, values[winner]))
        for name, own in values.items()
    ]


def _compare_with_best(own: Sequence[Measured], best: Sequence[Measured]) -> Row:
    row = estimate_ratio(own, best)
    low = row.get("low")
    return row | {"alike": None if low is None else low <= 1}


def _admit(
    runs: pd.DataFrame,
    plan: Mapping[str, Any],
    experiment: str,
    names: Sequence[str],
    quantity: str,
) -> list[str]:
    """Return the treatments that can be compared by this quantity."""
    if quantity != _OF_MEMORY:
        return list(names)
    stages = {
        name: plan["treatments"][f"{experiment}/{name}"]["specification"]["stages"]
        for name in names
    }
    ok = runs[(runs["experiment"] == experiment) & (runs["status"] == "ok")]
    instruments = {
        name: set(ok.loc[ok["treatment"] == name, "memory_instrument"]) for name in names
    }
    return [
        name
        for name in names
        if not any(hides_results(one.get("transport"), instruments[name]) for one in stages[name])
    ]


def _choose(
    values: Mapping[str, Sequence[Measured]], names: Sequence[str]
) -> dict[str, Sequence[Measured]]:
    return {name: values[name] for name in names if name in values}
