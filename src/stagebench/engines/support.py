"""What each engine can do, and the library and the extra that it needs.

A study's plan and the measured process ask the same function why a treatment cannot run.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OWN = "stagebench"
"""The engine of a treatment that names none: the runner."""


class Ability(NamedTuple):
    """What an engine can do, and which modules it needs.

    `start_methods` are those by which it can start processes. An engine that is `stepwise` ends
    each stage before the next one starts, and takes all tasks at once. `joins` is whether a stage
    can follow several others, or several stages none; `mixes` whether stages can differ in their
    start methods; `process_alone` whether a stage can have a single worker that is a process;
    `spreads` whether workers can be on several nodes.
    """

    start_methods: tuple[str, ...]
    modules: tuple[str, ...] = ()
    joins: bool = True
    mixes: bool = True
    stepwise: bool = False
    process_alone: bool = True
    spreads: bool = False


ALL_METHODS = ("fork", "forkserver", "spawn")

ENGINES = {
    "concurrent.futures": Ability(ALL_METHODS),
    "joblib": Ability(("spawn",), ("joblib",), stepwise=True, process_alone=False),
    "dask": Ability(ALL_METHODS, ("distributed",), mixes=False, spreads=True),
    "tadween": Ability(ALL_METHODS, ("tadween_core",), joins=False),
    "ray": Ability(("spawn",), ("ray",)),
}
"""Engines beside the runner; an engine's extra has its name."""

OF_OUR_RUNNER = ("queue_size", "batch", "prefetch", "transport", "timeout_s", "retries")
"""Settings of a stage that no other engine is asked for; absent from a specification if not set."""


def find_missing(engine: str) -> str:
    """Return the module that an engine needs and that is not installed here, or ""."""
    needed = ENGINES[engine].modules if engine in ENGINES else ()
    return next((module for module in needed if find_spec(module) is None), "")


def describe_missing(engine: str, module: str) -> str:
    """Say which module an engine needs, and how to install it."""
    return (
        f"the engine {engine} needs {module}, which is not installed; allowed: engines that are"
        f" installed, here {', '.join(list_installed())}, or this one after"
        f' pip install "stagebench[{engine}]"'
    )


def list_installed() -> list[str]:
    """List the engines that can be used in this environment."""
    return [OWN, *(engine for engine in ENGINES if not find_missing(engine))]


def find_engine_limit(specification: Mapping[str, Any]) -> str:
    """Return why an engine cannot run a treatment; "" if it can, or if the treatment has none."""
    engine = specification.get("engine", OWN)
    if engine == OWN:
        reasons = [*_find_node_limits(engine, specification)]
        return f"{engine} {reasons[0]}" if reasons else ""
    reasons = [
        *_find_node_limits(engine, specification),
        *_find_flow_limits(engine, specification),
        *(
            f"{reason} (stage '{stage['name']}')"
            for stage in specification["stages"]
            for reason in _find_stage_limits(engine, stage)
        ),
    ]
    return f"{engine} {'; '.join(reasons)}" if reasons else ""


# Each reason continues a sentence that begins with the engine's name.


def _find_node_limits(engine: str, specification: Mapping[str, Any]) -> Iterator[str]:
    settings = specification.get("nodes")
    if settings is None:
        return
    from stagebench.network_nodes import (
        why_none,  # only if needed: imports add to the measured memory
    )

    count = settings["count"]
    if count > 1 and not (engine in ENGINES and ENGINES[engine].spreads):
        able = ", ".join(name for name, ability in ENGINES.items() if ability.spreads)
        yield f"runs on one node, not on {count}; {able} runs on several"
        return
    for stage in specification["stages"]:
        if stage["workers"] < count:
            workers = f"{stage['workers']} worker{'s' if stage['workers'] > 1 else ''}"
            yield f"cannot spread {workers} over {count} nodes (stage '{stage['name']}')"
    if reason := why_none(settings):
        yield reason


def _find_flow_limits(engine: str, specification: Mapping[str, Any]) -> Iterator[str]:
    ability = ENGINES[engine]
    if "in_flight" in specification:
        yield f"knows no limit of tasks in flight (here {specification['in_flight']})"
    if ability.stepwise and "arrival" in specification:
        yield f"takes all tasks at once (here they arrive by {specification['arrival']['kind']})"
    firsts = [stage["name"] for stage in specification["stages"] if not stage["after"]]
    if not ability.joins and len(firsts) > 1:
        yield f"begins a workflow with one stage (here {', '.join(firsts)})"
    methods = {stage.get("start_method") for stage in specification["stages"]} - {None}
    if not ability.mixes and len(methods) > 1:
        yield f"starts all processes by one method (here {', '.join(sorted(methods))})"


def _find_stage_limits(engine: str, stage: Mapping[str, Any]) -> Iterator[str]:
    ability = ENGINES[engine]
    executor, method = stage["executor"], stage.get("start_method")
    if executor not in {"thread", "process"}:
        yield f"has no executor {executor}, only thread and process"
    if executor == "process" and method not in ability.start_methods:
        allowed = ", ".join(ability.start_methods)
        yield f"starts no process by {method}, only by {allowed}"
    if executor == "process" and stage["workers"] == 1 and not ability.process_alone:
        yield "runs a single worker in the calling thread, not in a process"
    if not ability.joins and len(stage["after"]) > 1:
        yield f"lets a stage follow only one other, not {', '.join(stage['after'])}"
    given = [f"{name} {stage[name]}" for name in OF_OUR_RUNNER if stage.get(name) is not None]
    if given:
        yield f"has no {', '.join(given)}"
