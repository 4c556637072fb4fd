"""Runs a program of known truth under `stagebench trace`, and judges what it said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.oracles.interpreter import Interpreter, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = (
    "steady",
    *(f"spike_{place}_{ms}ms" for ms in (20, 5) for place in ("main", "child", "thread_child")),
    "churn",
    "shared_mapping",
    "copy_on_write",
    "double_fork",
    "orphan",
    "fork_exec",
    "vfork_exec",
    "threads",
    "killed_main",
    "large_parent",
)
"""The kinds that program.py knows, which is no module of this package."""

CREATION = Path(__file__).with_name("creation.py")
KIB = 1024
TIME_LIMIT_S = 300

SETTINGS = ("--interval", "0.01", "--cpu-budget", "0.2")
"""How often the programs are swept, and what that may cost."""


class Observation(NamedTuple):
    """What a program knew of itself, what the trace said of it, and where all is."""

    truth: dict[str, Any]
    summary: dict[str, Any]
    folder: Path


def observe_program(
    interpreter: Interpreter,
    kind: str,
    seed: int,
    folder: Path,
    *options: str,
) -> Observation:
    """Trace one program of known memory; everything it leaves lies in `folder`, which is made."""
    folder.mkdir(parents=True)
    return trace(interpreter.program(kind, seed, folder / "truth.json", *options), folder)


def observe_creation(way: str, number: int, folder: Path) -> Observation:
    """Trace a program that creates `number` children."""
    folder.mkdir(parents=True)
    program = [sys.executable, str(CREATION), way, "--number", str(number)]
    return trace([*program, "--truth", str(folder / "truth.json")], folder)


def trace_command(program: Sequence[str], out: Path, *settings: str) -> list[str]:
    """Compose the command that traces `program`."""
    command = [sys.executable, "-m", "stagebench", "trace", "--quiet", "--no-figure"]
    return [*command, *settings, "--out", str(out), "--", *program]


def trace(program: Sequence[str], folder: Path) -> Observation:
    """Trace a program that writes its truth to `folder`; raises RuntimeError where either fails."""
    out = folder / "trace"
    # Its exit code is the program's, which may end as it was meant to by being killed.
    done = subprocess.run(
        trace_command(program, out, *SETTINGS),
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=TIME_LIMIT_S,
    )
    try:
        truth, summary = (
            json.loads(path.read_text(encoding="utf-8"))
            for path in (folder / "truth.json", out / "summary.json")
        )
    except FileNotFoundError as error:
        said = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(
            f"{error.filename} is missing; exit code {done.returncode}: {said}"
        ) from error
    return Observation(truth, summary, folder)


def rounding_bytes(truth: dict[str, Any]) -> int:
    """Give the only tolerance that a lower bound is due.

    The kernel cuts each process's PSS to KiB: two sums of the same memory over n processes, shared
    out differently among them, may differ by n KiB.
    """
    return int(truth["processes_at_peak"]) * KIB


def judge_bracket(truth: dict[str, Any], bracket: dict[str, Any]) -> str:
    """Tell where the true tree peak lies: `inside`, `below lower`, `above upper`, or `unbounded`.

    A bracket without a lower bound begins at nothing: no sweep was whole.
    """
    peak = truth["tree_peak_pss_bytes"]
    if (bracket["lower_bytes"] or 0) > peak + rounding_bytes(truth):
        return "below lower"
    if bracket["upper_bytes"] is None:
        return "unbounded"
    return "above upper" if bracket["upper_bytes"] < peak else "inside"
