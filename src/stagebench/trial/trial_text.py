"""The text of trials: a table of 80 columns, the study's estimated time, warnings and failures."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from stagebench.errors import MeasureError
from stagebench.records import NOT_FAILED, UNSUPPORTED
from stagebench.trial.observed import NOT_RUN
from stagebench.trial.outlook import TimeRange, count_cores, estimate_run, guess_memory
from stagebench.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stagebench.peak.bracket import Bracket
    from stagebench.trial.one_task import Trial, TrialRequest
    from stagebench.units import Bytes

WIDTH = 80
"""Line width of everything but very long names, and failures, whose texts are kept."""

_COLUMNS = (20, 10, 10, 9, 15, 16)
_TITLES = ("status", "one task", "start-up", "memory", "full run")

_STATUSES = {
    "ok": "ok",
    "tasks_failed": "failed",
    "worker_lost": "lost",
    "crashed": "crashed",
    "timed_out": "timed out",
    "out_of_memory": "no memory",
    "server_lost": "no server",
    UNSUPPORTED: "cannot run",
    NOT_RUN: "not run",
}

_ENDS = {
    "tasks_failed": "the task failed",
    "worker_lost": "a worker was lost",
    "crashed": "the run crashed",
    "timed_out": "timed out with one task",
    "out_of_memory": "memory ran out",
    "server_lost": "the server ended",
    NOT_RUN: "was not run",
}

UNKNOWN = "–"


def format_trials(request: TrialRequest, trials: Sequence[Trial], memory_bytes: Bytes) -> str:
    """Format the table, the study's estimated time, and warnings; `memory_bytes` is the machine's.

    Failures are not part of it: see `check_trials`.
    """
    estimates = estimate_runs(request, trials)
    lines = ["", "one task of each treatment"]
    experiment = None
    for trial in trials:
        if trial.treatment["experiment"] != experiment:
            experiment = trial.treatment["experiment"]
            lines += ["", *_fill(experiment, _TITLES)]
        lines += _fill(f"  {trial.treatment['treatment']}", _cells(trial, estimates))
    lines += ["", *_describe_total(request.plan, estimates), *_describe_basis(trials)]
    for text in _list_warnings(request, trials, estimates, memory_bytes):
        lines += ["", *_wrap(text)]
    return "\n".join(lines)


def check_trials(request: TrialRequest, trials: Sequence[Trial]) -> None:
    """Raise MeasureError that names every treatment of which no task succeeded, with its cause."""
    failed = [trial for trial in trials if trial.observed.status not in NOT_FAILED]
    if not failed:
        return
    lines = [f"{len(failed)} of {_count(len(trials), 'treatment')} failed with one task"]
    lines += [f"  {line}" for trial in failed for line in describe_failure(request, trial)]
    raise MeasureError("\n".join(lines))


def describe_failure(request: TrialRequest, trial: Trial) -> list[str]:
    """Return a line that names a treatment that failed, with its cause, and lines of its output."""
    key, _, observed = trial
    place = f"{request.places[key]}: " if key in request.places else ""
    return [
        f"{place}{key}: {_ENDS[observed.status]}: {observed.detail}",
        *(f"  output: {line}" for line in observed.output),
    ]


def estimate_runs(request: TrialRequest, trials: Sequence[Trial]) -> dict[str, TimeRange]:
    """Return the estimated time of a run by the keys of the treatments that succeeded."""
    plan = request.plan
    return {
        key: estimate_run(
            treatment,
            observed.times,
            plan["quiet_wait_s"],
            request.warm_memory_bytes,
            plan["time_limit_s"],
        )
        for key, treatment, observed in trials
        if observed.times is not None
    }


def _cells(trial: Trial, estimates: Mapping[str, TimeRange]) -> tuple[str, ...]:
    observed, times = trial.observed, trial.observed.times
    return (
        _STATUSES[observed.status],
        UNKNOWN if times is None else format_seconds(times.makespan_s),
        UNKNOWN if observed.start_up_s is None else format_seconds(observed.start_up_s),
        _peak(observed.peak),
        format_range(estimates[trial.key]) if trial.key in estimates else UNKNOWN,
    )


def _fill(name: str, cells: Sequence[str]) -> Iterator[str]:
    """Yield a line of the table, and one before it for a name that is too long for its column."""
    first, status, *widths = _COLUMNS
    if len(name) >= first:
        yield name
        name = ""
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths, strict=True))
    yield f"{name:<{first}}{cells[0]:<{status}}{''.join(numbers)}"


def _peak(peak: Bracket) -> str:
    """Format a peak of which one end is known at least: its upper end, if it has one."""
    if peak.upper_bytes is not None:
        return f"up to {format_bytes(peak.upper_bytes)}"
    return UNKNOWN if peak.lower_bytes is None else f"≥ {format_bytes(peak.lower_bytes)}"


def format_range(estimate: TimeRange) -> str:
    """Format a range of time in one unit, with two digits: "33 to 61 s", "9.2 to 14 min"."""
    unit, scale = next(
        (unit, scale)
        for unit, scale, least_s in (("h", 3600, 7200), ("min", 60, 120), ("s", 1, 0))
        if estimate.high_s >= least_s
    )
    low, high = (_two_digits(end_s / scale) for end_s in estimate)
    return f"{high} {unit}" if low == high else f"{low} to {high} {unit}"


def _two_digits(number: float) -> str:
    if number >= 10:  # two digits or more as they are
        return f"{number:.0f}"
    return f"{number:.1f}"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _describe_total(plan: Mapping[str, Any], estimates: Mapping[str, TimeRange]) -> list[str]:
    """Add up all runs, warm-ups included, of treatments that can be estimated."""
    runs = [
        f"{run['experiment']}/{run['treatment']}" for run in plan["warm_up_runs"] + plan["runs"]
    ]
    known = [estimates[key] for key in runs if key in estimates]
    if not known:
        return _wrap("the study's time cannot be estimated: no treatment succeeded")
    total = TimeRange(*map(sum, zip(*known, strict=True)))
    left = len(runs) - len(known)
    without = (
        f", without {_count(left, 'run')} of treatments whose trial was not ok" if left else ""
    )
    number = _count(len(known), "run")
    return _wrap(f"estimated time of {number}: about {format_range(total)}{without}")


def _describe_basis(trials: Sequence[Trial]) -> list[str]:
    """Say what the estimates are made of."""
    specifications = [trial.treatment["specification"] for trial in trials]
    cores = sorted({count_cores(one) for one in specifications})
    words = (
        "The estimates are made from one task each, what first tasks cost included, and"
        f" {' or '.join(map(str, cores))} usable cores."
        " Their low end takes threads to release the GIL, and the machine to be quiet at once."
        " Their high end takes threads to hold it, and every run to wait as long as it may."
    )
    if any(not isinstance(one["tasks"], int) for one in specifications):
        words += " Where tasks differ, the first one stands for all."
    return _wrap(words)


def _list_warnings(
    request: TrialRequest,
    trials: Sequence[Trial],
    estimates: Mapping[str, TimeRange],
    memory_bytes: Bytes,
) -> Iterator[str]:
    for key, _, observed in trials:
        if observed.status == UNSUPPORTED:
            yield f"unsupported: {key}: {observed.detail}"
    limit_s = request.plan["time_limit_s"]
    late = [key for key, one in estimates.items() if one.high_s >= limit_s]
    if late:
        yield (
            f"warning: a run may exceed the time limit of {format_seconds(limit_s)}:"
            f" {', '.join(late)}"
        )
    for key, treatment, observed in trials:
        guess = guess_memory(treatment["specification"], observed)
        if observed.status == "ok" and guess is not None and guess > memory_bytes:
            yield (
                f"warning: {key} may not fit into memory: all tasks may need up to"
                f" {format_bytes(guess)}, this machine has {format_bytes(memory_bytes)}"
            )


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False, subsequent_indent="  ")
