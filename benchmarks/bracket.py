"""Whether the bracket of a trace holds, for many random programs of known memory.

    python -m benchmarks.bracket --runs 1000 --children 10000

Runs are interleaved: every kind once, in random order, then all again with other sizes. Prints a
row per kind, and a table of the children created and missed for each way to create them. Gaps are
from a bound to the truth, as a share of the truth. With at least 200 MiB of anonymous memory, a
bracket wider than 5 % is too wide; a spike between two sweeps makes that unavoidable. Exits with 1
if a true peak was outside of its bracket, a process was missed or counted twice, or a run failed.
Takes fifteen minutes.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.markdown import format_share, format_table
from tests.oracles.interpreter import make_interpreter
from tests.oracles.observe import (
    KINDS,
    judge_bracket,
    observe_creation,
    observe_program,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.oracles.interpreter import Interpreter
    from tests.oracles.observe import Observation

LARGE_BYTES = 200 << 20
WIDEST_LARGE = 0.05

LARGE_SCALE = "5"
"""Factor for the sizes of every fourth block; most of its runs then have 200 MiB or more."""

PLACES = ("inside", "below lower", "above upper", "unbounded", "failed")

POOL_SIZE = 20

WAYS = {
    "fork": 0.2,
    "fork_in_thread": 0.2,
    "double_fork": 0.2,
    "subprocess": 0.14,
    "posix_spawn": 0.14,
    "pool_fork": 0.06,
    "pool_forkserver": 0.04,
    "pool_spawn": 0.02,
}
"""Way to create a process → its share of all children; slow ways have few."""


class Outcome(NamedTuple):
    """The result of one run; for a failed run, only its place is known.

    The gaps are from the lower bound up to the truth, and from the truth up to the upper bound.
    """

    kind: str
    seed: int
    place: str
    lower_gap: float | None = None
    upper_gap: float | None = None
    anonymous_bytes: int = 0
    missed: int = 0
    sweeps: int = 0
    torn: int = 0

    @property
    def is_true(self) -> bool:
        """Whether the bracket and the number of processes are correct."""
        return self.place == "inside" and self.missed == 0

    @property
    def width(self) -> float | None:
        """The width of the bracket, as a share of the truth."""
        if self.lower_gap is None or self.upper_gap is None:
            return None
        return self.lower_gap + self.upper_gap

    @property
    def is_large(self) -> bool:
        """Whether the run has so much memory that the width of its bracket is limited."""
        return self.anonymous_bytes >= LARGE_BYTES

    @property
    def is_too_wide(self) -> bool:
        """Whether the bracket is wider than that limit."""
        return self.is_large and self.width is not None and self.width > WIDEST_LARGE


def main() -> None:
    """Make all runs and print the tables."""
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="bracket-") as scratch:
        folder = Path(scratch)
        (folder / "interpreter").mkdir()
        interpreter = make_interpreter(folder / "interpreter")
        outcomes = [
            make_run(interpreter, kind, seed, large=large, folder=folder / "run", keep=options.keep)
            for kind, seed, large in draw_runs(options.runs, options.seed)
        ]
        print(tabulate_outcomes(outcomes), flush=True)
        created = [
            create_children(way, number, folder / way, options.keep)
            for way, number in share_children(options.children).items()
        ]
    print(tabulate_children(created))
    sys.exit(not (all(each.is_true for each in outcomes) and not any(row[-1] for row in created)))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--keep",
        type=Path,
        default=Path("results/bracket"),
        help="folder for runs whose bracket is wrong or too wide (default: %(default)s)",
    )
    return parser.parse_args()


def draw_runs(runs: int, seed: int) -> Iterator[tuple[str, int, bool]]:
    """Yield kind, seed and whether sizes are large, in blocks of all kinds in random order."""
    rng = random.Random(seed)
    order = list(KINDS)
    for number in range(runs):
        block, place = divmod(number, len(order))
        if place == 0:
            rng.shuffle(order)
        yield order[place], seed * 1_000_000 + number, block % 4 == 3  # the fourth


def make_run(
    interpreter: Interpreter, kind: str, seed: int, *, large: bool, folder: Path, keep: Path
) -> Outcome:
    """Make one run and judge it; keep its folder if the bracket is wrong or too wide."""
    options = ["--scale", LARGE_SCALE] if large else []
    try:
        outcome = judge_run(seed, observe_program(interpreter, kind, seed, folder, *options))
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"{kind}, seed {seed}: {error}", file=sys.stderr, flush=True)
        outcome = Outcome(kind, seed, "failed")
    if outcome.is_too_wide or not outcome.is_true:
        print(outcome, *options, file=sys.stderr, flush=True)
        keep_folder(folder, keep / f"{kind}-{seed}")
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


def judge_run(seed: int, observation: Observation) -> Outcome:
    """Compare the summary of a trace with the truth."""
    truth, summary, _ = observation
    bracket = summary["peak"]["tree"]
    return Outcome(
        kind=truth["kind"],
        seed=seed,
        place=judge_bracket(truth, bracket),
        lower_gap=gap(truth, bracket["lower_bytes"] or 0, -1),
        upper_gap=gap(truth, bracket["upper_bytes"], 1),
        anonymous_bytes=truth["anonymous_bytes"],
        missed=truth["processes_created"] - summary["processes"]["created"],
        sweeps=summary["sampler"]["sweeps"],
        torn=summary["sampler"]["torn"],
    )


def gap(truth: dict[str, Any], bound_bytes: int | None, sign: int) -> float | None:
    """Return how far a bound is above the truth (sign 1) or below it (sign -1), as a share."""
    if bound_bytes is None:
        return None
    return sign * (bound_bytes / truth["tree_peak_pss_bytes"] - 1)


def keep_folder(folder: Path, kept: Path) -> None:
    """Move a run's folder to `kept`, for inspection."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    if folder.exists():
        shutil.move(folder, kept)


