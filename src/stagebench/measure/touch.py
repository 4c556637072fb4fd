"""A program that touches memory and frees it by ending: `python -I -S touch.py ORDER`.

First it measures what a page costs: a fresh one, and one that it has used and freed a moment ago.
Then it writes to one byte of each page of some memory. ORDER is JSON with the keys of `Order`; what
was done is printed as JSON.

It is a program of its own, because a fork of the supervisor would share and split the supervisor's
pages. It imports nothing of stagebench, because it must start at once.
"""

from __future__ import annotations

import json
import mmap
import sys
import time
from typing import TypedDict

PROBE_NS = 20_000_000
"""Each of the two passes of the probe ends after this much CPU time."""

STEP_BYTES = 2 << 20
"""A huge page; free pages are reported to a host in blocks of this size."""

CHUNK_BYTES = 32 << 20
"""The deadline is checked after each chunk."""

DEARER = 1.5
"""A fresh page is dearer than a used one from this ratio on: less is noise."""


class Order(TypedDict):
    """What to do: probe in at most `probe_bytes`, then touch `touch_bytes` for at most `longest_s`.

    `huge`: in huge pages, if the kernel has some. `always`: also if fresh pages are not dearer.
    """

    probe_bytes: int
    touch_bytes: int
    longest_s: float
    huge: bool
    always: bool


def carry_out(order: Order) -> dict[str, float | None]:
    """Measure, then touch; return what pages cost, how much was touched, and what that took."""
    found = measure_pages(order["probe_bytes"], huge=order["huge"])
    fresh, used = found["fresh_page_ns"], found["used_page_ns"]
    is_dearer = fresh is not None and used is not None and fresh >= DEARER * used
    if not (order["touch_bytes"] and (order["always"] or is_dearer)):
        return found | {"touched_bytes": 0, "cpu_s": 0.0, "slowest_page_ns": None}
    began_ns, done, slowest = time.thread_time_ns(), 0, 0.0
    end_s = time.monotonic() + order["longest_s"]
    with _map(order["touch_bytes"], huge=order["huge"]) as memory:
        while done < len(memory) and time.monotonic() < end_s:
            last = min(done + CHUNK_BYTES, len(memory))
            slowest = max(slowest, touch(memory, done, last))
            done = last
    cpu_s = (time.thread_time_ns() - began_ns) / 1e9
    return found | {"touched_bytes": done, "cpu_s": cpu_s, "slowest_page_ns": slowest}


def measure_pages(most_bytes: int, *, huge: bool) -> dict[str, float | None]:
    """Return the CPU time of a fresh page and of a used one, in ns.

    Of the fresh ones the slowest step counts, because those that the kernel hands out first may
    have been in use a moment ago. Of the used ones, the median.
    """
    if most_bytes < STEP_BYTES:
        return {"fresh_page_ns": None, "used_page_ns": None}
    with _map(most_bytes, huge=huge) as memory:
        fresh = _touch_steps(memory, most_bytes)
        memory.madvise(mmap.MADV_DONTNEED)
        used = sorted(_touch_steps(memory, len(fresh) * STEP_BYTES))
    return {"fresh_page_ns": max(fresh), "used_page_ns": used[len(used) // 2]}


def _touch_steps(memory: mmap.mmap, size: int) -> list[float]:
    end_ns = time.thread_time_ns() + PROBE_NS
    costs: list[float] = []
    while (len(costs) + 1) * STEP_BYTES <= size and (not costs or time.thread_time_ns() < end_ns):
        start = len(costs) * STEP_BYTES
        costs.append(touch(memory, start, start + STEP_BYTES))
    return costs


def touch(memory: mmap.mmap, start: int, end: int) -> float:
    """Write to every page from `start` to `end`; return the CPU time that each took, in ns."""
    pages = -(-(end - start) // mmap.PAGESIZE)
    began_ns = time.thread_time_ns()
    memory[start : end : mmap.PAGESIZE] = b"\1" * pages
    return (time.thread_time_ns() - began_ns) / pages


def _map(size: int, *, huge: bool) -> mmap.mmap:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    except (AttributeError, OSError):  # a kernel without huge pages
        return memory
    return memory


if __name__ == "__main__":
    sys.stdout.write(json.dumps(carry_out(json.loads(sys.argv[1]))))
