"""Wait: a stage that only waits, as for a reply, and keeps its worker while it does."""

from __future__ import annotations

import time
from typing import Annotated

from stagebench.handlers.bounds import Bounds, MemoryNeed


def wait(*, delay_s: Annotated[float, Bounds(at_least=0, at_most=86400)]) -> None:
    """Sleep `delay_s`, which releases the GIL."""
    time.sleep(delay_s)


def memory_need(**_parameters: object) -> MemoryNeed:
    """Estimate: nothing."""
    return MemoryNeed(working_bytes=0, result_bytes=0)
