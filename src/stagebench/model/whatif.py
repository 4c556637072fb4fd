"""Changes of a scenario, as people ask for them: `workers=8`, `download.workers=8`, `gil=off`.

A name without a stage is a factor of the experiment: what it sets is found by comparing the
treatments that have its levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stagebench.errors import ModelError, closest
from stagebench.model.predict import describe_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagebench.model.measured import MeasuredRun
    from stagebench.model.predict import PlannedStage, Scenario

EXECUTORS = ("thread", "process", "interpreter", "asyncio")
START_METHODS = ("fork", "forkserver", "spawn")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is other than it was measured: its text, and the function that does it."""

    text: str
    apply: Callable[[Scenario], Scenario]


def parse_changes(
    texts: Sequence[str],
    runs: Sequence[MeasuredRun],
    factors: Mapping[str, Mapping[str, Any]],
) -> list[Change]:
    """Parse `NAME=VALUE` texts; `factors` are the levels of each treatment of the experiment.

    Raises ModelError with the text, and what is allowed.
    """
    return [_parse(text, runs, factors) for text in texts]


def _parse(
    text: str, runs: Sequence[MeasuredRun], factors: Mapping[str, Mapping[str, Any]]
) -> Change:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ModelError(f"--set {text!r} is not allowed; allowed: NAME=VALUE, such as workers=8")
    if name in WHOLE:
        return Change(text, WHOLE[name](text, value))
    stage, point, key = name.partition(".")
    stages = list(dict.fromkeys(stage.name for run in runs for stage in run.stages))
    if point:
        if stage not in stages:
            raise ModelError(_unknown(text, "stage", stage, stages))
        if key not in KEYS:
            raise ModelError(_unknown(text, "key", key, list(KEYS)))
        return Change(text, _on_stage(stage, KEYS[key](text, value)))
    return _parse_factor(text, name, value, runs, factors)


def _parse_factor(
    text: str,
    name: str,
    value: str,
    runs: Sequence[MeasuredRun],
    factors: Mapping[str, Mapping[str, Any]],
) -> Change:
    known = list(dict.fromkeys(factor for levels in factors.values() for factor in levels))
    if name not in known:
        names = [*known, *WHOLE, *(f"STAGE.{key}" for key in KEYS)]
        raise ModelError(_unknown(text, "factor", name, names))
    found = _find_settings(name, runs, factors)
    if not found:
        raise ModelError(
            f"--set {text!r}: the factor {name!r} sets nothing that the model knows; allowed:"
            f" factors that set {', '.join(KEYS)} of a stage, or its handler"
        )

    def apply(scenario: Scenario) -> Scenario:
        for stage, key in found:
            make = KEYS[key] if key != HANDLER else _make_handler(name, runs, factors)
            scenario = _on_stage(stage, make(text, value))(scenario)
        return scenario

    apply(describe_run(runs[0]))  # a wrong value is found at once
    return Change(text, apply)


HANDLER = "handler"


