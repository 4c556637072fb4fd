"""Payload: wait, then return a block of bytes; the published memory study's only stage."""

from __future__ import annotations

import time
from typing import Annotated

from stagebench.handlers.bounds import Bounds, MemoryNeed

MIB = 1024 * 1024


def payload(
    *,
    size_mib: Annotated[float, Bounds(at_least=0)] = 10.0,
    delay_s: Annotated[float, Bounds(at_least=0)] = 0.2,
) -> bytearray:
    """Sleep `delay_s`, then return a zeroed bytearray of `size_mib` MiB."""
    time.sleep(delay_s)
    return bytearray(int(size_mib * MIB))


def memory_need(*, size_mib: float = 10.0, **_others: object) -> MemoryNeed:
    """Estimate: the block once in the worker and once where it is returned."""
    size = int(size_mib * MIB)
    return MemoryNeed(working_bytes=size, result_bytes=size)
