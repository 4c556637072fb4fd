"""How tasks come into an experiment's workflow and pass its stages, in words for a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.task_list import count_tasks
from stagebench.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Json = dict[str, Any]


def format_tasks(specifications: list[Json]) -> list[str]:
    """Say how many tasks there are, how they arrive, and how many may be in flight.

    What differs between the treatments is joined by "or", as their levels come.
    """
    return [
        _any_of(specifications, lambda one: _count(one["tasks"])),
        _any_of(specifications, lambda one: _arrival(one.get("arrival"))),
        *_limits(
            [one.get("in_flight") for one in specifications], "{} in flight at most", "any number"
        ),
    ]


def format_stages(specifications: list[Json]) -> Iterator[tuple[str, list[str]]]:
    """Give each stage's name with its handler, its executor, and what else it is limited to."""
    for place, stage in enumerate(specifications[0]["stages"]):
        own = [one["stages"][place] for one in specifications]
        executor = _any_of(own, lambda one: str(one["executor"]))
        handler = _any_of(own, lambda one: str(one["handler"]))
        yield stage["name"], [f"{handler} on {executor}", *_format_limits(own)]


def _format_limits(stages: list[Json]) -> Iterator[str]:
    yield from _limits([one.get("transport") for one in stages], "by {}", "pickle")
    yield from _limits([one.get("queue_size") for one in stages], "queue of {}", "any size")
    timeouts = [one.get("timeout_s") for one in stages]
    texts = [None if limit_s is None else format_seconds(limit_s) for limit_s in timeouts]
    yield from _limits(texts, "time-out {}", "none")
    yield from _limits([one.get("retries") for one in stages], "{} retries", "0")
    causes = [one.get("retry_on") for one in stages]
    words = [None if on is None else "/".join(on) for on in causes]
    yield from _limits(words, "tried again after {}", "any fault")


def _limits(values: list[Any], text: str, unset: str) -> list[str]:
    """Put the different values into a text; nothing where none of them is set."""
    if all(value is None for value in values):
        return []
    return [text.format(_any_of(values, lambda one: unset if one is None else str(one)))]


def _any_of(items: Iterable[Any], words: Callable[[Any], str]) -> str:
    return " or ".join(dict.fromkeys(map(words, items)))


def _count(tasks: Any) -> str:
    number = f"{count_tasks(tasks):,}"
    return f"{number} of {tasks['file']}" if isinstance(tasks, dict) else number


def _arrival(given: Json | None) -> str:
    if given is None:
        return "at once"
    rate = f"{given['rate_per_s']:g}/s"
    return f"at {rate}" if given["kind"] == "fixed_rate" else f"Poisson at {rate}"
