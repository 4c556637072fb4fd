"""What a node of a cluster sees of a study: `python -m stagebench.cluster.node FOLDER`.

The caller leaves a note in the study's folder. A node that can read it shares the folder.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagebench import __version__
from stagebench.errors import MeasureError, StoreError
from stagebench.measure.cgroup import machine_memory_bytes
from stagebench.measure.machine import name_node, read_cpu_model
from stagebench.store import read_json, write_json

NOTE = "cluster.json"
"""The caller's note in the folder of a study's results."""

CLOCK_LIMIT_S = 1.0
"""How much clocks may differ.

Durations are of a run's own monotonic clock, so this one matters for less: for `started_at`, by
which the order of runs is shown, and for the times of files, by which Snakemake decides what is out
of date. A run with its start takes longer than this.
"""


@dataclass(frozen=True)
class NodeState:
    """What a node says of itself; `campaign` is what it read in the note, if it could."""

    node: str
    campaign: str | None
    time_s: float
    cores: int
    memory_bytes: int
    cpu_model: str | None
    python: str
    stagebench: str


def read_state(results: Path) -> NodeState:
    """Describe this node, which may not see the folder of results."""
    note = _read_note(results)
    return NodeState(
        node=name_node(),
        campaign=note.get("campaign"),
        time_s=time.time(),
        cores=os.cpu_count() or 1,
        memory_bytes=machine_memory_bytes(),
        cpu_model=read_cpu_model(),
        python=platform.python_version(),
        stagebench=__version__,
    )


def leave_note(results: Path, campaign: str) -> None:
    """Write the note that all nodes must be able to read."""
    write_json(results / NOTE, {"campaign": campaign, "host": platform.node(), "at_s": time.time()})


def answer_path(results: Path, node: str) -> Path:
    """Return the file by which a node shows that the caller sees what it writes."""
    return results / f".{NOTE}.{node}"


def check_here(results: Path, campaign: str) -> None:
    """Check what a node can check by itself, before its first run; raises MeasureError.

    A node that was busy when the study began was not asked then.
    """
    note, here = _read_note(results), name_node()
    if note.get("campaign") != campaign:
        raise MeasureError(describe_unshared(here, results))
    behind_s = note["at_s"] - time.time()
    if behind_s > CLOCK_LIMIT_S:
        raise MeasureError(describe_clock(here, -behind_s, note["host"]))


def describe_unshared(node: str, results: Path) -> str:
    """Say that a node does not see the folder of results."""
    return (
        f"{node} does not see {results.absolute()} as it is where the study was started; allowed: a"
        " folder on a file system that all nodes share"
    )


def describe_clock(node: str, ahead_s: float, host: str) -> str:
    """Say by how much a node's clock is wrong, at least."""
    way = "ahead of" if ahead_s > 0 else "behind"
    least_s = math.floor(abs(ahead_s) * 10) / 10  # a bound is not rounded up
    return (
        f"the clock of {node} is at least {least_s:,.1f} s {way} that of {host}; allowed:"
        f" {CLOCK_LIMIT_S:.0f} s, for the order of runs and for the times of files, which Snakemake"
        " compares. Let both follow a time server (chrony, ntpd)"
    )


def _read_note(results: Path) -> dict[str, Any]:
    try:
        note = read_json(results / NOTE)
    except StoreError:
        return {}
    return note if isinstance(note, dict) else {}


def main() -> None:
    """Print this node's state as JSON, and write it beside the note."""
    results = Path(sys.argv[1])
    state = asdict(read_state(results))
    if state["campaign"] is not None:
        write_json(answer_path(results, state["node"]), state)
    print(json.dumps(state), flush=True)  # noqa: T201 - the caller reads it


if __name__ == "__main__":
    main()
