"""The machine of a run: its state, its software, what else runs on it, and when it is quiet.

Unknown values are None. Before a run, the supervisor waits until the machine is quiet, so that
leftovers of the run before do not disturb it. Quiet is judged by the idle time in /proc/stat: load
averages decay over minutes and would include the run before.

Sources: Linux, Documentation/accounting/psi.rst, admin-guide/pm/cpufreq.rst,
admin-guide/mm/transhuge.rst, admin-guide/sysctl/kernel.rst (randomize_va_space),
admin-guide/mm/damon/usage.rst, drivers/virtio/virtio_balloon.c.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import stagebench
from stagebench.measure.cgroup import read_limits
from stagebench.units import KIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stagebench.units import Seconds


TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STEAL_FIELD = 8
"""Index of the steal time in the first line of /proc/stat."""

PRESSED = ("cpu", "memory", "io")
ADDR_NO_RANDOMIZE = 0x0040000
"""Bit of personality(2) that `setarch --addr-no-randomize` sets."""

BALLOON, REPORTING = "0x0005", 5
"""A virtio device's type, and the number of its feature to report free pages (virtio 1.2, 5.5)."""

ROOT = Path("/")


def read_machine(root: Path = ROOT) -> dict[str, Any]:
    """Read settings, and counters since boot, so that the difference of two readings is a span."""
    limits = read_limits(root / "proc/self")
    meminfo = _read(root / "proc/meminfo")
    return {
        "time_ns": time.monotonic_ns(),
        "load": _read_loads(),
        **parse_stat(_read(root / "proc/stat")),
        "pressure": {
            name: parse_pressure(_read(root / f"proc/pressure/{name}")) for name in PRESSED
        },
        "throttled": {"thermal": _count_thermal(root), "cgroup": limits.throttled},
        "frequency_mhz": _read_frequencies(root),
        "swap_used_bytes": parse_swap(meminfo)[1],
        "settings": {
            "governor": _read_governor(root),
            **read_memory_settings(root),
            "swap_bytes": parse_swap(meminfo)[0],
            "aslr": _read_aslr(root),
            "affinity": sorted(os.sched_getaffinity(0)),
            "cgroup_cpu_limit": limits.cpus,
            "cgroup_memory_limit": limits.memory_bytes,
        },
    }


def _read_loads() -> list[float] | None:
    try:
        return list(os.getloadavg())
    except OSError:  # no /proc/loadavg
        return None


def read_memory_settings(root: Path = ROOT) -> dict[str, Any]:
    """Read what decides what a fresh page costs."""
    return {
        "transparent_huge_pages": parse_choice(
            _read(root / "sys/kernel/mm/transparent_hugepage/enabled")
        ),
        "page_reporting": reports_free_pages(root),
        "idle_memory_reclaim": reclaims_idle_memory(root),
    }


def parse_swap(meminfo: str | None) -> tuple[int | None, int | None]:
    """Parse /proc/meminfo: the size of all swap space, and how much of it is in use, in bytes."""
    total, free = (parse_size(meminfo, name) for name in ("SwapTotal", "SwapFree"))
    return (None, None) if total is None or free is None else (total, total - free)


def parse_size(meminfo: str | None, name: str) -> int | None:
    """Return one size of /proc/meminfo in bytes; None if it is not there."""
    found = re.search(rf"^{name}: +(\d+) kB$", meminfo or "", re.MULTILINE)
    return int(found[1]) * KIB if found else None


def parse_stat(text: str | None) -> dict[str, float | int | None]:
    """Parse /proc/stat: CPU time stolen by the host, and context switches, both since boot."""
    if text is None:
        return {"steal_s": None, "context_switches": None}
    switches = re.search(r"^ctxt (\d+)$", text, re.MULTILINE)
    fields = text.split("\n", 1)[0].split()
    return {
        "steal_s": int(fields[STEAL_FIELD]) / TICKS_PER_S,
        "context_switches": int(switches[1]) if switches else None,
    }


def parse_pressure(text: str | None) -> dict[str, float | int] | None:
    """Parse a file of /proc/pressure: shares of the last 10 s in percent, and totals in µs."""
    if text is None:
        return None
    found: dict[str, float | int] = {}
    for line in text.splitlines():
        kind, *fields = line.split()
        values = dict(field.split("=") for field in fields)
        found |= {f"{kind}_avg10": float(values["avg10"]), f"{kind}_us": int(values["total"])}
    return found


def parse_choice(text: str | None) -> str | None:
    """Return the choice in brackets: "madvise" from "always [madvise] never"."""
    found = re.search(r"\[(\w+)\]", text or "")
    return found[1] if found else None


