"""Checks of a workflow's stages and tasks, on a config as on each treatment.

A value with a placeholder in it is open: nothing is said of it until its level is known.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from stagebench.design.parameters import (
    Parameter,
    find_parameter_problems,
    handler_parameters,
    missing_parameters,
)
from stagebench.design.placeholders import is_open
from stagebench.design.plain import mappings
from stagebench.handlers.registry import HANDLERS
from stagebench.problems import Path, Problem, problem, show, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

Stage = dict[str, Any]


def find_stages_problems(stages: Any, path: Path) -> list[Problem]:  # noqa: ANN401 - may be open
    """Check the stages of one workflow; `path` leads to their list."""
    return [
        *_find_graph_problems(stages, path),
        *(p for stage, place in mappings(stages, path) for p in _find_stage_problems(stage, place)),
    ]


def find_tasks_problems(
    tasks: Any,  # noqa: ANN401 - may be open
    stages: Any,  # noqa: ANN401 - may be open
    path: Path,
    stages_path: Path,
) -> list[Problem]:
    """Check that every task names known stages and that every stage gets all it requires."""
    rows = list(mappings(tasks, path))
    if not (isinstance(tasks, int) or _is_whole(tasks)) or not _is_whole(stages):
        return []
    return [
        *(p for task, place in rows for p in _find_task_problems(task, stages, place)),
        *(
            p
            for stage, place in mappings(stages, stages_path)
            for p in _find_missing(stage, place, rows)
        ),
    ]


def _is_whole(items: Any) -> bool:  # noqa: ANN401 - may be open
    """Tell whether nothing in a list of mappings is open as a whole."""
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _find_stage_problems(stage: Stage, path: Path) -> Iterator[Problem]:
    yield from _find_start_problems(stage, path)
    handler = stage["handler"]
    if not is_open(handler) and handler not in HANDLERS:
        yield problem((*path, "handler"), unknown("handler", handler, sorted(HANDLERS)))
    known, given = _known_parameters(stage), stage.get("parameters", {})
    if known is not None and isinstance(given, dict):
        yield from find_parameter_problems(given, known, (*path, "parameters"))


def _find_start_problems(stage: Stage, path: Path) -> Iterator[Problem]:
    executor, place = stage["executor"], (*path, "start_method")
    given = "start_method" in stage
    if executor == "process" and not given:
        yield problem(place, "missing on a process stage; allowed: fork, forkserver, spawn")
    if executor == "thread" and given and not is_open(stage["start_method"]):
        method = show(stage["start_method"])
        yield problem(place, f"{method} is not allowed on a thread stage; allowed: no such key")


def _known_parameters(stage: Stage) -> dict[str, Parameter] | None:
    """Give the parameters of a stage's handler, or None where that is not known."""
    handler = stage["handler"]
    return handler_parameters(handler) if handler in HANDLERS else None


def _find_graph_problems(stages: Any, path: Path) -> Iterator[Problem]:  # noqa: ANN401 - may be open
    rows = list(mappings(stages, path))
    names = [stage["name"] for stage, _ in rows]
    if not _is_whole(stages) or any(is_open(name) for name in names):
        return
    graph: dict[str, list[str]] = {}
    for stage, place in rows:
        graph[stage["name"]] = []
        for index, other in _after(stage):
            reason = _why_not_after(stage["name"], other, names)
            if reason:
                yield problem((*place, "after", index), reason)
            else:
                graph[stage["name"]].append(other)
    yield from _find_cycle(graph, path)


def _after(stage: Stage) -> list[tuple[int, str]]:
    after = stage.get("after", [])
    return [] if is_open(after) else [(i, n) for i, n in enumerate(after) if not is_open(n)]


def _why_not_after(stage: str, other: str, names: list[str]) -> str:
    if other == stage:
        return f"stage '{stage}' waits for itself; allowed: other stages"
    return "" if other in names else unknown("stage", other, [n for n in names if n != stage])


def _find_cycle(graph: dict[str, list[str]], path: Path) -> Iterator[Problem]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        chain = " -> ".join(error.args[1])
        yield problem(path, f"stages wait for one another in a cycle: {chain}; allowed: no cycle")


def _find_task_problems(task: Stage, stages: Any, path: Path) -> Iterator[Problem]:  # noqa: ANN401 - may be open
    rows = {stage["name"]: stage for stage, _ in mappings(stages, ())}
    for name, given in task.items():
        if name not in rows:
            if not any(is_open(other) for other in rows):
                yield problem((*path, name), unknown("stage", name, rows))
            continue
        known = _known_parameters(rows[name])
        if known is not None and isinstance(given, dict):
            yield from find_parameter_problems(given, known, (*path, name))


def _find_missing(stage: Stage, path: Path, tasks: list[tuple[Stage, Path]]) -> Iterator[Problem]:
    known, given = _known_parameters(stage), stage.get("parameters", {})
    if known is None or not isinstance(given, dict):
        return
    for parameter in missing_parameters(given, known):
        text = f"missing; allowed: {parameter.allowed}"
        if not any(parameter.name in _given(task, stage["name"]) for task, _ in tasks):
            yield problem((*path, "parameters", parameter.name), text)
            continue
        for task, place in tasks:
            if parameter.name not in _given(task, stage["name"]):
                yield problem((*place, stage["name"], parameter.name), text)


def _given(task: Stage, stage: str) -> dict[str, Any]:
    given = task.get(stage, {})
    return given if isinstance(given, dict) else {}
