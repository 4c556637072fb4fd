"""The full specification of a treatment, with all defaults filled in, and its need of memory.

Settings of equal meaning give equal text, so a change of form alone does not repeat measurements.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from stagebench.design.handlers import (
    find_packages,
    find_preload,
    memory_need,
    preload_source,
    sound_handler,
)
from stagebench.design.levels import UNKNOWN
from stagebench.design.node_checks import complete_nodes
from stagebench.design.problems import KeyPath, Problem, problem, show
from stagebench.design.python_checks import sound_interpreter
from stagebench.design.server_checks import complete_server
from stagebench.design.signatures import convert_parameters, default_parameters
from stagebench.design.stage_checks import complete_arrival, complete_limits
from stagebench.design.task_checks import complete_tasks, list_overrides
from stagebench.engines.support import OWN
from stagebench.handlers.registry import handler_target
from stagebench.store import PROTOCOL
from stagebench.task_list import count_tasks

if TYPE_CHECKING:
    from pathlib import Path

    from stagebench.design.levels import Factors


Json = dict[str, Any]

LONGEST = 100_000
"""Most characters of a specification as canonical JSON in a shell's quotes. It is passed on a
command line, where one argument may have 128 KiB."""

SAMPLER: Json = {"interval_s": 0.01, "cpu_budget": 0.005, "census": "auto"}
LINGER = {"before_start_s": 0.0, "before_close_s": 0.0, "after_close_s": 0.0}
PROCESS: Json = {"environment": {}, "preload": [], "cpus": None, "blas_threads": 1}


def build_specification(
    experiment: str, treatment: str, factors: Factors, settings: Json, beside: Path | None
) -> Json:
    """Complete the checked settings of one treatment."""
    stages, python = settings["stages"], settings.get("python")
    return {
        "protocol": PROTOCOL,
        "experiment": experiment,
        "treatment": treatment,
        "factors": factors,
        "stages": [_complete_stage(stage, beside, python) for stage in stages],
        "tasks": complete_tasks(settings["tasks"], stages, beside, python),
        **_complete_flow(settings),
        "sampler": _complete_sampler(settings.get("sampler", {})),
        "linger": _convert_seconds(LINGER | settings.get("linger", {})),
        "process": _complete_process(settings.get("process", {}), beside, python),
        **_complete_python(settings, beside),
        **complete_server(settings.get("server"), beside),
    }


def _complete_stage(stage: Json, beside: Path | None, python: str | None) -> Json:
    handler = sound_handler(stage["handler"], beside, python)
    known = handler.parameters
    given = default_parameters(known) | stage.get("parameters", {})
    complete = {
        "name": stage["name"],
        "handler": stage["handler"],
        "source": handler.source,
        "executor": stage["executor"],
        "start_method": stage.get("start_method"),
        "workers": stage["workers"],
        "retain": stage.get("retain", False),
        "parameters": convert_parameters(given, known),
        "after": sorted(stage.get("after", [])),
        **complete_limits(stage),
    }
    if "start_method" not in stage:
        del complete["start_method"]
    return complete


def _complete_flow(settings: Json) -> Json:
    """Return the engine, its nodes, the limit of tasks in flight and the arrival, if set."""
    engine, in_flight = settings.get("engine") or OWN, settings.get("in_flight")
    named = {} if engine == OWN else {"engine": engine}
    limit = {} if in_flight is None else {"in_flight": in_flight}
    nodes = complete_nodes(settings.get("nodes"))
    return named | nodes | limit | complete_arrival(settings.get("arrival"))


def _convert_seconds(durations: dict[str, float]) -> dict[str, float]:
    return {name: float(duration) for name, duration in durations.items()}


def _complete_sampler(given: Json) -> Json:
    sampler = SAMPLER | given
    numbers = _convert_seconds({name: sampler[name] for name in ("interval_s", "cpu_budget")})
    census = {"census": sampler["census"]}
    return numbers | census | complete_emulation(sampler.get("emulate"))


def find_preload_problems(
    process: Any, path: KeyPath, beside: Path | None, python: str | None = None
) -> list[Problem]:
    """Check that every module to preload can be imported; `path` leads to the setting `process`."""
    modules = process.get("preload") if isinstance(process, dict) else None
    return [
        problem((*path, "preload", index), reason)
        for index, module in enumerate(modules if isinstance(modules, list) else ())
        if isinstance(module, str) and module is not UNKNOWN
        if (reason := find_preload(module, beside, python))
    ]


def _complete_python(settings: Json, beside: Path | None) -> Json:
    """Return the interpreter of a specification; nothing if it is the one that runs stagebench.

    A build that takes its place, or another version of a package that handlers import, is another
    treatment: what was measured with the old one says nothing about it. Other packages may come and
    go. Its place is not part of it, since a checkout may move.
    """
    python = settings.get("python")
    if python is None:
        return {}
    found = sound_interpreter(python, beside)
    modules = [handler_target(stage["handler"]).partition(":")[0] for stage in settings["stages"]]
    preload = settings.get("process", {}).get("preload", [])
    packages = find_packages(dict.fromkeys([*preload, *modules]), beside, python)
    identity = {"name": python, "version": found.version, "build": found.fingerprint}
    return {"python": identity | {"packages": packages}}


def _complete_process(given: Json, beside: Path | None, python: str | None) -> Json:
    process: Json = deepcopy(PROCESS) | given
    if process["cpus"] is not None:
        process["cpus"] = sorted(process["cpus"])
    process["environment"] = {
        name: None if value is None else str(value)
        for name, value in process["environment"].items()
    }
    # Absent if not set, so that specifications without it stay as they were.
    sources = {module: preload_source(module, beside, python) for module in process["preload"]}
    own = {module: source for module, source in sources.items() if source is not None}
    process |= {"preload_sources": own} if own else {}
    interval_s = process.pop("switch_interval_s", None)
    return process if interval_s is None else process | {"switch_interval_s": float(interval_s)}


EMULATE = {"interval_s": 0.1, "discovery_s": 1.0}
"""The published study read main every 0.1 s and discovered its children every second."""


def find_emulation_problems(sampler: Any, path: KeyPath) -> list[Problem]:
    """Check that children are not discovered more often than main is read.

    No record would show such discoveries. `path` is the sampler's path. Values that are no plain
    numbers are skipped: they have another problem, or a placeholder that each treatment fills.
    """
    given = sampler.get("emulate") if isinstance(sampler, dict) else None
    if not isinstance(given, dict):
        return []
    interval, discovery = ({**EMULATE, **given}[name] for name in EMULATE)
    if not (_is_number(interval) and _is_number(discovery)) or discovery >= interval:
        return []
    named = "discovery_s" if "discovery_s" in given else "interval_s"
    allowed = (
        f"no less than interval_s ({show(interval)})"
        if named == "discovery_s"
        else f"no more than discovery_s ({show(discovery)})"
    )
    text = f"{show(given[named])} is not allowed; allowed: {allowed}"
    return [problem((*path, "emulate", named), text)]


def complete_emulation(given: dict[str, float] | None) -> dict[str, dict[str, float]]:
    """Return the part of a specification for the emulation; nothing if it is off.

    Specifications without it stay as they were before it existed, so no run is repeated.
    """
    if given is None:
        return {}
    return {"emulate": {name: float(value) for name, value in (EMULATE | given).items()}}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def name_python(specification: Json) -> str | None:
    """Return how a config names the interpreter of a specification, if it is another one."""
    return specification["python"]["name"] if "python" in specification else None


def estimate_memory(specification: Json, beside: Path | None = None) -> int:
    """Estimate the bytes that the tasks of one run hold at once.

    For each stage: the need of its workers while all of them run, plus its results, if retained or
    taken by a later stage (as many as may wait there), or if they wait for the end of a batch. Not
    included: interpreters, libraries, and own handlers without an estimate. `beside` is the
    config's folder.
    """
    return sum(_estimate_stage(stage, specification, beside) for stage in specification["stages"])


def _estimate_stage(stage: Json, specification: Json, beside: Path | None) -> int:
    """Estimate one stage; if tasks differ, the largest need counts for each."""
    tasks, stages = specification["tasks"], specification["stages"]
    python = name_python(specification)
    handler = sound_handler(stage["handler"], beside, python)
    own = list_overrides(tasks, stages, stage["name"], beside, python)
    need = memory_need(handler, *(stage["parameters"] | given for given in own))
    number = count_tasks(tasks)
    held = number if stage["retain"] else _count_held(stage, specification, beside)
    working = min(stage["workers"], number) * need.working_bytes
    batched = stage["workers"] * (stage.get("batch", 1) - 1)  # prefetched tasks have no result
    return int(working + (min(held, number) + min(batched, number)) * need.result_bytes)


def _count_held(stage: Json, specification: Json, beside: Path | None) -> int:
    """Return how many results may be held at once for the stages that take them."""
    after = [other for other in specification["stages"] if stage["name"] in other["after"]]
    python = name_python(specification)
    takers = [s for s in after if sound_handler(s["handler"], beside, python).upstream != "no"]
    number = count_tasks(specification["tasks"])
    waiting = [
        taker.get("queue_size", number)
        + taker["workers"] * (taker.get("batch", 1) + taker.get("prefetch", 0))
        for taker in takers
    ]
    return int(min(max(waiting, default=0), specification.get("in_flight", number)))
