"""Checks of each treatment's settings: what the template says once its levels are put in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.arrival import find_arrival_problems
from stagebench.design.emulation import find_emulation_problems
from stagebench.design.grid import build_treatment, expand_grid
from stagebench.design.ids import treatment_id
from stagebench.design.placeholders import substitute
from stagebench.design.plain import repair
from stagebench.design.schema import find_piece_problems
from stagebench.design.specification import LONGEST
from stagebench.design.stages import find_stages_problems
from stagebench.design.tasks import find_tasks_problems
from stagebench.errors import WorkflowError
from stagebench.problems import Path, Problem, problem, some
from stagebench.store import canonical_json

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from stagebench.design.study import Experiment, Factors


def find_settings_problems(experiment: Experiment, path: Path, stages_path: Path) -> list[Problem]:
    """Check every treatment of an experiment that has no other problem.

    `path` and `stages_path` lead to the experiment and to its workflow's stages. What many
    treatments share is told once.
    """
    grid = expand_grid(experiment)
    found = list(_find_shared_problems(experiment, path, stages_path, grid))
    return found or list(_find_whole_problems(experiment, path, grid))


def _find_shared_problems(
    experiment: Experiment, path: Path, stages_path: Path, grid: list[Factors]
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
        self._known: dict[tuple[Path, str], list[Problem]] = {}

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

    def _check_piece(self, piece: str, value: Any, path: Path) -> list[Problem]:
        key = (path, canonical_json(value))
        if key not in self._known:
            self._known[key] = find_piece_problems(piece, value, path)
        return self._known[key]


def _find_whole_problems(
    experiment: Experiment, path: Path, grid: list[Factors]
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
