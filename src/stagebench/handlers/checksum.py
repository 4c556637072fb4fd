"""Checksum: take the bytes that the stage before has made; the receiving end of a transport."""

from __future__ import annotations

import time
import zlib
from typing import Annotated

from stagebench.handlers.bounds import Bounds, MemoryNeed


def checksum(
    *,
    upstream: bytes | bytearray | memoryview,
    delay_s: Annotated[float, Bounds(at_least=0, at_most=86400)] = 0.0,
) -> int:
    """Sleep `delay_s`, then return the Adler-32 of `upstream`, which is read once.

    Adler-32 is quick, so that passing the bytes on is not lost beside summing them. Raises
    TypeError where the stage before has made no bytes.
    """
    time.sleep(delay_s)
    return zlib.adler32(upstream)


def memory_need(**_parameters: object) -> MemoryNeed:
    """Estimate: nothing beside what the stage before has made."""
    return MemoryNeed(working_bytes=0, result_bytes=0)
