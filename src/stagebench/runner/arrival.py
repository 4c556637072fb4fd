"""When the tasks of a run arrive: all at once, at a fixed rate, or as a Poisson process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

from stagebench.errors import WorkflowError, closest

if TYPE_CHECKING:
    from collections.abc import Iterator

ARRIVALS = ("at_once", "fixed_rate", "poisson")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How the tasks of a run arrive.

    `rate_per_s` is the number of tasks a second, of "fixed_rate" exactly and of "poisson" in the
    mean; `seed` makes the gaps of "poisson", which are exponential, the same in every run. Raises
    WorkflowError for a kind that is not one of `ARRIVALS`, or without what it needs.
    """

    kind: str = "at_once"
    rate_per_s: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        problems = _find_problems(self)
        if problems:
            raise WorkflowError("\n".join(f"arrival: {problem}" for problem in problems))

    def offsets_s(self) -> Iterator[float]:
        """Give the moment of each task's arrival in seconds after the run's start, endlessly."""
        if self.kind == "at_once" or self.rate_per_s is None:
            yield from repeat(0.0)
        elif self.kind == "fixed_rate":
            task = 0
            while True:
                yield task / self.rate_per_s
                task += 1
        else:
            yield from _poisson(self.rate_per_s, self.seed)


def _poisson(rate_per_s: float, seed: int | None) -> Iterator[float]:
    # Imported where it is asked for: it is memory of the measured process.
    import random

    gaps = random.Random(seed)
    moment = 0.0
    while True:
        moment += gaps.expovariate(rate_per_s)
        yield moment


def _find_problems(arrival: Arrival) -> list[str]:
    if arrival.kind not in ARRIVALS:
        hint = closest(str(arrival.kind), list(ARRIVALS))
        return [f"kind is {arrival.kind!r}; allowed: {', '.join(ARRIVALS)}{hint}"]
    problems = []
    if arrival.kind == "at_once":
        if arrival.rate_per_s is not None:
            problems.append(f"rate_per_s is {arrival.rate_per_s!r}; tasks at once have none")
    elif not _is_rate(arrival.rate_per_s):
        problems.append(f"rate_per_s is {arrival.rate_per_s!r}; allowed: a number > 0")
    if arrival.kind == "poisson":
        if type(arrival.seed) is not int or arrival.seed < 0:
            problems.append(f"seed is {arrival.seed!r}; allowed: a whole number >= 0")
    elif arrival.seed is not None:
        problems.append(f"seed is {arrival.seed!r}; only poisson has one")
    return problems


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
