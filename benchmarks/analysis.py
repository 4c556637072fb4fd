"""How much time and memory the analysis of a large study takes, and how both grow with its runs.

    python -m benchmarks.analysis --source results/default --runs 250 500 1000

Builds studies from copies of one experiment's real runs. Each copy has its own identity and times,
so that no two overlap. `--stretch 20` makes every run twenty times as long, with twenty times as
many sweeps. Prints a row per study: the wall time of `stagebench analyse` with all its processes,
and the largest sum of their RSS, read every 20 ms. Exits with 1 if the largest study takes more
than a minute or a thousand MiB.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.markdown import format_table

from stagebench import records, store
from stagebench.units import MIB, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_S = 60.0
LARGEST_BYTES = 1000 * MIB

PERIOD_S = 3600.0
"""From one run's start to the next; longer than any run, so that none overlap."""

RECORD_TYPES = {
    store.TASKS_FILE: records.TaskRecord,
    store.ATTEMPTS_FILE: records.TaskRecord,
    store.WORKERS_FILE: records.WorkerRecord,
    store.EVENTS_FILE: records.EventRecord,
    store.PROCESSES_FILE: records.ProcessRecord,
    store.TRANSITIONS_FILE: records.TransitionRecord,
    store.SWEEPS_FILE: records.SweepRecord,
    store.SAMPLES_FILE: records.MemorySample,
}


class Cost(NamedTuple):
    """The cost of one analysis."""

    runs: int
    sweeps: int
    wall_s: float
    peak_bytes: int


class Source(NamedTuple):
    """A study's plan and the folders of one experiment's treatments, in the order of the plan."""

    plan: dict[str, Any]
    experiment: str
    folders: list[list[Path]]


def main() -> None:
    """Build and analyse a study of every size."""
    options = parse_options()
    source = find_source(options.source, options.experiment)
    print(f"{len(os.sched_getaffinity(0))} cores usable")
    with tempfile.TemporaryDirectory(prefix="analysis-") as scratch:
        costs = [
            measure_study(source, runs, options.stretch, Path(scratch) / str(runs))
            for runs in options.runs
        ]
    print(tabulate(costs))
    largest = max(costs, key=lambda cost: cost.runs)
    sys.exit(largest.wall_s > LONGEST_S or largest.peak_bytes > LARGEST_BYTES)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, default=Path("results/default"))
    parser.add_argument("--experiment", default="runtime")
    parser.add_argument("--runs", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--stretch", type=int, default=1, help="repeats of a run's sweeps")
    return parser.parse_args()


def find_source(study: Path, experiment: str) -> Source:
    """Find the ok runs of an experiment."""
    plan = store.read_json(study / "plan.json")
    planned = next(e for e in plan["experiments"] if e["name"] == experiment)
    folders = [
        [
            folder
            for folder in sorted((study / "raw" / experiment / treatment).glob("r*"))
            if store.read_run(folder)["status"] == "ok"
        ]
        for treatment in planned["treatments"]
    ]
    return Source(plan, experiment, folders)


def measure_study(source: Source, runs: int, stretch: int, folder: Path) -> Cost:
    """Build a study of `runs` runs and analyse it."""
    sweeps = build_study(source, runs, stretch, folder)
    command = [sys.executable, "-m", "stagebench", "analyse"]
    command += ["--plan", str(folder / "plan.json"), "--raw", str(folder / "raw")]
    begun = time.monotonic()
    process = subprocess.Popen([*command, "--out", str(folder / "tables")])
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_rss_bytes(process.pid))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(process.returncode)
    return Cost(runs, sweeps, time.monotonic() - begun, peak)


def tree_rss_bytes(pid: int) -> int:
    """Add up the RSS of a process and its descendants; one that has just ended counts as 0."""
    process = Path(f"/proc/{pid}")
    try:
        pages = int((process / "statm").read_text().split()[1])
        tasks = [path.read_text().split() for path in process.glob("task/*/children")]
    except (OSError, IndexError):
        return 0
    own = pages * os.sysconf("SC_PAGE_SIZE")
    return own + sum(tree_rss_bytes(int(child)) for children in tasks for child in children)


