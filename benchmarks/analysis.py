"""How much time and memory the analysis of a made study takes, at first, again, and a block later.

    python -m benchmarks.analysis

Makes the study of `benchmarks.large_study`, or takes the one in `--study`. Analyses all of its
blocks but the last; then all, of which only those of the last block are not summarised yet; then
all again. Prints a row for each: wall and CPU time of `stagebench analyse` with its processes, and
the largest sum of their RSS, read every 20 ms. Then it names what the tables say that is not true:
each of three families may do so in 5 % of studies. Exits with 1 if any analysis takes more than
five minutes or a gigabyte.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from benchmarks.large_study import Shape, make_study
from benchmarks.markdown import format_table

from stagebench import store
from stagebench.tables.decisions import LEAST, MOST
from stagebench.tables.io import read_table
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_S = 300.0
LARGEST_BYTES = 1_000_000_000


class Cost(NamedTuple):
    """The cost of one analysis."""

    what: str
    runs: int
    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> None:
    """Analyse a made study three times, and judge what its tables say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--study", type=Path, help="made by benchmarks.large_study")
    parser.add_argument("--replicates", type=int, default=Shape().replicates)
    options = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores usable")
    with tempfile.TemporaryDirectory(prefix="analysis-") as scratch:
        study = options.study or Path(scratch) / "large"
        if options.study is None:
            make_study(study, Shape(replicates=options.replicates))
        costs = analyse_in_steps(study)
        found = list_false(study)
    print(tabulate(costs))
    print(f"\n{found or 'nothing that the tables say is false'}")
    sys.exit(any(one.wall_s > LONGEST_S or one.peak_bytes > LARGEST_BYTES for one in costs))


def analyse_in_steps(study: Path) -> list[Cost]:
    """Analyse a study without its last block, then as a whole, then again."""
    shutil.rmtree(study / "summaries", ignore_errors=True)
    plan = store.read_json(study / "plan.json")
    last = plan["replicates"]
    runs = [run for run in plan["runs"] if run["block"] < last]
    store.write_json(study / "before" / "plan.json", plan | {"runs": runs, "replicates": last - 1})
    before = measure("all blocks but the last", study, study / "before" / "plan.json", len(runs))
    whole = [
        measure(what, study, study / "plan.json", len(plan["runs"]))
        for what in ("one block more", "again")
    ]
    return [before, *whole]


def measure(what: str, study: Path, plan: Path, runs: int) -> Cost:
    """Analyse a study by the subcommand."""
    command = [sys.executable, "-m", "stagebench", "analyse", "--plan", str(plan)]
    command += ["--raw", str(study / "raw"), "--out", str(study / "tables")]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command)
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_rss_bytes(process.pid))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(process.returncode)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(what, runs, time.monotonic() - begun, cpu_s, peak)


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


def list_false(study: Path) -> str:
    """Say what the tables of a made study claim of makespans that is not so; "" if nothing."""
    truth = pd.read_csv(study / "truth.csv").set_index("treatment")["makespan_s"]
    winners = read_table(study / "tables" / "winners.csv")
    comparisons = read_table(study / "tables" / "comparisons.csv")
    return "; ".join(
        text
        for text, names in (
            ("surely not the fastest, but it is: {}", find_false_losers(winners, truth)),
            ("surely not the slowest, but it is: {}", find_false_losers(winners, truth, MOST)),
            ("its interval misses the true ratio: {}", find_missed(comparisons, truth)),
        )
        if names
        for text in [text.format(", ".join(names))]
    )


def find_false_losers(
    winners: pd.DataFrame, truth: pd.Series[float], end: str = LEAST
) -> list[str]:
    """Return the treatments that are said not to be at an end of makespans, but truly are."""
    best = truth.min() if end == LEAST else truth.max()
    own = winners[(winners["quantity"] == "makespan_s") & (winners["end"] == end)]
    said = own.loc[own["alike"].eq(False).fillna(value=False), "treatment"]
    return [name for name in said if abs(truth[name] / best - 1) < _SAME]


_SAME = 1e-9


def find_missed(comparisons: pd.DataFrame, truth: pd.Series[float]) -> list[str]:
    """Return the treatments whose interval of the makespan's ratio does not include the truth."""
    own = comparisons[comparisons["quantity"] == "makespan_s"]
    rows = zip(own["treatment"], own["baseline"], own["low"], own["high"], strict=True)
    return [
        name
        for name, baseline, low, high in rows
        if not pd.isna(low) and not low <= truth[name] / truth[baseline] <= high
    ]


def tabulate(costs: Sequence[Cost]) -> str:
    """Format a row per analysis."""
    rows = [
        [
            cost.what,
            f"{cost.runs:,}",
            f"{cost.wall_s:.1f}",
            f"{cost.cpu_s:.1f}",
            f"{cost.peak_bytes / MIB:.0f}",
        ]
        for cost in costs
    ]
    return format_table(["analysis", "runs", "wall s", "CPU s", "peak RSS MiB"], rows)


if __name__ == "__main__":
    main()
