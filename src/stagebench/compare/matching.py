"""Which treatments of two sides are compared: the same ones, or levels of a factor, of equal work.

A side is a source or, by a factor, one of its levels. Treatments match by experiment and id; by a
factor, by all other factors that both sides have, so that several treatments may stand for one. The
work of a treatment is its tasks, their arrival, and the names and parameters of its stages; records
of other tools do not state it, and then names alone decide.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.analyse.factors import name_level
from stagebench.errors import OptionError, closest
from stagebench.store import canonical_json
from stagebench.tables.io import list_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stagebench.compare.sources import StudySource


class SideTreatment(NamedTuple):
    """A treatment of a source, by what it is compared: its factors, its work, its handlers."""

    experiment: str
    name: str
    factors: Mapping[str, str]
    work: str
    handlers: tuple[str, ...]


class Side(NamedTuple):
    """What is compared with another side; `level` is "" unless it is one of a factor."""

    name: str
    source: StudySource
    level: str
    treatments: tuple[SideTreatment, ...]


class Match(NamedTuple):
    """Treatments of two sides that answer one question, with `label` for people.

    `problem` says why they are not compared; "" if they are.
    """

    experiment: str
    label: str
    base: tuple[SideTreatment, ...]
    other: tuple[SideTreatment, ...]
    problem: str = ""


OTHER_WORK = "other work"


def make_sides(sources: Sequence[StudySource], by: str = "") -> list[Side]:
    """Return the sides in the order of the sources; the first one is what others compare with."""
    sides = [Side(source.name, source, "", tuple(_list_treatments(source))) for source in sources]
    if by:
        sides = [level for side in sides for level in _split(side, by, several=len(sides) > 1)]
        if not sides:
            known = sorted(
                {
                    factor
                    for source in sources
                    for one in _list_treatments(source)
                    for factor in one.factors
                }
            )
            raise OptionError(
                f"--by {by!r}: no treatment has this factor; allowed: {', '.join(known) or 'none'}"
                f"{closest(by, known)}"
            )
    if len(sides) < 2:
        one = f"only {sides[0].name!r} is there" if by else "one study alone"
        raise OptionError(
            f"{one}; allowed: at least two to compare, or --by a factor that has several levels"
        )
    return sides


def _split(side: Side, by: str, *, several: bool) -> Iterator[Side]:
    """Yield a side for each level of a factor, without treatments that have none."""
    having = [one for one in side.treatments if by in one.factors]
    for level in dict.fromkeys(one.factors[by] for one in having):
        own = tuple(one for one in having if one.factors[by] == level)
        name = f"{side.name} {by}={level}" if several else f"{by}={level}"
        yield Side(name, side.source, level, own)


def _list_treatments(source: StudySource) -> Iterator[SideTreatment]:
    work = _describe_work(source)
    columns = ["experiment", "treatment", "factors"]
    for row in list_rows(source.runs.drop_duplicates(columns[:2])[columns]):
        key = str(row["experiment"]), str(row["treatment"])
        yield SideTreatment(*key, _read_factors(row["factors"]), *work.get(key, ("", ())))


def _read_factors(text: object) -> dict[str, str]:
    try:
        factors = json.loads(str(text))
    except ValueError:
        factors = None
    if not isinstance(factors, dict):
        return {}
    return {str(factor): name_level(level) for factor, level in factors.items()}


def _describe_work(source: StudySource) -> dict[tuple[str, str], tuple[str, tuple[str, ...]]]:
    """Return the work of each treatment as one text, with its handlers; none without stages."""
    key = ["experiment", "treatment"]
    stages: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    for row in list_rows(source.stages[[*key, "stage", "handler", "parameters"]]):
        own = stages.setdefault((row["experiment"], row["treatment"]), {})
        own[str(row["stage"])] = str(row["parameters"]), str(row["handler"])
    found: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {}
    for row in list_rows(source.runs.drop_duplicates(key)[[*key, "tasks", "arrival"]]):
        own = stages.get((row["experiment"], row["treatment"]), {})
        if own:
            tasks: Any = str(row["tasks"])
            parameters = [[name, text] for name, (text, _) in own.items()]
            work = canonical_json([tasks, str(row["arrival"]), parameters])
            found[row["experiment"], row["treatment"]] = work, tuple(h for _, h in own.values())
    return found


def match_sides(base: Side, other: Side, by: str = "") -> tuple[list[Match], list[str]]:
    """Return the treatments that two sides have in common, and the names of those one side has."""
    dropped = _list_nested(base, other) | {by} if by else set()
    groups: list[dict[tuple[str, str], list[SideTreatment]]] = []
    for side in (base, other):
        own: dict[tuple[str, str], list[SideTreatment]] = {}
        for one in side.treatments:
            own.setdefault(_make_key(one, by, dropped), []).append(one)
        groups.append(own)
    common = [key for key in groups[0] if key in groups[1]]
    matches = [
        Match(key[0], _label(key, groups[0][key], by, dropped), *sides, _find_problem(*sides))
        for key in common
        for sides in [(tuple(groups[0][key]), tuple(groups[1][key]))]
    ]
    alone = [
        f"{one.experiment}/{one.name} (only in {side.name})"
        for side, own in zip((base, other), groups, strict=True)
        for key, treatments in own.items()
        if key not in common
        for one in treatments
    ]
    return matches, alone


def _make_key(one: SideTreatment, by: str, dropped: set[str]) -> tuple[str, str]:
    if not by:
        return one.experiment, one.name
    return one.experiment, canonical_json(_others(one, dropped))


def _others(one: SideTreatment, dropped: set[str]) -> dict[str, str]:
    return {factor: level for factor, level in one.factors.items() if factor not in dropped}


def _list_nested(base: Side, other: Side) -> set[str]:
    """Return the factors that no treatment of one of the sides has."""
    sides = [
        {factor for one in side.treatments for factor in one.factors} for side in (base, other)
    ]
    return sides[0] ^ sides[1]


def _label(
    key: tuple[str, str], treatments: Sequence[SideTreatment], by: str, dropped: set[str]
) -> str:
    if not by:
        return key[1]
    others = _others(treatments[0], dropped)
    return ", ".join(f"{factor} {level}" for factor, level in others.items()) or "all"


def _find_problem(base: Sequence[SideTreatment], other: Sequence[SideTreatment]) -> str:
    works = {one.work for one in (*base, *other) if one.work}
    return OTHER_WORK if len(works) > 1 else ""
