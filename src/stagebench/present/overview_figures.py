"""All treatments of an experiment side by side: makespan, efficiency."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stagebench.present.markdown import format_number
from stagebench.present.rows import (
    add_legend,
    add_title,
    label_rows,
    make_rows,
    marker,
    name_inches,
    plot_points,
    rows_inches,
)
from stagebench.present.style import INK, MUTED, POINT, label_row, make_figure, stage_colours
from stagebench.tables import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment


def plot_makespan(experiment: Experiment) -> Figure:
    """Draw the makespan of every ok run as a point, and the median of each treatment."""
    title = "makespan of every run (points) and the median (bar)"
    figure, axes = make_rows(experiment, title, foot=0.6)
    runs = experiment.tables["runs"]
    plot_points(axes, experiment, numbers(runs[runs["status"] == "ok"], "makespan_s"), POINT)
    for row, treatment in enumerate(experiment.treatments):
        _mark_median(axes, experiment, treatment, row)
    axes.set_xlabel("makespan in seconds: first submission to last result")
    return figure


def _mark_median(axes: Axes, experiment: Experiment, treatment: str, row: int) -> None:
    median = experiment.summary(treatment, "makespan_s")["median"]
    if math.isnan(median):
        return
    axes.plot([median, median], [row - 0.36, row + 0.36], color=INK, lw=2.2, zorder=5)
    label_row(axes, f"{format_number(median)} s", row)


def plot_efficiency(experiment: Experiment) -> Figure:
    """Draw, per stage, the stage efficiency of every treatment beside its on-CPU share."""
    stages = experiment.stages
    left, body = name_inches(experiment), rows_inches(experiment)
    figure = make_figure(left + 2.6 * max(len(stages), 2) + 0.2, body + 1.75)
    width, height = figure.get_figwidth(), figure.get_figheight()
    grid = figure.add_gridspec(
        *(1, len(stages)),
        left=left / width,
        right=1 - 0.15 / width,
        bottom=0.95 / height,
        top=(0.95 + body) / height,
        wspace=0.08,
    )
    for column, (stage, colour) in enumerate(stage_colours(stages).items()):
        axes = figure.add_subplot(grid[0, column])
        label_rows(axes, experiment)
        axes.tick_params(labelleft=column == 0)
        _plot_stage(axes, experiment, stage)
        axes.set_title(stage, size=9, color=colour)
    add_title(figure, f"{experiment.name}: time served and time on a CPU, by stage (medians)")
    efficiency = marker("stage efficiency: service / (service + waiting)", "o", 6, MUTED)
    on_cpu = marker("on-CPU share: CPU time / (service + waiting)", "D", 4.5, MUTED, hollow=True)
    add_legend(figure, [efficiency, on_cpu])
    return figure


def _plot_stage(axes: Axes, experiment: Experiment, stage: str) -> None:
    colour = stage_colours(experiment.stages)[stage]
    for row, treatment in enumerate(experiment.treatments):
        if not experiment.has_stage(treatment, stage):
            continue
        efficiency = 100 * experiment.summary(treatment, "stage_efficiency", stage)["median"]
        on_cpu = 100 * experiment.summary(treatment, "on_cpu_share", stage)["median"]
        axes.plot([on_cpu, efficiency], [row, row], color="#bbbbbb", lw=1)
        axes.plot(efficiency, row, "o", ms=6, color=colour)
        axes.plot(on_cpu, row, "D", ms=4.5, mfc="white", mec=colour, mew=1.3)
    axes.set_xlim(-4, 108)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("%")
