"""Wait as a coroutine: the same waiting, all of it on one thread."""

from __future__ import annotations

import asyncio
from typing import Annotated

from stagebench.handlers.bounds import Bounds, MemoryNeed


async def wait_async(*, delay_s: Annotated[float, Bounds(at_least=0, at_most=86400)]) -> None:
    """Sleep `delay_s` without keeping the thread of the event loop."""
    await asyncio.sleep(delay_s)


def memory_need(**_parameters: object) -> MemoryNeed:
    """Estimate: nothing."""
    return MemoryNeed(working_bytes=0, result_bytes=0)
