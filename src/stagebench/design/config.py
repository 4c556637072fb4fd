"""From a config to a checked study and its treatments; all problems are reported at once.

A config is data: nothing in it is evaluated. The checks go from the outside in: the structure
(schema), names that refer to one another, the grid of each experiment, and then each treatment with
its levels filled in. Treatments are built on the way. If the grid of an experiment is unknown, its
settings are checked once, with every level unknown.
"""

from __future__ import annotations

import shlex
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from stagebench.design.experiment_checks import (
    GivenWorkflow,
    check_grid,
    find_duplicates,
    find_factor_problems,
    find_idle_constants,
    find_uses,
)
from stagebench.design.grid import (
    AT_MOST,
    MOST_RUNS,
    Study,
    build_experiment,
    build_study,
    build_treatment,
    treatment_id,
)
from stagebench.design.handlers import close_modules
from stagebench.design.levels import UNKNOWN, find_placeholders, holds_unknown, substitute
from stagebench.design.node_checks import find_node_problems
from stagebench.design.problems import locate, problem, some, unknown
from stagebench.design.python_checks import find_python_problems, hide_handlers
from stagebench.design.schema_errors import find_piece_problems, find_structure_problems
from stagebench.design.server_checks import find_server_problems
from stagebench.design.specification import LONGEST, find_emulation_problems, find_preload_problems
from stagebench.design.stage_checks import (
    find_arrival_problems,
    find_idle_arrival,
    find_idle_retries,
    find_stages_problems,
)
from stagebench.design.task_checks import find_tasks_problems
from stagebench.design.until_checks import find_until_problems
from stagebench.design.yaml import (
    Config,
    child_of,
    load_config,
    make_plain,
    mappings,
    place_in,
    raise_problems,
    repair,
)
from stagebench.errors import WorkflowError
from stagebench.store import canonical_json

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Iterator, Mapping

    from stagebench.design.grid import ExperimentGrid, Treatment
    from stagebench.design.levels import Factors
    from stagebench.design.problems import KeyPath, Origin, Problem

__all__ = ["check_config", "load_config", "load_study"]

Json = dict[str, Any]

GRID_KEYS = ("factors", "exclude", "include", "baseline")
"""Keys of an experiment that its grid depends on; the others are checked for each treatment."""


