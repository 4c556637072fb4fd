"""Checks of an experiment: its factors, its placeholders, and the grid that it makes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.design.grid import (
    MOST_TREATMENTS,
    combine_levels,
    count_combinations,
    expand_grid,
    find_unsuited,
    is_valid_id,
    treatment_id,
    treatment_key,
)
from stagebench.design.levels import (
    UNKNOWN,
    find_placeholders,
    holds_unknown,
    level_key,
    level_text,
    matches,
    named_levels,
)
from stagebench.design.problems import KeyPath, Problem, problem, show, some, unknown
from stagebench.design.schema_errors import SETTINGS
from stagebench.design.yaml import mappings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagebench.design.grid import ExperimentGrid
    from stagebench.design.levels import Factors, Level

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenWorkflow:
    """A workflow of a config and its path."""

    name: str
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


class Uses(NamedTuple):
    """The names of all placeholders, the ones without a value, and the unused factors."""

    names: set[str]
    unknown: list[Problem]
    idle: list[Problem]


def find_uses(
    experiment: Json, path: KeyPath, workflow: GivenWorkflow | None, constants: list[str] | None
) -> Uses:
    """Check that every placeholder has a value and every factor a placeholder.

    The workflow and the names of the constants are None if they are unknown.
    """
    factors = experiment.get("factors", {})
    if workflow is None:
        return Uses({*(constants or ())}, [], [])
    used = list(_find_uses(experiment, path, workflow))
    names = {use for _, use in used}
    template = [workflow.stages, *(experiment.get(key) for key in SETTINGS)]
    if holds_unknown(template):
        # A refused value may have been meant as a placeholder.
        names |= {*(constants or ()), *(factors if isinstance(factors, dict) else ())}
    if constants is None or not isinstance(factors, dict):
        return Uses(names, [], [])
    unknown_names = list(_find_unknown(used, experiment, list(factors), constants))
    return Uses(names, unknown_names, list(_find_unused(list(factors), names, path)))


def find_idle_constants(config: Json, constants: list[str], used: set[str]) -> Iterator[Problem]:
    """Report constants that nothing uses and those that are also a factor."""
    for name in constants:
        path = ("constants", name)
        factor_of = [
            _name_of(experiment)
            for experiment, _ in mappings(config["experiments"], ("experiments",))
            if isinstance(experiment.get("factors"), dict) and name in experiment["factors"]
        ]
        if factor_of:
            text = f"'{name}' is also a factor of {factor_of[0]}; allowed: one or the other"
            yield problem(path, text)
        elif name not in used:
            text = f'no experiment or workflow uses the placeholder "{{{name}}}"'
            yield problem(path, f"{text}, so it changes nothing; allowed: constants in use")


def _name_of(experiment: Json) -> str:
    name = experiment["name"]
    return "an experiment" if name is UNKNOWN else f"experiment '{name}'"


def find_duplicates(items: Any, path: KeyPath) -> list[Problem]:
    """Report the items of a list whose name an earlier item has."""
    seen: set[str] = set()
    problems = []
    for item, place in mappings(items, path):
        name = item["name"]
        if name in seen and name is not UNKNOWN:
            text = f"the name '{name}' is taken; allowed: a different name for each"
            problems.append(problem((*place, "name"), text))
        seen.add(name)
    return problems


def _levels_of(factor: Any) -> list[Level] | None:
    """Return the listed levels of a factor, or None if they are unknown."""
    levels = factor.get("levels") if isinstance(factor, dict) else factor
    return levels if isinstance(levels, list) and not any(map(_is_unknown, levels)) else None


def _is_unknown(level: Level) -> bool:
    return level is UNKNOWN or (isinstance(level, list) and any(one is UNKNOWN for one in level))


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
        # Same text but another type: only the quoted form shows the difference.
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
            yield problem((*path, key), f"'{key}' matches several levels; allowed: only one")


def _find_cycle(factors: Json, path: KeyPath) -> Iterator[Problem]:
    whens = {n: f.get("when") for n, f in factors.items() if isinstance(f, dict)}
    graph = {n: list(when) for n, when in whens.items() if isinstance(when, dict)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        chain = " -> ".join(error.args[1])
        yield problem(path, f"factors depend on one another in a cycle: {chain}")


def _find_entry_problems(experiment: Json, levels: Json, path: KeyPath) -> Iterator[Problem]:
    """Check exclude, include and baseline; the baseline may name levels that include adds."""
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
    experiment: Json, path: KeyPath, workflow: GivenWorkflow
) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and name of every placeholder of an experiment and its workflow."""
    for key in SETTINGS:
        yield from find_placeholders(experiment.get(key), (*path, key))
    yield from find_placeholders(workflow.stages, (*workflow.path, "stages"))


def _find_unknown(
    used: list[tuple[KeyPath, str]], experiment: Json, factors: list[str], constants: list[str]
) -> Iterator[Problem]:
    kind = "factor or constant" if constants else "factor"
    which = "factors" + " and constants" * bool(constants)
    where = f" ({which} of {_name_of(experiment)})"
    for place, name in used:
        if name not in (*factors, *constants):
            yield problem(place, unknown(kind, name, [*factors, *constants]) + where)


