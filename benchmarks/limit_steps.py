"""Handlers of the synthetic workflows whose limit is known: copied beside their config."""

from __future__ import annotations

import asyncio
import hashlib
import time

MIB = 1024 * 1024
SOME_ROUNDS = 10_000
"""Rounds of a hash that take a few milliseconds, without the GIL."""


def rest(delay_s: float) -> None:
    """Wait, without a core."""
    time.sleep(delay_s)


async def rest_async(delay_s: float) -> None:
    """Wait, without a core or a thread."""
    await asyncio.sleep(delay_s)


def spin(cpu_s: float) -> None:
    """Compute in Python, holding the GIL, until the thread has had this CPU time."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        sum(range(1000))


def crunch(cpu_s: float) -> None:
    """Compute without the GIL until the thread has had this CPU time."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        hashlib.pbkdf2_hmac("sha256", b"word", b"salt", SOME_ROUNDS)


def make(size_mib: int) -> bytes:
    """Return a large result."""
    return bytes(size_mib * MIB)


def take(upstream: bytes) -> int:
    """Return the size of a result."""
    return len(upstream)
