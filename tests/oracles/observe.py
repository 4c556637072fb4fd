"""Runs a program of known memory under `stagebench trace`, and judges the trace."""

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
"""The kinds of program.py, which cannot be imported from here."""

CREATION = Path(__file__).with_name("creation.py")
KIB = 1024
TIME_LIMIT_S = 300

SETTINGS = ("--interval", "0.01", "--cpu-budget", "0.2")
"""The interval of sweeps and their budget."""


class Observation(NamedTuple):
    """A program's truth about itself, the summary of its trace, and the folder of both."""

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
    """Trace one program of known memory; creates `folder` for everything that it writes."""
    folder.mkdir(parents=True)
    return trace(interpreter.program(kind, seed, folder / "truth.json", *options), folder)


def observe_creation(way: str, number: int, folder: Path) -> Observation:
    """Trace a program that creates `number` children."""
    folder.mkdir(parents=True)
    program = [sys.executable, str(CREATION), way, "--number", str(number)]
    return trace([*program, "--truth", str(folder / "truth.json")], folder)


def trace_command(program: Sequence[str], out: Path, *settings: str) -> list[str]:
    """Return the command that traces `program`."""
    command = [sys.executable, "-m", "stagebench", "trace", "--quiet", "--no-figure"]
    return [*command, *settings, "--out", str(out), "--", *program]


def trace(program: Sequence[str], folder: Path) -> Observation:
    """Trace a program that writes its truth to `folder`; raises RuntimeError if either fails."""
    out = folder / "trace"
    # The exit code is the program's, and some kinds end by being killed.
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
        output = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(
            f"{error.filename} is missing; exit code {done.returncode}: {output}"
        ) from error
    return Observation(truth, summary, folder)


def rounding_bytes(truth: dict[str, Any]) -> int:
    """Return the tolerance of a lower bound, the only one.

    The kernel rounds each process's PSS down to KiB. So two sums of the same memory over n
    processes may differ by n KiB if they share it differently.
    """
    return int(truth["processes_at_peak"]) * KIB


def judge_bracket(truth: dict[str, Any], bracket: dict[str, Any]) -> str:
    """Return where the true tree peak lies: `inside`, `below lower`, `above upper` or `unbounded`.

    If no sweep was whole, there is no lower bound and the bracket starts at 0.
    """
    peak = truth["tree_peak_pss_bytes"]
    if (bracket["lower_bytes"] or 0) > peak + rounding_bytes(truth):
        return "below lower"
    if bracket["upper_bytes"] is None:
        return "unbounded"
    return "above upper" if bracket["upper_bytes"] < peak else "inside"