def _find_unused(factors: list[str], used: set[str], path: KeyPath) -> Iterator[Problem]:
    for name in factors:
        if name not in used:
            yield problem(
                (*path, "factors", name),
                f'no setting uses the placeholder "{{{name}}}", so its levels would change nothing;'
                " to compare equal treatments (A/A), put it into process.environment",
            )


def check_grid(experiment: ExperimentGrid, path: KeyPath) -> tuple[list[Factors], list[Problem]]:
    """Expand the grid of an experiment whose factors and entries are valid, and check it.

    `path` is the experiment's path. A grid that cannot be expanded gives problems, no treatments.
    """
    found = _find_size_problems(experiment, path) or _find_include_problems(experiment, path)
    if found:
        return [], found
    grid = expand_grid(experiment)
    return grid, [
        *_find_exclude_problems(experiment, path, grid),
        *_find_id_problems(experiment, path, grid),
        *_find_baseline_problems(experiment, path, grid),
    ]


def _find_size_problems(experiment: ExperimentGrid, path: KeyPath) -> list[Problem]:
    count = count_combinations(experiment.factors)
    if count <= MOST_TREATMENTS:
        return []
    text = f"the levels make at least {count:,} treatments; allowed: {MOST_TREATMENTS:,}"
    return [problem((*path, "factors"), f"{text}, before anything is excluded")]


def _find_include_problems(experiment: ExperimentGrid, path: KeyPath) -> list[Problem]:
    problems = []
    grid = expand_grid(experiment)
    taken = [treatment_key(factors) for factors in grid[: len(grid) - len(experiment.include)]]
    seen = set(taken)
    for index, factors in enumerate(experiment.include):
        reasons = _why_unsuited(factors, experiment)
        if treatment_key(factors) in seen:
            reasons.append("this treatment exists already; allowed: new treatments")
        seen.add(treatment_key(factors))
        problems += [problem((*path, "include", index), reason) for reason in reasons]
    return problems


def _why_unsuited(factors: Factors, experiment: ExperimentGrid) -> list[str]:
    lacking, idle = find_unsuited(factors, experiment.factors)
    return [
        *(f"'{name}' is missing; allowed: every factor that applies" for name in lacking),
        *(f"'{name}' does not apply here; allowed: only factors that apply" for name in idle),
    ]


def _find_exclude_problems(
    experiment: ExperimentGrid, path: KeyPath, grid: list[Factors]
) -> Iterator[Problem]:
    if not grid:
        yield problem((*path, "exclude"), "excludes every treatment; allowed: one has to remain")
    whole = list(combine_levels(experiment.factors)) if experiment.exclude else []
    for index, entry in enumerate(experiment.exclude):
        if not any(matches(factors, entry) for factors in whole):
            text = f"{_written(entry)} matches no treatment, so it excludes nothing"
            yield problem((*path, "exclude", index), text)


def _find_id_problems(
    experiment: ExperimentGrid, path: KeyPath, grid: list[Factors]
) -> Iterator[Problem]:
    place, named = (*path, "factors"), dict[str, list["Factors"]]()
    for factors in grid:
        named.setdefault(treatment_id(factors, experiment.factors), []).append(factors)
    wrong = [show(name) for name in named if not is_valid_id(name)]
    if wrong:
        text = f"treatment ids that cannot be a folder's name: {some(wrong)}"
        yield problem(place, f"{text}; allowed: a-z, 0-9, _ and -; give those levels tags")
    shared = [name for name, treatments in named.items() if len(treatments) > 1]
    if shared:
        both = " and ".join(_written(factors) for factors in named[shared[0]][:2])
        text = f"several treatments have the same id: {some(shared)}; the first is of {both}"
        yield problem(place, f"{text}; allowed: one id for each; give their levels tags")


def _differs(name: str, treatments: list[Factors]) -> bool:
    first = treatments[0]
    return not all(
        name in one and name in first and level_key(one[name]) == level_key(first[name])
        for one in treatments
    )


def _find_baseline_problems(
    experiment: ExperimentGrid, path: KeyPath, grid: list[Factors]
) -> Iterator[Problem]:
    entry, place = experiment.baseline, (*path, "baseline")
    found = [factors for factors in grid if matches(factors, entry)]
    ids = [treatment_id(factors, experiment.factors) for factors in found]
    if len(ids) > 1:
        what = _written(entry) if entry else "missing"
        text = f"{what}; {len(ids)} treatments match ({some(ids)})"
        differing = [name for name in dict.fromkeys(chain(*found)) if _differs(name, found)]
        which = f", which differ in {some(differing)}" if differing else ""
        yield problem(place, f"{text}{which}; allowed: levels that only one treatment has")
    elif grid and not ids:
        near = max(grid, key=lambda f: sum(matches(f, {n: v}) for n, v in entry.items()))
        differing = [name for name in entry if not matches(near, {name: entry[name]})]
        closest = f"{treatment_id(near, experiment.factors)} (differs in {', '.join(differing)})"
        yield problem(place, f"{_written(entry)} is no treatment; closest is {closest}")


def _written(entry: Any) -> str:
    """Write an entry as YAML does: {executor: thread, workers: 1}."""
    words = [
        f"{name}: {show(value if not isinstance(value, tuple) else _one(value))}"
        for name, value in entry.items()
    ]
    return "{" + ", ".join(words) + "}"


def _one(levels: tuple[Any, ...]) -> Any:
    return levels[0] if len(levels) == 1 else list(levels)
