"""The state of the machine at one moment: what may disturb a run. Unknown is None.

Sources: Linux, Documentation/accounting/psi.rst, admin-guide/pm/cpufreq.rst,
admin-guide/mm/transhuge.rst, admin-guide/sysctl/kernel.rst (randomize_va_space).
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagebench.measure.limits import read_limits

if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STEAL_FIELD = 8
"""Place of steal in the first line of /proc/stat."""

PRESSED = ("cpu", "memory", "io")
ADDR_NO_RANDOMIZE = 0x0040000
"""Bit of personality(2), as `setarch --addr-no-randomize` sets it."""

ROOT = Path("/")


def read_machine(root: Path = ROOT) -> dict[str, Any]:
    """Read counters and settings; counters go on from boot, so that two readings make a span."""
    limits = read_limits(root / "proc/self")
    return {
        "time_ns": time.monotonic_ns(),
        "load": list(os.getloadavg()),
        **parse_stat(_read(root / "proc/stat")),
        "pressure": {
            name: parse_pressure(_read(root / f"proc/pressure/{name}")) for name in PRESSED
        },
        "throttled": {"thermal": _count_thermal(root), "cgroup": limits.throttled},
        "frequency_mhz": _read_frequencies(root),
        "settings": {
            "governor": _read_governor(root),
            "transparent_huge_pages": parse_choice(
                _read(root / "sys/kernel/mm/transparent_hugepage/enabled")
            ),
            "aslr": _read_aslr(root),
            "affinity": sorted(os.sched_getaffinity(0)),
            "cgroup_cpu_limit": limits.cpus,
            "cgroup_memory_limit": limits.memory_bytes,
        },
    }


def parse_stat(text: str | None) -> dict[str, float | int | None]:
    """Parse /proc/stat: CPU time that the host took, and context switches, both since boot."""
    if text is None:
        return {"steal_s": None, "context_switches": None}
    switches = re.search(r"^ctxt (\d+)$", text, re.MULTILINE)
    fields = text.split("\n", 1)[0].split()
    return {
        "steal_s": int(fields[STEAL_FIELD]) / TICKS_PER_S,
        "context_switches": int(switches[1]) if switches else None,
    }


def parse_pressure(text: str | None) -> dict[str, float | int] | None:
    """Parse a file of /proc/pressure: shares of the last 10 s in percent, and totals."""
    if text is None:
        return None
    found: dict[str, float | int] = {}
    for line in text.splitlines():
        kind, *fields = line.split()
        values = dict(field.split("=") for field in fields)
        found |= {f"{kind}_avg10": float(values["avg10"]), f"{kind}_us": int(values["total"])}
    return found


def parse_choice(text: str | None) -> str | None:
    """Give the choice that brackets mark: "always [madvise] never"."""
    found = re.search(r"\[(\w+)\]", text or "")
    return found[1] if found else None


def _count_thermal(root: Path) -> int | None:
    """Add up how often cores and packages were throttled because they were hot."""
    names = ("core_throttle_count", "package_throttle_count")
    counts = [text for name in names for text in _read_cpus(root, f"thermal_throttle/{name}")]
    return sum(map(int, counts)) if counts else None


def _read_governor(root: Path) -> str | None:
    return " ".join(sorted(set(_read_cpus(root, "cpufreq/scaling_governor")))) or None


def _read_frequencies(root: Path) -> list[float] | None:
    """Give every CPU's frequency of this moment, as its driver or else /proc/cpuinfo tells it."""
    told = [int(text) / 1000 for text in _read_cpus(root, "cpufreq/scaling_cur_freq")]
    if not told:
        cpuinfo = _read(root / "proc/cpuinfo") or ""
        told = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*: ([\d.]+)$", cpuinfo, re.MULTILINE)]
    return told or None


def _read_aslr(root: Path) -> int | None:
    """Give the kernel's randomisation of addresses: 2 of all, 0 none; a personality may say 0."""
    text, personality = (_read(root / f"proc/{name}") for name in _ASLR_FILES)
    if personality is not None and int(personality, 16) & ADDR_NO_RANDOMIZE:
        return 0
    return None if text is None else int(text)


_ASLR_FILES = ("sys/kernel/randomize_va_space", "self/personality")


def _read_cpus(root: Path, name: str) -> Iterable[str]:
    folders = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))
    return [text for folder in folders if (text := _read(folder / name)) is not None]


def _read(path: Path) -> str | None:
    """Read a file of the kernel; None where there is none, or it may not be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
