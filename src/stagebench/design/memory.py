"""Memory that treatments need by estimate, and the refusal of those that need too much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.handlers import memory_need, sound_handler
from stagebench.design.tasks import list_overrides
from stagebench.errors import ConfigError
from stagebench.task_list import count_tasks
from stagebench.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stagebench.design.study import Treatment

Json = dict[str, Any]


def estimate_memory(specification: Json, beside: Path | None = None) -> int:
    """Estimate what the tasks of one run hold at once, in bytes.

    Each stage: what its workers need while all of them run, and its results where it retains them,
    or where the next stage takes them: as many as may wait for that. Interpreters and libraries are
    not in it, nor is what an own handler does not tell. `beside` is the config's folder.
    """
    return sum(_estimate_stage(stage, specification, beside) for stage in specification["stages"])


def check_memory(treatments: Iterable[Treatment], available_bytes: int, *, allow: bool) -> None:
    """Refuse treatments that need more than the machine has; raises ConfigError naming each."""
    if allow:
        return
    problems = [
        f"{t.experiment}/{t.id}: needs about {format_bytes(t.estimated_memory_bytes)} of memory,"
        f" this machine has {format_bytes(available_bytes)}; make it smaller, exclude it, or set"
        " allow_insufficient_memory: true"
        for t in treatments
        if t.estimated_memory_bytes > available_bytes
    ]
    if problems:
        raise ConfigError(problems)


def _estimate_stage(stage: Json, specification: Json, beside: Path | None) -> int:
    """Estimate one stage; of tasks that differ, the largest need counts for each."""
    tasks, stages = specification["tasks"], specification["stages"]
    handler = sound_handler(stage["handler"], beside)
    own = list_overrides(tasks, stages, stage["name"], beside)
    needs = [memory_need(handler, stage["parameters"] | given) for given in own]
    number = count_tasks(tasks)
    held = number if stage["retain"] else _count_held(stage, specification, beside)
    working = min(stage["workers"], number) * max(need.working_bytes for need in needs)
    return int(working + min(held, number) * max(need.result_bytes for need in needs))


def _count_held(stage: Json, specification: Json, beside: Path | None) -> int:
    """Count the results that may be held at once for the stages that take them."""
    after = [other for other in specification["stages"] if stage["name"] in other["after"]]
    takers = [s for s in after if sound_handler(s["handler"], beside).upstream != "no"]
    number = count_tasks(specification["tasks"])
    waiting = [taker.get("queue_size", number) + taker["workers"] for taker in takers]
    return int(min(max(waiting, default=0), specification.get("in_flight", number)))
