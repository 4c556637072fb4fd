"""How much longer a large study takes to be read than a small one: dry runs of both, in turn.

python -m benchmarks.parse [--rounds N] [--small FILE] [--large FILE]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.markdown import format_number, format_table

ROOT = Path(__file__).parents[1]
MOST = 1.3
"""Times the small study's CPU time that the large one may take; others' work changes wall time."""


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
    costs: dict[Path, list[Cost]] = {options.small: [], options.large: []}
    for config in costs:
        dry_run(config)  # fills caches of files
    for number in range(options.rounds):
        # Each comes first in every other round.
        for config in list(costs)[:: -1 if number % 2 else 1]:
            costs[config].append(dry_run(config))
    print(format_costs(list(costs.items())))
    small, large = (find_median(own).cpu_s for own in costs.values())
    sys.exit(large > MOST * small)


def dry_run(config: Path) -> Cost:
    """Let Snakemake read a study and make its jobs, of which it runs none."""
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    command = [snakemake, "--dry-run", "--quiet", "all", "--cores", "2"]
    command += ["--configfile", str(config)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, cpu_s)


def find_median(costs: list[Cost]) -> Cost:
    """Return the median of each time, over the rounds."""
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def format_costs(costs: list[tuple[Path, list[Cost]]]) -> str:
    """Format the medians of each study, and both as ratios to the first one's."""
    medians = [(config, find_median(own)) for config, own in costs]
    first = medians[0][1]
    rows = [
        [
            config.name,
            format_number(median.wall_s),
            format_number(median.wall_s / first.wall_s),
            format_number(median.cpu_s),
            format_number(median.cpu_s / first.cpu_s),
        ]
        for config, median in medians
    ]
    return format_table(["study", "wall s", "× the first", "CPU s", "× the first"], rows)


if __name__ == "__main__":
    main()
