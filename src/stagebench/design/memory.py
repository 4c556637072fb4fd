"""Memory that treatments need by estimate, and what this machine has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagebench.errors import ConfigError
from stagebench.handlers import registry
from stagebench.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stagebench.design.study import Treatment

MEMBERSHIP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def estimate_memory(specification: dict[str, Any]) -> int:
    """Estimate what the tasks of one run hold at once, in bytes.

    Each stage: what its workers need while all of them run, and its results where it retains them.
    Interpreters and libraries are not in it.
    """
    tasks = specification["tasks"]
    return sum(_estimate_stage(stage, tasks) for stage in specification["stages"])


def check_memory(treatments: Iterable[Treatment], available_bytes: int, *, allow: bool) -> None:
    """Refuse treatments that need more than the machine has; raises ConfigError naming each."""
    if allow:
        return
    problems = [
        f"{t.experiment}/{t.id}: needs about {format_bytes(t.estimated_memory_bytes)} of memory,"
        f" this machine has {format_bytes(available_bytes)}; make it smaller, exclude it, or set"
        " allow_insufficient_memory: true"
        for t in treatments
        if t.estimated_memory_bytes > available_bytes
    ]
    if problems:
        raise ConfigError(problems)


def machine_memory_bytes(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int:
    """Tell how much memory this process may use: the machine's or, where lower, its cgroup's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_cgroup_limits(membership, cgroups)])


def _estimate_stage(stage: dict[str, Any], tasks: int | list[dict[str, Any]]) -> int:
    """Estimate one stage; of tasks that differ, the largest need counts for each."""
    own = [{}] if isinstance(tasks, int) else [task.get(stage["name"], {}) for task in tasks]
    needs = [registry.memory_need(stage["handler"], stage["parameters"] | given) for given in own]
    number = tasks if isinstance(tasks, int) else len(tasks)
    working: int = min(stage["workers"], number) * max(need.working_bytes for need in needs)
    retained: int = number * max(need.result_bytes for need in needs) if stage["retain"] else 0
    return working + retained


def _cgroup_limits(membership: Path, cgroups: Path) -> Iterator[int]:
    """Yield the limits of this process's cgroup (version 2) and of all that it lies in."""
    for group in _cgroup_folders(membership, cgroups):
        try:
            text = (group / "memory.max").read_text().strip()
        except OSError:
            # The root has no limit file, and a container may not show its parents'.
            continue
        if text != "max":
            yield int(text)


def _cgroup_folders(membership: Path, cgroups: Path) -> list[Path]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        # No such file: not Linux, so no cgroups.
        return []
    own = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    parts = Path(own[0]).parts if own else ()
    return [cgroups.joinpath(*parts[:length]) for length in range(len(parts) + 1)] if own else []
