"""Checks of a workflow's stages, on a config as on each treatment.

A value with a placeholder in it is open: nothing is said of it until its level is known.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from stagebench.design.handlers import find_handler
from stagebench.design.parameters import UPSTREAM, find_parameter_problems
from stagebench.design.placeholders import is_open
from stagebench.design.plain import mappings
from stagebench.problems import Path, Problem, problem, show, unknown

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from stagebench.design.handlers import Handler

Stage = dict[str, Any]


def find_stages_problems(stages: Any, path: Path, beside: pathlib.Path | None) -> list[Problem]:
    """Check a workflow's stages; `path` leads to their list, `beside` is the config's folder."""
    return [
        *_find_graph_problems(stages, path),
        *(
            found
            for stage, place in mappings(stages, path)
            for found in _find_stage_problems(stage, place, beside)
        ),
    ]


def is_whole(items: Any) -> bool:
    """Tell whether nothing in a list of mappings is open as a whole."""
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _find_stage_problems(
    stage: Stage, path: Path, beside: pathlib.Path | None
) -> Iterator[Problem]:
    yield from _find_start_problems(stage, path)
    handler, given = stage["handler"], stage.get("parameters", {})
    found = handler if is_open(handler) else find_handler(handler, beside)
    if isinstance(found, str):
        if not is_open(handler):
            yield problem((*path, "handler"), found)
        return
    yield from _find_executor_problems(stage, found, path)
    yield from _find_upstream_problems(stage, found, path)
    if isinstance(given, dict):
        yield from find_parameter_problems(given, found.parameters, (*path, "parameters"))


def _find_start_problems(stage: Stage, path: Path) -> Iterator[Problem]:
    executor, place = stage["executor"], (*path, "start_method")
    given = "start_method" in stage
    if executor == "process" and not given:
        yield problem(place, "missing on a process stage; allowed: fork, forkserver, spawn")
    kinds = {"thread": "a thread", "asyncio": "an asyncio"}
    if executor in kinds and given and not is_open(stage["start_method"]):
        text = f"{show(stage['start_method'])} is not allowed on {kinds[executor]} stage"
        yield problem(place, f"{text}; allowed: no such key")


def _find_executor_problems(stage: Stage, handler: Handler, path: Path) -> Iterator[Problem]:
    executor = stage["executor"]
    if is_open(executor):
        return
    if handler.is_coroutine is not (executor == "asyncio"):
        kind = "a coroutine" if handler.is_coroutine else "no coroutine"
        allowed = "asyncio" if handler.is_coroutine else "thread, process"
        text = f"{show(executor)} is not allowed for handler '{handler.name}', which is {kind}"
        yield problem((*path, "executor"), f"{text}; allowed: {allowed}")
    elif executor == "process" and handler.untravelled:
        text = f"handler '{handler.name}' cannot be sent to a process ({handler.untravelled})"
        yield problem((*path, "handler"), f"{text}; allowed: a function that its module names")


def _find_upstream_problems(stage: Stage, handler: Handler, path: Path) -> Iterator[Problem]:
    if handler.upstream == "required" and stage.get("after", []) == []:
        text = f"handler '{handler.name}' takes '{UPSTREAM}', what the stages before it have made"
        yield problem((*path, "after"), f"missing, and {text}; allowed: at least one stage's name")


def _find_graph_problems(stages: Any, path: Path) -> Iterator[Problem]:
    rows = list(mappings(stages, path))
    names = [stage["name"] for stage, _ in rows]
    if not is_whole(stages) or any(is_open(name) for name in names):
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
