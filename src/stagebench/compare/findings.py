"""What a comparison finds: how each side differs from the first, by treatment and by factor.

The intervals of a family hold together, as in the report: a family is one quantity of one
experiment, between two sides. Effects of factors are families of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stagebench.analyse.factors import FactorGrid
from stagebench.analyse.pairs import (
    PER_TASK,
    collect_measured,
    find_median,
    find_upper_median,
)
from stagebench.compare.matching import make_sides, match_sides
from stagebench.compare.samples import LEAST_CAMPAIGNS, LEAST_NODES, compare_samples, weigh
from stagebench.compare.surroundings import find_differences
from stagebench.errors import StoreError
from stagebench.present.markdown import count_noun
from stagebench.records import NOT_FAILED
from stagebench.tables.decisions import NO_INTERVAL, USUAL_MARGIN, name_outcome
from stagebench.tables.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from stagebench.analyse.pairs import Measured
    from stagebench.compare.matching import Match, Side, SideTreatment
    from stagebench.compare.samples import Sample, SideChange
    from stagebench.compare.sources import StudySource
    from stagebench.compare.surroundings import Difference

    Ends = tuple[float | None, float | None]
    _Values = tuple[Mapping[str, Sequence[Measured]], Mapping[str, Sequence[Measured]]]

USUAL_QUANTITIES = ("makespan_s", "tree_peak_bytes")

TREATMENT, ALL, EFFECT = "treatment", "all", "effect"
"""Kinds of findings: of a treatment, of the geometric mean of all, of the effect of a factor."""

ALL_TREATMENTS = "all treatments"

CAMPAIGNS_DIFFER = 0.01
"""By how much times of whole campaigns of the same are taken to differ, as a standard deviation,
where they are too few to show it; our A/A holds with it (docs/benchmarks.md)."""

_OF_TIME = ("s", "1/s", "byte*s")
"""Units of what is slower in a slow hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row: how one side differs from the base in one quantity, and what to mind.

    `base` and `other` are medians, or effects as ratios, each with its upper end. `change` is None
    if nothing can be compared. `outcome` and `word` are what its limits decide.
    """

    kind: str
    label: str
    base: Ends
    other: Ends
    change: SideChange | None
    outcome: str
    word: str
    warnings: tuple[str, ...]
    treatments: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingFamily:
    """The findings whose intervals hold together."""

    experiment: str
    quantity: str
    findings: tuple[Finding, ...]
    effects: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """What was found between the base and one other side.

    `alone`: treatments that only one side has. `note` says what the intervals cover.
    """

    base: str
    other: str
    families: tuple[FindingFamily, ...]
    alone: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyComparison:
    """All that a comparison found."""

    sources: tuple[StudySource, ...]
    margin: float
    campaigns_differ: float
    differences: tuple[Difference, ...]
    pairs: tuple[SideBySide, ...]


def compare_sources(
    sources: Sequence[StudySource],
    *,
    by: str = "",
    quantities: Sequence[str] = USUAL_QUANTITIES,
    margin: float = USUAL_MARGIN,
    campaigns_differ: float = CAMPAIGNS_DIFFER,
) -> StudyComparison:
    """Compare the first side with each other one; raises StoreError if nothing is comparable."""
    base, *others = make_sides(sources, by)
    pairs = tuple(
        _compare_sides(base, other, by, quantities, margin, campaigns_differ) for other in others
    )
    if not any(one.families for one in pairs):
        texts = [f"{one.base} and {one.other}: {_say_nothing(one)}" for one in pairs]
        raise StoreError("nothing can be compared\n" + "\n".join(texts))
    return StudyComparison(
        sources=tuple(sources),
        margin=margin,
        campaigns_differ=campaigns_differ,
        differences=tuple(find_differences(sources)),
        pairs=pairs,
    )


def _say_nothing(pair: SideBySide) -> str:
    some = ", ".join(pair.alone[:_MOST_NAMED])
    more = len(pair.alone) - _MOST_NAMED
    rest = f" and {more} more" if more > 0 else ""
    return f"no treatment of one experiment and id is in both; there are {some}{rest}"


_MOST_NAMED = 6


def _compare_sides(
    base: Side,
    other: Side,
    by: str,
    quantities: Sequence[str],
    margin: float,
    campaigns_differ: float,
) -> SideBySide:
    matches, alone = match_sides(base, other, by)
    families = []
    for quantity in quantities:
        allowance = campaigns_differ if QUANTITIES[quantity].unit in _OF_TIME else 0.0
        sides = [collect_measured(side.source.runs, quantity) for side in (base, other)]
        for experiment in dict.fromkeys(one.experiment for one in matches):
            own = [one for one in matches if one.experiment == experiment]
            values = sides[0].get(experiment, {}), sides[1].get(experiment, {})
            if all(map(_may_be_shown, values)):
                runs = tuple(_of_experiment(side.source, experiment) for side in (base, other))
                families.append(
                    FindingFamily(
                        experiment=experiment,
                        quantity=quantity,
                        findings=tuple(
                            _find_changes(own, values, quantity, margin, allowance, runs)
                        ),
                        effects=tuple(_find_effects(own, values, quantity, margin, by)),
                    )
                )
    return SideBySide(
        base=base.name,
        other=other.name,
        families=tuple(families),
        alone=tuple(alone),
        note=_describe_campaigns(base, other, campaigns_differ),
    )


def _may_be_shown(values: Mapping[str, Sequence[Measured]]) -> bool:
    """Return whether a side has any value, or has none because its runs failed."""
    runs = [one for own in values.values() for one in own]
    return any(one.is_usable for one in runs) or all(one.status != "ok" for one in runs)


def _of_experiment(source: StudySource, experiment: str) -> pd.DataFrame:
    return source.runs[source.runs["experiment"] == experiment]


def _find_changes(
    matches: Sequence[Match],
    values: _Values,
    quantity: str,
    margin: float,
    allowance: float,
    runs: tuple[pd.DataFrame, ...],
) -> list[Finding]:
    """Return a finding for each match, and one for all of them together."""
    compared = [one for one in matches if not one.problem]
    contrasts = [
        [_share(side) for side in sides]
        for sides in zip(*((one.base, one.other) for one in compared), strict=True)
    ] or [[], []]
    known = [
        place
        for place, one in enumerate(compared)
        if _has_values(one.base, values[0]) and _has_values(one.other, values[1])
    ]
    if len(known) > 1:
        contrasts = [[*own, _average([own[place] for place in known])] for own in contrasts]
    samples = [weigh(side, own) for side, own in zip(values, contrasts, strict=True)]
    changes = iter(
        compare_samples(samples[1], samples[0], campaigns_differ=allowance) if compared else []
    )
    found = []
    for one in matches:
        change = None if one.problem else next(changes)
        found.append(_make_finding(one, values, change, quantity, margin, runs))
    if len(known) > 1:
        means = [_geometric(sample, len(compared)) for sample in samples]
        found.append(_judge(ALL, ALL_TREATMENTS, means, next(changes), quantity, margin, ()))
    return found


def _has_values(
    treatments: Sequence[SideTreatment], values: Mapping[str, Sequence[Measured]]
) -> bool:
    return all(any(run.is_usable for run in values.get(one.name, ())) for one in treatments)


def _share(treatments: Sequence[SideTreatment]) -> dict[str, float]:
    return {one.name: 1 / len(treatments) for one in treatments}


def _average(contrasts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in contrasts:
        for name, weight in one.items():
            found[name] = found.get(name, 0.0) + weight / len(contrasts)
    return found


def _geometric(sample: Sample, row: int) -> Ends:
    """Return the ratio or the geometric mean of a contrast over its places."""
    ends = []
    for side in (sample.low, sample.high):
        own = [float(value) for value in side[row] if not math.isnan(value)]
        ends.append(math.exp(math.fsum(own) / len(own)) if own else None)
    return ends[0], ends[1]


def _make_finding(
    match: Match,
    values: _Values,
    change: SideChange | None,
    quantity: str,
    margin: float,
    runs: tuple[pd.DataFrame, ...],
) -> Finding:
    sides = (match.base, match.other)
    medians = [_find_ends(own, side) for own, side in zip(sides, values, strict=True)]
    warnings = _list_warnings(match, change, quantity, runs)
    names = tuple(tuple(one.name for one in side) for side in sides)
    return _judge(
        TREATMENT, match.label, medians, change, quantity, margin, warnings, (names[0], names[1])
    )


def _find_ends(
    treatments: Sequence[SideTreatment], values: Mapping[str, Sequence[Measured]]
) -> Ends:
    """Return the median, from its lower to its upper end; of several, their geometric mean."""
    found = []
    for find in (find_median, find_upper_median):
        own = [find(values.get(one.name, ())) for one in treatments]
        known = [value for value in own if value is not None]
        whole = len(known) == len(own) and all(value > 0 for value in known)
        if len(own) == 1:
            found.append(own[0])
        elif whole:
            found.append(math.exp(math.fsum(map(math.log, known)) / len(known)))
        else:
            found.append(None)
    return found[0], found[1]


def _judge(
    kind: str,
    label: str,
    ends: Sequence[Ends],
    change: SideChange | None,
    quantity: str,
    margin: float,
    warnings: Sequence[str],
    treatments: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> Finding:
    outcome = NO_INTERVAL if change is None else change.outcome(margin)
    return Finding(
        kind=kind,
        label=label,
        base=ends[0],
        other=ends[1],
        change=change,
        outcome=outcome,
        word=outcome if kind == EFFECT else name_outcome(outcome, quantity),
        warnings=tuple(warnings),
        treatments=treatments,
    )


def _list_warnings(
    match: Match, change: SideChange | None, quantity: str, runs: tuple[pd.DataFrame, ...]
) -> list[str]:
    """Return what a reader must mind in this row, in a few words each."""
    sides = (match.base, match.other)
    own = [
        table[table["treatment"].isin([one.name for one in side])]
        for table, side in zip(runs, sides, strict=True)
    ]
    found = [match.problem] if match.problem else []
    failed = [int((~table["status"].isin(NOT_FAILED)).sum()) for table in own]
    if any(failed):
        found.append(f"{' + '.join(map(str, failed))} failed")
    elif any((table["status"] != "ok").any() for table in own):
        found.append("unsupported")
    if change is None and not found:
        found.append("no values")
    noisy = sum(int((table["noisy"].fillna("") != "").sum()) for table in own)
    if noisy:
        found.append(f"{noisy} noisy")
    if any((table["swapped_bytes"].fillna(0) > 0).any() for table in own):
        found.append("swapped")
    return [*found, *_warn_of_methods(match, change, quantity, own)]


def _warn_of_methods(
    match: Match, change: SideChange | None, quantity: str, runs: Sequence[pd.DataFrame]
) -> Iterator[str]:
    """Yield what was not done in the same way on both sides, or is not known exactly."""
    sides = (match.base, match.other)
    known = [all(one.work for one in side) for side in sides]
    if known[0] != known[1]:
        yield "work unknown"
    handlers = [{one.handlers for one in side} for side in sides]
    if all(known) and handlers[0] != handlers[1]:
        yield "other handler"
    if QUANTITIES[quantity].unit == "bytes":
        instruments = [set(table["memory_instrument"].fillna("")) for table in runs]
        if instruments[0] != instruments[1]:
            yield "other instrument"
    if change is not None and not change.is_exact:
        yield "bounds"


def _find_effects(
    matches: Sequence[Match], values: _Values, quantity: str, margin: float, by: str
) -> list[Finding]:
    """Return how the effect of each factor differs, over the treatments that both sides have."""
    cells = {
        str(place): {k: v for k, v in one.base[0].factors.items() if k != by}
        for place, one in enumerate(matches)
        if not one.problem and len(one.base) == len(one.other) == 1
    }
    if len(cells) < 2 or quantity in PER_TASK:
        return []
    grid = FactorGrid(cells)
    questions = {
        question: pairs
        for question, pairs in grid.questions.items()
        if not question.within and not question.by
    }
    contrasts: list[list[dict[str, float]]] = [[], []]
    for pairs in questions.values():
        shares = _average([{grid.names[c]: w for c, w in one.items()} for one in pairs])
        for side, own in enumerate(contrasts):
            own.append(
                {
                    (matches[int(place)].base, matches[int(place)].other)[side][0].name: weight
                    for place, weight in shares.items()
                }
            )
    if not questions:
        return []
    samples = [weigh(side, own) for side, own in zip(values, contrasts, strict=True)]
    changes = compare_samples(samples[1], samples[0])
    return [
        _judge(
            EFFECT,
            f"{question.factor} {question.level} / {question.to}",
            [_geometric(sample, row) for sample in samples],
            change,
            quantity,
            margin,
            _warn_of_effect(change),
        )
        for row, (question, change) in enumerate(zip(questions, changes, strict=True))
    ]


def _warn_of_effect(change: SideChange | None) -> list[str]:
    if change is None:
        return ["runs are missing"]
    return [] if change.is_exact else ["bounds"]


def _describe_campaigns(base: Side, other: Side, campaigns_differ: float) -> str:
    """Say what the intervals cover; "" if both sides are of the same campaign."""
    campaigns = [set(side.source.campaigns) for side in (base, other)]
    numbers = [len(own) for own in campaigns]
    if not base.level and _list_starts(base.source) & _list_starts(other.source):
        return "Some runs are the same on both sides, so they cannot differ."
    if campaigns[0] & campaigns[1]:
        return ""
    if max(base.source.nodes, other.source.nodes) >= LEAST_NODES:
        return (
            f"Nodes are compared, {numbers[0]} with {numbers[1]}: intervals include how much they"
            " differ."
        )
    if max(numbers) >= LEAST_CAMPAIGNS:
        return (
            f"Campaigns are compared, {numbers[0]} with {numbers[1]}: intervals include how much"
            " they differ."
        )
    first, second = (count_noun(number, "campaign") for number in numbers)
    sides = "One campaign on each side" if numbers == [1, 1] else f"{first} against {second}"
    if not campaigns_differ:
        says = "what differs between campaigns is not in the intervals"
    else:
        says = (
            f"intervals of times allow for {100 * campaigns_differ:g} % between campaigns"
            " (--campaigns-differ)"
        )
    return f"{sides}: {says}. Three of one side would show it."


def _list_starts(source: StudySource) -> set[tuple[object, ...]]:
    """Return what tells the runs of a source from all others."""
    key = ["experiment", "treatment", "replicate", "campaign", "started_at"]
    return set(source.runs[key].itertuples(index=False, name=None))
