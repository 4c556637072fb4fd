"""Checks of an experiment's tasks: a number, a list of parameters, or a file beside the config.

A value with a placeholder in it is open: nothing is said of it until its level is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.handlers import known_handler, sound_handler
from stagebench.design.parameters import (
    convert_parameters,
    find_parameter_problems,
    missing_parameters,
)
from stagebench.design.placeholders import is_open
from stagebench.design.plain import mappings
from stagebench.design.stages import is_whole
from stagebench.design.task_file import complete_task_file, distinct_overrides, read_task_file
from stagebench.problems import Path, Problem, problem, unknown

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from stagebench.design.parameters import Parameter
    from stagebench.design.task_file import Handlers

Stage = dict[str, Any]


def find_tasks_problems(
    tasks: Any,
    stages: Any,
    path: Path,
    stages_path: Path,
    beside: pathlib.Path | None,
) -> list[Problem]:
    """Check that every task names known stages and that every stage gets all it requires."""
    if not is_whole(stages):
        return []
    rows = [(stage, place) for stage, place in mappings(stages, stages_path)]
    if isinstance(tasks, dict):
        return list(_find_file_problems(tasks.get("file"), rows, (*path, "file"), beside))
    if not (isinstance(tasks, int) or is_whole(tasks)):
        return []
    listed = list(mappings(tasks, path))
    return [
        *(p for task, place in listed for p in _find_task_problems(task, rows, place, beside)),
        *(p for stage, place in rows for p in _find_missing(stage, place, listed, beside)),
    ]


def complete_tasks(tasks: Any, stages: list[Stage], beside: pathlib.Path | None) -> Any:
    """Give checked tasks in the one form that a specification has."""
    if isinstance(tasks, int):
        return tasks
    if isinstance(tasks, dict):
        return complete_task_file(tasks["file"], name_handlers(stages), beside)
    known = {s["name"]: sound_handler(s["handler"], beside).parameters for s in stages}
    return [
        {stage: convert_parameters(given, known[stage]) for stage, given in task.items()}
        for task in tasks
    ]


def list_overrides(tasks: Any, stages: list[Stage], stage: str, beside: pathlib.Path | None) -> Any:
    """List what the tasks of a specification give one stage, beside what the stage itself has."""
    if isinstance(tasks, int):
        return [{}]
    if isinstance(tasks, dict):
        return distinct_overrides(tasks["file"], name_handlers(stages), beside, stage)
    return [task.get(stage, {}) for task in tasks]


def name_handlers(stages: list[Stage]) -> Handlers:
    """Give the handler of each stage; None where it is open."""
    named = ((stage["name"], stage["handler"]) for stage in stages)
    return tuple((name, None if is_open(handler) else handler) for name, handler in named)


def _find_task_problems(
    task: Stage, stages: list[tuple[Stage, Path]], path: Path, beside: pathlib.Path | None
) -> Iterator[Problem]:
    rows = {stage["name"]: stage for stage, _ in stages}
    for name, given in task.items():
        if name not in rows:
            if not any(is_open(other) for other in rows):
                yield problem((*path, name), unknown("stage", name, rows))
            continue
        handler = known_handler(rows[name]["handler"], beside)
        if handler is not None and isinstance(given, dict):
            yield from find_parameter_problems(given, handler.parameters, (*path, name))


def _find_missing(
    stage: Stage, path: Path, tasks: list[tuple[Stage, Path]], beside: pathlib.Path | None
) -> Iterator[Problem]:
    for parameter in _missing(stage, beside):
        text = f"missing; allowed: {parameter.allowed}"
        if not any(parameter.name in _given(task, stage["name"]) for task, _ in tasks):
            yield problem((*path, "parameters", parameter.name), text)
            continue
        for task, place in tasks:
            if parameter.name not in _given(task, stage["name"]):
                yield problem((*place, stage["name"], parameter.name), text)


def _missing(stage: Stage, beside: pathlib.Path | None) -> list[Parameter]:
    """List what a stage's handler requires and the stage does not give, as far as that is known."""
    handler, given = known_handler(stage["handler"], beside), stage.get("parameters", {})
    if handler is None or not isinstance(given, dict):
        return []
    return missing_parameters(given, handler.parameters)


def _given(task: Stage, stage: str) -> dict[str, Any]:
    given = task.get(stage, {})
    return given if isinstance(given, dict) else {}


def _find_file_problems(
    file: Any,
    stages: list[tuple[Stage, Path]],
    path: Path,
    beside: pathlib.Path | None,
) -> Iterator[Problem]:
    names = [stage["name"] for stage, _ in stages]
    if not isinstance(file, str) or is_open(file) or any(is_open(name) for name in names):
        return
    found = read_task_file(file, name_handlers([stage for stage, _ in stages]), beside)
    for text in found.problems:
        yield problem(path, f"{file}: {text}")
    if found.problems:
        return
    for stage, place in stages:
        for parameter in _missing(stage, beside):
            text = f"missing; allowed: {parameter.allowed}"
            lines = found.find_gaps(stage["name"], parameter.name)
            if lines is None:
                yield problem((*place, "parameters", parameter.name), text)
                continue
            gap = next(lines, None)
            if gap is not None:
                column = f"{stage['name']}.{parameter.name}"
                yield problem(path, f"{file}: line {gap}, column {column}: {text}")