def share_children(children: int) -> dict[str, int]:
    """Return how many children each way creates: whole pools, about `children` in all."""
    return {
        way: max(1, round(share * children / POOL_SIZE)) * POOL_SIZE for way, share in WAYS.items()
    }


def create_children(way: str, number: int, folder: Path, keep: Path) -> tuple[str, int, int, int]:
    """Trace a program that creates children; return its way, children, helpers and missed ones.

    A negative number of missed processes means that some were counted twice.
    """
    truth, summary, _ = observe_creation(way, number, folder)
    missed = truth["processes_created"] - summary["processes"]["created"]
    if missed:
        keep_folder(folder, keep / way)
    return way, truth["children"], truth["helpers"], missed


def tabulate_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Format a row per kind, and one for all."""
    header = ["kind", "runs", *PLACES]
    header += ["median lower gap", "worst", "median upper gap", "worst", "runs ≥ 200 MiB"]
    header += [f"wider than {WIDEST_LARGE:.0%}", "worst width of these", "missed", "torn sweeps"]
    kinds = [kind for kind in KINDS if any(each.kind == kind for each in outcomes)]
    rows = [summarise(kind, [each for each in outcomes if each.kind == kind]) for kind in kinds]
    return format_table(header, [*rows, summarise("all", outcomes)])


def summarise(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Format the results of the runs of one kind."""
    places = [each.place for each in outcomes]
    lower = [each.lower_gap for each in outcomes if each.lower_gap is not None]
    upper = [each.upper_gap for each in outcomes if each.upper_gap is not None]
    large = [each for each in outcomes if each.is_large]
    widths = [each.width for each in large if each.width is not None]
    sweeps = sum(each.sweeps for each in outcomes)
    return [
        name,
        *map(str, [len(outcomes), *map(places.count, PLACES)]),
        *map(format_share, [median(lower), max(lower, default=None)]),
        *map(format_share, [median(upper), max(upper, default=None)]),
        *map(str, [len(large), sum(each.is_too_wide for each in large)]),
        format_share(max(widths, default=None)),
        str(sum(abs(each.missed) for each in outcomes)),
        format_share(sum(each.torn for each in outcomes) / sweeps if sweeps else None),
    ]


def median(values: Sequence[float]) -> float | None:
    """Return the median; None without values."""
    return statistics.median(values) if values else None


def tabulate_children(created: Sequence[tuple[str, int, int, int]]) -> str:
    """Format a row per way to create a process, and one for all."""
    rows = [[way, *map(str, numbers)] for way, *numbers in created]
    total = [str(sum(numbers)) for numbers in list(zip(*created, strict=True))[1:]]
    return format_table(["created by", "children", "helpers", "missed"], [*rows, ["all", *total]])


if __name__ == "__main__":
    main()
