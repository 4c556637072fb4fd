"""Trials: a treatment's specification with one task is measured as a run of a study is.

A trial is made by the subcommand of rule `measure`, in a folder that is removed at the end. So it
writes nothing into a study's results. What a specification says of pauses, arrivals and limits is
kept: pauses are part of a run's time, and they are when its base is seen. The machine need not be
quiet for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import StoreError, WorkflowError
from stagebench.measure.cause import describe_end
from stagebench.store import canonical_json, write_json
from stagebench.task_list import open_tasks
from stagebench.terminal import STDERR
from stagebench.trace.live import LiveLine, format_elapsed
from stagebench.trial.observed import Observed, not_run, read_observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stagebench.units import Bytes, Seconds

    Show = Callable[[Seconds], None]

Json = dict[str, Any]

TICK_S = 0.2
"""How often the line in the terminal is written anew."""


class TrialRequest(NamedTuple):
    """A plan whose treatments are tried.

    `beside` is the config's folder. `places` are file and line of each treatment's experiment, by
    the treatment's key in the plan; unknown ones are missing. `warm_memory_bytes` is as in a run,
    and `estimate_memory` estimates the need of a specification, as the plan does.
    """

    plan: Mapping[str, Any]
    beside: Path
    places: Mapping[str, str]
    warm_memory_bytes: Bytes
    estimate_memory: Callable[[Json], Bytes]


class Trial(NamedTuple):
    """A treatment, by its key in the plan, and what its run with one task showed."""

    key: str
    treatment: Mapping[str, Any]
    observed: Observed


def run_trials(
    request: TrialRequest, note: Callable[[Trial], None] = lambda _: None
) -> list[Trial]:
    """Try every treatment in the order of the plan, also after a failure.

    Treatments whose specifications are equal with one task share a trial. `note` gets each trial
    when it has ended.
    """
    with _ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="stagebench-trial-") as folder:
        return _run_trials(request, Path(folder), note)


def _run_trials(request: TrialRequest, folder: Path, note: Callable[[Trial], None]) -> list[Trial]:
    line = LiveLine(STDERR) if os.isatty(STDERR) else None
    treatments = request.plan["treatments"]
    known: dict[str, Observed] = {}
    trials = []
    try:
        for number, (key, treatment) in enumerate(treatments.items(), 1):
            label = f"trial {number} of {len(treatments)}: {key}"
            show = partial(_show, line, label) if line is not None else None
            observed = _try(request, treatment["specification"], folder, known, show)
            trials.append(Trial(key, treatment, observed))
            if line is not None:
                line.clear()
            note(trials[-1])
    finally:
        if line is not None:
            line.clear()
    return trials


def _show(line: LiveLine, label: str, elapsed_s: Seconds) -> None:
    line.show(f"{label}  {format_elapsed(elapsed_s)}")


def _try(
    request: TrialRequest,
    specification: Json,
    folder: Path,
    known: dict[str, Observed],
    show: Show | None,
) -> Observed:
    """Measure one task, unless that is `known` already."""
    try:
        single = take_one_task(specification, request.beside)
    except WorkflowError as error:
        return not_run(str(error))
    same = identify(single)
    if same not in known:
        known[same] = measure_single(request, single, folder, show)
    return known[same]


def take_one_task(specification: Mapping[str, Any], beside: Path) -> Json:
    """Return a specification with its first task alone; raises WorkflowError for a changed file."""
    tasks = specification["tasks"]
    if isinstance(tasks, int):
        return {**specification, "tasks": 1}
    listed = open_tasks(tasks, beside) if isinstance(tasks, dict) else tasks
    return {**specification, "tasks": [listed[0]]}


def identify(specification: Mapping[str, Any]) -> str:
    """Return a text that is equal for specifications that differ by their names alone."""
    names = ("experiment", "treatment", "factors")
    return canonical_json({key: one for key, one in specification.items() if key not in names})


def measure_single(
    request: TrialRequest,
    specification: Json,
    folder: Path,
    show: Show | None = None,
) -> Observed:
    """Measure a run with one task, and read what it wrote; `show` gets the time that has passed.

    Memory is touched before it as before any run, or its task would pay for fresh pages. How much
    is needed is looked up in a plan, in the folder of a study's results.
    """
    plan, key = request.plan, f"{specification['experiment']}/{specification['treatment']}"
    need = request.estimate_memory(specification)
    own = {"specification": specification, "estimated_memory_bytes": need}
    write_json(folder / "plan.json", {"treatments": {key: own}})
    target = folder / "raw" / key / "r1"
    command = [sys.executable, "-P", "-m", "stagebench", "measure"]
    command += ["--study", plan["study"], "--specification", canonical_json(specification)]
    command += ["--replicate", "1", "--seed", str(plan["seed"]), "--block", "1"]
    command += ["--position", "0", "--rank", "0", "--time-limit", str(plan["time_limit_s"])]
    command += ["--quiet-wait", "0", "--warm-memory", str(request.warm_memory_bytes)]
    command += ["--beside", str(request.beside.absolute()), "--out", str(target)]
    try:
        exit_code, output = _call(command, show)
    except OSError as error:  # a first task of more text than a command line holds
        return not_run(f"the trial could not be started: {error.strerror}")
    try:
        if exit_code:
            words = output.strip().removeprefix("stagebench: ")
            return not_run(words or describe_end(exit_code))
        return read_observed(target, request.beside)
    except StoreError as error:  # the run wrote something else into its folder
        return not_run(str(error))
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _call(command: list[str], show: Show | None) -> tuple[int, str]:
    """Run a command; if this process is interrupted, its tree is ended first, as a study's is."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        # Ctrl-C reaches this process alone, which passes it on once: a second signal would disturb
        # the other one while it ends the run.
        process_group=0,
    ) as process:
        try:
            began_s = time.monotonic()
            while show is not None:
                show(time.monotonic() - began_s)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(TICK_S)
                    break
            output = process.communicate()[1]
        except BaseException:
            process.terminate()
            raise
    return process.returncode, output


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does: what was written is removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
