"""Control groups: one around a run, as a cross-check of its memory, and the limits that apply.

A group is charged for the memory that its processes touch first: anonymous memory, page cache and
kernel memory (page tables, sockets). So its peak is not a PSS, but it is never below the anonymous
part of the sampled peak.

The limits are those of the groups that contain this process; they apply to a run, too. A study that
exceeds them is refused before it starts, so every Snakefile imports this module: keep it cheap.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.peak, memory.max, cpu.max, cpu.stat)
and, for version 1, admin-guide/cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


PREFIX = "stagebench-"
"""Before the supervisor's process id in the name of a group."""

PATIENCE_S = 0.2


class GroupFiles(NamedTuple):
    """The files in which one version reports memory; `cache` is a line of memory.stat."""

    version: int
    peak: str
    kernel: str | None
    cache: str


V1 = GroupFiles(1, "memory.max_usage_in_bytes", "memory.kmem.max_usage_in_bytes", "cache")
V2 = GroupFiles(2, "memory.peak", None, "file")


class Charged(NamedTuple):
    """The memory that a group was charged for.

    `cache_bytes` is its page cache at the end, not at the peak. `kernel_peak_bytes` is None if the
    peak of kernel memory is not reported.
    """

    version: int
    peak_bytes: int
    kernel_peak_bytes: int | None
    cache_bytes: int


class Group:
    """A control group for the processes of a run, or the `reason` why there is none."""

    def __init__(self, folder: Path | None, files: GroupFiles, reason: str = "") -> None:
        self.folder = folder
        self._files = files
        self.reason = reason

    def add(self, pid: int) -> None:
        """Add a process, and with it all processes that it will create."""
        if self.folder is None:
            return
        try:
            (self.folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            self.remove()
            self.folder, self.reason = None, f"cgroup.procs: {error.strerror}"

    def read(self) -> Charged | None:
        """Read what was charged so far; None if there is no group."""
        if self.folder is None:
            return None
        read, kernel = self._read, self._files.kernel
        stat = dict(line.split() for line in read("memory.stat").splitlines())
        return Charged(
            version=self._files.version,
            peak_bytes=int(read(self._files.peak)),
            kernel_peak_bytes=int(read(kernel)) if kernel else None,
            cache_bytes=int(stat[self._files.cache]),
        )

    def remove(self) -> None:
        """Remove the group; retries because processes that have just ended may keep it busy."""
        deadline = time.monotonic() + PATIENCE_S
        while self.folder is not None and self.folder.exists():
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                return
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text() if self.folder else ""


@contextlib.contextmanager
def control_group(proc: Path = Path("/proc/self")) -> Iterator[Group]:
    """Create a group below this process's own for a `with` block, if that is permitted."""
    group = _make_group(proc)
    try:
        yield group
    finally:
        group.remove()


def _make_group(proc: Path) -> Group:
    try:
        files, own = _find_own(proc)
        _remove_abandoned(own)
        folder = own / f"{PREFIX}{os.getpid()}"
        folder.mkdir()
    except OSError as error:
        return Group(None, V2, f"{error.strerror}: {error.filename}")
    except LookupError as error:
        return Group(None, V2, str(error.args[0]))
    group = Group(folder, files)
    if not (folder / files.peak).exists():
        group.remove()
        return Group(None, files, f"{files.peak} does not exist in a new group")
    return group


def _remove_abandoned(own: Path) -> None:
    """Remove the groups of killed supervisors; the kernel keeps one that still has processes."""
    for folder in own.glob(f"{PREFIX}*"):
        if not Path(f"/proc/{folder.name.removeprefix(PREFIX)}").exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def _find_own(proc: Path) -> tuple[GroupFiles, Path]:
    """Find the folder of this process's memory group, of version 1 if that controls memory."""
    files, place, path = find_group("memory", proc)
    return files, Path(f"{place}{path}")


def find_group(controller: str, proc: Path) -> tuple[GroupFiles, Path, str]:
    """Return the version, the mount point of a controller's groups, and this process's group."""
    paths = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    for line in (proc / "mounts").read_text().splitlines():
        _device, place, kind, options, *_rest = line.split()
        if kind == "cgroup" and controller in options.split(",") and controller in paths:
            return V1, Path(place), paths[controller]
        if kind == "cgroup2" and controller not in paths and "" in paths:
            return V2, Path(place), paths[""]
    raise LookupError(f"no control group of {controller} is mounted")


OWN = Path("/proc/self")
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
