"""Comparisons of treatments: with their baseline, by one setting, and with the best one.

- `comparisons` and `ratios`: every treatment against its baseline, as ratios with intervals and the
  word that the intervals support.
- `contrasts`: pairs of treatments that differ in one setting of the flow of tasks and in nothing
  else. The settings are the bounds of queues and of tasks in flight, the transport of results, and
  batches of tasks.
- `winners`: the best treatment by time and by memory, and those that may be as good. Treatments
  compete if they do the same work: the same tasks with the same arrival and parameters, whatever
  their handlers and workers; or if the config states that all of the experiment do. Treatments
  whose results wait where their memory was not counted do not compete by memory: in a file, or,
  without a control group, in shared memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.analyse.families import estimate_family, explain_no_interval, join
from stagebench.analyse.intervals import (
    choose_alpha,
    p_difference,
    p_equivalence,
)
from stagebench.analyse.pairs import (
    LARGEST,
    PER_TASK,
    SMALLEST,
    Matched,
    Measured,
    collect_measured,
    describe_gaps,
    find_median,
    find_upper_median,
    list_same_work,
    list_splits,
    list_uppers,
    match,
    measure,
)
from stagebench.store import canonical_json
from stagebench.tables.decisions import LEAST, MOST, decide, may_be_first, name_outcome
from stagebench.tables.io import make_table
from stagebench.tables.quantities import hides_results, unit_of
from stagebench.units import ALPHA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from stagebench.analyse.families import RatioEstimate


Row = dict[str, Any]

RUN_QUANTITIES = (
    "makespan_s",
    "throughput_per_s",
    "turnaround_p95_s",
    "tree_peak_bytes",
    "tree_memory_time_byte_s",
)
"""Quantities of runs to compare; a peak by both ends of its bracket at once."""

STAGE_QUANTITIES = ("stage_efficiency", "on_cpu_share")
"""Quantities of stages to compare."""


class Family(NamedTuple):
    """A quantity of one experiment; the intervals of a family hold together."""

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
    splits = list_splits(runs, plan)
    for family, values in _collect(runs, tables["stages"]).items():
        common = family._asdict() | {
            "unit": unit_of(family.quantity),
            "baseline": baselines[family.experiment],
            "margin": plan["margin"],
            "half_width_wanted": plan["precision"].get(family.quantity, plan["margin"]),
        }
        tasks = splits.get(family.experiment, {}) if family.quantity in PER_TASK else {}
        compared += compare_family(values, common, tasks, choose_alpha(plan))
        ratios += _list_ratios(family, values, common["baseline"], tasks)
    return {
        "comparisons": make_table("comparisons", _in_order(compared, runs)),
        "ratios": make_table("ratios", _in_order(ratios, runs)),
    }


def compare_family(
    values: Mapping[str, Sequence[Measured]],
    common: Row,
    tasks: Mapping[str, int] | None = None,
    alpha: float = ALPHA,
) -> list[Row]:
    """Compare the treatments of one family with their baseline: rows with intervals and words.

    `common` has the columns that all rows share: quantity, baseline, margin, and the half-width
    wanted. Treatments with another number of `tasks` than the baseline are not compared.
    """
    tasks, baseline = tasks or {}, common["baseline"]
    base = values.get(baseline, ())
    others = {name: own for name, own in values.items() if name != baseline}
    judged = judge(
        [
            (name, baseline, match(own, base) if _is_alike(name, baseline, tasks) else _NOTHING)
            for name, own in others.items()
        ],
        common["quantity"],
        common["margin"],
        alpha,
    )
    return [
        common
        | {"treatment": name}
        | _summarise(own, base)
        | row
        | _test(matched, estimate, common)
        | {"note": _describe_split(name, baseline, tasks) or "; ".join(_notes(own, base, row))}
        for (name, own), (row, matched, estimate) in zip(others.items(), judged, strict=True)
    ]


_NOTHING = Matched("", (), ())


def _is_alike(name: str, baseline: str, tasks: Mapping[str, int]) -> bool:
    return tasks.get(name) == tasks.get(baseline)


def _describe_split(name: str, baseline: str, tasks: Mapping[str, int]) -> str:
    """Return why quantities in tasks are not compared; "" if they are."""
    if _is_alike(name, baseline, tasks):
        return ""
    return f"the same work is {tasks[name]} tasks here and {tasks[baseline]} in the baseline"


Judged = tuple[Row, "Matched", "RatioEstimate | None"]


def judge(
    pairs: Sequence[tuple[str, str, Matched]], quantity: str, margin: float, alpha: float = ALPHA
) -> list[Judged]:
    """Judge ratios as one family; a pair has a treatment, the other one, and their runs.

    The rows have ratio, limits, number, pairing, margin and word; only `n` = 0 where nothing can be
    compared.
    """
    members = [join(*pair) for pair in pairs]
    found = zip(pairs, members, estimate_family(members, alpha), strict=True)
    return [
        (
            {"n": 0}
            if estimate is None
            else {
                "ratio": estimate.ratio,
                "ratio_upper": estimate.bracket_end,
                "low": estimate.low,
                "high": estimate.high,
                "n": member.n,
                "pairing": member.pairing,
                "margin": margin,
                "word": name_outcome(estimate.outcome(margin), quantity),
            },
            matched,
            estimate,
        )
        for (_, _, matched), member, estimate in found
    ]


def _summarise(own: Sequence[Measured], base: Sequence[Measured]) -> Row:
    return {
        "median": find_median(own),
        "median_upper": find_upper_median(own),
        "baseline_median": find_median(base),
        "baseline_median_upper": find_upper_median(base),
    }


def _test(matched: Matched, estimate: RatioEstimate | None, common: Row) -> Row:
    """Return the p-values of a ratio, by itself and in its family, and how precise it is."""
    if estimate is None:
        return {}
    margin = common["margin"]
    effects = [matched.effect(end) for end in (SMALLEST, LARGEST)]
    # A bracket differs from 1 as surely as its nearer end, and is as surely within the margin as
    # its farther one.
    nearer = effects[0] if effects[0].estimate > 0 else effects[1]
    holds_one = effects[0].estimate < 0 < effects[1].estimate
    known = [p for p in (p_equivalence(effect, margin) for effect in effects) if p is not None]
    p = p_difference(nearer)
    return {
        "p_difference": None if p is None else 1.0 if holds_one else p,
        "p_equivalence": max(known, default=None),
        "p_difference_adjusted": estimate.p_difference(),
        "p_equivalence_adjusted": estimate.p_equivalence(margin),
        "half_width": estimate.half_width(),
        "more_blocks": estimate.more_blocks(common["half_width_wanted"]),
    }


def _notes(own: Sequence[Measured], base: Sequence[Measured], row: Row) -> list[str]:
    notes = describe_gaps(own, base)
    if row["n"] and row.get("low") is None:
        notes.append(explain_no_interval(row["n"]))
    if row.get("low") == 0 or row.get("high") == math.inf:
        notes.append("no upper end is known in some runs")
    return notes


def _list_ratios(
    family: Family,
    values: Mapping[str, Sequence[Measured]],
    baseline: str,
    tasks: Mapping[str, int],
) -> list[Row]:
    base = values.get(baseline, ())
    matches = {
        name: match(own, base)
        for name, own in values.items()
        if name != baseline and _is_alike(name, baseline, tasks)
    }
    return [
        family._asdict()
        | {"treatment": name, "block": block, "pairing": matched.pairing, "ratio": ratio}
        | {"ratio_upper": None if largest == ratio else largest}
        for name, matched in matches.items()
        for (block, ratio), (_, largest) in zip(
            matched.ratios(), matched.ratios(LARGEST), strict=True
        )
    ]


def _collect(runs: pd.DataFrame, stages: pd.DataFrame) -> _Families:
    """Return the values of all runs by family and treatment."""
    found: _Families = {}
    places = {}
    for run in runs.to_dict("records"):
        key = run["experiment"], run["treatment"], run["replicate"]
        place = int(run["block"]), str(run["campaign"]), str(run["node"])
        places[key] = place, str(run["status"])
    for rows, quantities in ((runs, RUN_QUANTITIES), (stages, STAGE_QUANTITIES)):
        uppers = {quantity: list_uppers(rows, quantity) for quantity in quantities}
        for index, row in enumerate(rows.to_dict("records")):
            place, status = places[row["experiment"], row["treatment"], row["replicate"]]
            for quantity in quantities:
                family = Family(str(row["experiment"]), str(row.get("stage", "")), quantity)
                own = found.setdefault(family, {}).setdefault(str(row["treatment"]), [])
                own.append(measure(place, status, (row[quantity], uppers[quantity][index])))
    return found


def _in_order(rows: list[Row], runs: pd.DataFrame) -> list[Row]:
    """Sort rows by the order of the plan; rows of one treatment keep their order."""
    names = runs[["experiment", "treatment"]].drop_duplicates().to_numpy().tolist()
    places = {tuple(name): place for place, name in enumerate(names)}
    return sorted(rows, key=lambda row: places[row["experiment"], row["treatment"]])


Json = dict[str, Any]

CONTRAST_QUANTITIES = ("makespan_s", "turnaround_p95_s", "cpu_s", "tree_peak_bytes")
STAGE_SETTINGS = {"queue_size": "unbounded", "transport": "pickle", "batch": "1", "prefetch": "0"}
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
    rows = []
    for quantity in CONTRAST_QUANTITIES:
        for experiment in dict.fromkeys(contrast.experiment for contrast in found):
            own = [contrast for contrast in found if contrast.experiment == experiment]
            rows += _measure(own, values[quantity].get(experiment, {}), quantity, plan)
    order = {contrast: place for place, contrast in enumerate(found)}
    rows.sort(key=lambda row: order[Contrast(*(row[name] for name in Contrast._fields))])
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


def _measure(
    contrasts: Sequence[Contrast],
    treatments: Mapping[str, Sequence[Measured]],
    quantity: str,
    plan: Mapping[str, Any],
) -> list[Row]:
    """Compare the pairs of treatments in one quantity, as one family; leave out unknown ones."""
    sides = [(treatments.get(one.treatment, []), treatments.get(one.to, [])) for one in contrasts]
    pairs = [
        (one.treatment, one.to, match(*side)) for one, side in zip(contrasts, sides, strict=True)
    ]
    judged = judge(pairs, quantity, plan["margin"], choose_alpha(plan))
    return [
        contrast._asdict()
        | {"quantity": quantity, "unit": unit_of(quantity)}
        | {"median": find_median(own), "to_median": find_median(to)}
        | row
        for contrast, (own, to), (row, *_) in zip(contrasts, sides, judged, strict=True)
        if find_median(own) is not None or find_median(to) is not None
    ]


WINNER_QUANTITIES = ("makespan_s", "tree_peak_bytes", "turnaround_p95_s")
"""The smallest value wins."""

_OF_MEMORY = "tree_peak_bytes"


def find_winners(runs: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """Make the table `winners` from the table `runs`: one row per treatment that has a rival.

    Every ranking has two ends: who wins by having the least, and who has the most.
    """
    contests = Contests(runs, plan)
    splits = list_splits(runs, plan)
    rows = [
        {"experiment": experiment, "work": number, "quantity": quantity, "unit": unit_of(quantity)}
        | row
        for experiment, works in group_by_work(plan).items()
        for number, treatments in enumerate(works, start=1)
        for quantity in WINNER_QUANTITIES
        if not (experiment in splits and quantity in PER_TASK)
        if len(contests.admit(experiment, treatments, quantity)) > 1
        for end in (LEAST, MOST)
        for row in rank(
            contests.collect(experiment, treatments, quantity),
            quantity,
            plan["margin"],
            end,
            contests.alpha,
        )
    ]
    return make_table("winners", rows)


class Contests:
    """The values of a study's runs by which treatments of equal work compete."""

    def __init__(self, runs: pd.DataFrame, plan: Mapping[str, Any]) -> None:
        self.alpha = choose_alpha(plan)
        self._runs = runs
        self._plan = plan
        self._values = {
            quantity: collect_measured(runs, quantity) for quantity in WINNER_QUANTITIES
        }

    def admit(self, experiment: str, names: Sequence[str], quantity: str) -> list[str]:
        """Return the treatments that can be compared by this quantity."""
        return _admit(self._runs, self._plan, experiment, names, quantity)

    def collect(
        self, experiment: str, names: Sequence[str], quantity: str
    ) -> dict[str, Sequence[Measured]]:
        """Return the values of the treatments that can be compared by this quantity."""
        competing = self.admit(experiment, names, quantity)
        return _choose(self._values[quantity].get(experiment, {}), competing)


