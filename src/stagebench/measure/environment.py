"""Where and beside what a run was made: machine, software, commit, noise. Unknown is None."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import psutil

import stagebench

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def read_environment() -> dict[str, Any]:
    """Describe the machine, the software and the checkout."""
    commit, dirty = read_commit(Path(__file__).parent)
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "cpu_model": read_cpu_model(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "os": read_os_name(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "python_implementation": platform.python_implementation(),
        # sys._is_gil_enabled came with Python 3.13; before it there was always a GIL.
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "packages": read_packages(),
        "stagebench": stagebench.__version__,
        "commit": commit,
        "commit_dirty": dirty,
        "temporary_filesystem": read_filesystem(tempfile.gettempdir()),
    }


def read_packages() -> dict[str, str]:
    """Give the installed version of each package that stagebench declares as a dependency."""
    try:
        declared = importlib.metadata.requires("stagebench") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in declared if "extra ==" not in line}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


def read_commit(folder: Path) -> tuple[str | None, bool | None]:
    """Give the commit of the checkout that holds `folder`, and whether files differ from it."""
    try:
        commit = _ask_git(folder, "rev-parse", "HEAD")
        changes = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit.strip(), bool(changes)


def _ask_git(folder: Path, *question: str) -> str:
    # Without its locks git writes nothing: a stale one would block the checkout's owner.
    command = ["git", "--no-optional-locks", "-C", str(folder), *question]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read_cpu_model() -> str | None:
    """Give the CPU's name from /proc/cpuinfo; None where the architecture does not tell it."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else None


def read_os_name() -> str:
    """Give the distribution's name and version, or the kernel's name where there is none."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def read_filesystem(folder: str) -> str | None:
    """Name the type of the file system that holds `folder`: what fsync costs depends on it."""
    mounts = [
        part
        for part in psutil.disk_partitions(all=True)
        if os.path.commonpath([part.mountpoint, folder]) == part.mountpoint
    ]
    # Of mounts on one point the last hides the others.
    return (
        max(enumerate(mounts), key=lambda pair: (len(pair[1].mountpoint), pair[0]))[1].fstype
        or None
    )


class Busy(NamedTuple):
    """Load average, and CPU time of the whole machine since boot, in seconds."""

    load: float
    used_s: float
    idle_s: float
    steal_s: float


def read_busy() -> Busy:
    """Read how busy the machine is and was."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, idle, iowait, irq, softirq, steal = (
        int(ticks) / TICKS_PER_S for ticks in first.split()[1:9]
    )
    return Busy(
        load=os.getloadavg()[0],
        used_s=user + nice + system + irq + softirq,
        idle_s=idle + iowait,
        steal_s=steal,
    )


def describe_noise(before: Busy, after: Busy, own_cpu_s: float) -> dict[str, float | None]:
    """Tell what else the machine did between two readings, as shares of all its CPU time.

    `own_cpu_s` is the CPU time of the run and its supervisor. The kernel counts in ticks of 10 ms,
    so the shares of a run under a second are coarse.
    """
    used, idle, steal = (after[i] - before[i] for i in (1, 2, 3))
    total = used + idle + steal
    return {
        "load_before": before.load,
        "load_after": after.load,
        "steal_share": steal / total if total else None,
        "others_cpu_share": max(0.0, used - own_cpu_s) / total if total else None,
    }
