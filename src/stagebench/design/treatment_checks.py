"""Checks of an experiment's grid as a whole: its size, what is in it, its ids, its baseline.

Checks of each treatment's settings: what the template says once its levels are put in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stagebench.design.grid import (
    MOST_TREATMENTS,
    build_treatment,
    count_combinations,
    expand_grid,
    find_unsuited,
    is_valid_id,
    treatment_id,
    treatment_key,
)
from stagebench.design.levels import matches, substitute
from stagebench.design.problems import KeyPath, Problem, problem, show, some
from stagebench.design.schema_errors import find_piece_problems
from stagebench.design.specification import LONGEST, find_emulation_problems
from stagebench.design.stage_checks import find_arrival_problems, find_stages_problems
from stagebench.design.task_checks import find_tasks_problems
from stagebench.design.yaml import repair
from stagebench.errors import WorkflowError
from stagebench.store import canonical_json

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from stagebench.design.checked_study import ExperimentGrid, Factors


def find_treatment_problems(experiment: ExperimentGrid, path: KeyPath) -> list[Problem]:
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
            reasons.append("this treatment is there already; allowed: others than those")
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
        yield problem((*path, "exclude"), "excludes every treatment; allowed: one has to be left")
    whole = expand_grid(replace(experiment, exclude=(), include=()))
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
        yield problem(place, f"{text}; allowed: a-z, 0-9, _ and -, so give those levels tags")
    shared = [name for name, treatments in named.items() if len(treatments) > 1]
    if shared:
        both = " and ".join(_written(factors) for factors in named[shared[0]][:2])
        text = f"several treatments get one id: {some(shared)}; the first is that of {both}"
        yield problem(place, f"{text}; allowed: an id for each, so give their levels tags")


def _find_baseline_problems(
    experiment: ExperimentGrid, path: KeyPath, grid: list[Factors]
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


def find_settings_problems(
    experiment: ExperimentGrid, path: KeyPath, stages_path: KeyPath
) -> list[Problem]:
    """Check every treatment of an experiment that has no other problem.

    `path` and `stages_path` lead to the experiment and to its workflow's stages. What many
    treatments share is told once.
    """
    grid = expand_grid(experiment)
    found = list(_find_shared_problems(experiment, path, stages_path, grid))
    return found or list(_find_whole_problems(experiment, path, grid))


def _find_shared_problems(
    experiment: ExperimentGrid, path: KeyPath, stages_path: KeyPath, grid: list[Factors]
) -> Iterator[Problem]:
    shared: dict[Problem, list[str]] = {}
    check = _SettingsCheck(experiment.beside)
    for factors in grid:
        for found in check.find_problems(experiment.template, factors):
            ids = shared.setdefault(found, [])
            ids.append(treatment_id(factors, experiment.factors))
    for found, ids in shared.items():
        inside = found.path[0] == "stages"
        place = (*stages_path, *found.path[1:]) if inside else (*path, *found.path)
        where = f" (in {some(ids)})" if len(ids) < len(grid) else ""
        yield problem(place, found.text + where)


class _SettingsCheck:
    """Checks settings, each different piece of them once."""

    def __init__(self, beside: pathlib.Path | None) -> None:
        self._beside = beside
        self._known: dict[tuple[KeyPath, str], list[Problem]] = {}

    def find_problems(self, template: Any, factors: Factors) -> list[Problem]:
        """Check one treatment; places start at the template."""
        settings, found = substitute(template, factors, ())
        open_places = {p.path for p in found}
        broken = [p for p in self._find_broken_pieces(settings) if p.path not in open_places]
        settings = repair(settings, [*found, *broken])
        stages, tasks = settings["stages"], settings["tasks"]
        meant = [
            *find_stages_problems(stages, ("stages",), self._beside),
            *find_tasks_problems(tasks, stages, ("tasks",), ("stages",), self._beside),
            *find_emulation_problems(settings.get("sampler"), ("sampler",)),
            *find_arrival_problems(settings.get("arrival"), ("arrival",)),
        ]
        return list(dict.fromkeys([*found, *broken, *meant]))

    def _find_broken_pieces(self, settings: dict[str, Any]) -> Iterator[Problem]:
        for index, stage in enumerate(settings["stages"]):
            yield from self._check_piece("stage", stage, ("stages", index))
        others = {key: value for key, value in settings.items() if key != "stages"}
        yield from self._check_piece("settings", others, ())

    def _check_piece(self, piece: str, value: Any, path: KeyPath) -> list[Problem]:
        key = (path, canonical_json(value))
        if key not in self._known:
            self._known[key] = find_piece_problems(piece, value, path)
        return self._known[key]


def _find_whole_problems(
    experiment: ExperimentGrid, path: KeyPath, grid: list[Factors]
) -> Iterator[Problem]:
    """Check what shows in a whole treatment alone: its estimate of memory, and its length."""
    sizes, failed = {}, dict[str, str]()
    for factors in grid:
        try:
            treatment = build_treatment(experiment, factors)
        except WorkflowError as error:
            failed.setdefault(str(error), treatment_id(factors, experiment.factors))
            continue
        sizes[treatment.id] = len(canonical_json(treatment.specification))
    for text, name in failed.items():
        yield problem(path, f"{text} (in {name})")
    long = [name for name, size in sizes.items() if size > LONGEST]
    if long:
        text = f"the specification has up to {max(sizes.values()):,} characters as JSON"
        yield problem(path, f"{text}; allowed: {LONGEST:,} (in {some(long)})")
