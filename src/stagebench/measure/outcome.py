"""How a run ended: its status, and in a few words why it is not ok."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from stagebench import store
from stagebench.records import TaskRecord

if TYPE_CHECKING:
    from pathlib import Path

    from stagebench.units import Seconds

UNCAUGHT_ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b")
"""The line of a traceback that names the error; warnings of exiting helpers may follow it."""


def judge_outcome(folder: Path, exit_code: int, exceeded_s: Seconds | None) -> tuple[str, str]:
    """Tell a run's status from what it left, and say in a few words why it is not ok.

    "worker_lost": a task's last attempt went with its worker. "crashed": the measured process ended
    with an exit code. `exceeded_s` is the time limit that the run was ended at, if it was.
    """
    if exceeded_s is not None:
        return "timed_out", f"still running after the time limit of {exceeded_s:g} s"
    statuses = read_statuses(folder)
    if "lost" in statuses:
        return "worker_lost", describe_loss(folder)
    if exit_code:
        return "crashed", f"exit code {exit_code}; {last_words(folder)}"
    failed = len(statuses) - statuses.count("ok")
    if failed:
        return "tasks_failed", f"{failed} of {len(statuses)} tasks and stages not ok"
    return "ok", ""


def read_statuses(folder: Path) -> list[str]:
    """Read the status column of the task records alone: there may be very many."""
    try:
        with (folder / store.TASKS_FILE).open(encoding="utf-8", newline="") as file:
            return [row["status"] for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


def describe_loss(folder: Path) -> str:
    """Say which stage lost a worker, in the words of its first lost task."""
    tasks = store.read_records(folder / store.TASKS_FILE, TaskRecord)
    lost = next(task for task in tasks if task.status == "lost")
    return f"stage {lost.stage!r}: {lost.error}"


def last_words(folder: Path) -> str:
    """Give the last error that the measured process printed, or else its last line."""
    output = (folder / store.OUTPUT_FILE).read_text(encoding="utf-8", errors="replace")
    lines = output.strip().splitlines()
    errors = [line for line in lines if UNCAUGHT_ERROR.match(line)]
    return (errors or lines or ["no output"])[-1]