def build_study(source: Source, runs: int, stretch: int, folder: Path) -> int:
    """Write plan and run folders of a study of `runs` runs; return the number of its sweeps."""
    planned, sweeps = [], 0
    for rank in range(runs):
        block, position = divmod(rank, len(source.folders))
        originals = source.folders[position]
        original = originals[block % len(originals)]
        place: dict[str, Any] = {
            "experiment": source.experiment,
            "treatment": original.parent.name,
            "replicate": block + 1,
            "warm_up": False,
            "block": block + 1,
            "position": position,
            "rank": rank,
        }
        copy = folder / "raw" / source.experiment / place["treatment"] / f"r{block + 1}"
        sweeps += copy_run(original, copy, place, stretch)
        planned.append(place)
    experiments = [e for e in source.plan["experiments"] if e["name"] == source.experiment]
    changed = {
        "runs": planned,
        "warm_up_runs": [],
        "diagnoses": [],
        "experiments": experiments,
        "replicates": block + 1,
    }
    store.write_json(folder / "plan.json", source.plan | changed)
    return sweeps


def copy_run(original: Path, copy: Path, place: dict[str, Any], stretch: int) -> int:
    """Copy a run folder with a new identity and new times; return the number of its sweeps."""
    copy.mkdir(parents=True)
    run = store.read_run(original)
    shift_s = place["rank"] * PERIOD_S
    clock = Clock(run["supervisor_started_ns"], stretch, round(shift_s * NS_PER_S))
    started_at = datetime.fromisoformat(run["started_at"]) + timedelta(seconds=shift_s)
    changed = clock.move(run) | place | {"started_at": started_at.isoformat()}
    store.write_json(copy / store.RUN_FILE, changed)
    for name, kind in RECORD_TYPES.items():
        found: list[Any] = store.read_records(original / name, kind)
        store.write_records(copy / name, kind, (r for one in found for r in clock.repeat(one)))
    return stretch * len(store.read_records(original / store.SWEEPS_FILE, records.SweepRecord))


class Clock(NamedTuple):
    """The moments of a copy: `stretch` times as far from `origin_ns`, then shifted."""

    origin_ns: int
    stretch: int
    shift_ns: int

    def repeat(self, record: Any) -> Iterator[Any]:
        """Yield a record once, but sweeps and samples `stretch` times, one after another."""
        values = dataclasses.asdict(record)
        if "sweep" not in values:
            yield type(record)(**self.move(values))
            return
        for again in range(self.stretch):
            numbered = self.move(values) | {"sweep": record.sweep * self.stretch + again}
            yield type(record)(**self.divide(numbered, again))

    def move(self, values: dict[str, Any]) -> dict[str, Any]:
        """Move every moment, but not CPU time, which is a duration."""
        return values | {
            name: self.origin_ns + self.stretch * (value - self.origin_ns) + self.shift_ns
            for name, value in values.items()
            if name.endswith("_ns") and name != "cpu_ns" and value is not None
        }

    def divide(self, sweep: dict[str, Any], again: int) -> dict[str, Any]:
        """Return one part of a stretched sweep, as long as the original; samples have no time."""
        if "started_ns" not in sweep:
            return sweep
        part_ns = (sweep["ended_ns"] - sweep["started_ns"]) // self.stretch
        started_ns = sweep["started_ns"] + again * part_ns
        return sweep | {"started_ns": started_ns, "ended_ns": started_ns + part_ns}


def tabulate(costs: list[Cost]) -> str:
    """Format a row per study."""
    rows = [
        [
            str(cost.runs),
            f"{cost.sweeps:,}",
            f"{cost.wall_s:.1f}",
            f"{1000 * cost.wall_s / cost.runs:.1f}",
            f"{cost.peak_bytes / MIB:.0f}",
        ]
        for cost in costs
    ]
    return format_table(["runs", "sweeps", "wall s", "ms a run", "peak RSS MiB"], rows)


if __name__ == "__main__":
    main()
