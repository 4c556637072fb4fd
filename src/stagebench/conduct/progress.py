"""How far a study is, from its plan and the runs that have ended; no clock and no terminal."""

from __future__ import annotations

import textwrap
from statistics import fmean, median
from typing import TYPE_CHECKING

from stagebench.conduct.finished import (
    Finished,
    Outcome,
    count,
    read_outcome,
    read_planned,
)
from stagebench.design.plan import name_runs
from stagebench.trace.live import format_elapsed
from stagebench.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from stagebench.units import Seconds

MOST_EXPERIMENTS = 3
"""So many experiments show what their runs took so far; the screen stays small."""

LONGEST_BAR = 30


class Progress:
    """The runs of a study: those that have ended, those that are going on, and those to come."""

    def __init__(self, plan: Mapping[str, Any], results: Path, beside: Path) -> None:
        self._plan, self._results, self._beside = plan, results, beside
        self._planned = name_runs(plan)
        self._finished = dict(read_outcome(plan, results, beside).finished)
        self._running: dict[str, Seconds] = {}
        self._block: int | None = None
        self._step = "looking at what is there"
        self._diagnosed = 0
        self._between_s: list[Seconds] = []
        self._idle_since_s: Seconds | None = None

    @property
    def outcome(self) -> Outcome:
        """Return what is there now."""
        number = sum(not run["warm_up"] for run in self._planned.values())
        ordered = {name: self._finished[name] for name in self._planned if name in self._finished}
        return Outcome(number, ordered)

    def start_run(self, name: str, now_s: Seconds) -> None:
        """Note that a run, by its folder below `raw`, is being measured."""
        self._finished.pop(name, None)
        self._running[name] = now_s
        self._block = self._planned[name]["block"]
        self._step = "the next run begins"
        if self._idle_since_s is not None:
            self._between_s.append(now_s - self._idle_since_s)

    def finish_run(self, name: str, now_s: Seconds) -> Finished | None:
        """Read a run that has ended; None for a warm-up and for a run that cannot be read."""
        self._running.pop(name, None)
        self._idle_since_s = now_s
        run = self._planned.get(name)
        if run is None or run["warm_up"]:
            return None
        found = read_planned(self._plan, self._results, self._beside, name)
        if found is not None:
            self._finished[name] = found
        return found

    def start_step(self, words: str) -> None:
        """Note what is done beside the runs that count."""
        self._step = words

    def finish_diagnosis(self) -> None:
        """Note that one more run that diagnoses has ended."""
        self._diagnosed += 1

    def format_screen(self, now_s: Seconds, width: int) -> list[str]:
        """Return the lines of the screen, each at most `width` wide."""
        outcome = self.outcome
        number = f"{len(outcome.finished)}/{outcome.planned}"
        ends = [number, self._describe_block(), self._describe_left(now_s)]
        rest = "  ".join(filter(None, ends))
        name = str(self._plan["study"])
        bar = _draw_bar(outcome, min(LONGEST_BAR, width - len(name) - len(rest) - 6))
        lines = [
            "  ".join(filter(None, (name, bar, rest))),
            self._describe_now(now_s),
            self._count(),
            *self._describe_makespans(),
        ]
        return [piece for line in lines for piece in _wrap(line, width)]

    def format_line(self, now_s: Seconds) -> str:
        """Return the same in one line, for where nothing can be overwritten."""
        outcome = self.outcome
        parts = [
            f"{len(outcome.finished)} of {count(outcome.planned, 'run')}",
            self._describe_block(),
            self._describe_left(now_s),
            self._count(),
        ]
        return ", ".join(filter(None, parts))

    def _describe_block(self) -> str:
        """Return the block of the latest run that has begun; "" if all runs are there."""
        if self._block is None or len(self._finished) == self.outcome.planned:
            return ""
        return f"block {self._block} of {self._plan['replicates']}" if self._block else "warm-up"

    def _describe_left(self, now_s: Seconds) -> str:
        left_s = self._estimate_left(now_s)
        return "" if left_s is None else f"about {format_about(left_s)} left"

    def _estimate_left(self, now_s: Seconds) -> Seconds | None:
        """Estimate the time of what is left, from the times of the runs that have ended.

        A treatment of which no run has ended counts as the mean of the others.
        """
        took: dict[str, list[Seconds]] = {}
        for name, run in self._finished.items():
            took.setdefault(_treatment(self._planned[name]), []).append(run.took_s)
        if not took:
            return None
        means = {treatment: fmean(times) for treatment, times in took.items()}
        other_s = fmean(means.values())
        to_come = [run for name, run in self._planned.items() if name not in self._finished]
        more = len(self._plan["diagnoses"]) - self._diagnosed
        if not to_come and not more:
            return None
        between_s = fmean(self._between_s) if self._between_s else 0.0
        left_s = sum(means.get(_treatment(run), other_s) for run in to_come) + more * other_s
        passed_s = sum(now_s - began_s for began_s in self._running.values())
        return max(0.0, left_s - passed_s + (len(to_come) + more) * between_s)

    def _describe_now(self, now_s: Seconds) -> str:
        if not self._running:
            return f"now     {self._step}" if self._step else ""
        name, began_s = next(iter(self._running.items()))
        others = f", and {len(self._running) - 1} more" if len(self._running) > 1 else ""
        return f"now     {name}, {format_elapsed(now_s - began_s)}{others}"

    def _count(self) -> str:
        outcome = self.outcome
        return f"failed {len(outcome.failed)}, noisy {outcome.noisy}"

    def _describe_makespans(self) -> Iterator[str]:
        """Yield the makespans so far for each experiment: what was seen, and no word of order."""
        lines = []
        for experiment in self._plan["experiments"]:
            medians = self._find_medians(experiment["name"])
            baseline = medians.pop(experiment["baseline"], None)
            if baseline is None or not medians:
                continue
            ends = [pick(medians, key=medians.__getitem__) for pick in (min, max)]
            others = " to ".join(
                f"{one} {format_seconds(medians[one])}" for one in dict.fromkeys(ends)
            )
            lines.append(
                f"  {experiment['name']}: {experiment['baseline']} (baseline)"
                f" {format_seconds(baseline)}, {'others ' if len(medians) > 1 else ''}{others}"
            )
        if lines and len(self._finished) < self.outcome.planned:
            yield "so far  median makespans; without intervals, nothing is decided yet"
            yield from lines[:MOST_EXPERIMENTS]

    def _find_medians(self, experiment: str) -> dict[str, Seconds]:
        own: dict[str, list[Seconds]] = {}
        for name, found in self._finished.items():
            run = self._planned[name]
            if run["experiment"] == experiment and found.makespan_s is not None:
                own.setdefault(run["treatment"], []).append(found.makespan_s)
        return {treatment: median(times) for treatment, times in own.items()}


def _treatment(run: Mapping[str, Any]) -> str:
    return f"{run['experiment']}/{run['treatment']}"


def _draw_bar(outcome: Outcome, length: int) -> str:
    if length < 5:  # narrower than this, it shows nothing
        return ""
    done = length * len(outcome.finished) // max(1, outcome.planned)
    return f"[{'#' * done}{'.' * (length - done)}]"


def _wrap(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent="    ", break_on_hyphens=False)


def format_about(duration_s: Seconds) -> str:
    """Format a duration that is not known better than this: "20 s", "6 min", "3 h 10 min"."""
    if duration_s < 60:
        return f"{max(1, round(duration_s / 5)) * 5} s"
    minutes = round(duration_s / 60)
    if minutes < 120:  # two hours
        return f"{minutes} min"
    hours, minutes = divmod(round(minutes, -1), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
