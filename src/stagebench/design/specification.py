"""The full specification of a treatment: levels put in, defaults filled in, one form each."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

from stagebench.design.emulation import complete_emulation
from stagebench.design.parameters import convert_parameters, handler_parameters
from stagebench.handlers.registry import source_hash
from stagebench.store import PROTOCOL

if TYPE_CHECKING:
    from stagebench.design.study import Experiment, Factors

Json = dict[str, Any]

LONGEST = 100_000
"""Characters of a specification as canonical JSON: it is passed on a command line."""

SAMPLER: Json = {"interval_s": 0.01, "cpu_budget": 0.01, "census": "auto"}
LINGER = {"before_start_s": 0.0, "before_close_s": 0.0, "after_close_s": 0.0}
PROCESS: Json = {"environment": {}, "preload": [], "cpus": None, "blas_threads": 1}


def build_specification(
    experiment: Experiment, treatment: str, factors: Factors, settings: Json
) -> Json:
    """Complete the checked settings of one treatment, so that equal meaning gives equal text."""
    handlers = {stage["name"]: stage["handler"] for stage in settings["stages"]}
    return {
        "protocol": PROTOCOL,
        "experiment": experiment.name,
        "treatment": treatment,
        "factors": factors,
        "stages": [_complete_stage(stage) for stage in settings["stages"]],
        "tasks": _convert_tasks(settings["tasks"], handlers),
        "sampler": _complete_sampler(settings.get("sampler", {})),
        "linger": _convert_seconds(LINGER | settings.get("linger", {})),
        "process": _complete_process(settings.get("process", {})),
    }


def _complete_stage(stage: Json) -> Json:
    known = handler_parameters(stage["handler"])
    defaults = {p.name: p.default for p in known.values() if not p.required}
    given = defaults | stage.get("parameters", {})
    complete = {
        "name": stage["name"],
        "handler": stage["handler"],
        "source": _source(stage["handler"]),
        "executor": stage["executor"],
        "start_method": stage.get("start_method"),
        "workers": stage["workers"],
        "retain": stage.get("retain", False),
        "parameters": convert_parameters(given, known),
        "after": sorted(stage.get("after", [])),
    }
    if "start_method" not in stage:
        del complete["start_method"]
    return complete


@cache
def _source(handler: str) -> str:
    # A handler that has been imported stays as it was; thousands of treatments share it.
    return source_hash(handler)


def _convert_tasks(tasks: int | list[Json], handlers: dict[str, str]) -> int | list[Json]:
    if isinstance(tasks, int):
        return tasks
    return [
        {
            stage: convert_parameters(given, handler_parameters(handlers[stage]))
            for stage, given in task.items()
        }
        for task in tasks
    ]


def _convert_seconds(durations: dict[str, float]) -> dict[str, float]:
    return {name: float(duration) for name, duration in durations.items()}


def _complete_sampler(given: Json) -> Json:
    sampler = SAMPLER | given
    numbers = _convert_seconds({name: sampler[name] for name in ("interval_s", "cpu_budget")})
    census = {"census": sampler["census"]}
    return numbers | census | complete_emulation(sampler.get("emulate"))


def _complete_process(given: Json) -> Json:
    process: Json = deepcopy(PROCESS) | given
    if process["cpus"] is not None:
        process["cpus"] = sorted(process["cpus"])
    process["environment"] = {
        name: None if value is None else str(value)
        for name, value in process["environment"].items()
    }
    # Absent where it is not set, so that specifications without it are as they were.
    interval_s = process.pop("switch_interval_s", None)
    return process if interval_s is None else process | {"switch_interval_s": float(interval_s)}
