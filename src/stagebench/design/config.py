"""From a YAML file to a checked Study: everything that is wrong is told at once.

A config is data: nothing in it is evaluated. The checks go from the outside in: YAML, plain values,
structure (the schema), names that refer to one another, and each treatment with its levels put in.

A checked mapping as a Study: names resolved, short forms spelt out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.checked_study import ExperimentGrid, Factor, Study
from stagebench.design.factors import (
    Workflow,
    find_duplicates,
    find_factor_problems,
    find_use_problems,
)
from stagebench.design.levels import is_open, level_key, named_levels
from stagebench.design.schema_errors import SETTINGS, find_structure_problems
from stagebench.design.specification import find_emulation_problems
from stagebench.design.stage_checks import (
    find_arrival_problems,
    find_idle_arrival,
    find_idle_retries,
    find_stages_problems,
)
from stagebench.design.task_checks import find_tasks_problems
from stagebench.design.treatment_checks import find_settings_problems, find_treatment_problems
from stagebench.design.yaml import load_config, make_plain, mappings, place_in, repair
from stagebench.errors import ConfigError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from stagebench.design.checked_study import Level
    from stagebench.design.problems import KeyPath, Problem


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
    path: KeyPath,
    workflows: dict[str, Workflow],
    known: list[Problem],
    beside: pathlib.Path | None,
) -> tuple[list[Problem], ExperimentGrid | None]:
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
    experiment: Json, path: KeyPath, workflow: Workflow, beside: pathlib.Path | None
) -> list[Problem]:
    place, stages_place = (*path, "tasks"), (*workflow.path, "stages")
    return find_tasks_problems(experiment["tasks"], workflow.stages, place, stages_place, beside)


def _any_below(problems: list[Problem], *paths: KeyPath) -> bool:
    """Tell whether a problem lies at or below one of the paths."""
    return any(p.path[: len(path)] == path for p in problems for path in paths)


Levels = dict[str, tuple["Level", ...]]

QUIET_WAIT_S = 2.0
"""How long a run waits for a quiet machine at most, where a study does not say."""

MARGIN = 0.05
"""What counts as equivalent in practice, where a study does not say."""


def build_study(config: Json, experiments: list[ExperimentGrid]) -> Study:
    """Make the study of a config whose experiments are built already."""
    return Study(
        name=config["study"],
        seed=config["seed"],
        replicates=config["replicates"],
        warm_ups=config.get("warm_ups", 0),
        time_limit_s=float(config["time_limit_s"]),
        quiet_wait_s=float(config.get("quiet_wait_s", QUIET_WAIT_S)),
        precision={name: float(width) for name, width in config.get("precision", {}).items()},
        margin=float(config.get("margin", MARGIN)),
        reference=config.get("reference"),
        claims=config.get("claims"),
        allow_insufficient_memory=config.get("allow_insufficient_memory", False),
        experiments=tuple(experiments),
    )


def build_experiment(experiment: Json, stages: list[Json], beside: Path | None) -> ExperimentGrid:
    """Make one experiment; `stages` are those of its workflow, `beside` is the config's folder."""
    given = experiment.get("factors", {})
    include = experiment.get("include", [])
    listed = {name: _listed(factor) for name, factor in given.items()}
    # What is included may be named by the baseline, too.
    named = {n: _distinct([*levels, *_included(n, include)]) for n, levels in listed.items()}
    template = {key: experiment[key] for key in SETTINGS if key in experiment}
    return ExperimentGrid(
        name=experiment["name"],
        workflow=experiment["workflow"],
        template={"stages": stages, **template},
        factors=tuple(_build_factor(name, given[name], listed) for name in given),
        exclude=tuple(_resolve(entry, listed) for entry in experiment.get("exclude", [])),
        include=tuple(include),
        baseline=_resolve(experiment.get("baseline", {}), named),
        beside=beside,
    )


def _build_factor(name: str, factor: Any, listed: Levels) -> Factor:
    options = factor if isinstance(factor, dict) else {}
    return Factor(
        name=name,
        levels=listed[name],
        when=_resolve(options.get("when", {}), listed),
        tags=options.get("tags", {}),
    )


def _listed(factor: Any) -> tuple[Level, ...]:
    return tuple(factor["levels"] if isinstance(factor, dict) else factor)


def _included(name: str, include: list[Json]) -> list[Level]:
    return [entry[name] for entry in include if name in entry]


def _distinct(levels: list[Level]) -> tuple[Level, ...]:
    return tuple({level_key(level): level for level in levels}.values())


def _resolve(entry: Json, levels: Mapping[str, tuple[Level, ...]]) -> Levels:
    return {name: named_levels(value, levels[name])[0] for name, value in entry.items()}