def _find_settings(
    name: str, runs: Sequence[MeasuredRun], factors: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Return the stages and keys whose values follow a factor's levels in every treatment."""
    pairs = [
        (str(factors[run.treatment][name]), run)
        for run in runs
        if name in factors.get(run.treatment, {})
    ]
    if len({level for level, _ in pairs}) < 2:
        return []
    found = []
    for place, planned in enumerate(describe_run(pairs[0][1]).stages):
        for key in (*MEASURED_KEYS, HANDLER):
            values = [(level, _read(describe_run(run).stages[place], key)) for level, run in pairs]
            same = all(level == text for level, text in values)
            inside = key == HANDLER and all(level in text for level, text in values)
            if same or inside:
                found.append((planned.name, key))
    return found


def _read(stage: PlannedStage, key: str) -> str:
    place = stage if key in ("queue_size", "batch") else stage.conditions
    return str(getattr(place, key))


def _make_handler(
    name: str, runs: Sequence[MeasuredRun], factors: Mapping[str, Mapping[str, Any]]
) -> Callable[[str, str], _OnStage]:
    """Return what puts a level in place of another one inside the name of a handler."""
    levels = {str(own[name]) for own in factors.values() if name in own}
    known = {
        (stage.conditions.handler, stage.conditions.parameters)
        for run in runs
        for stage in run.stages
    }

    def make(text: str, value: str) -> _OnStage:
        if value not in levels:
            raise ModelError(_unknown(text, "level", value, sorted(levels)))

        def apply(stage: PlannedStage) -> PlannedStage:
            old = next(
                (
                    level
                    for level in sorted(levels, key=len, reverse=True)
                    if level in stage.conditions.handler
                ),
                "",
            )
            handler = stage.conditions.handler.replace(old, value) if old else value
            parameters = stage.conditions.parameters
            if (handler, parameters) not in known:
                parameters = next(
                    (one for other, one in sorted(known) if other == handler), parameters
                )
            conditions = stage.conditions._replace(handler=handler, parameters=parameters)
            return replace(stage, conditions=conditions)

        return apply

    return make


_OnStage = Callable[["PlannedStage"], "PlannedStage"]
_OnScenario = Callable[["Scenario"], "Scenario"]


def _on_stage(name: str, apply: _OnStage) -> _OnScenario:
    def change(scenario: Scenario) -> Scenario:
        stages = [apply(stage) if stage.name == name else stage for stage in scenario.stages]
        return replace(scenario, stages=stages)

    return change


def set_workers(text: str, value: str) -> _OnStage:
    """Return what sets the number of workers."""
    workers = _count(text, value)
    return lambda stage: replace(stage, conditions=stage.conditions._replace(workers=workers))


def set_executor(text: str, value: str) -> _OnStage:
    """Return what sets the executor; processes are forked unless a start method is set."""
    if value not in EXECUTORS:
        raise ModelError(_unknown(text, "executor", value, list(EXECUTORS)))

    def apply(stage: PlannedStage) -> PlannedStage:
        method = (stage.conditions.start_method or "fork") if value == "process" else None
        conditions = stage.conditions._replace(executor=value, start_method=method)
        return replace(stage, conditions=conditions)

    return apply


def set_start_method(text: str, value: str) -> _OnStage:
    """Return what sets the start method, of processes alone."""
    if value not in START_METHODS:
        raise ModelError(_unknown(text, "start method", value, list(START_METHODS)))

    def apply(stage: PlannedStage) -> PlannedStage:
        if stage.conditions.executor != "process":
            return stage
        return replace(stage, conditions=stage.conditions._replace(start_method=value))

    return apply


def set_queue_size(text: str, value: str) -> _OnStage:
    """Return what bounds the queue."""
    size = None if value == "none" else _count(text, value)
    return lambda stage: replace(stage, queue_size=size)


def set_batch(text: str, value: str) -> _OnStage:
    """Return what hands over tasks together."""
    batch = _count(text, value)
    return lambda stage: replace(stage, batch=batch)


def set_speed(text: str, value: str) -> _OnStage:
    """Return what makes a stage faster by a factor."""
    speed = _number(text, value)
    return lambda stage: replace(stage, speed=stage.speed * speed)


MEASURED_KEYS: dict[str, Callable[[str, str], _OnStage]] = {
    "workers": set_workers,
    "executor": set_executor,
    "start_method": set_start_method,
    "queue_size": set_queue_size,
    "batch": set_batch,
}
KEYS: dict[str, Callable[[str, str], _OnStage]] = {**MEASURED_KEYS, "speed": set_speed}
"""Keys of a stage that can be set."""


def set_cores(text: str, value: str) -> _OnScenario:
    """Return what sets the number of cores."""
    cores = _count(text, value)
    return lambda scenario: replace(scenario, cores=cores)


def set_gil(text: str, value: str) -> _OnScenario:
    """Return what takes the GIL away, or keeps it."""
    if value not in ("on", "off"):
        raise ModelError(_unknown(text, "value", value, ["on", "off"]))
    return lambda scenario: replace(scenario, has_gil=value == "on")


def set_in_flight(text: str, value: str) -> _OnScenario:
    """Return what limits the tasks in flight."""
    limit = None if value == "none" else _count(text, value)
    return lambda scenario: replace(scenario, in_flight=limit)


def set_tasks(text: str, value: str) -> _OnScenario:
    """Return what sets the number of tasks; they are due as far apart as those measured."""
    tasks = _count(text, value)

    def apply(scenario: Scenario) -> Scenario:
        due = list(scenario.arrivals)
        step = due[-1] / (len(due) - 1) if len(due) > 1 else 0.0
        more = [due[-1] + step * number for number in range(1, tasks - len(due) + 1)]
        return replace(scenario, arrivals=[*due[:tasks], *more])

    return apply


WHOLE: dict[str, Callable[[str, str], _OnScenario]] = {
    "cores": set_cores,
    "gil": set_gil,
    "in_flight": set_in_flight,
    "tasks": set_tasks,
}
"""Names that concern the whole workflow or the machine."""

MOST = 100_000
"""The largest number that can be set."""


def _count(text: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and 0 < int(value[:9]) <= MOST):
        raise ModelError(
            f"--set {text!r} is not allowed; allowed: a whole number from 1 to {MOST:,}"
        )
    return int(value)


def _number(text: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0.001 <= number <= 1000:
        raise ModelError(f"--set {text!r} is not allowed; allowed: a number from 0.001 to 1000")
    return number


def _unknown(text: str, what: str, value: str, allowed: list[str]) -> str:
    return (
        f"--set {text!r}: {what} {value!r} is not allowed; allowed: {', '.join(allowed)}"
        f"{closest(value, allowed)}"
    )


def find_limits_of_knowledge(
    scenario: Scenario, before: Scenario, runs: Sequence[MeasuredRun]
) -> list[str]:
    """Name what of a scenario goes beyond all that was measured and validated."""
    beyond = []
    cores = sorted({run.cores for run in runs})
    if scenario.cores is not None and scenario.cores not in cores:
        known = " and ".join(str(number or "an unknown number of") for number in cores)
        beyond.append(f"measured on {known} cores alone")
    if not scenario.has_gil and runs and all(run.has_gil for run in runs):
        beyond.append("no run without a GIL")
    for stage, old in zip(scenario.stages, before.stages, strict=True):
        beyond += _find_beyond(stage, old, runs)
    return list(dict.fromkeys(beyond))


def _find_beyond(stage: PlannedStage, old: PlannedStage, runs: Sequence[MeasuredRun]) -> list[str]:
    measured = [each for run in runs for each in run.stages if each.name == stage.name]
    alike = [each for each in measured if each.conditions[2:4] == stage.conditions[2:4]]
    beyond = []
    if not alike:
        words = " ".join(filter(None, stage.conditions[2:4]))
        beyond.append(f"{stage.name} never ran with {words}")
    most = max((each.conditions.workers for each in alike), default=0)
    if alike and stage.conditions.workers > 2 * most:
        beyond.append(f"{stage.name} had at most {most} such workers")
    if stage.speed != old.speed:
        beyond.append(f"another speed of {stage.name} was not measured")
    if stage.queue_size not in {each.queue_size for each in measured}:
        beyond.append(f"this queue of {stage.name} was not measured")
    if stage.batch not in {each.batch for each in measured}:
        beyond.append(f"this batch of {stage.name} was not measured")
    return beyond
