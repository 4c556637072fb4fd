"""What the workflow runner costs, compared with bars that it must reach.

    python -m benchmarks.runner [--quick]

Every number is measured in a fresh process. In each round, all programs of a table run once, in
random order. Each ratio is of two programs of one round; the tables show medians over the rounds.
tadween-core is installed into a virtual environment of its own. The exit code is 1 if a bar is
missed. Takes about seven minutes on two cores; do nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.markdown import format_table
from benchmarks.peer_environment import make_environment

from stagebench.measure.supervisor import measurement_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE = Path(__file__).parent
PEERS = HERE / "peers"
MIB = 1024 * 1024

KINDS = ("thread", "process")

Measured = dict[str, float]


class Program(NamedTuple):
    """A program of runner_subjects.py or of the peer, with its parameters."""

    subject: str
    parameters: Mapping[str, Any]

    def run(self, peer_python: Path) -> Measured:
        """Run it in a fresh process."""
        if self.subject == "peer":
            script, given = str(PEERS / "tadween_noop.py"), self.parameters
            command = [str(peer_python), script, given["kind"], str(given["tasks"])]
            return {"s_per_task": float(_output_of(command))}
        command = [sys.executable, "-m", "benchmarks.runner_subjects", self.subject]
        return dict(json.loads(_output_of([*command, json.dumps(self.parameters)])))


class Bar(NamedTuple):
    """A comparison of two programs of one table, with its limit.

    `compare` combines both values into one number, which must be at most `limit`.
    """

    what: str
    ours: str
    other: str
    key: str
    compare: Callable[[float, float], float]
    limit: float
    unit: str = ""


class Table(NamedTuple):
    """Programs that take turns, and the bars that compare them."""

    rounds: int
    programs: Mapping[str, Program]
    bars: Sequence[Bar]


def ratio(ours: float, other: float) -> float:
    """Return the ratio of ours to the other."""
    return ours / other


def excess_mib(ours: float, other: float) -> float:
    """Return by how many MiB ours exceeds the other."""
    return (ours - other) / MIB


def main() -> None:
    """Run all tables and print them."""
    options = parse_options()
    peers = make_environment(options.environment, PEERS / "runner-requirements.txt")
    if peers.missing:
        sys.exit("\n".join(peers.missing.values()))
    order = random.Random(options.seed)
    missed = 0
    for table in plan_tables(quick=options.quick):
        with measurement_lock():
            rounds = run_rounds(table, order, lambda one: one.run(peers.programs / "python"))
        print(format_programs(rounds))
        print(format_bars(table.bars, rounds), flush=True)
        missed += sum(judge(bar, rounds) > bar.limit for bar in table.bars)
    sys.exit(min(missed, 1))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the tasks, three rounds")
    parser.add_argument("--environment", type=Path, default=Path("results/runner-peers"))
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def plan_tables(*, quick: bool) -> list[Table]:
    """Return all tables, or a smaller version of each."""
    scale = 10 if quick else 1
    many, some, few = (3, 3, 3) if quick else (15, 7, 5)
    return [
        plan_cost("thread", 30_000 // scale, many, (1.5, 1 / 3)),
        plan_cost("process", 10_000 // scale, many, (1.4, 2 / 3)),
        plan_map("thread", "ThreadPoolExecutor.map", 20_000 // scale, many, 1.0),
        plan_map("process", "Pool.imap", 20_000 // scale, many, 1.2),
        plan_map_growth(1_000_000 // scale, 3),
        plan_growth(100_000 // scale, few),
        plan_transport(100_000_000 // scale, some),
    ]


def plan_cost(kind: str, tasks: int, rounds: int, limits: tuple[float, float]) -> Table:
    """Compare the cost of an empty task with that on a bare pool and on the peer."""
    given = {"kind": kind, "tasks": tasks}
    names = {"bare": "concurrent.futures", "stage": "stagebench", "peer": "tadween-core"}
    programs = {f"{name}, {kind}": Program(subject, given) for subject, name in names.items()}
    bare, ours, peer = programs
    bars = [
        Bar(f"{kind}: task and stage, of {other}", ours, other, "s_per_task", ratio, limit)
        for other, limit in zip((bare, peer), limits, strict=True)
    ]
    return Table(rounds, programs, bars)


def plan_map(kind: str, other: str, items: int, rounds: int, limit: float) -> Table:
    """Compare `Pipeline.map` over functions that do nothing with that of the standard library."""
    given = {"kind": kind, "items": items}
    ours, bare = f"Pipeline.map, {kind}", f"{other}, {kind}"
    programs = {bare: Program("map_bare", given), ours: Program("map_ours", given)}
    return Table(
        rounds, programs, [Bar(f"{ours}, of {other}", ours, bare, "s_per_task", ratio, limit)]
    )


def plan_map_growth(most: int, rounds: int) -> Table:
    """Compare the memory of `Pipeline.map` over few and over many items."""
    few = most // 10
    programs = {
        f"{items:,} items, {kind}": Program("map_ours", {"kind": kind, "items": items})
        for kind in KINDS
        for items in (few, most)
    }
    what = "memory that ten times as many items take"
    bars = [
        Bar(
            f"{what}, {kind}",
            f"{most:,} items, {kind}",
            f"{few:,} items, {kind}",
            "peak_bytes",
            excess_mib,
            1.0,
            " MiB",
        )
        for kind in KINDS
    ]
    return Table(rounds, programs, bars)


def plan_growth(most: int, rounds: int) -> Table:
    """Compare few and many tasks through three stages, with and without a file of records."""
    few = most // 10
    given: dict[str, dict[str, Any]] = {
        f"{few} tasks": {"tasks": few, "sink": "file"},
        f"{most} tasks": {"tasks": most, "sink": "file"},
        f"{most} tasks that all wait": {"tasks": most, "sink": "file", "all_wait": True},
        "the same, no file": {"tasks": most, "sink": "null", "all_wait": True},
        f"{few} tasks, 100 may wait": {"tasks": few, "sink": "file", "queue_size": 100},
        f"{most} tasks, 100 may wait": {"tasks": most, "sink": "file", "queue_size": 100},
    }
    programs = {name: Program("three_stages", one) for name, one in given.items()}
    small, large, waiting, unwritten, held_small, held_large = programs
    time, memory = ("s_per_task", ratio), ("peak_bytes", excess_mib)
    bars = [
        Bar("time per task, of that of a tenth as many", large, small, *time, 1.2),
        Bar("memory that the file takes", waiting, unwritten, *memory, 2.0, " MiB"),
        Bar(
            "memory that ten times as many take, of which 100 may wait",
            held_large,
            held_small,
            *memory,
            1.0,
            " MiB",
        ),
    ]
    return Table(rounds, programs, bars)


def plan_transport(size: int, rounds: int) -> Table:
    """Compare the transports of a large result from one process to the next."""
    programs, bars = {}, []
    for form in ("bytes", "array"):
        for transport in ("pickle", "shared_memory", "path"):
            given = {"transport": transport, "form": form, "size": size, "tasks": 5}
            programs[f"{form} by {transport}"] = Program("results", given)
        ours, other = f"{form} by shared_memory", f"{form} by pickle"
        bars.append(Bar(f"{ours}, of pickle", ours, other, "s_per_result", ratio, 1 / 3))
    return Table(rounds, programs, bars)


def run_rounds(
    table: Table, order: random.Random, run: Callable[[Program], Measured]
) -> list[dict[str, Measured]]:
    """Run every program once in each round, in random order."""
    rounds = []
    for _ in range(table.rounds):
        names = order.sample(list(table.programs), len(table.programs))
        made = {name: run(table.programs[name]) for name in names}
        rounds.append({name: made[name] for name in table.programs})
    return rounds


def judge(bar: Bar, rounds: Sequence[Mapping[str, Measured]]) -> float:
    """Return the median of a bar's comparison over the rounds."""
    return statistics.median(
        bar.compare(made[bar.ours][bar.key], made[bar.other][bar.key]) for made in rounds
    )


