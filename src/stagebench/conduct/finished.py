"""Runs that have ended, read from their folders: how, why, how long; and how a study has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench import store
from stagebench.analyse.conditions import describe_conditions
from stagebench.design.plan import name_runs
from stagebench.errors import StoreError
from stagebench.records import NOT_FAILED, UNSUPPORTED, TaskRecord
from stagebench.trial.observed import explain_failure, find_makespan
from stagebench.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from stagebench.units import Seconds

LONGEST_CAUSE = 200
"""Characters of an error that are shown while a study runs: its beginning."""

MOST_NAMED = 2
"""Of so many treatments that fail, the error is shown; the report has all of them."""


class Finished(NamedTuple):
    """A run that has ended; `cause` says why it is not ok, and `noisy` what disturbed it.

    `took_s` is the time of the whole run, what came before and after the workflow included.
    """

    status: str
    cause: str
    makespan_s: Seconds | None
    took_s: Seconds
    noisy: str


class Outcome(NamedTuple):
    """How many of a study's runs are there, and which of them failed."""

    planned: int
    finished: Mapping[str, Finished]

    @property
    def failed(self) -> dict[str, Finished]:
        """Return the runs that failed, in the order in which they were planned."""
        runs = self.finished.items()
        return {name: run for name, run in runs if run.status not in NOT_FAILED}

    @property
    def unsupported(self) -> dict[str, str]:
        """Return the treatments that cannot run, with the reason."""
        runs = self.finished.items()
        return {
            name.rpartition("/")[0]: run.cause for name, run in runs if run.status == UNSUPPORTED
        }

    @property
    def noisy(self) -> int:
        """Return how many runs were disturbed."""
        return sum(run.noisy != "" for run in self.finished.values())


def read_finished(folder: Path, specification: Mapping[str, Any], beside: Path) -> Finished | None:
    """Read the folder of a run; None if it is not there, or is one of another specification."""
    try:
        run = store.read_run(folder)
        if run["specification"] != specification:
            return None
        tasks = store.read_records(folder / store.TASKS_FILE, TaskRecord, cut_off=True)
        ok = run["status"] == "ok"
        return Finished(
            run["status"],
            "" if ok else cut(explain_failure(run, tasks, beside)),
            find_makespan(tasks) if ok else None,
            to_seconds(run["supervisor_ended_ns"] - run["supervisor_started_ns"])
            - run["lock_wait_s"],
            describe_conditions(run)["noisy"],
        )
    except (StoreError, KeyError, TypeError, ValueError):
        # Whatever is wrong with its files, the analysis reports it; the run is not there for us.
        return None


def read_planned(
    plan: Mapping[str, Any], results: Path, beside: Path, name: str
) -> Finished | None:
    """Read a run of a plan by its folder below `raw`; None if it is not there as planned."""
    specification = plan["treatments"][name.rpartition("/")[0]]["specification"]
    return read_finished(results / "raw" / name, specification, beside)


def read_outcome(plan: Mapping[str, Any], results: Path, beside: Path) -> Outcome:
    """Read all runs of a plan that are there, in rank order; warm-ups do not count."""
    found = {
        name: read_planned(plan, results, beside, name)
        for name, run in name_runs(plan).items()
        if not run["warm_up"]
    }
    return Outcome(len(found), {name: run for name, run in found.items() if run is not None})


def cut(text: str) -> str:
    """Return the beginning of an error, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_CAUSE else f"{line[: LONGEST_CAUSE - 1]}…"


def describe_failed_run(name: str, run: Finished) -> str:
    """Return one line on a run that failed: "runtime/t5/r1: tasks failed: …"."""
    return f"{name}: {run.status.replace('_', ' ')}: {run.cause}"


def describe_failures(outcome: Outcome) -> str:
    """Say how many runs failed, and why the first one did; "" if none did."""
    if not outcome.failed:
        return ""
    name, run = next(iter(outcome.failed.items()))
    number = f"{len(outcome.failed)} of {count(outcome.planned, 'run')} failed"
    first = "it" if len(outcome.failed) == 1 else "the first"
    return f"{number}; {first}: {describe_failed_run(name, run)}"


def count(number: int, name: str) -> str:
    """Return a number of things as words: "1 run", "1,000 runs"."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"
