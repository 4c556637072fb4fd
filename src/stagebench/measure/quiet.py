"""Waiting until the machine is quiet: what ran before a run must not run beside it.

Load averages decay over minutes and hold the run before; the idle time of /proc/stat does not.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.units import Seconds

QUIET_SHARE = 0.9
"""A machine is quiet when at least this share of its CPU time is idle ..."""

STEP_S, STEPS = 0.05, 4
"""... over so many steps, 0.2 s; it is looked at after each."""


class Ticks(NamedTuple):
    """CPU time of the whole machine since boot, in ticks; waiting for a disk is not idle."""

    idle: int
    all: int


class Quiet(NamedTuple):
    """How long was waited, the share that was idle at last, and whether that is quiet.

    Unknown (None) where the wait ended before there was a span to look at.
    """

    waited_s: Seconds
    idle_share: float | None
    quiet: bool | None


def wait_until_quiet(
    at_most_s: Seconds,
    read: Callable[[], Ticks],
    clock: Callable[[], Seconds] = time.monotonic,
    sleep: Callable[[Seconds], None] = time.sleep,
) -> Quiet:
    """Wait until the machine is quiet, or there is no time for a further step."""
    began_s, share = clock(), None
    readings = deque([read()], maxlen=STEPS + 1)
    while clock() - began_s + STEP_S <= at_most_s and not is_quiet(share):
        sleep(STEP_S)
        readings.append(read())
        if len(readings) > STEPS:
            share = idle_share(readings[0], readings[-1])
    return Quiet(clock() - began_s, share, is_quiet(share))


def is_quiet(share: float | None) -> bool | None:
    """Tell whether a machine with this share of idle time is quiet."""
    return None if share is None else share >= QUIET_SHARE


def idle_share(before: Ticks, after: Ticks) -> float | None:
    """Give the share of CPU time that was idle between two readings."""
    passed = after.all - before.all
    return (after.idle - before.idle) / passed if passed > 0 else None


def read_ticks() -> Ticks:
    """Read how much CPU time passed since boot, and how much of it was idle."""
    return parse_ticks(Path("/proc/stat").read_text(encoding="ascii"))


def parse_ticks(text: str) -> Ticks:
    """Parse /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal."""
    ticks = [int(field) for field in text.split("\n", 1)[0].split()[1:9]]
    return Ticks(idle=ticks[3], all=sum(ticks))
