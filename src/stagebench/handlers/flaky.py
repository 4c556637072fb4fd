"""Flaky: some calls fail and some hang, at known places; for time-outs and retries."""

from __future__ import annotations

import time
from itertools import count
from typing import Annotated

from stagebench.handlers.bounds import Bounds, MemoryNeed

_calls = count(1)
"""Calls of this process: those of all threads together, or of one worker process."""


def flaky(
    *,
    delay_s: Annotated[float, Bounds(at_least=0, at_most=86400)] = 0.0,
    fail_every: Annotated[int, Bounds(at_least=0)] = 0,
    hang_every: Annotated[int, Bounds(at_least=0)] = 0,
    hang_s: Annotated[float, Bounds(at_least=0, at_most=86400)] = 60.0,
) -> int:
    """Sleep `delay_s` and return the number of this call in its process, from 1.

    Every `fail_every`-th call raises ConnectionError after the sleep, and every `hang_every`-th
    sleeps `hang_s` instead; 0 means none. A call is counted, not a task: the next attempt at a task
    is another call.
    """
    call = next(_calls)
    hangs = hang_every > 0 and call % hang_every == 0
    time.sleep(hang_s if hangs else delay_s)
    if fail_every > 0 and call % fail_every == 0:
        raise ConnectionError(f"call {call} of this process fails, as every {fail_every}th does")
    return call


def memory_need(**_parameters: object) -> MemoryNeed:
    """Estimate: nothing."""
    return MemoryNeed(working_bytes=0, result_bytes=0)