def load_study(path: pathlib.Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Read and check the study in a file; raises ConfigError with every problem in it."""
    return check_config(load_config(path, overrides), path.parent)


def check_config(config: Config | Mapping[str, Any], beside: pathlib.Path | None = None) -> Study:
    """Make the study that a config describes; raises ConfigError with every problem in it.

    `beside` is the config's folder, which holds own handlers and task files. Without it, handlers
    are found in the environment only.
    """
    try:
        return _check(config if isinstance(config, Config) else _copy(config), beside)
    finally:
        close_modules()


def _check(read: Config, beside: pathlib.Path | None) -> Study:
    structure = find_structure_problems(read.data)
    values = repair(deepcopy(read.data), structure) if structure else read.data
    problems = [*read.problems, *structure]
    if not isinstance(values, dict):
        raise_problems(problems, read.places)
    check = _StudyCheck(values, None if beside is None else beside.absolute())
    experiments = [
        check.check_experiment(experiment, path, locate(read.places, path))
        for experiment, path in mappings(values["experiments"], ("experiments",))
    ]
    problems += check.finish()
    problems.sort(key=lambda found: place_in(values, found.path))
    raise_problems(problems, read.places)
    sound = [experiment for experiment in experiments if experiment is not None]
    return build_study(values, sound, check.treatments)


def _copy(config: Any) -> Config:
    values, problems = make_plain(config)
    return Config(data=values, problems=tuple(problems))


class _StudyCheck:
    """Checks a study experiment by experiment and keeps the valid treatments."""

    def __init__(self, values: Json, beside: pathlib.Path | None) -> None:
        self.treatments: list[Treatment] = []
        self._values = values
        self._beside = beside
        self._workflows = [
            GivenWorkflow(name=workflow["name"], path=path, stages=workflow["stages"])
            for workflow, path in mappings(values["workflows"], ("workflows",))
        ]
        given = values.get("constants", {})
        self._names = list(given) if isinstance(given, dict) else None
        constants = given if isinstance(given, dict) else {}
        self._constants = {n: one for n, one in constants.items() if not holds_unknown(one)}
        self._settings = _SettingsCheck(beside)
        self._problems = [*_find_name_problems(values), *find_until_problems(values)]
        self._used: set[str] = set()
        self._runs = 0

    def check_experiment(
        self, experiment: Json, path: KeyPath, place: Origin | None
    ) -> ExperimentGrid | None:
        """Check one experiment as far as its problems allow; return it if its grid is valid."""
        name = experiment["workflow"]
        workflow = next((one for one in self._workflows if one.name == name), None)
        in_factors = find_factor_problems(experiment, path)
        used = find_uses(experiment, path, workflow, self._names)
        self._used |= used.names
        self._problems += [
            *(self._find_unknown_workflow(name, path) if workflow is None else ()),
            *in_factors,
            *used.unknown,
            *find_idle_arrival(experiment.get("arrival"), (*path, "arrival")),
        ]
        grid_known = not (in_factors or any(holds_unknown(experiment.get(k)) for k in GRID_KEYS))
        # If the grid is unknown, the experiment is built from its settings alone.
        kept = [key for key in experiment if grid_known or key not in GRID_KEYS]
        of_study = {key: self._values[key] for key in ("diagnose",) if key in self._values}
        built = build_experiment(
            of_study | {key: experiment[key] for key in kept},
            workflow.stages if workflow else UNKNOWN,
            self._constants,
            self._beside,
            place,
        )
        grid, in_grid = check_grid(built, path) if grid_known else ([], [])
        too_many = self._count_runs(len(grid), path) if grid else []
        grid = [] if too_many else grid
        self._problems += [*in_grid, *too_many]
        use = _Use(built, path, workflow.path if workflow else None)
        if grid:
            self.treatments += self._settings.check_grid(use, grid)
        else:
            self._settings.check_unknown(use)
        if use.refused:
            # A refused value may have been meant as a placeholder.
            self._used |= self._constants.keys()
        else:
            self._problems += used.idle
        return built if grid else None

    def finish(self) -> list[Problem]:
        """Return all problems, including those of parts that no experiment uses."""
        for workflow in self._workflows:
            self._settings.check_unused(workflow, self._constants)
        idle = find_idle_constants(self._values, list(self._constants), self._used)
        return [*self._problems, *idle, *self._settings.find_problems()]

    def _count_runs(self, treatments: int, path: KeyPath) -> list[Problem]:
        """Count the runs of one more experiment, before its treatments are made."""
        most = self._values.get("at_most", AT_MOST) if "until" in self._values else 0
        each = [most, *(self._values.get(name, 0) for name in ("replicates", "warm_ups"))]
        self._runs += treatments * sum(number for number in each if isinstance(number, int))
        if self._runs <= MOST_RUNS:
            return []
        text = f"with its {treatments:,} treatments the study has {self._runs:,} runs"
        return [problem(path, f"{text}; allowed: {MOST_RUNS:,}, replicates and warm-ups counted")]

    def _find_unknown_workflow(self, name: str, path: KeyPath) -> Iterator[Problem]:
        names = [workflow.name for workflow in self._workflows]
        # It may be one whose own name was refused.
        if name is not UNKNOWN and UNKNOWN not in names and not _has_unknown(self._values):
            yield problem((*path, "workflow"), unknown("workflow", name, names))


def _has_unknown(values: Json) -> bool:
    """Report whether workflows were refused as a whole."""
    return not isinstance(values["workflows"], list) or UNKNOWN in values["workflows"]


def _find_name_problems(values: Json) -> Iterator[Problem]:
    """Check the names of workflows, stages and experiments, and settings without effect."""
    for key in ("workflows", "experiments"):
        yield from find_duplicates(values[key], (key,))
    for workflow, path in mappings(values["workflows"], ("workflows",)):
        stages, place = workflow["stages"], (*path, "stages")
        yield from find_duplicates(stages, place)
        yield from find_idle_retries(stages, place)


class _Use:
    """An experiment with the paths of its own settings and of the stages that it uses.

    `refused` becomes true if a value without placeholders has the wrong structure.
    """

    def __init__(self, grid: ExperimentGrid, path: KeyPath, workflow: KeyPath | None) -> None:
        self.grid = grid
        self.path = path
        self.workflow = workflow
        self.refused = False

    def place(self, path: KeyPath) -> KeyPath:
        """Return the path in the config for a path in the template."""
        if path[:1] == ("stages",):
            return (*(self.workflow or ()), *path)
        return (*self.path, *path)


def _is_plain(template: Any, path: KeyPath) -> bool:
    """Report whether there is no placeholder at a path or below it."""
    for part in path:
        template = child_of(template, part)
    return not any(find_placeholders(template, path))


class _SettingsCheck:
    """Checks settings with levels filled in, each distinct piece once.

    A problem of several treatments is noted once, with their ids.
    """

    def __init__(self, beside: pathlib.Path | None) -> None:
        self._beside = beside
        self._pieces: dict[tuple[KeyPath, str], list[Problem]] = {}
        self._uses: list[tuple[_Use, list[str]]] = []
        self._found: dict[Problem, list[tuple[_Use, str]]] = {}

    def check_grid(self, use: _Use, grid: list[Factors]) -> list[Treatment]:
        """Check every treatment of an experiment and build those without problems."""
        experiment, made = use.grid, []
        known = {*experiment.constants, *(factor.name for factor in experiment.factors)}
        names = [treatment_id(factors, experiment.factors) for factors in grid]
        self._uses.append((use, names))
        for factors, name in zip(grid, names, strict=True):
            levels = experiment.constants | factors
            settings, found = self._check(experiment.template, levels, known, use)
            if not (found or holds_unknown(settings)):
                try:
                    made.append(build_treatment(experiment, factors, settings))
                except WorkflowError as error:
                    found = [problem((), str(error))]
            self._note(found, use, name)
        self._check_lengths(use, made)
        return made

    def check_unknown(self, use: _Use) -> None:
        """Check the settings of an experiment whose treatments are unknown."""
        constants = use.grid.constants
        self._uses.append((use, []))
        _, found = self._check(use.grid.template, constants, constants.keys(), use)
        self._note(found, use, "")

    def check_unused(self, workflow: GivenWorkflow, constants: Factors) -> None:
        """Check the stages of a workflow that no experiment uses."""
        if any(use.workflow == workflow.path for use, _ in self._uses):
            return
        template = {"stages": workflow.stages, "tasks": UNKNOWN}
        for found in self._check(template, constants, constants.keys(), None)[1]:
            self._found.setdefault(problem((*workflow.path, *found.path), found.text), [])

    def find_problems(self) -> Iterator[Problem]:
        """Yield all problems, each with its treatments unless every treatment has it."""
        for found, having in self._found.items():
            yield problem(found.path, found.text + self._name_treatments(found.path, having))

    def _note(self, found: list[Problem], use: _Use, name: str) -> None:
        for one in dict.fromkeys(found):
            placed = problem(use.place(one.path), one.text)
            self._found.setdefault(placed, []).append((use, name))

    def _name_treatments(self, path: KeyPath, having: list[tuple[_Use, str]]) -> str:
        uses = [(use, n) for use, n in self._uses if path[:2] in (use.workflow, use.path)]
        named = [(use, name) for use, name in having if name]
        if not named or len(named) == sum(len(names) for _, names in uses):
            return ""
        several = len(uses) > 1
        ids = [f"{use.grid.name}/{name}" if several else name for use, name in named]
        return f" (in {some(ids)})"

    def _check_lengths(self, use: _Use, made: list[Treatment]) -> None:
        sizes = {one.id: len(shlex.quote(canonical_json(one.specification))) for one in made}
        long = [name for name, size in sizes.items() if size > LONGEST]
        if long:
            text = f"the specification has up to {max(sizes.values()):,} characters as JSON"
            text += f"; allowed: {LONGEST:,} (in {some(long)})"
            self._found[problem(use.path, text)] = []

    def _check(
        self, template: Any, levels: Factors, known: Collection[str], use: _Use | None
    ) -> tuple[Json, list[Problem]]:
        """Fill in levels and check the result; the paths of problems are those of the template."""
        filled = substitute(template, levels, (), known)
        settings: Json = filled.value
        broken = list(self._find_broken_pieces(settings))
        repaired = repair(settings, broken)
        if use is not None and any(_is_plain(template, filled.in_template(p.path)) for p in broken):
            use.refused = True
        stages, tasks, python = repaired["stages"], repaired["tasks"], repaired.get("python")
        in_python = find_python_problems(python, ("python",), self._beside)
        process = repaired.get("process")
        if in_python or python is UNKNOWN:  # without it, nothing of what it imports is known
            stages, process, python = hide_handlers(stages), None, None
        meant = [
            *in_python,
            *find_stages_problems(stages, ("stages",), self._beside, python),
            *find_tasks_problems(tasks, stages, ("tasks",), ("stages",), self._beside, python),
            *find_emulation_problems(repaired.get("sampler"), ("sampler",)),
            *find_preload_problems(process, ("process",), self._beside, python),
            *find_arrival_problems(repaired.get("arrival"), ("arrival",)),
            *find_server_problems(repaired, ("server",)),
            *find_node_problems(repaired, ("nodes",)),
        ]
        moved = [problem(filled.in_template(p.path), p.text) for p in (*broken, *meant)]
        return settings, [*filled.problems, *moved]

    def _find_broken_pieces(self, settings: Json) -> Iterator[Problem]:
        for stage, path in mappings(settings["stages"], ("stages",)):
            yield from self._check_piece("stage", stage, path)
        others = {key: value for key, value in settings.items() if key != "stages"}
        yield from self._check_piece("settings", others, ())

    def _check_piece(self, piece: str, value: Any, path: KeyPath) -> list[Problem]:
        key = (path, canonical_json(value))
        if key not in self._pieces:
            self._pieces[key] = find_piece_problems(piece, value, path)
        return self._pieces[key]
