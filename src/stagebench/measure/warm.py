"""Cold memory: before a run as much memory is touched as the run will need, and freed again.

A virtual machine may give the memory that it has freed back to its host: by free page reporting, a
balloon, or reclaim. Whoever uses a page next waits until the host has found and cleared another,
which costs many times the CPU time of a page that was freed a moment ago. So the first task of each
worker would pay, and by chance: it depends on what the machine did before the run. A helper process
pays instead, right before the run, outside of its process tree, its control group and its times.

How much: what the last run of the same treatment took, or else the plan's estimate, and some more:
until the run asks for it, the kernel may give away a part again, and other programs take some.

The helper is touch.py. Sources: Linux, mm/page_reporting.c, admin-guide/mm/transhuge.rst.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench import store
from stagebench.errors import StoreError
from stagebench.measure.machine import parse_size
from stagebench.records import ProcessRecord
from stagebench.sampler.places import find_group
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stagebench.measure.touch import Order
    from stagebench.units import Bytes, Seconds


HELPER = Path(__file__).with_name("touch.py")

PROBE_BYTES = 256 * MIB
"""At most; the probe ends much earlier where pages are dear."""

SPARE_BYTES = 512 * MIB
"""So much more is touched than a run needs: Linux looks for free memory to report every two
seconds, and begins with what was freed last."""

LONGEST_S = 60.0
"""The helper touches for so long at most."""

PATIENCE_S = 10.0
"""It may take so much longer to start, to measure what a page costs, and to end."""

INTERPRETER_BYTES = 32 * MIB
"""What a process needs beside the estimate, which is of tasks alone."""


class Need(NamedTuple):
    """How much memory a run will need, and how that is known: "last run", "estimate", "unknown"."""

    size: Bytes
    by: str


class Warmed(NamedTuple):
    """What was touched before a run.

    `needed_bytes` is what the run was thought to need, known by `needed_by`. If `touched_bytes` is
    less, `reason` says why. `took_s` is the whole time of the helper, which is no part of any
    other time; `cpu_s` is what the touching took, and `slowest_page_ns` the most that a page took
    on average over 32 MiB of it.
    """

    needed_bytes: Bytes
    needed_by: str
    touched_bytes: Bytes
    took_s: Seconds
    cpu_s: Seconds | None
    slowest_page_ns: float | None
    reason: str | None


class Pages(NamedTuple):
    """What a page of 4 KiB costs in CPU time: fresh, and used a moment ago; None if unknown."""

    fresh_page_ns: float | None
    used_page_ns: float | None


NO_PAGES = Pages(None, None)


def warm_memory(
    bound: Bytes, specification: Mapping[str, Any], target: Path, settings: Mapping[str, Any]
) -> tuple[Warmed, Pages]:
    """Touch memory for the run that will be written to `target`; return what was done.

    `bound` is the most that is touched, 0 for nothing; `settings` are from `read_memory_settings`.
    Whatever goes wrong is a reason, not an error: the run is measured all the same.
    """
    need = find_need(specification, target)
    size, reason = bound_size(need, bound, memory_left_bytes())
    order: Order = {
        "probe_bytes": min(PROBE_BYTES, memory_left_bytes() // 4),
        "touch_bytes": size,
        "longest_s": LONGEST_S,
        "huge": settings["transparent_huge_pages"] in ("always", "madvise"),
        "always": bool(settings["page_reporting"] or settings["idle_memory_reclaim"]),
    }
    began_s = time.monotonic()
    found = _run_helper(order)
    took_s = time.monotonic() - began_s
    if isinstance(found, str):
        return Warmed(*need, 0, took_s, None, None, found), NO_PAGES
    touched = found.pop("touched_bytes")
    pages = Pages(found.pop("fresh_page_ns"), found.pop("used_page_ns"))
    if size and not touched:
        reason = "a fresh page costs no more than a used one"
    elif touched < min(size, need.size):
        reason = f"it took longer than {LONGEST_S:g} s"
    return Warmed(*need, touched, took_s, **found, reason=reason), pages


def bound_size(need: Need, bound: Bytes, left: Bytes) -> tuple[Bytes, str | None]:
    """Return how much to touch, and why if it is less than the need.

    It is at most half of what is left.
    """
    if not bound:
        return 0, "switched off (warm_memory: false)"
    if not need.size:
        return 0, "it is not known how much the run needs"
    size = min(need.size + SPARE_BYTES, bound, left // 2)
    if size >= need.size:
        return size, None
    limit = "warm_memory allows" if size == bound else "half of the memory that is available"
    return size, f"the run needs more than {limit}"


def memory_left_bytes(proc: Path = Path("/proc/self")) -> Bytes:
    """Return how much memory can still be used, by the machine and by the control groups of it.

    Page cache that has not been used for long can be dropped for it.
    """
    left = [_available_on_machine()]
    with suppress(OSError, LookupError):
        _, place, path = find_group("memory", proc)
        parts = Path(path).relative_to("/").parts
        groups = [place.joinpath(*parts[:length]) for length in range(len(parts) + 1)]
        left += [each for group in groups if (each := _left_in_group(group)) is not None]
    return max(0, min(left))


def _available_on_machine() -> Bytes:
    """Return 0 where /proc shows processes alone: then nothing is touched."""
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0
    return parse_size(meminfo, "MemAvailable") or 0


def _left_in_group(group: Path) -> Bytes | None:
    """Return how much a group may still use; None if it has no limit or does not report it."""
    for limit, usage, idle in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            used = int((group / usage).read_text()) - int(stat.get(idle, 0))
            return int((group / limit).read_text()) - used  # "max" is no number
    return None


def find_need(specification: Mapping[str, Any], target: Path) -> Need:
    """Return how much memory a run needs: by its treatment's last run, or else by the estimate.

    A run that diagnoses takes as much as the treatment's other runs.
    """
    runs, counts = target.parent, dict(specification)
    if counts.pop("diagnose", None) is not None:
        runs = _find_study(target).joinpath("raw", counts["experiment"], counts["treatment"])
    folders = [folder for folder in runs.glob("[rw]*") if folder != target]
    for folder in sorted(folders, key=_written_s, reverse=True):
        with suppress(StoreError):
            run = store.read_run(folder)
            if run["status"] == "ok" and run["specification"] == counts:
                return Need(measure_need(run, folder), "last run")
    estimate = read_estimate(specification, target)
    return Need(0, "unknown") if estimate is None else Need(estimate, "estimate")


def _written_s(folder: Path) -> float:
    try:
        return (folder / store.RUN_FILE).stat().st_mtime
    except OSError:
        return 0.0


def measure_need(run: Mapping[str, Any], folder: Path) -> Bytes:
    """Return how much memory a run took at its peak: by its control group, or else its processes.

    The group's includes its page cache and the kernel's memory for it, which need pages, too.
    """
    charged = run["cgroup"].get("peak_bytes")
    if charged is not None:
        return int(charged)
    return add_marks(store.read_records(folder / store.PROCESSES_FILE, ProcessRecord))


def add_marks(processes: Iterable[ProcessRecord]) -> Bytes:
    """Return the largest sum of the high-water marks of processes that lived at once."""
    changes: list[tuple[int, int]] = []
    for each in processes:
        if each.high_water_bytes is not None:
            changes.append((each.started_ns, each.high_water_bytes))
            if each.ended_ns is not None:
                changes.append((each.ended_ns, -each.high_water_bytes))
    most = total = 0
    for _, change in sorted(changes):
        total += change
        most = max(most, total)
    return most


def read_estimate(specification: Mapping[str, Any], target: Path) -> Bytes | None:
    """Return the plan's estimate for a treatment, with its interpreters; None if there is no plan.

    The plan is a hint, not an input: what is measured does not depend on it. It is where the rule
    `design` writes it: beside the folders `raw` and `diagnosis`, in one of which `target` is.
    """
    try:
        plan = store.read_json(_find_study(target) / "plan.json")
        if "diagnose" in specification:
            own = {one["name"]: one for one in plan["diagnoses"]}["/".join(target.parts[-3:])]
        else:
            own = plan["treatments"][f"{specification['experiment']}/{specification['treatment']}"]
        if own["specification"] != specification:
            return None
        estimate = int(own["estimated_memory_bytes"])
    except (StoreError, LookupError, TypeError, ValueError):
        return None
    workers = sum(s["workers"] for s in specification["stages"] if s["executor"] == "process")
    return estimate + (1 + int(workers)) * INTERPRETER_BYTES


def _find_study(target: Path) -> Path:
    """Return the folder of the study that a run belongs to."""
    return Path(*target.absolute().parts[:-4])


def _run_helper(order: Order) -> dict[str, Any] | str:
    """Run the helper; return what it reports, or why there is no report."""
    command = [sys.executable, "-I", "-S", str(HELPER), json.dumps(order)]
    try:
        # Without the environment: a preloaded allocator would cost memory of its own.
        done = subprocess.run(
            command,
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST_S + PATIENCE_S,
            check=True,
        )
        return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return f"the helper did not end within {LONGEST_S + PATIENCE_S:g} s"
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip().splitlines()
        return f"the helper ended with {error.returncode}: {(words or ['no message'])[-1]}"
    except (OSError, ValueError) as error:
        return f"the helper cannot be run: {error}"
