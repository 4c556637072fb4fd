"""A study from its plan to its report: estimate, trial, runs, first results, and how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.blocks import describe_look, narrow_plan, read_blocks
from stagebench.conduct.display import Display
from stagebench.conduct.finished import (
    MOST_NAMED,
    count,
    cut,
    describe_failed_run,
    describe_failures,
    read_outcome,
    read_planned,
)
from stagebench.conduct.snakemake_call import (
    SnakemakeCall,
    check_alone,
    check_profile,
    describe_death,
    find_snakefile,
    run_snakemake,
    unlock,
)
from stagebench.design.plan import name_runs
from stagebench.errors import CommandError, MeasureError
from stagebench.measure.supervisor import name_campaign
from stagebench.records import NOT_FAILED, UNSUPPORTED
from stagebench.store import MEASURE_AGAIN, START_AGAIN, write_json
from stagebench.terminal import print_text
from stagebench.trial.one_task import Trial, TrialRequest, run_trials
from stagebench.trial.outlook import TimeRange
from stagebench.trial.trial_text import describe_failure, estimate_runs, format_range
from stagebench.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from stagebench.conduct.finished import Outcome

MORE_BLOCKS = 5
"""The plan says what so many blocks more would take."""

LEAST_LEFT_S = 60.0
"""If all blocks but the first take less than this, the results are there soon enough."""


class StudyRequest(NamedTuple):
    """A study that is to be run.

    `trial` has its plan, and what a trial needs. `make_first_screen` turns a folder of tables and a
    plan into the first screen of the report; its third argument says which part of the runs there
    is, and is empty for all. With a `profile`, other machines measure, so this one tries nothing.
    Without a report, the study ends with its tables.
    """

    config: Path
    override: Mapping[str, Any]
    cores: str
    profile: Path | None
    trial: TrialRequest
    with_trial: bool
    keep_going: bool
    with_report: bool
    make_first_screen: Callable[[Path, Mapping[str, Any], str], str]

    @property
    def plan(self) -> Mapping[str, Any]:
        """Return the plan of the study."""
        return self.trial.plan

    @property
    def results(self) -> Path:
        """Return the folder of the study's results, which is below the current one."""
        return Path("results", self.plan["study"])

    @property
    def command(self) -> str:
        """Return the command that goes on with the study."""
        profile = "" if self.profile is None else f" --profile {self.profile}"
        return f"stagebench run {self.config}{profile}"

    def read_outcome(self) -> Outcome:
        """Read the runs that are there."""
        return read_outcome(self.plan, self.results, self.trial.beside)


def conduct_study(request: StudyRequest) -> None:
    """Run a study in the current folder, and go on where it was interrupted.

    Raises CommandError if it does not come to its end, and if a run failed.
    """
    snakefile = find_snakefile()
    if request.profile is not None:
        check_profile(request.profile)
    check_alone()
    output = _open_results(request)
    environment = {
        "STAGEBENCH_CAMPAIGN": os.environ.get("STAGEBENCH_CAMPAIGN") or name_campaign(),
        "STAGEBENCH_OVERRIDE": json.dumps(request.override),
    }
    with _ended_by_signals(), _screen() as screen:
        call = SnakemakeCall(
            snakefile,
            request.config,
            request.cores,
            request.profile,
            environment,
            screen,
            output,
        )
        try:
            _conduct(request, call)
        except KeyboardInterrupt:
            outcome = _narrow(request, request.plan).read_outcome()
            raise CommandError(
                f"interrupted: {_there(outcome)}. Start it again to go on: {request.command}",
                exit_code=128 + signal.SIGINT,
            ) from None