def group_by_work(plan: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return the treatments of each experiment in groups of equal work, in the plan's order."""
    groups: dict[str, dict[str, list[str]]] = {}
    stated = list_same_work(plan)
    for key, treatment in plan["treatments"].items():
        experiment, _, name = key.partition("/")
        work = "" if experiment in stated else describe_work(treatment["specification"])
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


def rank(
    values: Mapping[str, Sequence[Measured]],
    quantity: str,
    margin: float,
    end: str = LEAST,
    alpha: float = ALPHA,
) -> list[Row]:
    """Find the treatment with the least median, or the most, and compare the others with it.

    A peak leads by the median of its upper ends for the least, of its lower ends for the most:
    what it surely is. A treatment is `alike` unless it is surely larger (or smaller): it may be
    the least (or most), too. Without an interval, `alike` is unknown.
    """
    medians = {name: (find_median(own), find_upper_median(own)) for name, own in values.items()}
    known = {name: ends for name, ends in medians.items() if ends[0] is not None}
    if not known:
        return []
    sure = 1 if end == LEAST else 0
    choose = min if end == LEAST else max
    winner = choose(known, key=lambda name: (known[name][sure], known[name][1 - sure]))
    rivals = [name for name in values if name != winner]
    pairs = [(name, winner, match(values[name], values[winner])) for name in rivals]
    found = judge(pairs, quantity, margin, alpha)
    judged = {name: row for name, (row, *_) in zip(rivals, found, strict=True)}
    return [
        {"end": end, "treatment": name, "winner": winner}
        | {"median": medians[name][0], "median_upper": medians[name][1]}
        | ({"alike": True} if name == winner else _compare_with_best(judged[name], margin, end))
        for name in values
    ]


def _compare_with_best(row: Row, margin: float, end: str) -> Row:
    outcome = decide(row.get("low"), row.get("high"), margin)
    return row | {"alike": may_be_first(outcome, end)}


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
