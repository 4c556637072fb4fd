"""Treatments that are alike, as one row, and words for their levels: "native, 2/5 processes".

Treatments share a row if a name that fits no other treatment covers them, the same resource limits
them, and their makespans lie close together. A row shows ranges: it does not say that its members
are equal.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import combinations
from typing import TYPE_CHECKING

from stagebench.present.experiment import UNSET
from stagebench.present.markdown import show_line
from stagebench.present.treatments import format_level
from stagebench.present.why import full_resources
from stagebench.tables.io import list_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stagebench.present.experiment import Experiment

CLOSE = 1.15
"""Makespans of one row differ by this factor at most."""

WIDER = (CLOSE, 1.3, 1.6, 2.5)
"""The factors that are tried one after another until there are few rows."""

UNKNOWN, FAILED = "unknown", "failed"
"""What limits a treatment that has no row among the limits, or no run that was ok."""

_NOUNS = {
    "thread": "thread",
    "process": "process",
    "interpreter": "subinterpreter",
    "asyncio": "coroutine",
}
_WORKERS, _START, _RETAIN, _PYTHON = "workers", "start_method", "retain", "python"
_COUNTED = {_WORKERS: "worker", "nodes": "node"}
"""Factors whose levels are numbers of something."""

_KEPT = {"true": "results kept", "false": "results dropped"}
_ABSENT = ""
"""The level of a factor that a treatment does not have."""

_PLAIN = re.compile(r"[^\W\d][\w .+-]*")
_LONGEST = 40

Levels = dict[str, list[str]]
"""Factor → levels, as text."""


def clean_name(text: object) -> str:
    """Return a name from a study in one line, at most 40 characters long, without backquotes."""
    return cut_off(show_line(str(text)[: 10 * _LONGEST]).replace("`", ""), _LONGEST)


def cut_off(text: str, most: int) -> str:
    """Return at most so many characters of a text, of which the last tells that there are more."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelWords:
    """Words for the levels of an experiment's factors.

    `factors` has the levels of each treatment: only of factors that vary, and of those that always
    vary together the first.
    """

    factors: Mapping[str, Mapping[str, str]]
    known: Levels

    def describe(self, names: Sequence[str], among: Sequence[str] = ()) -> str:
        """Return the levels that treatments share: "native, 2/5 processes"; "" for all of them.

        What all of `among` share, too, is left out, unless nothing else remains.
        """
        own = self._levels(names)
        if len(among) > 1:
            around = self._levels(among)
            varying = {factor: some for factor, some in own.items() if len(around[factor]) > 1}
            return self.phrase(varying) or self.phrase(own)
        return self.phrase(own)

    def shared(self, names: Sequence[str]) -> str:
        """Return the levels that all of some treatments have: "native"."""
        return self.phrase(
            {name: some for name, some in self._levels(names).items() if len(some) == 1}
        )

    def are_all(self, names: Sequence[str], among: Sequence[str]) -> bool:
        """Return whether the levels of treatments cover no other one of `among`."""
        levels = self._levels(names)
        covered = [
            name
            for name in among
            if all(
                self.factors[name].get(factor, _ABSENT) in some for factor, some in levels.items()
            )
        ]
        return set(covered) == set(names)

    def phrase(self, levels: Levels, joint: str = ", ") -> str:
        """Return words for some levels of each factor."""
        executor = self._executor()
        own = (executor, _WORKERS, *([_START] if executor else []))
        texts = {
            factor: self._part(factor, chosen)
            for factor, chosen in levels.items()
            if factor not in own
        }
        words = [text for factor, text in texts.items() if self._explains_itself(factor)]
        others = [text for factor, text in texts.items() if not self._explains_itself(factor)]
        return joint.join(filter(None, [*words, self._pool(levels), *others]))

    def name_factor(self, factor: str) -> str:
        """Return all levels of a factor: "1, 2 and 5 workers", "fork and spawn"."""
        levels = [level for level in self.known.get(factor, []) if level != _ABSENT]
        if factor == _RETAIN:
            return "kept and dropped results"
        if factor == self._executor():
            return join_names([_plural(level) for level in levels])
        texts = join_names([clean_name(_say(level)) for level in levels])
        if factor in _COUNTED and all(map(str.isdecimal, levels)):
            return f"{texts} {_plural(_COUNTED[factor])}"
        return texts if self._explains_itself(factor) else f"{clean_name(factor)} {texts}"

    def contrast(self, factor: str, level: str, to_level: str) -> str:
        """Return "processes instead of threads", "5 workers instead of 1"."""
        if factor == _RETAIN:
            return f"{_KEPT.get(level, level)} instead of {_KEPT.get(to_level, to_level)[8:]}"
        if factor == self._executor():
            return f"{_plural(level)} instead of {_plural(to_level)}"
        to = clean_name(_say(to_level))
        if factor in _COUNTED and level.isdecimal():
            return f"{_count([level], _COUNTED[factor])} instead of {to}"
        return f"{self._name(factor, [level])} instead of {to}"

    def _levels(self, names: Sequence[str]) -> Levels:
        """Return the levels that treatments have, in the order of the plan."""
        return {
            factor: [
                level
                for level in known
                if any(self.factors[name].get(factor, _ABSENT) == level for name in names)
            ]
            for factor, known in self.known.items()
        }

    def _executor(self) -> str:
        """Return the factor whose levels are kinds of workers; "" without one."""
        for factor, known in self.known.items():
            if {*known} - {_ABSENT} <= _NOUNS.keys():
                return factor
        return ""

    def _part(self, factor: str, chosen: Sequence[str]) -> str:
        known = [level for level in self.known.get(factor, chosen) if level != _ABSENT]
        chosen = [level for level in chosen if level != _ABSENT]
        if not chosen or (len(known) > 1 and len(chosen) == len(known)):
            return ""
        return self._name(factor, chosen)

    def _name(self, factor: str, chosen: Sequence[str]) -> str:
        if factor == _RETAIN:
            return "/".join(_KEPT.get(level, level) for level in chosen)
        if factor in _COUNTED and all(map(str.isdecimal, chosen)):
            return _count(chosen, _COUNTED[factor])
        texts = "/".join(clean_name(_say(level)) for level in chosen)
        return texts if self._explains_itself(factor) else f"{clean_name(factor)} {texts}"

    def _explains_itself(self, factor: str) -> bool:
        """Return whether every level is a word that no other factor has, or an interpreter."""
        own = self.known.get(factor, [])
        if factor == _PYTHON and UNSET not in own:
            return True
        others = {level for name, known in self.known.items() if name != factor for level in known}
        return all(
            _PLAIN.fullmatch(level) and level not in {*others, UNSET, "true", "false"}
            for level in own
            if level != _ABSENT
        )

    def _pool(self, levels: Levels) -> str:
        """Return "5 processes (fork)", "1/2 threads", "2 workers" or "processes"."""
        executor = self._executor()
        kinds = [level for level in levels.get(executor, []) if level != _ABSENT]
        numbers = [level for level in levels.get(_WORKERS, []) if level != _ABSENT]
        starts = [level for level in levels.get(_START, []) if level != _ABSENT]
        all_starts = [level for level in self.known.get(_START, []) if level != _ABSENT]
        is_some = bool(starts) and len(starts) < len(all_starts)
        # Where only some start methods are meant, so are the kinds of workers that have none.
        both = "/".join(map(_plural, kinds))
        text = ""
        if numbers and len(kinds) == 1:
            text = _count(numbers, _NOUNS[kinds[0]])
        elif self._part(_WORKERS, numbers):
            text = _count(numbers, *map(_NOUNS.__getitem__, kinds)) if is_some and kinds else ""
            text = text or _count(numbers, "worker")
        elif kinds and (is_some or self._part(executor, kinds)):
            text = both
        if executor and is_some:
            named = "/".join(map(clean_name, starts))
            return f"{text} ({named})" if text else named
        return text