def _conduct(request: StudyRequest, call: SnakemakeCall) -> None:
    whole = request.plan
    _say(_describe_plan(whole))
    unlocked = unlock(call)
    request = _narrow(request, whole)
    outcome = request.read_outcome()
    if outcome.finished or unlocked:
        lock = ", after a lock was removed that a killed Snakemake had left" if unlocked else ""
        _say(f"resuming: {_there(outcome)}{lock}")
    _check_baselines(request, outcome)
    estimates = _estimate_from(outcome)
    if len(outcome.finished) < outcome.planned:
        if request.with_trial and request.profile is None:
            estimates |= _try_treatments(request, estimates)
        _say(_describe_time(request, outcome, estimates))
    # On a cluster, all blocks may be measured at a time.
    first_alone = Display(call.screen).can_draw and request.profile is None
    if first_alone and _first_block_pays(request, outcome, estimates):
        first = [name for name, run in name_runs(request.plan).items() if run["block"] <= 1]
        folders = [str(request.results / "raw" / name) for name in first]
        _call(request, call, [str(request.results / "plan.json"), *folders])
        _show_preliminary(request)
    while "until" in whole:
        folders = [str(request.results / "raw" / name) for name in name_runs(request.plan)]
        _call(request, call, [str(request.results / "plan.json"), *folders])
        made = len(request.plan["runs"])
        _look(request, whole)
        request = _narrow(request, whole)
        if len(request.plan["runs"]) == made:
            break
    _call(request, call, [] if request.with_report else ["tables"])
    shutil.rmtree(request.results / "preliminary", ignore_errors=True)
    _report(request)


def _narrow(request: StudyRequest, whole: Mapping[str, Any]) -> StudyRequest:
    """Return the request with the runs that are wanted so far, of all that a plan may have."""
    plan = narrow_plan(whole, request.results)
    return request._replace(trial=request.trial._replace(plan=plan))


def _look(request: StudyRequest, whole: Mapping[str, Any]) -> None:
    """Decide, by what was measured, which blocks are wanted next, and say so."""
    done = _call_stagebench("look", str(request.results))
    if done.returncode:
        raise CommandError(f"no look at the runs: {done.stderr.strip()[-300:]}", exit_code=1)
    _say(describe_look(whole, read_blocks(request.results, whole)))


def _call_stagebench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call a subcommand in a process of its own: what it imports is not in this one."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "stagebench", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _report(request: StudyRequest) -> None:
    """Show the first screen of the report, where the results are, and what failed."""
    outcome, results = request.read_outcome(), request.results
    screen = request.make_first_screen(results / "tables", request.plan, "")
    print_text(f"\n{screen.rstrip()}\n")
    if request.with_report:
        print_text(f"\nThe report: {results}/report.md")
        print_text(f" (a page for a browser: {results}/report.html)\n")
    else:
        print_text(f"\nThe tables: {results}/tables\n")
    if failures := describe_failures(outcome):
        made = "report is" if request.with_report else "tables are"
        raise CommandError(f"{failures}. The {made} made of the others.", exit_code=1)


def _call(request: StudyRequest, call: SnakemakeCall, targets: Sequence[str]) -> None:
    """Call Snakemake, and end the study where it cannot go on."""
    check_alone()
    code = run_snakemake(call, targets, _watch_baselines(request))
    _check_baselines(request, request.read_outcome())
    if code and not call.output.exists():
        raise CommandError(
            f"{request.results}: was removed while the study ran; {START_AGAIN}", exit_code=1
        )
    if code:
        raise CommandError(
            f"{describe_death(code, call.output)}\n{_there(request.read_outcome())};"
            f" start it again to go on: {request.command}",
            exit_code=1,
        )


def _baselines(request: StudyRequest) -> list[str]:
    """Return the runs of baselines in block 1 that must be ok for the study to go on."""
    if request.keep_going:
        return []
    return [f"{one['name']}/{one['baseline']}/r1" for one in request.plan["experiments"]]


def _watch_baselines(request: StudyRequest) -> Callable[[], bool]:
    """Return a function that says whether no baseline has failed yet.

    It reads each run once, because it is called while others are measured.
    """
    awaited = _baselines(request)

    def go_on() -> bool:
        for name in list(awaited):
            run = read_planned(request.plan, request.results, request.trial.beside, name)
            if run is not None and run.status != "ok":
                return False
            if run is not None:
                awaited.remove(name)
        return True

    return go_on


