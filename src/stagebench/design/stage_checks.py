"""Checks of a treatment's stages and of its arrival, and their parts of a specification.

Levels are filled in before. Unknown values (refused, or of an unknown level) are not reported
again.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from stagebench.design.annotations import UPSTREAM
from stagebench.design.handlers import find_handler
from stagebench.design.levels import UNKNOWN
from stagebench.design.problems import KeyPath, Problem, problem, show, unknown
from stagebench.design.signatures import find_parameter_problems
from stagebench.design.yaml import mappings
from stagebench.records import RETRIABLE_STATUSES

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from stagebench.design.handlers import Handler


Stage = dict[str, Any]


def find_stages_problems(
    stages: Any, path: KeyPath, beside: pathlib.Path | None, python: str | None = None
) -> list[Problem]:
    """Check a workflow's stages; `path` is that of their list, `beside` the config's folder.

    `python` names the interpreter that runs them, if it is another one.
    """
    return [
        *_find_graph_problems(stages, path),
        *(
            found
            for stage, place in mappings(stages, path)
            for found in _find_stage_problems(stage, place, beside, python)
        ),
    ]


def is_whole(items: Any) -> bool:
    """Report whether a value is a list whose items are all mappings, none of them unknown."""
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _find_stage_problems(
    stage: Stage, path: KeyPath, beside: pathlib.Path | None, python: str | None
) -> Iterator[Problem]:
    yield from _find_start_problems(stage, path)
    handler, given = stage["handler"], stage.get("parameters", {})
    if handler is UNKNOWN:
        return
    found = find_handler(handler, beside, python)
    if isinstance(found, str):
        yield problem((*path, "handler"), found)
        return
    yield from _find_executor_problems(stage, found, path)
    yield from _find_batch_problems(stage, path)
    yield from _find_time_out_problems(stage, path)
    yield from _find_prefetch_problems(stage, path)
    yield from _find_upstream_problems(stage, found, path)
    if isinstance(given, dict):
        yield from find_parameter_problems(given, found.parameters, (*path, "parameters"))


def _find_start_problems(stage: Stage, path: KeyPath) -> Iterator[Problem]:
    executor, place = stage["executor"], (*path, "start_method")
    given = "start_method" in stage
    if executor == "process" and not given:
        yield problem(place, "missing on a process stage; allowed: fork, forkserver, spawn")
    kinds = {"thread": "a thread", "interpreter": "an interpreter", "asyncio": "an asyncio"}
    if executor in kinds and given and stage["start_method"] is not UNKNOWN:
        text = f"{show(stage['start_method'])} is not allowed on {kinds[executor]} stage"
        only = 'no such key; a factor of start methods needs "when: {executor: process}"'
        yield problem(place, f"{text}; allowed: {only}")


def _find_executor_problems(stage: Stage, handler: Handler, path: KeyPath) -> Iterator[Problem]:
    executor = stage["executor"]
    if executor is UNKNOWN:
        return
    if handler.is_coroutine is not (executor == "asyncio"):
        kind = "a coroutine" if handler.is_coroutine else "not a coroutine"
        allowed = "asyncio" if handler.is_coroutine else "thread, process, interpreter"
        text = f"{show(executor)} is not allowed for handler '{handler.name}', which is {kind}"
        yield problem((*path, "executor"), f"{text}; allowed: {allowed}")
    elif executor == "process" and handler.untravelled:
        text = f"handler '{handler.name}' cannot be sent to a process ({handler.untravelled})"
        yield problem((*path, "handler"), f"{text}; allowed: a function that its module names")


def _find_prefetch_problems(stage: Stage, path: KeyPath) -> Iterator[Problem]:
    prefetch = stage.get("prefetch")
    if prefetch in (None, 0, UNKNOWN):
        return
    if stage["executor"] not in ("process", UNKNOWN):
        where = "on a stage without processes, which alone have their next task sent ahead"
        yield problem((*path, "prefetch"), f"{show(prefetch)} is not allowed {where}; allowed: 0")
    elif stage.get("batch") not in (None, 1, UNKNOWN):
        text = f"{show(prefetch)} is not allowed with a batch of {show(stage['batch'])}"
        yield problem((*path, "prefetch"), f"{text}; allowed: 0, or a batch of 1")


def _find_batch_problems(stage: Stage, path: KeyPath) -> Iterator[Problem]:
    batch = stage.get("batch")
    if stage["executor"] == "asyncio" and batch not in (None, 1, UNKNOWN):
        where = "on an asyncio stage, whose coroutines take one task each"
        text = f"{show(batch)} is not allowed {where}; allowed: 1, or no such key"
        yield problem((*path, "batch"), text)


def _find_time_out_problems(stage: Stage, path: KeyPath) -> Iterator[Problem]:
    limit_s = stage.get("timeout_s")
    if stage["executor"] == "interpreter" and limit_s not in (None, UNKNOWN):
        where = "on an interpreter stage, whose tasks cannot be ended"
        text = f"{show(limit_s)} is not allowed {where}; allowed: null, or no such key"
        yield problem((*path, "timeout_s"), text)


def _find_upstream_problems(stage: Stage, handler: Handler, path: KeyPath) -> Iterator[Problem]:
    if handler.upstream == "required" and stage.get("after", []) == []:
        text = f"handler '{handler.name}' takes '{UPSTREAM}', the results of the stages before it"
        yield problem((*path, "after"), f"missing, and {text}; allowed: at least one stage's name")


def _find_graph_problems(stages: Any, path: KeyPath) -> Iterator[Problem]:
    rows = list(mappings(stages, path))
    names = [stage["name"] for stage, _ in rows]
    if not is_whole(stages) or UNKNOWN in names:
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
    return [(i, n) for i, n in enumerate(after) if n is not UNKNOWN] if after is not UNKNOWN else []


def _why_not_after(stage: str, other: str, names: list[str]) -> str:
    if other == stage:
        return f"stage '{stage}' waits for itself; allowed: other stages"
    return "" if other in names else unknown("stage", other, [n for n in names if n != stage])


def _find_cycle(graph: dict[str, list[str]], path: KeyPath) -> Iterator[Problem]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        chain = " -> ".join(error.args[1])
        yield problem(path, f"stages wait for one another in a cycle: {chain}; allowed: no cycle")


Json = dict[str, Any]

NEEDS = {"at_once": (), "fixed_rate": ("rate_per_s",), "poisson": ("rate_per_s", "seed")}
"""Kind of arrival → the keys that it needs."""

_ALLOWED = {
    "rate_per_s": "tasks a second, above 0 and at most 1000000",
    "seed": "a whole number, 0 or more",
}


def find_arrival_problems(arrival: Any, path: KeyPath) -> list[Problem]:
    """Check that an arrival has the keys that its kind needs; `path` is its path."""
    if not isinstance(arrival, dict) or arrival["kind"] is UNKNOWN:
        return []
    lacking = [name for name in NEEDS[arrival["kind"]] if arrival.get(name) is None]
    texts = {name: f"missing for {arrival['kind']}; allowed: {_ALLOWED[name]}" for name in lacking}
    return [problem((*path, name), text) for name, text in texts.items()]


def find_idle_arrival(arrival: Any, path: KeyPath) -> list[Problem]:
    """Report keys that an arrival of a fixed kind does not use.

    If the kind is a factor, one mapping serves all its levels: each treatment leaves out the keys
    that its kind does not need.
    """
    kind = arrival.get("kind") if isinstance(arrival, dict) else None
    if not isinstance(kind, str) or kind not in NEEDS:
        return []
    idle = [n for n in _ALLOWED if arrival.get(n) is not None and n not in NEEDS[kind]]
    return [
        problem(
            (*path, name),
            f"{show(arrival[name])} changes nothing for {kind}; allowed: no such key",
        )
        for name in idle
    ]


def complete_arrival(given: Json | None) -> Json:
    """Return the part of a specification for the arrival; nothing if all tasks arrive at once."""
    if given is None or given["kind"] == "at_once":
        return {}
    numbers: Json = {"rate_per_s": float(given["rate_per_s"])}
    if "seed" in NEEDS[given["kind"]]:
        numbers["seed"] = given["seed"]
    return {"arrival": {"kind": given["kind"], **numbers}}


def find_idle_retries(stages: Any, path: KeyPath) -> Iterator[Problem]:
    """Report stages that set `retry_on` without retries.

    If the number of retries is a factor, its level may be 0.
    """
    for stage, place in mappings(stages, path):
        if stage.get("retry_on") is not None and stage.get("retries") in (None, 0):
            text = f"{show(stage['retry_on'])} changes nothing without retries"
            yield problem((*place, "retry_on"), f"{text}; allowed: no such key, or retries above 0")


def complete_limits(stage: Json) -> Json:
    """Return the limits and the transport of a stage's specification, each only if set.

    So defaults that are written out and settings without effect give the same text.
    """
    retries = stage.get("retries") or None
    retry_on = sorted(stage.get("retry_on") or RETRIABLE_STATUSES)
    timeout_s = stage.get("timeout_s")
    transport = stage.get("transport")
    batch = stage.get("batch")
    limits = {
        "transport": None if transport == "pickle" else transport,
        "queue_size": stage.get("queue_size"),
        "batch": None if batch == 1 else batch,
        "prefetch": stage.get("prefetch") or None,
        "timeout_s": None if timeout_s is None else float(timeout_s),
        "retries": retries,
        "retry_on": retry_on if retries and retry_on != sorted(RETRIABLE_STATUSES) else None,
    }
    return {name: value for name, value in limits.items() if value is not None}
