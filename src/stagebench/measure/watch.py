"""Watching a tree: what the supervisor of a run and the trace of any command have in common."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stagebench.measure.process import ChildSignals
    from stagebench.sampler.lives import Census
    from stagebench.sampler.sampler import Sampler


def sample_until_exit(
    main: int,
    sampler: Sampler,
    census: Census,
    signals: ChildSignals,
    deadline_ns: float = math.inf,
) -> bool:
    """Sweep at each due time until main exits; True when the deadline came first."""
    sampler.update()
    while main in census.alive:
        now_ns = time.monotonic_ns()
        if now_ns >= deadline_ns:
            return True
        if signals.wait((min(sampler.due_ns, deadline_ns) - now_ns) / 1e9):
            sampler.update()
        if time.monotonic_ns() >= sampler.due_ns:
            sampler.take()
    return False
