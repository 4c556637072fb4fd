"""From a YAML file to a checked Study: everything that is wrong is told at once.

A config is data: nothing in it is evaluated. The checks go from the outside in: YAML, plain values,
structure (the schema), names that refer to one another, and each treatment with its levels put in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.arrival import find_arrival_problems, find_idle_arrival
from stagebench.design.build import build_experiment, build_study
from stagebench.design.emulation import find_emulation_problems
from stagebench.design.factors import (
    Workflow,
    find_duplicates,
    find_factor_problems,
    find_use_problems,
)
from stagebench.design.limits import find_idle_retries
from stagebench.design.placeholders import is_open
from stagebench.design.plain import make_plain, mappings, place_in, repair
from stagebench.design.schema import find_structure_problems
from stagebench.design.settings import find_settings_problems
from stagebench.design.stages import find_stages_problems
from stagebench.design.tasks import find_tasks_problems
from stagebench.design.treatments import find_treatment_problems
from stagebench.design.yaml_file import load_config
from stagebench.errors import ConfigError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping

    from stagebench.design.study import Experiment, Study
    from stagebench.problems import Path, Problem

__all__ = ["check_config", "load_config"]

Json = dict[str, Any]

GRID_KEYS = ("factors", "exclude", "include", "baseline")
"""Keys of an experiment that its grid depends on; the others matter treatment by treatment."""


def check_config(mapping: Mapping[str, Any], beside: pathlib.Path | None = None) -> Study:
    """Make the study that a config describes; raises ConfigError with every problem in it.

    `beside` is the folder of the config, where its own handlers and files of tasks lie. Without it
    handlers are those of the environment alone.
    """
    beside = None if beside is None else beside.absolute()
    config, problems = make_plain(mapping)
    structure = find_structure_problems(config)
    config = repair(config, structure)
    problems += structure
    if not isinstance(config, dict):
        raise _error(problems, config)
    problems += _find_reference_problems(config, beside)
    workflows = _workflows(config)
    checked = [
        _check_experiment(experiment, path, workflows, problems, beside)
        for experiment, path in mappings(config["experiments"], ("experiments",))
    ]
    problems += [problem for found, _ in checked for problem in found]
    if problems:
        raise _error(problems, config)
    return build_study(config, [experiment for _, experiment in checked if experiment is not None])


def _error(problems: list[Problem], config: Any) -> ConfigError:
    """Make the error of all problems, in the order of the config, each told once."""
    ordered = sorted(problems, key=lambda found: place_in(config, found.path))
    return ConfigError(list(dict.fromkeys(map(str, ordered))))


def _workflows(config: Json) -> dict[str, Workflow]:
    return {
        workflow["name"]: Workflow(path=path, stages=workflow["stages"])
        for workflow, path in mappings(config["workflows"], ("workflows",))
        if not is_open(workflow["name"])
    }


def _find_reference_problems(config: Json, beside: pathlib.Path | None) -> Iterator[Problem]:
    """Check the names of workflows, stages and experiments, and all workflows as they are."""
    for key in ("workflows", "experiments"):
        yield from find_duplicates(config[key], (key,))
    for workflow, path in mappings(config["workflows"], ("workflows",)):
        stages, place = workflow["stages"], (*path, "stages")
        yield from find_duplicates(stages, place)
        yield from find_stages_problems(stages, place, beside)
        yield from find_idle_retries(stages, place)


def _check_experiment(
    experiment: Json,
    path: Path,
    workflows: dict[str, Workflow],
    known: list[Problem],
    beside: pathlib.Path | None,
) -> tuple[list[Problem], Experiment | None]:
    """Check one experiment as deep as its problems allow; built where it has none."""
    workflow = workflows.get(experiment["workflow"])
    in_factors = find_factor_problems(experiment, path)
    found = [
        *in_factors,
        *find_use_problems(experiment, path, workflows),
        *find_emulation_problems(experiment.get("sampler"), (*path, "sampler")),
        *find_arrival_problems(experiment.get("arrival"), (*path, "arrival")),
        *find_idle_arrival(experiment.get("arrival"), (*path, "arrival")),
    ]
    if workflow is not None:
        found += _find_tasks_problems(experiment, path, workflow, beside)
    if in_factors or _any_below(known, *((*path, key) for key in GRID_KEYS)):
        return found, None
    built = build_experiment(experiment, workflow.stages if workflow else [], beside)
    found += find_treatment_problems(built, path)
    if found or workflow is None or _any_below(known, path, workflow.path):
        return found, None
    return find_settings_problems(built, path, (*workflow.path, "stages")), built


def _find_tasks_problems(
    experiment: Json, path: Path, workflow: Workflow, beside: pathlib.Path | None
) -> list[Problem]:
    place, stages_place = (*path, "tasks"), (*workflow.path, "stages")
    return find_tasks_problems(experiment["tasks"], workflow.stages, place, stages_place, beside)


def _any_below(problems: list[Problem], *paths: Path) -> bool:
    """Tell whether a problem lies at or below one of the paths."""
    return any(p.path[: len(path)] == path for p in problems for path in paths)
