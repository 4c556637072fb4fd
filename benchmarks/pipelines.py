"""One pipeline written with each of five libraries: lines, time and memory.

    python -m benchmarks.pipelines [--rounds N]

600 pages of 200 kB come over four threads and are parsed by two processes; pages.py has the work.
Each program of `peers/pipelines` is what its library's documentation leads to, and nothing more. In
each round all programs run once, in random order, under `stagebench trace`. Times are of the whole
program, imports and start of the workers included. Memory is the peak of the whole process tree.
The peers are installed into a virtual environment of their own, which finds stagebench in this
checkout. The exit code is 1 if a program fails or prints another result. Takes two minutes; do
nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.markdown import format_table
from benchmarks.peer_environment import make_environment

import stagebench
from stagebench.measure.supervisor import measurement_lock
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

PEERS = Path(__file__).parent / "peers"
PROGRAMS = {
    "stagebench": "with_stagebench.py",
    "concurrent.futures": "with_concurrent_futures.py",
    "joblib": "with_joblib.py",
    "pypeln": "with_pypeln.py",
    "dask.distributed": "with_dask.py",
}
TIME_LIMIT_S = 120


class Traced(NamedTuple):
    """One run of a program: what it printed, its time, and both ends of its peak of memory."""

    output: str
    duration_s: float
    lower_bytes: int
    upper_bytes: int | None


def main() -> None:
    """Run all programs, and print the table."""
    options = parse_options()
    peers = make_environment(options.environment, PEERS / "pipelines-requirements.txt")
    if peers.missing:
        sys.exit("\n".join(peers.missing.values()))
    order = random.Random(options.seed)
    python = peers.programs / "python"
    rounds: list[dict[str, Traced]] = []
    with measurement_lock():
        for _ in range(options.rounds):
            names = order.sample(list(PROGRAMS), len(PROGRAMS))
            rounds.append({name: run_program(python, PROGRAMS[name]) for name in names})
    print(format_table(["library", "lines", "time s", "peak MiB"], list_rows(rounds)))
    results = {run.output for made in rounds for run in made.values()}
    if len(results) > 1:
        sys.exit(f"the programs have printed different results: {', '.join(sorted(results))}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--environment", type=Path, default=Path("results/pipeline-peers"))
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def run_program(python: Path, file: str) -> Traced:
    """Run a program under `stagebench trace`; an error of it ends this one."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "stagebench", "trace", "--quiet", "--no-figure"]
        command += ["--out", folder, "--", "env", f"PYTHONPATH={_source()}", str(python)]
        done = subprocess.run(
            [*command, str(PEERS / "pipelines" / file)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=TIME_LIMIT_S,
        )
        summary = json.loads(Path(folder, "summary.json").read_text(encoding="utf-8"))
    peak = summary["peak"]["tree"]
    return Traced(
        done.stdout.strip(), summary["duration_s"], peak["lower_bytes"], peak["upper_bytes"]
    )


def _source() -> Path:
    """Return the folder to import stagebench from: the peers' environment does not have it."""
    return Path(stagebench.__file__).parents[1]


def count_lines(file: str) -> int:
    """Count the lines of a program without blank ones and imports."""
    lines = (PEERS / "pipelines" / file).read_text(encoding="utf-8").splitlines()
    return sum(bool(line) and not line.startswith(("import ", "from ", "if ")) for line in lines)


def list_rows(rounds: Sequence[dict[str, Traced]]) -> list[list[str]]:
    """Return a row of medians for each program."""
    rows = []
    for name, file in PROGRAMS.items():
        runs = [made[name] for made in rounds]
        lower = statistics.median(run.lower_bytes for run in runs) / MIB
        upper = statistics.median(run.upper_bytes or float("inf") for run in runs) / MIB
        time_s = statistics.median(run.duration_s for run in runs)
        rows.append([name, str(count_lines(file)), f"{time_s:.2f}", f"{lower:.0f} – {upper:.0f}"])
    return rows


if __name__ == "__main__":
    main()