def join_names(texts: Sequence[str], last: str = "and") -> str:
    """Return "a, b and c"."""
    return f" {last} ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def _say(level: str) -> str:
    """Return a level without the marks of a list."""
    if level.startswith("[") and level.endswith("]"):
        return level[1:-1].replace("'", "") or "none"
    return level


def _plural(kind: str) -> str:
    noun = _NOUNS.get(kind, kind)
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def _count(numbers: Sequence[str], *nouns: str) -> str:
    """Return "1 thread", "2/5 processes" or, of several kinds, "1 thread/process"."""
    words = nouns if list(numbers) == ["1"] else map(_plural, nouns)
    return f"{'/'.join(map(clean_name, numbers))} {'/'.join(words)}"


def name_levels(experiment: Experiment, order: Iterable[str] = ()) -> LevelWords:
    """Return the words for the levels of an experiment, whose factors have an order in the plan."""
    runs = experiment.tables["runs"].drop_duplicates("treatment")
    all_factors = {
        str(row["treatment"]): {
            str(factor): format_level(level) for factor, level in json.loads(row["factors"]).items()
        }
        for row in list_rows(runs)
    }
    used = dict.fromkeys(factor for own in all_factors.values() for factor in own)
    names = [factor for factor in dict.fromkeys([*order, *used]) if factor in used]
    columns = {
        factor: tuple(own.get(factor, _ABSENT) for own in all_factors.values()) for factor in names
    }
    varying = {factor: column for factor, column in columns.items() if len({*column}) > 1}
    varying = dict(sorted(varying.items(), key=lambda item: not _are_words(item[1])))
    kept: dict[str, tuple[str, ...]] = {}
    for factor, column in varying.items():
        if not any(_go_together(column, other) for other in kept.values()):
            kept[factor] = column
    return LevelWords(
        factors={
            treatment: {factor: own[factor] for factor in kept if factor in own}
            for treatment, own in all_factors.items()
        },
        known={factor: list(dict.fromkeys(columns[factor])) for factor in names if factor in kept},
    )


