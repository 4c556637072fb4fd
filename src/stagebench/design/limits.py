"""The settings of a stage for a queue that is full, a task that fails, and a large result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.plain import mappings
from stagebench.problems import Path, Problem, problem, show
from stagebench.records import RETRIABLE_STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]


def find_idle_retries(stages: Any, path: Path) -> Iterator[Problem]:
    """Tell where a config says what is retried, and itself says that nothing is.

    Where the number of retries is a factor, its level may well be 0.
    """
    for stage, place in mappings(stages, path):
        if stage.get("retry_on") is not None and stage.get("retries") in (None, 0):
            text = f"{show(stage['retry_on'])} changes nothing without retries"
            yield problem((*place, "retry_on"), f"{text}; allowed: no such key, or retries above 0")


def complete_limits(stage: Json) -> Json:
    """Give the part of a stage's specification that says so; what is not set is absent from it.

    So a default that is written out gives the same text, and so does what has no effect.
    """
    retries = stage.get("retries") or None
    retry_on = sorted(stage.get("retry_on") or RETRIABLE_STATUSES)
    timeout_s = stage.get("timeout_s")
    transport = stage.get("transport")
    limits = {
        "transport": None if transport == "pickle" else transport,
        "queue_size": stage.get("queue_size"),
        "timeout_s": None if timeout_s is None else float(timeout_s),
        "retries": retries,
        "retry_on": retry_on if retries and retry_on != sorted(RETRIABLE_STATUSES) else None,
    }
    return {name: value for name, value in limits.items() if value is not None}
