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


class Observation(NamedTuple):
    """What a program knew of itself, what the trace said of it, and where all is."""

    truth: dict[str, Any]
    summary: dict[str, Any]
    folder: Path


class Verdict(NamedTuple):
    """Whether the true peak lies in the bracket, and how wide that is, as a share of the truth."""

    place: str
    width: float | None


def observe_program(  # noqa: PLR0913 - a program's choice and a sampler's settings
    interpreter: Interpreter,
    kind: str,
    seed: int,
    folder: Path,
    *options: str,
    interval_s: float = 0.01,
    cpu_budget: float = 0.2,
) -> Observation:
    """Trace one program of known memory; everything it leaves lies in `folder`, which is made."""
    folder.mkdir(parents=True)
    program = interpreter.program(kind, seed, folder / "truth.json", *options)
    return trace(program, folder, interval_s=interval_s, cpu_budget=cpu_budget)


def observe_creation(way: str, number: int, folder: Path) -> Observation:
    """Trace a program that creates `number` children."""
    folder.mkdir(parents=True)
    program = [sys.executable, str(CREATION), way, "--number", str(number)]
    return trace([*program, "--truth", str(folder / "truth.json")], folder)


def trace_command(
    program: Sequence[str], out: Path, *, interval_s: float, cpu_budget: float
) -> list[str]:
    """Compose the command that traces `program`."""
    command = [sys.executable, "-m", "stagebench", "trace", "--quiet", "--no-figure"]
    command += ["--interval", str(interval_s), "--cpu-budget", str(cpu_budget)]
    return [*command, "--out", str(out), "--", *program]


def trace(
    program: Sequence[str], folder: Path, *, interval_s: float = 0.01, cpu_budget: float = 0.2
) -> Observation:
    """Trace a program that writes its truth to `folder`; raises RuntimeError where either fails."""
    out = folder / "trace"
    command = trace_command(program, out, interval_s=interval_s, cpu_budget=cpu_budget)
    # Its exit code is the program's, which may end as it was meant to by being killed.
    done = subprocess.run(
        command,
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


def judge_bracket(truth: dict[str, Any], bracket: dict[str, Any]) -> Verdict:
    """Tell where the true tree peak lies: `inside`, `below lower`, `above upper`, or why neither.

    The only tolerance is the kernel's rounding: it cuts each process's PSS to KiB, so that two sums
    over n processes of the same memory may differ by n KiB.
    """
    peak = truth["tree_peak_pss_bytes"]
    rounding = truth["processes_at_peak"] * KIB
    lower, upper = bracket["lower_bytes"], bracket["upper_bytes"]
    if upper is None:
        return Verdict("no upper", None)
    width = (upper - (lower or 0)) / peak
    if lower is not None and lower > peak + rounding:
        return Verdict("below lower", width)
    return Verdict("above upper" if upper < peak else "inside", width)
