"""One run, task by task: Gantt chart, stage shares, queue depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.patches import Patch

from stagebench.present.markdown import count_noun, format_number
from stagebench.present.style import (
    MUTED,
    Colour,
    label_point,
    make_figure,
    pale,
    stage_colours,
    write_placeholder,
)
from stagebench.tables.io import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment

_ROW_INCHES = 0.17
_LABELLED_ROW_INCHES = 0.11
"""Rows thinner than this carry no text, which would overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The rows of the run that is drawn; `order` lists its tasks, the slowest first.

    `attempts` has the attempts after which a task was retried.
    """

    tasks: pd.DataFrame
    attempts: pd.DataFrame
    shares: pd.DataFrame
    queues: pd.DataFrame
    order: list[int]
    colours: dict[str, Colour]


def plot_tasks(experiment: Experiment, treatment: str) -> Figure:
    """Draw the treatment's run of median makespan."""
    tasks = experiment.shown("tasks", treatment)
    if tasks.empty:
        return _plot_failure(experiment, treatment)
    attempts = experiment.shown("attempts", treatment)
    run = _Run(
        tasks=tasks,
        attempts=attempts,
        shares=experiment.shown("stages", treatment),
        queues=experiment.shown("queue_depth", treatment),
        order=_by_duration(pd.concat([attempts, tasks])),
        colours=_own_colours(experiment, tasks),
    )
    chart_inches = min(max(_ROW_INCHES * len(run.order), 1.6), 8.5)
    figure = make_figure(11, chart_inches + 3.1)
    _fill(figure, run, chart_inches)
    figure.text(
        0.012,
        1 - 0.14 / figure.get_figheight(),
        _title(experiment, treatment, run),
        ha="left",
        va="top",
        weight="bold",
        size=11,
    )
    return figure


def _fill(figure: Figure, run: _Run, chart_inches: float) -> None:
    height = figure.get_figheight()
    grid = figure.add_gridspec(
        2,
        2,
        width_ratios=(3.4, 1),
        height_ratios=(chart_inches, 1.35),
        left=0.075,
        right=0.985,
        bottom=0.5 / height,
        top=1 - 0.72 / height,
        hspace=0.62 / (chart_inches / 2 + 0.7),
        wspace=0.14,
    )
    chart = figure.add_subplot(grid[0, 0])
    queue = figure.add_subplot(grid[1, 0], sharex=chart)
    _plot_chart(chart, run, chart_inches / len(run.order))
    _plot_queues(queue, run)
    _plot_shares(figure.add_subplot(grid[0, 1]), run)
    _add_legend(figure.add_subplot(grid[1, 1]), run)


def _plot_failure(experiment: Experiment, treatment: str) -> Figure:
    figure = make_figure(11, 1.6)
    axes = figure.add_subplot()
    axes.set_axis_off()
    note = experiment.failure_note(treatment)
    write_placeholder(axes, f"{experiment.name} / {treatment}: {note}")
    return figure


def _title(experiment: Experiment, treatment: str, run: _Run) -> str:
    shown = experiment.shown("runs", treatment).iloc[0]
    ok = len(experiment.runs(treatment))
    which = f"replicate {shown['replicate']}, median makespan of {ok} runs" if ok > 1 else "one run"
    count, makespan = count_noun(len(run.order), "task"), format_number(shown["makespan_s"])
    return f"{experiment.name} / {treatment}: {count} in {makespan} s ({which})"


def _by_duration(tasks: pd.DataFrame) -> list[int]:
    groups = tasks.groupby("task")
    durations = groups["received_s"].max() - groups["submitted_s"].min()
    return list(durations.sort_values(ascending=False, kind="stable").index)


def _own_colours(experiment: Experiment, tasks: pd.DataFrame) -> dict[str, Colour]:
    own = set(tasks["stage"])
    return {stage: c for stage, c in stage_colours(experiment.stages).items() if stage in own}


def _plot_chart(axes: Axes, run: _Run, row_inches: float) -> None:
    rows = {task: row for row, task in enumerate(reversed(run.order))}
    lanes = _lanes(run)
    for stage, colour in run.colours.items():
        low, thickness = lanes[stage]
        for found, service in (
            (run.tasks, {"color": colour, "linewidth": 0}),
            (run.attempts, _failed_look(colour)),
        ):
            own = found[found["stage"] == stage]
            places = [rows[task] + low for task in own["task"]]
            # A lost or timed-out attempt has no end of its own, only the moment the runner noticed.
            served = own["finished_s"].fillna(own["received_s"]) - own["started_s"]
            for left, widths, look in (
                ("submitted_s", own["waiting_s"], {"color": pale(colour), "linewidth": 0}),
                ("started_s", served, service),
            ):
                bars = axes.barh(
                    places, widths, left=own[left], height=thickness, align="edge", **look
                )
                if left == "started_s" and _has_both(run):
                    _outline_first(bars, own["first"])
    title, which = "Waiting (pale) and service (solid)", ""
    if not run.attempts.empty:
        title, which = (
            "Waiting (pale), service (solid), failed attempts (hatched)",
            " of the last attempt",
        )
    if row_inches < _LABELLED_ROW_INCHES:
        axes.set_yticks([])
    else:
        _label_tasks(axes, run, rows, size=min(7.0, row_inches * 45))
        title += f"; to the right, stage efficiency{which} in %: {'  ·  '.join(run.colours)}"
    axes.set_title(title, size=8, weight="normal")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, run.tasks["received_s"].max() * 1.14)
    axes.tick_params(labelbottom=False, labelsize=7)
    axes.grid(visible=False, axis="y")
    axes.set_ylabel("task, slowest on top")


