"""A program that knows the true peak PSS of its tree by its own readings, and writes it as JSON.

    python program.py KIND --seed N --truth FILE

The truth is the largest of several readings of /proc/<pid>/smaps_rollup, summed over all living
processes of the tree while they stand still. Sources of error, and what is done about them:

- *Other programs.* A page of a file, such as one of libc, is divided among all processes on the
  machine that map it: when another Python ends, this tree's PSS grows. So `interpreter.py` creates
  an interpreter whose files nothing else maps. What remains is the page of the vDSO, a few bytes.
  `tree_peak_anon_bytes` does not depend on other programs at all.
- *The kernel's rounding.* It rounds each process's PSS down to KiB, so two sums of the same memory
  over n processes may differ by n KiB. There is no other tolerance.
- *The reader's own pages.* Files are opened and buffers filled beforehand, in memory that no child
  inherits; the garbage collector is off. A running process occasionally touches a page that it
  shares with a child, and the kernel copies it: so the last readings count, not the first.
- *What happens after the last reading.* Each step that ends a plateau is rehearsed before it.
  Children are killed where they stand, because a regular exit would touch more memory, and main
  waits for each: a tracer keeps a killed process's memory for a while. Main frees its own large
  block before it does anything else.
- *malloc and huge pages.* Blocks are mappings of their own, without huge pages.
- *Swap.* Pages that are swapped out are in no PSS: the truth is wrong on a machine that swaps.
- *The peak may be elsewhere.* Between two plateaus a tree has less memory than at one of them: it
  either only takes memory, or frees some first. After a vfork a child uses its parent's memory and
  adds none.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import allocations
import births
import sharing
from scene import Known, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

TIME_LIMIT_S = 120
"""SIGALRM ends a program that hangs, and its children with it."""

SPIKES_MS = (20, 5)

KINDS: dict[str, Callable[[Scene], Known]] = {
    "steady": allocations.steady,
    **{
        f"spike_{place}_{length_ms}ms": functools.partial(kind, length_s=length_ms / 1000)
        for length_ms in SPIKES_MS
        for place, kind in (
            ("main", allocations.spike_main),
            ("child", allocations.spike_child),
            ("thread_child", allocations.spike_thread_child),
        )
    },
    "churn": births.churn,
    "shared_mapping": sharing.shared_mapping,
    "copy_on_write": sharing.copy_on_write,
    "double_fork": births.double_fork,
    "orphan": births.orphan,
    "fork_exec": births.fork_exec,
    "vfork_exec": births.vfork_exec,
    "threads": allocations.threads,
    "killed_main": allocations.killed_main,
    "large_parent": sharing.large_parent,
}


class Began(NamedTuple):
    """When a program began, and the CPU time that it had used until then."""

    time_ns: int
    cpu_s: float


def main() -> None:
    """Run one kind and write its truth."""
    began = Began(time.monotonic_ns(), cpu_s())
    options = parse_options()
    if options.list:
        sys.stdout.write("\n".join(KINDS if options.list == "kinds" else mapped_files()))
        return
    gc.disable()
    signal.alarm(TIME_LIMIT_S)
    scene = Scene(
        random.Random(f"{options.kind} {options.seed}"),
        scale=options.scale,
        number=options.number,
        python=json.loads(options.python),
    )
    scene.publish = functools.partial(publish, options, scene, began)
    scene.publish(KINDS[options.kind](scene))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=[*KINDS], nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all sizes")
    parser.add_argument("--number", type=int, help="children of churn")
    parser.add_argument(
        "--python",
        default=json.dumps([sys.executable, "-E", "-S"]),
        help="command that starts this interpreter, as JSON (default: %(default)s)",
    )
    parser.add_argument(
        "--list", choices=["kinds", "files"], help="list all kinds, or all files mapped"
    )
    return parser.parse_args()


def mapped_files() -> list[str]:
    """List the files that this process maps, with all modules imported."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return sorted({line.split(maxsplit=5)[5] for line in lines if "/" in line})


def publish(options: argparse.Namespace, scene: Scene, began: Began, known: Known) -> None:
    """Write the truth atomically."""
    peak = scene.readings.peak()
    truth: dict[str, Any] = {
        "kind": options.kind,
        "seed": options.seed,
        "scale": options.scale,
        "parameters": known.parameters,
        "tree_peak_pss_bytes": peak.tree_pss_bytes,
        "main_pss_at_peak_bytes": peak.main_pss_bytes,
        "children_pss_at_peak_bytes": peak.tree_pss_bytes - peak.main_pss_bytes,
        "tree_peak_anon_bytes": peak.tree_anon_bytes,
        "tree_peak_file_bytes": peak.tree_file_bytes,
        "tree_peak_shmem_bytes": peak.tree_shmem_bytes,
        "processes_at_peak": peak.processes,
        "processes_created": known.processes_created,
        "anonymous_bytes": known.anonymous_bytes,
        "shared_mapping_bytes": known.shared_mapping_bytes,
        "held_ns": scene.readings.held_ns,
        "started_ns": began.time_ns,
        "ended_ns": time.monotonic_ns(),
        "cpu_s": cpu_s() - began.cpu_s,
    }
    partial = options.truth.with_suffix(".partial")
    partial.write_text(json.dumps(truth), encoding="utf-8")
    partial.replace(options.truth)


def cpu_s() -> float:
    """Return the CPU time of this process and of the children that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