def format_programs(rounds: Sequence[Mapping[str, Measured]]) -> str:
    """Format the medians of every program."""
    rows = []
    for name in rounds[0]:
        medians = {key: statistics.median(r[name][key] for r in rounds) for key in rounds[0][name]}
        cells = [format_measured(key, value) for key, value in medians.items()]
        rows.append([name, str(len(rounds)), ", ".join(cells)])
    return format_table(["program", "rounds", "median"], rows)


def format_measured(key: str, value: float) -> str:
    """Format one measured value with its unit."""
    if key == "peak_bytes":
        return f"{value / MIB:.1f} MiB"
    return f"{value * 1e6:.1f} µs" if key == "s_per_task" else f"{value * 1e3:.0f} ms"


def format_bars(bars: Sequence[Bar], rounds: Sequence[Mapping[str, Measured]]) -> str:
    """Format every bar with its value, its limit and the verdict."""
    rows = []
    for bar in bars:
        value = judge(bar, rounds)
        verdict = "reached" if value <= bar.limit else "MISSED"
        limit = f"≤ {bar.limit:.2f}{bar.unit}"
        rows.append([bar.what, f"{value:.2f}{bar.unit}", limit, verdict])
    return format_table(["median of ratios, or of differences", "is", "must be", ""], rows)


def _output_of(command: Sequence[str]) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


if __name__ == "__main__":
    main()