FIRST_LOOK: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.9}
"""The outline of the first task of a worker."""


def _outline_first(bars: BarContainer, first: pd.Series[bool]) -> None:
    """Outline the first task of each worker."""
    for bar, is_first in zip(bars, first.fillna(value=False), strict=True):
        if is_first:
            bar.set(**FIRST_LOOK)


def _failed_look(colour: Colour) -> dict[str, Any]:
    """Return the style of a service after which the task was retried."""
    return {"facecolor": "white", "edgecolor": colour, "hatch": "//////", "linewidth": 0.6}


def _has_both(run: _Run) -> bool:
    """Return whether some tasks were the first of their worker, and some were not."""
    first = run.tasks["first"].dropna()
    return bool(first.any() and not first.all())


def _lanes(run: _Run) -> dict[str, tuple[float, float]]:
    """Return the lower edge and the thickness of each stage within a task's row.

    Every stage has the whole row, unless a task is in two stages at once: then each has its lane.
    """
    ordered = run.tasks.sort_values(["task", "submitted_s"])
    ends = ordered.groupby("task")["finished_s"].shift()
    together = bool((ordered["submitted_s"] < ends).any())
    count = len(run.colours) if together else 1
    return {
        stage: (-0.4 + 0.8 * (index % count) / count, 0.8 / count)
        for index, stage in enumerate(run.colours)
    }


def _label_tasks(axes: Axes, run: _Run, rows: dict[int, int], *, size: float) -> None:
    axes.set_yticks(list(rows.values()), [str(task) for task in rows])
    for task, own in run.tasks.groupby("task"):
        found = own.set_index("stage")
        efficiency = found["service_s"] / (found["service_s"] + found["waiting_s"])
        text = " · ".join(_percent(efficiency.get(stage)) for stage in run.colours)
        label_point(axes, text, (own["received_s"].max(), rows[int(str(task))]), size=size)


def _percent(share: float | None) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:.0f}"


def _plot_queues(axes: Axes, run: _Run) -> None:
    for stage, colour in run.colours.items():
        own = run.queues[run.queues["stage"] == stage]
        axes.step(own["time_s"], own["waiting"].astype(float), where="post", color=colour, lw=1.6)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds since the workflow started")
    axes.set_ylabel("tasks waiting")
    axes.set_title("Queue depth", size=8, weight="normal")
    axes.tick_params(labelsize=7)


def _plot_shares(axes: Axes, run: _Run) -> None:
    stages = run.shares.set_index("stage")
    shares = 100 * numbers(stages, "share_of_total_time")
    served = shares * numbers(stages, "stage_efficiency")
    places = range(len(run.colours))
    for place, (stage, colour) in zip(places, run.colours.items(), strict=True):
        axes.bar(place, shares[stage], color=pale(colour), width=0.7, linewidth=0)
        axes.bar(place, served[stage], color=colour, width=0.7, linewidth=0)
        label_point(axes, f"{shares[stage]:.0f} %", (place, shares[stage]), above=True)
    axes.set_xticks(list(places), list(run.colours), size=7, rotation=20 if len(places) > 1 else 0)
    margin = max(3 - len(run.colours), 0) / 2  # keeps a single bar narrow
    axes.set_xlim(-0.6 - margin, len(run.colours) - 0.4 + margin)
    axes.set_ylim(0, 112)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.tick_params(labelsize=7)
    axes.grid(visible=False, axis="x")
    axes.set_title("Share of summed response time, %", size=8, weight="normal")


def _add_legend(axes: Axes, run: _Run) -> None:
    axes.set_axis_off()
    handles = [Patch(color=colour, label=stage) for stage, colour in run.colours.items()]
    handles.append(Patch(color=pale((0.4, 0.4, 0.4)), label="waiting: pale"))
    handles.append(Patch(color=MUTED, label="service: solid"))
    if _has_both(run):
        first = Patch(facecolor=MUTED, label="first task of a worker: outlined", **FIRST_LOOK)
        handles.append(first)
    if not run.attempts.empty:
        handles.append(Patch(**_failed_look((0.4, 0.4, 0.4)), label="failed attempt: hatched"))
    axes.legend(
        handles=handles, loc="center", fontsize=8, frameon=False, ncols=1 + len(handles) // 6
    )
