"""Checks of what an experiment's parts say of one another: factors, conditions, placeholders."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, TypeAlias

from stagebench.design.levels import (
    find_placeholders,
    holds_unknown,
    is_open,
    level_key,
    level_text,
    named_levels,
)
from stagebench.design.problems import KeyPath, Problem, problem, show, unknown
from stagebench.design.schema_errors import SETTINGS
from stagebench.design.yaml import mappings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagebench.design.checked_study import Level

Json = dict[str, Any]
Workflows: TypeAlias = "dict[str, Workflow]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow of a config and where it stands there."""

    path: KeyPath
    stages: Any


def find_factor_problems(experiment: Json, path: KeyPath) -> list[Problem]:
    """Check the factors of one experiment and the entries that name their levels."""
    factors = experiment.get("factors", {})
    if not isinstance(factors, dict):
        return []
    levels = {name: _levels_of(factor) for name, factor in factors.items()}
    return [
        *_find_factor_problems(factors, levels, (*path, "factors")),
        *_find_entry_problems(experiment, levels, path),
    ]


def find_use_problems(experiment: Json, path: KeyPath, workflows: Workflows) -> list[Problem]:
    """Check that the workflow is known, placeholders name factors, and each factor has one."""
    name, factors = experiment["workflow"], experiment.get("factors", {})
    if not is_open(name) and name not in workflows:
        return [problem((*path, "workflow"), unknown("workflow", name, workflows))]
    if is_open(name) or not isinstance(factors, dict):
        return []
    used = list(_find_uses(experiment, path, workflows[name]))
    found = list(_find_unknown(used, experiment, list(factors)))
    template = [workflows[name].stages, *(experiment.get(key) for key in SETTINGS)]
    if not holds_unknown(template):
        # Otherwise a placeholder may have stood where a value was refused.
        found += _find_unused(list(factors), {use for _, use in used}, path)
    return found


def find_duplicates(items: Any, path: KeyPath) -> list[Problem]:
    """Tell the named items of a list whose name was taken before."""
    seen: set[str] = set()
    problems = []
    for item, place in mappings(items, path):
        name = item["name"]
        if name in seen and not is_open(name):
            text = f"the name '{name}' is taken; allowed: a different name for each"
            problems.append(problem((*place, "name"), text))
        seen.add(name)
    return problems


def _levels_of(factor: Any) -> list[Level] | None:
    """Give the listed levels of a factor, or None where they are not known."""
    levels = factor.get("levels") if isinstance(factor, dict) else factor
    return levels if isinstance(levels, list) and not any(map(_is_unknown, levels)) else None


def _is_unknown(level: Level) -> bool:
    return is_open(level) or (isinstance(level, list) and any(map(is_open, level)))


def _find_factor_problems(factors: Json, levels: Json, path: KeyPath) -> Iterator[Problem]:
    for name, factor in factors.items():
        place: KeyPath = (*path, name)
        below = (*place, "levels") if isinstance(factor, dict) else place
        yield from _find_repeated_levels(levels[name] or [], below)
        if isinstance(factor, dict):
            yield from _find_condition_problems(factor.get("when"), levels, (*place, "when"))
            yield from _find_tag_problems(factor.get("tags"), levels[name], (*place, "tags"))
    yield from _find_cycle(factors, path)


def _find_repeated_levels(levels: list[Level], path: KeyPath) -> Iterator[Problem]:
    seen = set()
    for index, level in enumerate(levels):
        if level_key(level) in seen:
            text = f"the level {show(level)} is listed twice; allowed: each level once"
            yield problem((*path, index), text)
        seen.add(level_key(level))


def _find_condition_problems(entry: Any, levels: Json, path: KeyPath) -> Iterator[Problem]:
    """Check an entry that names factors and some of their levels."""
    for name, value in entry.items() if isinstance(entry, dict) else ():
        if name not in levels:
            yield problem((*path, name), unknown("factor", name, levels))
        elif levels[name] is not None and not _is_unknown(value):
            known, others = named_levels(value, levels[name])
            if not known and not others:
                yield problem((*path, name), f"[] names no level; allowed: {_listed(levels[name])}")
            for other in others:
                yield problem((*path, name), _unknown_level(other, levels[name]))


def _unknown_level(level: Level, levels: list[Level]) -> str:
    names = [level_text(other) for other in levels]
    if level_text(level) in names:
        # The words are the same, the types are not: only the quoted form shows it.
        return f"unknown level {show(level)}; allowed: {_listed(levels)}"
    return unknown("level", level_text(level), names)


def _listed(levels: list[Level]) -> str:
    return ", ".join(show(level) for level in levels)


def _find_tag_problems(tags: Any, levels: list[Level] | None, path: KeyPath) -> Iterator[Problem]:
    names = Counter(level_text(level) for level in levels or [])
    for key in tags if isinstance(tags, dict) and levels is not None else ():
        if key not in names:
            yield problem((*path, key), unknown("level", key, names))
        elif names[key] > 1:
            yield problem((*path, key), f"'{key}' could be several levels; allowed: one of them")


def _find_cycle(factors: Json, path: KeyPath) -> Iterator[Problem]:
    whens = {n: f.get("when") for n, f in factors.items() if isinstance(f, dict)}
    graph = {n: list(when) for n, when in whens.items() if isinstance(when, dict)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        chain = " -> ".join(error.args[1])
        yield problem(path, f"factors apply under one another in a cycle: {chain}")


def _find_entry_problems(experiment: Json, levels: Json, path: KeyPath) -> Iterator[Problem]:
    """Check exclude, include and baseline; what include adds may be named by the others."""
    include = [entry for entry in _list(experiment.get("include")) if isinstance(entry, dict)]
    for index, entry in enumerate(include):
        for name in entry.keys() - levels.keys():
            yield problem((*path, "include", index, name), unknown("factor", name, levels))
    wider = {n: known and _widen(n, known, include) for n, known in levels.items()}
    for index, entry in enumerate(_list(experiment.get("exclude"))):
        yield from _find_condition_problems(entry, levels, (*path, "exclude", index))
    yield from _find_condition_problems(experiment.get("baseline"), wider, (*path, "baseline"))


def _widen(name: str, levels: list[Level], include: list[Json]) -> list[Level]:
    """Add the levels of one factor that only included treatments have."""
    added = [entry[name] for entry in include if name in entry]
    return list({level_key(level): level for level in [*added, *levels]}.values())


def _list(items: Any) -> list[Any]:
    return items if isinstance(items, list) else []


def _find_uses(
    experiment: Json, path: KeyPath, workflow: Workflow
) -> Iterator[tuple[KeyPath, str]]:
    """Yield place and name of every placeholder of an experiment and of its workflow."""
    for key in SETTINGS:
        yield from find_placeholders(experiment.get(key), (*path, key))
    yield from find_placeholders(workflow.stages, (*workflow.path, "stages"))


def _find_unknown(
    used: list[tuple[KeyPath, str]], experiment: Json, factors: list[str]
) -> Iterator[Problem]:
    for place, name in used:
        if name not in factors:
            where = f" (factors of experiment '{experiment['name']}')"
            yield problem(place, unknown("factor", name, factors) + where)


def _find_unused(factors: list[str], used: set[str], path: KeyPath) -> Iterator[Problem]:
    for name in factors:
        if name not in used:
            yield problem(
                (*path, "factors", name),
                f'no placeholder "{{{name}}}" stands anywhere, so its levels would change nothing;'
                " to compare equal treatments (A/A), put it into process.environment",
            )
