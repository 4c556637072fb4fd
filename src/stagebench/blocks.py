"""Which blocks of each treatment a study wants that stops when it is precise enough.

Its plan lists the runs of all blocks that there may be. How many of them are wanted is decided by
looks at what was measured, which keep their decisions in a file beside the plan. All other steps
see the wanted runs only, so that a run that is not needed is not missing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import StoreError
from stagebench.store import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

BLOCKS_FILE = "blocks.json"

LOOKED_ALPHA = 0.03
"""The level of tests where looks at the widths of intervals decided how many blocks there are.

A study that stops when its intervals are narrow stops more often while their spread happens to look
small. With this level instead of 5 %, all intervals of a family include the truth in 95 % of such
studies (benchmarks/sequential.py).
"""

PRECISE, AT_MOST, TIME_BUDGET = "precise enough", "at_most", "time_budget"
NOTHING = "nothing to compare"
REASONS = (PRECISE, AT_MOST, TIME_BUDGET, NOTHING)
"""Why a treatment gets no more blocks."""


class Blocks(NamedTuple):
    """The blocks that are wanted of each treatment, and why some of them get no more.

    `until` has the half-widths that the last look wanted; empty before the first one.
    """

    wanted: Mapping[str, tuple[int, ...]]
    stopped: Mapping[str, str]
    until: Mapping[str, float]


def read_blocks(folder: Path, plan: Mapping[str, Any]) -> Blocks:
    """Read what was decided so far in a study's folder; `at_least` blocks if nothing was.

    Blocks beyond those of the plan are left out, and every treatment has at least `at_least`.
    """
    path = folder / BLOCKS_FILE
    found = read_json(path) if path.exists() else {"wanted": {}, "stopped": {}, "until": {}}
    if not _is_sound(found):
        raise StoreError(f"{path}: not the blocks of a study; remove it to decide again")
    first, most = range(1, plan["until"]["at_least"] + 1), plan["replicates"]
    wanted = {
        key: tuple(sorted({*first, *(one for one in found["wanted"].get(key, ()) if one <= most)}))
        for key in plan["treatments"]
    }
    stopped = {key: why for key, why in found["stopped"].items() if key in wanted}
    return Blocks(wanted, stopped, found["until"])


def write_blocks(folder: Path, blocks: Blocks) -> None:
    """Write what was decided; the file stays as it is if nothing has changed."""
    path, value = folder / BLOCKS_FILE, _to_json(blocks)
    if not path.exists() or read_json(path) != value:
        write_json(path, value)


def read_plan(
    path: Path, check: Callable[[Path, Any], dict[str, Any]] = lambda _, plan: plan
) -> dict[str, Any]:
    """Read the plan of a study's folder, check it, and return it with the runs that are wanted."""
    return narrow_plan(check(path, read_json(path)), path.parent)


def narrow_plan(plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the plan with the runs that are wanted so far, and why there are no more.

    A plan with a fixed number of blocks stays as it is.
    """
    if "until" not in plan:
        return dict(plan)
    blocks = read_blocks(folder, plan)
    wanted = {key: set(own) for key, own in blocks.wanted.items()}
    runs = [
        run
        for run in plan["runs"]
        if run["block"] in wanted[f"{run['experiment']}/{run['treatment']}"]
    ]
    return {**plan, "runs": runs, "stopped": dict(blocks.stopped)}


def describe_look(plan: Mapping[str, Any], blocks: Blocks) -> str:
    """Say, in a line for each experiment, which treatments get more blocks, and why others not."""
    lines = []
    for experiment in plan["experiments"]:
        keys = [f"{experiment['name']}/{one}" for one in experiment["treatments"]]
        others = [key for key in keys if key != f"{experiment['name']}/{experiment['baseline']}"]
        reasons = Counter(blocks.stopped[key] for key in others if key in blocks.stopped)
        going_on = sum(key not in blocks.stopped for key in others)
        parts = [f"{number} {_ENDED[why]}" for why, number in reasons.items()]
        if going_on:
            last = max(max(blocks.wanted[key]) for key in keys)
            parts.append(f"{going_on} not yet, next up to block {last} of {plan['replicates']}")
        words = ", ".join(parts) or NOTHING
        lines.append(f"treatments of {experiment['name']}: {words}")
    return "\n".join(lines)


_ENDED = {
    PRECISE: "precise enough",
    AT_MOST: "ended by at_most",
    TIME_BUDGET: "ended by time_budget",
    NOTHING: "with nothing to compare",
}


def _to_json(blocks: Blocks) -> dict[str, Any]:
    return {
        "wanted": {key: list(own) for key, own in blocks.wanted.items()},
        "stopped": dict(blocks.stopped),
        "until": dict(blocks.until),
    }


def _is_sound(found: Any) -> bool:
    if not isinstance(found, dict) or set(found) != set(Blocks._fields):
        return False
    return (
        all(isinstance(one, dict) for one in found.values())
        and all(
            isinstance(own, list) and all(type(one) is int and one > 0 for one in own)
            for own in found["wanted"].values()
        )
        and all(why in REASONS for why in found["stopped"].values())
    )
