"""The results of the head-to-head of memory tools, as tables."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.markdown import NOTHING, format_number, format_share, format_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ALONE = "alone"
NEAR = 0.05


class Result(NamedTuple):
    """One run of one program under one tool, or under none.

    `failure` is the reason if there are no other values. `error` is reported peak / true peak − 1;
    `other_cpu_s` is the CPU time of everything but the program; `children` counts those created.
    """

    tool: str
    setting: str
    kind: str
    repeat: int
    failure: str | None = None
    error: float | None = None
    upper_error: float | None = None
    children: int = 0
    reported_children: int | None = None
    other_cpu_s: float = 0.0
    duration_s: float = 0.0


class Costs:
    """The costs of programs alone, with which runs under tools are compared."""

    def __init__(self, results: Iterable[Result]) -> None:
        alone = [each for each in results if each.tool == ALONE and each.failure is None]
        self._durations_s = {(each.kind, each.repeat): each.duration_s for each in alone}
        self._other_cpu_s = [each.other_cpu_s for each in alone]

    def cpu_s(self, result: Result) -> float | None:
        """CPU time of the tool: all but the program's, minus the start of an interpreter."""
        if not self._other_cpu_s:
            return None
        return result.other_cpu_s - statistics.median(self._other_cpu_s)

    def slowdown(self, result: Result) -> float | None:
        """Duration of the program under the tool ÷ its duration alone in the same block."""
        alone_s = self._durations_s.get((result.kind, result.repeat))
        return result.duration_s / alone_s if alone_s else None


def format_report(results: Sequence[Result], about: dict[str, str]) -> str:
    """Format all tables; `about` describes each tool, in the order of the rows."""
    costs = Costs(results)
    settings = sorted({each.setting for each in results if each.tool != ALONE})
    parts = []
    for setting in settings:
        chosen = [each for each in results if each.setting == setting]
        parts += [f"### Interval: {setting}\n", summarise_tools(chosen, about, costs)]
        for title, measure, shown in (
            ("Error of the peak (of stagebench: its lower bound)", error_of_peak, format_share),
            ("CPU seconds of the tool", costs.cpu_s, format_number),
            ("Duration of the program, as a multiple of that alone", costs.slowdown, format_number),
        ):
            parts += [f"{title}, medians:\n", tabulate_kinds(chosen, about, measure, shown)]
    return "\n".join([*parts, list_failures(results)])


def summarise_tools(results: Sequence[Result], about: dict[str, str], costs: Costs) -> str:
    """Format a row per tool over all kinds, and one for its upper bound if it has one."""
    header = ["tool", "runs", "failed", "no peak", "median error", "lowest", "highest"]
    header += [f"within {NEAR:.0%}", "children missed", "CPU s", "slowdown", "worst slowdown"]
    rows = []
    for tool, said in about.items():
        own = [each for each in results if each.tool == tool]
        done = [each for each in own if each.failure is None]
        errors = _known(each.error for each in done)
        uppers = _known(each.upper_error for each in done)
        counts = map(str, [len(own), len(own) - len(done), len(done) - len(errors)])
        name = f"{tool}{', lower bound' if uppers else ''} ({said})"
        missed = describe_missed(done)
        rows.append([name, *counts, *describe_errors(errors), missed, *describe_costs(done, costs)])
        if uppers:
            name = f"{tool}, upper bound"
            rows.append([name, *[""] * 3, *describe_errors(uppers), *[""] * 4])
    return format_table(header, rows)


def describe_costs(results: Sequence[Result], costs: Costs) -> list[str]:
    """Format the tool's median CPU time, and the median and worst slowdown of the program."""
    cpu_s = _known(map(costs.cpu_s, results))
    slowdowns = _known(map(costs.slowdown, results))
    values = [_median(cpu_s), _median(slowdowns), max(slowdowns, default=None)]
    return [format_number(value) for value in values]


def describe_errors(errors: Sequence[float]) -> list[str]:
    """Format the median, lowest and highest error, and the share near the truth."""
    near = sum(abs(error) <= NEAR for error in errors)
    shown = [_median(errors), min(errors, default=None), max(errors, default=None)]
    return [*map(format_share, shown), format_share(near / len(errors) if errors else None, 0)]


def describe_missed(results: Sequence[Result]) -> str:
    """Format how many children a tool missed, of how many; not all tools report children."""
    known = [each for each in results if each.reported_children is not None]
    if not known:
        return "not reported" if results else NOTHING
    missed = sum(abs(each.children - (each.reported_children or 0)) for each in known)
    return f"{missed} of {sum(each.children for each in known)}"


def tabulate_kinds(
    results: Sequence[Result],
    about: dict[str, str],
    measure: Callable[[Result], float | None],
    shown: Callable[[float | None], str],
) -> str:
    """Format the medians of a measure: a row per kind, a column per tool."""
    rows = []
    for kind in sorted({each.kind for each in results}):
        row = [kind]
        for tool in about:
            own = [each for each in results if (each.kind, each.tool) == (kind, tool)]
            values = _known(measure(each) for each in own if each.failure is None)
            row.append(shown(_median(values)))
        rows.append(row)
    return format_table(["kind", *about], rows)


def list_failures(results: Iterable[Result]) -> str:
    """List the reasons why runs failed, with their counts."""
    reasons = Counter(
        (each.tool, each.setting, each.failure) for each in results if each.failure is not None
    )
    lines = [
        f"- {tool}, {setting}: {why} ({n} runs)" for (tool, setting, why), n in reasons.items()
    ]
    return "\n".join(["Failures:\n", *(lines or ["- none"]), ""])


def error_of_peak(result: Result) -> float | None:
    """Return the error of the peak or, for a bracket, of its lower bound."""
    return result.error


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
