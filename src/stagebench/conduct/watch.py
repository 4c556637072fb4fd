"""What Snakemake reports about its jobs, as the progress of a study; its logger plugin calls this.

The plan of the study comes as a record of its own, from workflow/rules/common.smk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagebench.conduct.announced import MESSAGE, SCREEN, STUDY
from stagebench.conduct.display import Display
from stagebench.conduct.finished import MOST_NAMED, describe_failed_run
from stagebench.conduct.progress import Progress
from stagebench.records import UNSUPPORTED
from stagebench.store import shorten
from stagebench.terminal import INTERRUPTED, STDERR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stagebench.units import Seconds

TICK_S = 1.0
"""How often the screen is drawn anew, which takes 0.3 ms with 205 runs."""

LINE_S = 60.0
"""How often a line is written where nothing can be drawn."""

LONGEST_ERROR = 1000
"""Characters of what Snakemake, or the log of a job that failed, says."""

LAST_LINES = 6
"""Lines of the log of a job that failed."""

STEPS = {
    "design": "checking the study",
    "analyse": "making tables of the runs",
    "judge": "judging claims",
    "figures": "drawing figures",
    "report": "writing the report",
}
"""Words for the rules that measure nothing."""


class Watch:
    """Follows the jobs of one call of Snakemake, and shows how far the study is."""

    def __init__(self, display: Display, clock: Callable[[], Seconds] = time.monotonic) -> None:
        self._display, self._clock = display, clock
        self._progress: Progress | None = None
        self._jobs: dict[int, tuple[str, Mapping[str, str]]] = {}
        self._named: set[str] = set()
        self._failures = 0
        self._errors: list[str] = []
        self._job_failed = False
        self._measured = False
        self._line_s = clock()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="display", daemon=True)

    def begin(self) -> None:
        """Draw the screen from now on."""
        self._ticker.start()

    def see(self, record: Any) -> None:
        """Take one record."""
        with self._lock:
            announced = getattr(record, STUDY, None)
            if announced is not None:
                self._progress = Progress(*announced)
            elif hasattr(record, MESSAGE):
                self._display.say(record.getMessage())
            elif str(getattr(record, "event", "")) == "group_error":
                self._say_group_error(record)
            elif str(getattr(record, "event", "")) == "job_error":
                self._say_job_error(record)
            elif record.levelno >= logging.ERROR:
                self._errors.append(shorten(record.getMessage().strip(), LONGEST_ERROR))
            elif self._progress is not None:
                self._see_job(self._progress, record)

    def end(self) -> None:
        """Remove the screen; leave what Snakemake could not do, and how far the study is.

        Errors beside that of a job only repeat that it failed, with the whole command.
        """
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            self._display.clear()
            for error in [] if self._job_failed else self._errors:
                self._display.say(error)
            if self._progress is not None and self._measured:
                self._display.say(self._progress.format_line(self._clock()))

    def _say_job_error(self, record: Any) -> None:
        """Name a job that failed, with the end of its log; one that was interrupted did not fail.

        A run that fails is a result, and its job succeeds.
        """
        self._job_failed = True
        if record.indent:  # of a group, which was named
            return
        lines = []
        for path in map(Path, record.log):
            end = _read_end(path)
            # Or its interpreter was, while it started.
            if any(INTERRUPTED in line or line.strip() == "KeyboardInterrupt" for line in end):
                return
            lines += [*(f"  {line}" for line in end), f"  all of it: {path}"]
        self._display.say("\n".join([f"FAILED  rule {record.rule_name}", *lines]))

    def _say_group_error(self, record: Any) -> None:
        """Name a block whose job on a cluster ended early, with the error in that job's log.

        A job whose node died has said nothing of it.
        """
        why = "its job on the cluster ended early, by an error that its log names, or with its node"
        lines = [f"LOST    {_name_group(record.groupid)}: {why}. Its runs that are there are kept"]
        for path in map(Path, record.aux_logs):
            lines += [*(f"  {line}" for line in _read_error(path)), f"  all of it: {path}"]
        self._display.say("\n".join(lines))
        for job in record.job_error_info:
            if self._progress is not None and job["jobid"] in self._jobs:
                self._finish(self._progress, *self._jobs.pop(job["jobid"]))

    def _see_job(self, progress: Progress, record: Any) -> None:
        event = str(getattr(record, "event", ""))
        if event == "job_info":
            job = self._jobs[record.jobid] = record.rule_name, dict(record.wildcards or {})
            self._start(progress, *job)
        elif event == "job_finished" and record.job_id in self._jobs:
            self._finish(progress, *self._jobs.pop(record.job_id))
        else:
            return
        self._show()

    def _start(self, progress: Progress, rule: str, wildcards: Mapping[str, str]) -> None:
        if rule == "measure":
            self._measured = True
            progress.start_run(_run(wildcards), self._clock())
        elif rule == "diagnose":
            progress.start_step(f"diagnosing {wildcards['diagnosis']}")
        elif rule in STEPS:
            progress.start_step(STEPS[rule])

    def _finish(self, progress: Progress, rule: str, wildcards: Mapping[str, str]) -> None:
        if rule == "diagnose":
            progress.finish_diagnosis()
        if rule != "measure":
            return
        name = _run(wildcards)
        found = progress.finish_run(name, self._clock())
        treatment = name.rpartition("/")[0]
        if found is None or found.status == "ok" or treatment in self._named:
            return
        self._named.add(treatment)
        if found.status == UNSUPPORTED:
            self._display.say(f"unsupported  {treatment}: {found.cause}")
            return
        self._failures += 1
        if self._failures <= MOST_NAMED:
            self._display.say(f"FAILED  {describe_failed_run(name, found)}")
        elif self._failures == MOST_NAMED + 1:
            self._display.say("FAILED  more treatments; from here on they are counted only")

    def _show(self) -> None:
        if self._progress is None or self._ended.is_set():
            return
        now_s = self._clock()
        if self._display.can_draw:
            self._display.draw(self._progress.format_screen(now_s, self._display.width))
        elif now_s - self._line_s >= LINE_S:
            self._line_s = now_s
            self._display.say(self._progress.format_line(now_s))

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            with self._lock:
                self._show()


def _read_end(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        text = shorten(path.read_text(encoding="utf-8", errors="replace"), LONGEST_ERROR)
        return text.splitlines()[-LAST_LINES:]
    return []


def _read_error(path: Path) -> list[str]:
    """Return the last error in the log of a job on a cluster, which has many other lines."""
    with contextlib.suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        places = [place for place, line in enumerate(lines) if "Error" in line]
        if places:
            found = lines[places[-1] : places[-1] + LAST_LINES]
            return shorten("\n".join(found), LONGEST_ERROR).splitlines()
    return []


def _name_group(group: str) -> str:
    """Return words for a group of runs, which workflow/profiles/slurm has named."""
    kind, number = group[:1], group[1:]
    if number.isdecimal():
        return f"block {number}" if kind == "r" else f"warm-up {number}"
    return "runs that diagnose" if group == "diagnoses" else group


def _run(wildcards: Mapping[str, str]) -> str:
    run = f"{wildcards['kind']}{wildcards['replicate']}"
    return f"{wildcards['experiment']}/{wildcards['treatment']}/{run}"


def open_watch() -> Watch:
    """Return a watch that writes to standard error, or where `stagebench run` wants it."""
    descriptor = int(os.environ.get(SCREEN, STDERR))
    if descriptor != STDERR:
        os.set_inheritable(descriptor, False)
    watch = Watch(Display(descriptor))
    watch.begin()
    return watch
