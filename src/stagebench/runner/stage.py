"""A stage as its user describes it, and the checks that its description stands alone."""

from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkflowError, closest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXECUTORS = ("thread", "process")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of a workflow: a handler, the workers that serve it, and the stages it follows.

    `parameters` are the handler's keyword arguments; a task may override some. With `retain` the
    results stay until the pool is closed; otherwise each is dropped as soon as it has arrived.
    """

    name: str
    handler: Callable[..., Any]
    executor: str
    workers: int
    start_method: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    retain: bool = False


def check_stage(stage: Stage) -> list[str]:
    """Return everything that is wrong with one stage by itself, a line each."""
    problems = [*_check_pool(stage), *_check_handler(stage)]
    return [f"stage {stage.name!r}: {problem}" for problem in problems]


def _check_pool(stage: Stage) -> list[str]:
    problems = []
    if type(stage.workers) is not int or stage.workers < 1:
        problems.append(f"workers is {stage.workers!r}; allowed: a whole number >= 1")
    if stage.executor not in EXECUTORS:
        allowed = ", ".join(EXECUTORS)
        hint = closest(str(stage.executor), list(EXECUTORS))
        problems.append(f"executor is {stage.executor!r}; allowed: {allowed}{hint}")
    elif stage.executor == "process":
        problems.extend(_check_start_method(stage.start_method))
    elif stage.start_method is not None:
        problems.append(f"start_method is {stage.start_method!r}; threads have none")
    return problems


def _check_start_method(start_method: str | None) -> list[str]:
    """Refuse what the platform lacks: a start method is a factor and has no default here."""
    allowed = multiprocessing.get_all_start_methods()
    if start_method in allowed:
        return []
    hint = closest(str(start_method), allowed)
    return [f"start_method is {start_method!r}; allowed here: {', '.join(allowed)}{hint}"]


def _check_handler(stage: Stage) -> list[str]:
    if not callable(stage.handler):
        return [f"handler is {stage.handler!r}; allowed: a function"]
    if stage.executor != "process":
        return []
    try:
        pickle.dumps(stage.handler)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        name = getattr(stage.handler, "__qualname__", repr(stage.handler))
        return [f"handler {name} cannot be sent to a process ({error}); define it in a module"]
    return []


def order_stages(stages: list[Stage]) -> list[Stage]:
    """Return the stages so that each follows its upstream ones; raises WorkflowError on a cycle."""
    placed: dict[str, Stage] = {}
    waiting = {stage.name: stage for stage in stages}
    while waiting:
        ready = [stage for stage in waiting.values() if all(name in placed for name in stage.after)]
        if not ready:
            raise WorkflowError(f"stages form a cycle: {_find_cycle(waiting)}")
        for stage in ready:
            placed[stage.name] = waiting.pop(stage.name)
    return list(placed.values())


def _find_cycle(waiting: dict[str, Stage]) -> str:
    """Walk upstream among stages that all wait for one another until a name comes twice."""
    path = [next(iter(waiting))]
    while path.count(path[-1]) == 1:
        path.append(next(name for name in waiting[path[-1]].after if name in waiting))
    cycle = path[path.index(path[-1]) :]
    return " -> ".join(reversed(cycle))
