"""Checks of an experiment's grid as a whole: its size, what is in it, its ids, its baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stagebench.design.grid import (
    MOST_TREATMENTS,
    count_combinations,
    expand_grid,
    find_unsuited,
    treatment_key,
)
from stagebench.design.ids import is_valid_id, treatment_id
from stagebench.design.levels import matches
from stagebench.problems import Path, Problem, problem, show, some

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagebench.design.study import Experiment, Factors


def find_treatment_problems(experiment: Experiment, path: Path) -> list[Problem]:
    """Check the grid of an experiment whose factors and entries make sense; `path` leads to it."""
    found = _find_size_problems(experiment, path) or _find_include_problems(experiment, path)
    if found:
        return found
    grid = expand_grid(experiment)
    return [
        *_find_exclude_problems(experiment, path, grid),
        *_find_id_problems(experiment, path, grid),
        *_find_baseline_problems(experiment, path, grid),
    ]


def _find_size_problems(experiment: Experiment, path: Path) -> list[Problem]:
    count = count_combinations(experiment.factors)
    if count <= MOST_TREATMENTS:
        return []
    text = f"the levels make at least {count:,} treatments; allowed: {MOST_TREATMENTS:,}"
    return [problem((*path, "factors"), f"{text}, before anything is excluded")]


def _find_include_problems(experiment: Experiment, path: Path) -> list[Problem]:
    problems = []
    grid = expand_grid(experiment)
    taken = [treatment_key(factors) for factors in grid[: len(grid) - len(experiment.include)]]
    seen = set(taken)
    for index, factors in enumerate(experiment.include):
        reasons = _why_unsuited(factors, experiment)
        if treatment_key(factors) in seen:
            reasons.append("this treatment is there already; allowed: others than those")
        seen.add(treatment_key(factors))
        problems += [problem((*path, "include", index), reason) for reason in reasons]
    return problems


def _why_unsuited(factors: Factors, experiment: Experiment) -> list[str]:
    lacking, idle = find_unsuited(factors, experiment.factors)
    return [
        *(f"'{name}' is missing; allowed: every factor that applies" for name in lacking),
        *(f"'{name}' does not apply here; allowed: only factors that apply" for name in idle),
    ]


def _find_exclude_problems(
    experiment: Experiment, path: Path, grid: list[Factors]
) -> Iterator[Problem]:
    if not grid:
        yield problem((*path, "exclude"), "excludes every treatment; allowed: one has to be left")
    whole = expand_grid(replace(experiment, exclude=(), include=()))
    for index, entry in enumerate(experiment.exclude):
        if not any(matches(factors, entry) for factors in whole):
            text = f"{_written(entry)} matches no treatment, so it excludes nothing"
            yield problem((*path, "exclude", index), text)


def _find_id_problems(experiment: Experiment, path: Path, grid: list[Factors]) -> Iterator[Problem]:
    place, named = (*path, "factors"), dict[str, list["Factors"]]()
    for factors in grid:
        named.setdefault(treatment_id(factors, experiment.factors), []).append(factors)
    wrong = [show(name) for name in named if not is_valid_id(name)]
    if wrong:
        text = f"treatment ids that cannot be a folder's name: {some(wrong)}"
        yield problem(place, f"{text}; allowed: a-z, 0-9, _ and -, so give those levels tags")
    shared = [name for name, treatments in named.items() if len(treatments) > 1]
    if shared:
        both = " and ".join(_written(factors) for factors in named[shared[0]][:2])
        text = f"several treatments get one id: {some(shared)}; the first is that of {both}"
        yield problem(place, f"{text}; allowed: an id for each, so give their levels tags")


def _find_baseline_problems(
    experiment: Experiment, path: Path, grid: list[Factors]
) -> Iterator[Problem]:
    entry, place = experiment.baseline, (*path, "baseline")
    ids = [treatment_id(f, experiment.factors) for f in grid if matches(f, entry)]
    if len(ids) > 1:
        what = _written(entry) if entry else "missing"
        text = f"{what}; {len(ids)} treatments match ({some(ids)})"
        yield problem(place, f"{text}; allowed: levels that only one has")
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
