"""How long studies take to be read: dry runs of a small one and a large one, in turn.

    python -m benchmarks.parse [--rounds N] [--small FILE] [--large FILE]

And of the 5,000 runs of `benchmarks.large_study`, beside a Snakefile that has nothing but as many
jobs with the same outputs, threads and priorities. Exits with 1 if the large study takes more than
1.3 times the CPU time of the small one, or the made one more than twice that of the bare jobs.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.large_study import Shape, write_plan
from benchmarks.markdown import format_number, format_table

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
MOST, MOST_OF_BARE = 1.3, 2.0
"""Times the CPU time of the small study, or of bare jobs; others' work changes wall time."""

BARE = """\
import json

PLAN = json.load(open("plan.json"))
RANKS = {f"{r['experiment']}/{r['treatment']}/r{r['replicate']}": r["rank"] for r in PLAN["runs"]}
RUNS = [f"raw/{name}" for name in RANKS]

rule all:
    default_target: True
    input: "report", RUNS

rule measure:
    output: directory("raw/{experiment}/{treatment}/r{replicate}")
    priority: lambda w: len(RANKS) - RANKS[f"{w.experiment}/{w.treatment}/r{w.replicate}"]
    threads: lambda w: workflow.resource_settings.cores or 1
    shell: "mkdir -p {output:q}"

rule report:
    input: RUNS
    output: "report"
    shell: "touch {output:q}"
"""
"""Snakemake's own part of a made study: as many jobs, whose runs and reports are empty."""


class Cost(NamedTuple):
    """Seconds of one dry run."""

    wall_s: float
    cpu_s: float


def main() -> None:
    """Measure, print the table, and fail where the large study takes too long."""
    parser = argparse.ArgumentParser(description="Dry runs of a small and a large study, in turn.")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--small", type=Path, default=ROOT / "config" / "smoke.yaml")
    parser.add_argument("--large", type=Path, default=ROOT / "config" / "published.yaml")
    options = parser.parse_args()
    pair = options.small.resolve(), options.large.resolve()
    with tempfile.TemporaryDirectory(prefix="parse-") as scratch:
        folder = Path(scratch)
        write_plan(folder, Shape())
        (folder / "Snakefile").write_text(BARE)
        read = [
            compare({one.name: (ROOT / "Snakefile", one) for one in pair}, folder, options.rounds),
            compare(
                {
                    "5,000 bare jobs": (folder / "Snakefile", None),
                    "5,000 runs": (ROOT / "Snakefile", folder / "config.yaml"),
                },
                folder,
                options.rounds,
            ),
        ]
    print("\n\n".join(map(format_costs, read)))
    ratios = [
        large.cpu_s / small.cpu_s for small, large in (map(find_median, c.values()) for c in read)
    ]
    sys.exit(ratios[0] > MOST or ratios[1] > MOST_OF_BARE)


def compare(
    studies: Mapping[str, tuple[Path, Path | None]], folder: Path, rounds: int
) -> dict[str, list[Cost]]:
    """Make dry runs of studies, each a Snakefile with its config, in turn."""
    costs: dict[str, list[Cost]] = {name: [] for name in studies}
    for study in studies.values():
        dry_run(*study, folder)  # fills caches of files
    for number in range(rounds):
        # Each comes first in every other round.
        for name in list(costs)[:: -1 if number % 2 else 1]:
            costs[name].append(dry_run(*studies[name], folder))
    return costs


def dry_run(snakefile: Path, config: Path | None, folder: Path) -> Cost:
    """Let Snakemake read a study and make its jobs, of which it runs none."""
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    command = [snakemake, "--snakefile", str(snakefile), "--dry-run", "--quiet", "all"]
    command += ["--cores", "2", *(["--configfile", str(config)] if config else [])]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, cpu_s)


def find_median(costs: list[Cost]) -> Cost:
    """Return the median of each time, over the rounds."""
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def format_costs(costs: Mapping[str, list[Cost]]) -> str:
    """Format the medians of each study, and both as ratios to the first one's."""
    medians = [(name, find_median(own)) for name, own in costs.items()]
    first = medians[0][1]
    rows = [
        [
            name,
            format_number(median.wall_s),
            format_number(median.wall_s / first.wall_s),
            format_number(median.cpu_s),
            format_number(median.cpu_s / first.cpu_s),
        ]
        for name, median in medians
    ]
    return format_table(["study", "wall s", "× the first", "CPU s", "× the first"], rows)


if __name__ == "__main__":
    main()