def reports_free_pages(root: Path) -> bool | None:
    """Return whether this machine's kernel reports free pages to a host; None if that is unknown.

    Only a virtio balloon does so in a way that can be seen. Hyper-V's has no such file.
    """
    if (root / "sys/module/hv_balloon").exists() or not (root / "sys/bus").exists():
        return None
    devices = list((root / "sys/bus/virtio/devices").glob("*"))
    texts = [(_read(each / "device"), _read(each / "features")) for each in devices]
    features = [features for device, features in texts if device == BALLOON]
    if any(text is None for text in features):
        return None
    return any(text[REPORTING : REPORTING + 1] == "1" for text in features if text is not None)


def reclaims_idle_memory(root: Path) -> bool | None:
    """Return whether DAMON pages out memory that is idle; None if that may not be read."""
    enabled = _read(root / "sys/module/damon_reclaim/parameters/enabled")
    if enabled == "Y":
        return True
    damon = root / "sys/kernel/mm/damon/admin/kdamonds"
    if not damon.exists():
        return False if (root / "sys/kernel/mm").exists() else None
    if not os.access(damon / "nr_kdamonds", os.R_OK):
        return None
    running = [each for each in damon.glob("[0-9]*") if _read(each / "state") == "on"]
    actions = (_read(f) for each in running for f in each.glob("contexts/*/schemes/*/action"))
    return "pageout" in actions


def _count_thermal(root: Path) -> int | None:
    """Count how often cores and packages were throttled because of heat."""
    names = ("core_throttle_count", "package_throttle_count")
    counts = [text for name in names for text in _read_cpus(root, f"thermal_throttle/{name}")]
    return sum(map(int, counts)) if counts else None


def _read_governor(root: Path) -> str | None:
    return " ".join(sorted(set(_read_cpus(root, "cpufreq/scaling_governor")))) or None


def _read_frequencies(root: Path) -> list[float] | None:
    """Return the current frequency of every CPU in MHz, from its driver or else /proc/cpuinfo."""
    known = [int(text) / 1000 for text in _read_cpus(root, "cpufreq/scaling_cur_freq")]
    if not known:
        cpuinfo = _read(root / "proc/cpuinfo") or ""
        known = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*: ([\d.]+)$", cpuinfo, re.MULTILINE)]
    return known or None


def _read_aslr(root: Path) -> int | None:
    """Return how addresses are randomised: from 0, not at all, to 2, everywhere.

    The personality of this process can turn it off.
    """
    text, personality = (_read(root / f"proc/{name}") for name in _ASLR_FILES)
    if personality is not None and int(personality, 16) & ADDR_NO_RANDOMIZE:
        return 0
    return None if text is None else int(text)


_ASLR_FILES = ("sys/kernel/randomize_va_space", "self/personality")


def _read_cpus(root: Path, name: str) -> Iterable[str]:
    folders = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))
    return [text for folder in folders if (text := _read(folder / name)) is not None]


def _read(path: Path) -> str | None:
    """Read a file of the kernel; None if it does not exist or may not be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def read_environment() -> dict[str, Any]:
    """Describe the machine, the software and the checkout."""
    commit, dirty = read_commit(Path(stagebench.__file__).parents[2])
    return {
        "host": platform.node(),
        "node": name_node(),
        "machine": platform.machine(),
        "cpu_model": read_cpu_model(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": read_memory_bytes(),
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


def name_node() -> str:
    """Return the name of the machine among those that share a study's runs.

    Slurm may give a node another name than its host has, and one host several nodes.
    """
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def read_packages() -> dict[str, str]:
    """Return the installed version of each package that a study needs."""
    try:
        declared = importlib.metadata.requires("stagebench") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    needed = (line for line in declared if re.search(r"extra == .study.", line))
    versions = {}
    for name in sorted({re.split(r"[^A-Za-z0-9._-]", line)[0] for line in needed}):
        with suppress(importlib.metadata.PackageNotFoundError):  # a trace needs none of them
            versions[name] = importlib.metadata.version(name)
    return versions


def read_commit(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the checkout in `folder`, and whether tracked files differ."""
    if not (folder / ".git").exists():  # installed, maybe within a checkout of something else
        return None, None
    try:
        commit = _ask_git(folder, "rev-parse", "HEAD")
        changes = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit.strip(), bool(changes)


def _ask_git(folder: Path, *question: str) -> str:
    # Without optional locks git writes nothing; a stale lock would block the checkout's owner.
    command = ["git", "--no-optional-locks", "-C", str(folder), *question]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read_cpu_model() -> str | None:
    """Return the CPU's name from /proc/cpuinfo; None if the architecture does not report one."""
    text = _read(ROOT / "proc/cpuinfo") or ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else None


def read_memory_bytes() -> int | None:
    """Return the machine's memory as /proc/meminfo reports it."""
    return parse_size(_read(ROOT / "proc/meminfo"), "MemTotal")


