"""The limits of the control groups that contain this process; they apply to a run, too.

A study that exceeds them is refused before it starts, so every Snakefile imports this module: keep
it cheap.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.max, cpu.max, cpu.stat)
and, for version 1, admin-guide/cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.sampler.places import OWN, find_group

if TYPE_CHECKING:
    from collections.abc import Callable


UNLIMITED = 1 << 62
"""In bytes; version 1 reports a value just below 2^63 if there is no limit."""


class Limits(NamedTuple):
    """The limits of this process's groups: "max" if none is set, None if unknown.

    `cpus` is CPU time per second; `throttled` counts the periods in which it was used up.
    """

    cpus: float | str | None
    memory_bytes: int | str | None
    throttled: int | None


def read_limits(proc: Path = OWN) -> Limits:
    """Read the lowest limits of this process's groups and of all groups that contain them."""
    cpu, memory = _list_groups("cpu", proc), _list_groups("memory", proc)
    return Limits(
        cpus=_lowest(cpu, _cpu_limit),
        memory_bytes=_lowest(memory, _memory_limit),
        throttled=sum(map(_count_throttled, cpu)) if cpu else None,
    )


def machine_memory_bytes(proc: Path = OWN) -> int:
    """Return how much memory this process may use: the machine's, or less if a group limits it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = read_limits(proc).memory_bytes
    return min(machine, limit) if isinstance(limit, int) else machine


def _list_groups(controller: str, proc: Path) -> list[Path]:
    """List the folders of this process's group and all that contain it; empty if unknown."""
    try:
        _, place, path = find_group(controller, proc)
    except (OSError, LookupError):
        return []
    parts = Path(path).relative_to("/").parts
    return [place.joinpath(*parts[:length]) for length in range(len(parts) + 1)]


def _lowest(groups: list[Path], read: Callable[[Path], float | None]) -> Any:
    # A group without the file has no limit of its own; the outermost one never has the file.
    limits = [limit for limit in map(read, groups) if limit is not None]
    return min(limits) if limits else "max" if groups else None


def _cpu_limit(group: Path) -> float | None:
    words = _words(group / "cpu.max") or [
        *_words(group / "cpu.cfs_quota_us"),
        *_words(group / "cpu.cfs_period_us"),
    ]
    if not words or words[0] in {"max", "-1"}:
        return None
    return int(words[0]) / int(words[1])


def _memory_limit(group: Path) -> int | None:
    words = _words(group / "memory.max") or _words(group / "memory.limit_in_bytes")
    limit = None if not words or words[0] == "max" else int(words[0])
    return None if limit is None or limit >= UNLIMITED else limit


def _count_throttled(group: Path) -> int:
    words = _words(group / "cpu.stat")
    return int(words[words.index("nr_throttled") + 1]) if "nr_throttled" in words else 0


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
