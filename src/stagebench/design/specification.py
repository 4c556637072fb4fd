"""The full specification of a treatment: levels put in, defaults filled in, one form each."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from stagebench.design.arrival import complete_arrival
from stagebench.design.emulation import complete_emulation
from stagebench.design.handlers import sound_handler
from stagebench.design.limits import complete_limits
from stagebench.design.parameters import convert_parameters, default_parameters
from stagebench.design.tasks import complete_tasks
from stagebench.store import PROTOCOL

if TYPE_CHECKING:
    from pathlib import Path

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
    beside, stages = experiment.beside, settings["stages"]
    return {
        "protocol": PROTOCOL,
        "experiment": experiment.name,
        "treatment": treatment,
        "factors": factors,
        "stages": [_complete_stage(stage, beside) for stage in stages],
        "tasks": complete_tasks(settings["tasks"], stages, beside),
        **_complete_flow(settings),
        "sampler": _complete_sampler(settings.get("sampler", {})),
        "linger": _convert_seconds(LINGER | settings.get("linger", {})),
        "process": _complete_process(settings.get("process", {})),
    }


def _complete_stage(stage: Json, beside: Path | None) -> Json:
    handler = sound_handler(stage["handler"], beside)
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
    """Give how tasks come in; what is not set is absent."""
    in_flight = settings.get("in_flight")
    limit = {} if in_flight is None else {"in_flight": in_flight}
    return limit | complete_arrival(settings.get("arrival"))


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