def read_os_name() -> str:
    """Return the distribution's name and version, or else the kernel's name."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def read_filesystem(folder: str, root: Path = ROOT) -> str | None:
    """Return the type of the file system of `folder`, on which the cost of fsync depends."""
    found, longest = None, 0
    for line in (_read(root / "proc/self/mounts") or "").splitlines():
        point, kind = line.split(" ")[1:3]
        # Blanks in a path are written as octal numbers, see fstab(5).
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)
        # Of several mounts on one point the last hides the others.
        if len(point) >= longest and os.path.commonpath([point, folder]) == point:
            found, longest = kind, len(point)
    return found


class Busy(NamedTuple):
    """Load average, and CPU time of the whole machine since boot, in seconds."""

    load: float | None
    used_s: float
    idle_s: float
    steal_s: float


def read_busy() -> Busy | None:
    """Read the load average and the CPU times since boot; None without /proc/stat."""
    text = _read(ROOT / "proc/stat")
    if text is None:
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = (
        int(ticks) / TICKS_PER_S for ticks in text.split("\n", 1)[0].split()[1:9]
    )
    loads = _read_loads()
    return Busy(
        load=loads[0] if loads else None,
        used_s=user + nice + system + irq + softirq,
        idle_s=idle + iowait,
        steal_s=steal,
    )


def describe_noise(
    before: Busy | None,
    after: Busy | None,
    own_cpu_s: Seconds,
    server_cpu_s: Seconds | None = None,
) -> dict[str, float | None]:
    """Return what else the machine did between two readings, as shares of all its CPU time.

    `own_cpu_s` is the CPU time of the run and its supervisor. The kernel counts in ticks of 10 ms,
    so the shares are coarse for a run of less than a second. `server_cpu_s` is that of the server
    beside the run, which is one of the others; its share is absent without a server.
    """
    names = ["load_before", "load_after", "steal_share", "others_cpu_share"]
    names += [] if server_cpu_s is None else ["server_cpu_share"]
    if before is None or after is None:
        return dict.fromkeys(names)
    used, idle, steal = (
        after.used_s - before.used_s,
        after.idle_s - before.idle_s,
        after.steal_s - before.steal_s,
    )
    total = used + idle + steal
    spent_s = steal, max(0.0, used - own_cpu_s), server_cpu_s or 0.0
    shares = [one / total if total else None for one in spent_s]
    return dict(zip(names, (before.load, after.load, *shares), strict=False))


QUIET_SHARE = 0.9
"""A machine is quiet if at least this share of its CPU time is idle ..."""

STEP_S, STEPS = 0.05, 4
"""... over so many steps, 0.2 s in all; it is checked after each step."""


class Ticks(NamedTuple):
    """CPU time of the whole machine since boot, in ticks; `idle` excludes waiting for a disk."""

    idle: int
    all: int


class Quiet(NamedTuple):
    """How long the supervisor waited, the last idle share, and whether that is quiet.

    The last two are None if the wait ended before there were enough readings.
    """

    waited_s: Seconds
    idle_share: float | None
    quiet: bool | None


def wait_until_quiet(
    at_most_s: Seconds,
    read: Callable[[], Ticks | None],
    clock: Callable[[], Seconds] = time.monotonic,
    sleep: Callable[[Seconds], None] = time.sleep,
) -> Quiet:
    """Wait until the machine is quiet, or until there is no time for another step.

    A machine of which nothing is known is not waited for.
    """
    began_s, share = clock(), None
    readings: deque[Ticks] = deque(maxlen=STEPS + 1)
    while (ticks := read()) is not None:
        readings.append(ticks)
        if len(readings) > STEPS:
            share = idle_share(readings[0], readings[-1])
        if is_quiet(share) or clock() - began_s + STEP_S > at_most_s:
            break
        sleep(STEP_S)
    return Quiet(clock() - began_s, share, is_quiet(share))


def is_quiet(share: float | None) -> bool | None:
    """Return whether a machine with this share of idle time is quiet; None if it is unknown."""
    return None if share is None else share >= QUIET_SHARE


def idle_share(before: Ticks, after: Ticks) -> float | None:
    """Return the share of CPU time that was idle between two readings; None if no time passed."""
    passed = after.all - before.all
    return (after.idle - before.idle) / passed if passed > 0 else None


def read_ticks() -> Ticks | None:
    """Read how much CPU time has passed since boot, and how much of it was idle."""
    text = _read(ROOT / "proc/stat")
    return None if text is None else parse_ticks(text)


def parse_ticks(text: str) -> Ticks:
    """Parse the first line of /proc/stat.

    Its fields are user, nice, system, idle, iowait, irq, softirq and steal.
    """
    ticks = [int(field) for field in text.split("\n", 1)[0].split()[1:9]]
    return Ticks(idle=ticks[3], all=sum(ticks))