def _is_bad(outcome: Outcome, name: str) -> bool:
    return name in outcome.finished and outcome.finished[name].status != "ok"


def _check_baselines(request: StudyRequest, outcome: Outcome) -> None:
    name = next((name for name in _baselines(request) if _is_bad(outcome, name)), None)
    if name is None:
        return
    raise CommandError(
        f"the baseline failed, so nothing can be compared with it:"
        f" {describe_failed_run(name, outcome.finished[name])}\n"
        f"{_there(outcome)}. Mend it and start again (if its code is not what failed,"
        f" {request.results / 'raw' / name}: {MEASURE_AGAIN}), or go on with --keep-going",
        exit_code=1,
    )


def _try_treatments(request: StudyRequest, known: Mapping[str, TimeRange]) -> dict[str, TimeRange]:
    """Run one task of each treatment of which no run is there; return the times of a run."""
    treatments = {key: one for key, one in request.plan["treatments"].items() if key not in known}
    if not treatments:
        return {}
    trial = request.trial._replace(plan={**request.plan, "treatments": treatments})
    failed: list[str] = []

    def name_failed(one: Trial) -> None:
        if one.observed.status not in NOT_FAILED:
            failed.append(one.key)
            if len(failed) <= MOST_NAMED:
                _say(f"FAILED  trial of {cut(describe_failure(trial, one)[0])}")

    trials = run_trials(trial, name_failed)
    unsupported = {one.key: one for one in trials if one.observed.status == UNSUPPORTED}
    for key, one in unsupported.items():
        _say(f"unsupported  {key}: {cut(one.observed.detail)}")
    names = f"; failed: {cut(', '.join(failed))}" if failed else ""
    number = len(trials) - len(failed) - len(unsupported)
    _say(f"trial: {number} of {len(trials)} treatments ok with one task{names}")
    baselines = [one for one in (*failed, *unsupported) if treatments[one]["baseline"]]
    if baselines and not request.keep_going:
        raise MeasureError(
            f"the trial of the baseline {', '.join(baselines)} failed, so nothing can be compared"
            " with it. Mend it and start again, or go on with --keep-going"
        )
    return estimate_runs(trial, trials)


def _describe_plan(plan: Mapping[str, Any]) -> str:
    experiments = ", ".join(
        f"{one['name']} ({len(one['treatments'])}, baseline {one['baseline']})"
        for one in plan["experiments"]
    )
    key, need = max(
        ((key, one["estimated_memory_bytes"]) for key, one in plan["treatments"].items()),
        key=lambda pair: pair[1],
    )
    memory = f"up to {format_bytes(need)} by estimate, for {key}" if need else "not known"
    runs, treatments = count(len(plan["runs"]), "run"), count(len(plan["treatments"]), "treatment")
    most = "at most " if "until" in plan else ""
    return (
        f"{plan['study']}: {most}{runs}, {treatments} in {count(plan['replicates'], 'block')},"
        f" at most {format_seconds(plan['time_limit_s'])} a run\n"
        f"experiments (treatments): {experiments}\n"
        f"memory of a run: {memory}"
    )


def _estimate_from(outcome: Outcome) -> dict[str, TimeRange]:
    """Return the least and most time of the runs that are there, by treatment."""
    took: dict[str, list[float]] = {}
    for name, run in outcome.finished.items():
        took.setdefault(name.rpartition("/")[0], []).append(run.took_s)
    return {treatment: TimeRange(min(times), max(times)) for treatment, times in took.items()}


def _add_up(estimates: Mapping[str, TimeRange], treatments: Sequence[str]) -> TimeRange:
    known = [estimates[one] for one in treatments if one in estimates]
    return TimeRange(sum(one.low_s for one in known), sum(one.high_s for one in known))


