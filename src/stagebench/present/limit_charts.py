"""Figures of what limits treatments: floors beside makespans, and where the time of a task goes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.patches import Patch

from stagebench.present.markdown import format_number
from stagebench.present.style import (
    DARK,
    INK,
    LIMIT_COLOURS,
    MUTED,
    PART_LOOKS,
    add_title,
    label_row,
    label_rows,
    make_figure,
    make_rows,
    marker,
    name_inches,
    pale,
    rows_inches,
    write_placeholder,
)
from stagebench.tables.io import list_rows, numbers
from stagebench.tables.schema import TASK_TIME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment


_RESOURCES = {
    "workers": "workers of the fullest stage",
    "cores": "all cores",
    "GIL": "the GIL",
    "arrivals": "arrival of tasks",
    "in flight": "tasks in flight",
    "path of a task": "path of one task",
}


def plot_limits(experiment: Experiment) -> Figure:
    """Draw the makespan of every treatment as a bar, and the floors of its resources as marks."""
    title = "makespan (bar) and what it cannot fall below by each resource (marks)"
    figure, axes = make_rows(experiment, title, foot=0.95)
    limits = {row["treatment"]: row for row in list_rows(experiment.tables["limits"])}
    used: dict[str, None] = {}
    for row, treatment in enumerate(experiment.treatments):
        if treatment not in limits:
            continue
        limit = limits[treatment]
        axes.barh(row, limit["makespan_s"], height=0.62, color=pale(MUTED), zorder=2)
        floors = _highest_floors(experiment, treatment, limit["replicate"])
        for place, (resource, floor_s) in enumerate(floors.items()):
            used[resource] = None
            y = row + 0.4 * (place + 0.5) / len(floors) - 0.2
            axes.plot(floor_s, y, **LIMIT_COLOURS[resource], zorder=4)
        text = f"{format_number(limit['cores_used'])}/{limit['cores']} cores"
        label_row(axes, text, row)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds, in the run of median makespan; a mark at a bar's end is its limit")
    handles = [
        marker(_RESOURCES[name], look["marker"], look["ms"], look["color"])
        for name, look in LIMIT_COLOURS.items()
        if name in used
    ]
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _highest_floors(experiment: Experiment, treatment: str, replicate: int) -> Mapping[str, float]:
    rows = experiment.tables["floors"]
    own = rows[(rows["treatment"] == treatment) & (rows["replicate"] == replicate)]
    highest: dict[str, float] = {}
    for row in list_rows(own[numbers(own, "floor_s") > 0]):
        highest[row["resource"]] = max(highest.get(row["resource"], 0.0), row["floor_s"])
    return highest


def plot_times(experiment: Experiment) -> Figure:
    """Draw the parts of a task's time in each stage as a bar for every treatment."""
    stages = experiment.stages
    left, body = name_inches(experiment), rows_inches(experiment)
    figure = make_figure(left + 3.0 * max(len(stages), 2) + 0.2, body + 1.95)
    width, height = figure.get_figwidth(), figure.get_figheight()
    grid = figure.add_gridspec(
        *(1, len(stages)),
        left=left / width,
        right=1 - 0.15 / width,
        bottom=1.2 / height,
        top=(1.2 + body) / height,
        wspace=0.08,
    )
    rows = list_rows(experiment.tables["parts"])
    shown: dict[str, None] = {}
    for column, stage in enumerate(stages):
        axes = figure.add_subplot(grid[0, column])
        label_rows(axes, experiment)
        axes.tick_params(labelleft=column == 0)
        own = {row["treatment"]: row for row in rows if row["stage"] == stage}
        _stack_times(axes, experiment.treatments, own, shown)
        axes.set_title(stage, size=9)
        axes.set_xlabel("seconds")
    add_title(figure, f"{experiment.name}: where the time of a task goes, by stage (means)")
    handles = [Patch(label=TASK_TIME[part], **_fill(part)) for part in TASK_TIME if part in shown]
    handles += [Patch(label="in service, not told apart", **_fill(""))] * ("" in shown)
    figure.legend(handles=handles, loc="lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _stack_times(
    axes: Axes,
    treatments: Sequence[str],
    rows: Mapping[str, Mapping[str, Any]],
    shown: dict[str, None],
) -> None:
    longest = max((row["response_s"] + row["blocked_s"] for row in rows.values()), default=0.0)
    if not rows:
        write_placeholder(axes, "no run diagnosed it")
    for place, treatment in enumerate(treatments):
        if treatment not in rows:
            continue
        row, end = rows[treatment], 0.0
        for part in TASK_TIME:
            seconds = row[f"{part}_s"]
            if math.isnan(seconds) or seconds < 0.002 * longest:
                continue
            shown[part] = None
            axes.barh(place, seconds, left=end, height=0.7, zorder=2, **_fill(part))
            end += seconds
        rest = row["response_s"] + row["blocked_s"] - end
        if rest > 0.02 * longest:
            shown[""] = None
            axes.barh(place, rest, left=end, height=0.7, zorder=2, **_fill(""))
    axes.set_xlim(left=0)
    axes.margins(x=0.02)


def _fill(part: str) -> dict[str, Any]:
    colour, hatch = PART_LOOKS.get(part, (pale(DARK), ""))
    return {"facecolor": colour, "hatch": hatch, "edgecolor": INK, "lw": 0.3}
