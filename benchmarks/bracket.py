"""Whether the bracket of a trace holds: many random programs of known memory, of all kinds.

    python -m benchmarks.bracket --runs 1000 --children 10000

Runs are interleaved: every kind once, in random order, then all again with other sizes. Prints a
table a kind, and one of children that were created in all ways and those that were missed. Exits
with 1 if a truth lay outside of its bracket, a process was missed or counted twice, a run failed,
or a bracket of at least 200 MiB anonymous memory was too wide. About fifteen minutes.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.markdown import NOTHING, format_share, format_table
from tests.oracles.interpreter import make_interpreter
from tests.oracles.observe import (
    KINDS,
    bracket_width,
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
"""Every fourth block's sizes are multiplied by this: most have 200 MiB and more then."""

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
"""Way to create a process → its share of all children: what takes long has few."""


class Outcome(NamedTuple):
    """What one run came to; a run that failed has no more than its place."""

    kind: str
    seed: int
    place: str
    width: float | None = None
    anonymous_bytes: int = 0
    missed: int = 0
    sweeps: int = 0
    torn: int = 0

    @property
    def is_large(self) -> bool:
        """Whether the width of its bracket has a limit."""
        return self.anonymous_bytes >= LARGE_BYTES

    @property
    def is_good(self) -> bool:
        """Whether all that was said of this run is true, and narrow where it has to be."""
        narrow = not self.is_large or (self.width is not None and self.width <= WIDEST_LARGE)
        return self.place == "inside" and self.missed == 0 and narrow


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
    sys.exit(not (all(each.is_good for each in outcomes) and not any(row[-1] for row in created)))


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
        help="where the folders of runs go that were not good (default: %(default)s)",
    )
    return parser.parse_args()


def draw_runs(runs: int, seed: int) -> Iterator[tuple[str, int, bool]]:
    """Yield kind, seed and whether its sizes are large: blocks of all kinds in random order."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    order = list(KINDS)
    for number in range(runs):
        block, place = divmod(number, len(order))
        if place == 0:
            rng.shuffle(order)
        yield order[place], seed * 1_000_000 + number, block % 4 == 3  # noqa: PLR2004 - the fourth


def make_run(  # noqa: PLR0913 - a run's choice and its places
    interpreter: Interpreter, kind: str, seed: int, *, large: bool, folder: Path, keep: Path
) -> Outcome:
    """Make one run and judge it; its folder is kept where it was not good."""
    options = ["--scale", LARGE_SCALE] if large else []
    try:
        outcome = judge_run(seed, observe_program(interpreter, kind, seed, folder, *options))
    except (RuntimeError, OSError) as error:
        print(f"{kind}, seed {seed}: {error}", file=sys.stderr, flush=True)
        outcome = Outcome(kind, seed, "failed")
    if not outcome.is_good:
        print(f"{outcome}: {' '.join(options)}", file=sys.stderr, flush=True)
        keep_folder(folder, keep / f"{kind}-{seed}")
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


def judge_run(seed: int, observation: Observation) -> Outcome:
    """Compare what a trace said with the truth."""
    truth, summary, _ = observation
    bracket = summary["peak"]["tree"]
    return Outcome(
        kind=truth["kind"],
        seed=seed,
        place=judge_bracket(truth, bracket),
        width=bracket_width(truth, bracket),
        anonymous_bytes=truth["anonymous_bytes"],
        missed=truth["processes_created"] - summary["processes"]["created"],
        sweeps=summary["sampler"]["sweeps"],
        torn=summary["sampler"]["torn"],
    )


def keep_folder(folder: Path, kept: Path) -> None:
    """Move a run's folder to where it can be looked at."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    if folder.exists():
        shutil.move(folder, kept)


def share_children(children: int) -> dict[str, int]:
    """Tell how many children each way creates: whole pools, about as many as asked for in all."""
    return {
        way: max(1, round(share * children / POOL_SIZE)) * POOL_SIZE for way, share in WAYS.items()
    }


def create_children(way: str, number: int, folder: Path, keep: Path) -> tuple[str, int, int, int]:
    """Trace a program that creates children; gives the way, its children, helpers and the missed.

    What was counted twice is as bad as what was missed: it is a negative number here.
    """
    truth, summary, _ = observe_creation(way, number, folder)
    missed = truth["processes_created"] - summary["processes"]["created"]
    if missed:
        keep_folder(folder, keep / way)
    return way, truth["children"], truth["helpers"], missed


def tabulate_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Format a row a kind, and one for all."""
    header = ["kind", "runs", "inside", "below lower", "above upper", "unbounded", "failed"]
    header += ["median width", "worst width", "runs ≥ 200 MiB", "worst width of these"]
    header += ["missed", "torn sweeps"]
    kinds = [kind for kind in KINDS if any(each.kind == kind for each in outcomes)]
    rows = [summarise(kind, [each for each in outcomes if each.kind == kind]) for kind in kinds]
    return format_table(header, [*rows, summarise("all", outcomes)])


def summarise(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Format what the runs of one kind came to."""
    places = [each.place for each in outcomes]
    widths = [each.width for each in outcomes if each.width is not None]
    large = [each.width for each in outcomes if each.is_large and each.width is not None]
    counts = [
        places.count(place)
        for place in ("inside", "below lower", "above upper", "unbounded", "failed")
    ]
    sweeps = sum(each.sweeps for each in outcomes)
    return [
        name,
        *map(str, [len(outcomes), *counts]),
        format_share(statistics.median(widths) if widths else None),
        format_share(max(widths, default=None)),
        str(sum(each.is_large for each in outcomes)),
        format_share(max(large, default=None)),
        str(sum(abs(each.missed) for each in outcomes)),
        format_share(sum(each.torn for each in outcomes) / sweeps) if sweeps else NOTHING,
    ]


def tabulate_children(created: Sequence[tuple[str, int, int, int]]) -> str:
    """Format a row a way to create a process, and one for all."""
    rows = [[way, *map(str, numbers)] for way, *numbers in created]
    total = [str(sum(row[place] for row in created)) for place in (1, 2, 3)]
    return format_table(["created by", "children", "helpers", "missed"], [*rows, ["all", *total]])


if __name__ == "__main__":
    main()
