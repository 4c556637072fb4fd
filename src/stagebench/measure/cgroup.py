"""The limits of the control groups that contain this process or a run, and whether they were hit.

A study that exceeds them is refused before it starts, so every Snakefile imports this module: keep
it cheap.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.max, memory.events, cpu.max,
cpu.stat) and, for version 1, admin-guide/cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.sampler.places import INNER, OWN, find_group
from stagebench.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagebench.sampler.group import Group


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


class MemoryLimit(NamedTuple):
    """A limit of memory: the file that sets it, and how often it was reached.

    In version 2, that counts how often memory ran out there or below; in version 1, how often room
    had to be made.
    """

    file: Path
    size_bytes: int
    hits: int


class OutOfMemory:
    """Counts, from its making on, the processes of a run that the kernel kills for want of memory.

    Without a group of the run's own, it counts those of this process's group.
    """

    def __init__(self, group: Group, proc: Path = OWN) -> None:
        self._groups = (
            [group.folder / INNER, group.folder, *group.folder.parents]
            if group.folder is not None
            else _list_groups("memory", proc)[::-1]
        )
        self._hits = {limit.file: limit.hits for limit in self._list_limits()}
        self._kills = self._count_kills()

    def describe(self) -> dict[str, Any]:
        """Return the number of kills, None if unknown, and why they happened, None if none did."""
        kills = self._count_kills()
        if kills is None or self._kills is None:
            return {"oom_kills": None, "out_of_memory": None}
        kills -= self._kills
        return {"oom_kills": kills, "out_of_memory": self._reason(kills) if kills > 0 else None}

    def _reason(self, kills: int) -> str:
        killed = f"the kernel killed {kills} process{'es' * (kills > 1)}"
        hit = [limit for limit in self._list_limits() if limit.hits > self._hits.get(limit.file, 0)]
        if not hit:
            return f"{killed} because memory ran out, at no limit that can be seen from here"
        # What is charged to a group is charged to all around it, so the lowest limit comes first.
        lowest = min(hit, key=lambda limit: limit.size_bytes)
        return f"{killed} at the memory limit of {format_bytes(lowest.size_bytes)} in {lowest.file}"

    def _count_kills(self) -> int | None:
        for group in self._groups[:1]:
            for name in ("memory.events", "memory.oom_control"):
                words = _words(group / name)
                if "oom_kill" in words:
                    return int(words[words.index("oom_kill") + 1])
        return None

    def _list_limits(self) -> list[MemoryLimit]:
        return [
            MemoryLimit(group / name, int(words[0]), _count_hits(group, counter))
            for group in self._groups
            for name, counter in _COUNTERS.items()
            if (words := _words(group / name)) and words[0] != "max" and int(words[0]) < UNLIMITED
        ]


_COUNTERS = {
    "memory.max": "memory.events",
    "memory.limit_in_bytes": "memory.failcnt",
    "memory.memsw.limit_in_bytes": "memory.memsw.failcnt",
}
"""The files that set a limit, and those that count how often it was reached."""


def _count_hits(group: Path, counter: str) -> int:
    words = _words(group / counter)
    return int(words[words.index("oom") + 1] if "oom" in words else words[0] if words else 0)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