def _runs_to_come(request: StudyRequest, outcome: Outcome) -> list[str]:
    """Return the treatment of each run that is not there, warm-ups included."""
    there = [name for name in name_runs(request.plan) if (request.results / "raw" / name).exists()]
    kept = {*outcome.finished, *(name for name in there if name.rpartition("/")[2][0] == "w")}
    return [name.rpartition("/")[0] for name in name_runs(request.plan) if name not in kept]


def _describe_time(
    request: StudyRequest, outcome: Outcome, estimates: Mapping[str, TimeRange]
) -> str:
    to_come = _runs_to_come(request, outcome)
    number = count(len(to_come), "run")
    if not any(one in estimates for one in to_come):
        return f"time of {number}: not known before some have ended"
    time = format_range(_add_up(estimates, to_come))
    unknown = sum(one not in estimates for one in to_come)
    but = f" without {unknown} of treatments of unknown time" if unknown else ""
    more = format_range(_add_up(estimates, MORE_BLOCKS * list(request.plan["treatments"])))
    return f"time of {number}: about {time}{but}; {MORE_BLOCKS} blocks more would take {more}"


def _first_block_pays(
    request: StudyRequest, outcome: Outcome, estimates: Mapping[str, TimeRange]
) -> bool:
    """Return whether the first block should be shown before the others are measured."""
    runs = name_runs(request.plan)
    to_come = [name for name in runs if name not in outcome.finished]
    later = [name.rpartition("/")[0] for name in to_come if runs[name]["block"] > 1]
    return any(runs[name]["block"] == 1 for name in to_come) and (
        not estimates or _add_up(estimates, later).high_s >= LEAST_LEFT_S
    )


def _show_preliminary(request: StudyRequest) -> None:
    """Analyse the first block, and show it; no measurement runs meanwhile."""
    folder = request.results / "preliminary"
    runs = [run for run in request.plan["runs"] if run["block"] == 1]
    plan = {
        **request.plan,
        "runs": runs,
        "replicates": 1,
        "warm_ups": 0,
        "warm_up_runs": [],
        "diagnoses": [],
    }
    plan.pop("until", None)
    write_json(folder / "plan.json", plan)
    paths = ["--plan", str(folder / "plan.json"), "--raw", str(request.results / "raw")]
    done = _call_stagebench("analyse", *paths, "--out", str(folder / "tables"))
    if done.returncode:
        _say(f"no result after the first block: {done.stderr.strip()[-300:]}")
        return
    why = f"preliminary, after block 1 of {request.plan['replicates']}"
    screen = request.make_first_screen(folder / "tables", plan, why)
    print_text(f"\n{screen.rstrip()}\n\n")


def _there(outcome: Outcome) -> str:
    number = len(outcome.finished)
    return f"{number:,} of {count(outcome.planned, 'run')} {'is' if number == 1 else 'are'} there"


def _say(text: str) -> None:
    """Print lines, which wrap on a terminal and nowhere else."""
    for line in text.splitlines():
        rows = [line]
        if sys.stdout is not None and sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            rows = textwrap.wrap(line, width, break_on_hyphens=False, subsequent_indent="  ")
        print_text("\n".join(rows) + "\n")


def _open_results(request: StudyRequest) -> Path:
    """Make the folder of logs, and return the file for what Snakemake prints."""
    output = request.results / "logs" / "snakemake.log"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(b"")
    except OSError as error:
        raise MeasureError(
            f"{output}: cannot be written ({error.strerror}); allowed: a current folder in which"
            " results can be made"
        ) from error
    return output


@contextlib.contextmanager
def _screen() -> Iterator[int]:
    """Yield a descriptor of standard output, or of nothing where that is closed."""
    try:
        descriptor = os.dup(1 if sys.stdout is None else sys.stdout.fileno())
    except OSError:
        descriptor = os.open(os.devnull, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: orderly, with what is there kept.

    A signal that is ignored, as by nohup, stays ignored. But Snakemake, which would inherit that of
    a study in the background, could not be ended orderly. So Ctrl-C gets a handler that does
    nothing, which is not inherited.
    """
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.getsignal(number)
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
        elif number == signal.SIGINT:
            signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