def _are_words(column: Sequence[str]) -> bool:
    return all(level == _ABSENT or _PLAIN.fullmatch(level) for level in column)


def _go_together(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether each level of one factor is always beside the same level of another."""
    pairs = set(zip(one, other, strict=True))
    return len(pairs) == len(set(one)) == len(set(other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Treatments of one row.

    `label`: the levels that they share. `limits`: kinds of resources that limit all of them.
    """

    treatments: tuple[str, ...]
    label: str
    limits: frozenset[str]


def group_alike(
    experiment: Experiment, names: Sequence[str], words: LevelWords, most: int
) -> list[Alike]:
    """Return treatments of the same work in groups of those that are alike, in the plan's order.

    More than `most` groups are made fewer by allowing makespans that lie further apart.
    """
    makespans = find_medians(experiment, "makespan_s")
    limits = _list_limits(experiment)
    found = []
    for close in WIDER:
        found = _merge(names, words, makespans, limits, close)
        if len(found) <= most:
            break
    labels = [words.describe(cluster.names) for cluster in found]
    counts = Counter(labels)
    return [
        Alike(
            treatments=tuple(cluster.names),
            # A name must fit one row only; treatments may also differ in what is no factor.
            label=label if label and counts[label] == 1 else _name_all(cluster.names, label),
            limits=cluster.limits,
        )
        for cluster, label in zip(found, labels, strict=True)
    ]


def _name_all(names: Sequence[str], label: str) -> str:
    if len(names) > 1 and not label:
        return "both treatments" if len(names) == 2 else f"all {len(names)} treatments"
    some = ", ".join(map(clean_name, names[:2])) + (", …" if len(names) > 2 else "")
    return f"{label} ({some})" if label else some


def find_medians(experiment: Experiment, quantity: str) -> dict[str, float]:
    """Return the median of a quantity of every treatment that has one."""
    rows = experiment.tables["treatments"]
    own = rows[(rows["quantity"] == quantity) & rows["median"].notna()]
    return {str(row["treatment"]): float(row["median"]) for row in list_rows(own)}


def _list_limits(experiment: Experiment) -> dict[str, frozenset[str]]:
    return {
        str(row["treatment"]): frozenset(full_resources(row))
        for row in list_rows(experiment.tables["limits"])
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cluster:
    """Treatments with the shortest and the longest makespan.

    `members` and `masks` have a bit for each treatment: those inside, and for each factor those
    whose level some member has.
    """

    names: list[str]
    members: int
    masks: tuple[int, ...]
    limits: frozenset[str]
    shortest: float
    longest: float

    def join(self, other: _Cluster, order: Mapping[str, int]) -> _Cluster:
        return _Cluster(
            names=sorted([*self.names, *other.names], key=order.__getitem__),
            members=self.members | other.members,
            masks=tuple(a | b for a, b in zip(self.masks, other.masks, strict=True)),
            limits=self.limits & other.limits,
            shortest=min(self.shortest, other.shortest),
            longest=max(self.longest, other.longest),
        )


def _merge(
    names: Sequence[str],
    words: LevelWords,
    makespans: Mapping[str, float],
    limits: Mapping[str, frozenset[str]],
    close: float,
) -> list[_Cluster]:
    """Join the clusters that differ least, one pair after another."""
    order = {name: place for place, name in enumerate(names)}
    everyone = list(words.factors)
    clusters = {
        place: _start(name, words, everyone, makespans, limits) for place, name in enumerate(names)
    }
    # How much two clusters differ, and which they are; the least is the first.
    costs = [cost for pair in combinations(clusters, 2) if (cost := _weigh(clusters, pair, close))]
    heapify(costs)
    new = len(clusters)
    while costs:
        *_, a, b = heappop(costs)
        if a not in clusters or b not in clusters:
            continue
        clusters[new] = clusters.pop(a).join(clusters.pop(b), order)
        for other in clusters:
            if other != new and (cost := _weigh(clusters, (other, new), close)):
                heappush(costs, cost)
        new += 1
    return sorted(clusters.values(), key=lambda cluster: order[cluster.names[0]])


def _start(
    name: str,
    words: LevelWords,
    everyone: Sequence[str],
    makespans: Mapping[str, float],
    limits: Mapping[str, frozenset[str]],
) -> _Cluster:
    own = words.factors[name]
    masks = tuple(
        sum(
            1 << place
            for place, other in enumerate(everyone)
            if words.factors[other].get(factor, _ABSENT) == own.get(factor, _ABSENT)
        )
        for factor in words.known
    )
    makespan = makespans.get(name)
    kinds = frozenset({FAILED}) if makespan is None else limits.get(name, frozenset({UNKNOWN}))
    return _Cluster(
        names=[name],
        members=1 << everyone.index(name),
        masks=masks,
        limits=kinds,
        shortest=makespan or 1.0,
        longest=makespan or 1.0,
    )


def _weigh(
    clusters: Mapping[int, _Cluster], pair: tuple[int, int], close: float
) -> tuple[int, float, int, int] | None:
    """Return in how many factors and how far in time two clusters differ, if they may be one."""
    one, other = clusters[pair[0]], clusters[pair[1]]
    spread = max(one.longest, other.longest) / min(one.shortest, other.shortest)
    if spread > close or not one.limits & other.limits:
        return None
    covered = -1
    differing = 0
    for a, b in zip(one.masks, other.masks, strict=True):
        covered &= a | b
        differing += a != b
    if covered != one.members | other.members:
        return None
    return differing, spread, *pair


def split_work(experiment: Experiment) -> list[list[str]]:
    """Return the treatments of an experiment in groups of equal work, in the plan's order."""
    rows = experiment.tables["winners"]
    works = {
        str(row["treatment"]): int(row["work"])
        for row in list_rows(rows[["treatment", "work"]].drop_duplicates())
    }
    groups: dict[object, list[str]] = {}
    for name in experiment.treatments:
        # What has no rival is in no contest.
        groups.setdefault(works.get(name, name), []).append(name)
    return list(groups.values())
