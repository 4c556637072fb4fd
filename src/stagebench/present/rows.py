"""Charts with a row a treatment: sizes that hold the longest name, points, notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import seaborn as sns
from matplotlib.lines import Line2D

from stagebench.present.style import Colour, label_point, make_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment

_ROW_INCHES = 0.27
_CHARACTER_INCHES = 0.085
"""Width of a character of a row's name, generously."""


def make_rows(experiment: Experiment, title: str, *, foot: float) -> tuple[Figure, Axes]:
    """Make a figure with one chart; `foot` inches below it hold its label and legend."""
    left, body, top = name_inches(experiment), rows_inches(experiment), 0.45
    width, height = left + 7.4, body + foot + top
    figure = make_figure(width, height)
    axes = figure.add_axes((left / width, foot / height, 6.6 / width, body / height))
    label_rows(axes, experiment)
    add_title(figure, f"{experiment.name}: {title}")
    return figure, axes


def rows_inches(experiment: Experiment) -> float:
    """Give the height of all rows."""
    return max(_ROW_INCHES * len(experiment.treatments), 0.9)


def name_inches(experiment: Experiment) -> float:
    """Give the width that the longest name of a row needs."""
    return 0.4 + _CHARACTER_INCHES * max(len(name) for name in experiment.treatments)


def add_title(figure: Figure, text: str) -> None:
    """Write the title at the upper left of a figure."""
    height = figure.get_figheight()
    figure.text(0.012, 1 - 0.13 / height, text, va="top", weight="bold", size=10.5)


def label_rows(axes: Axes, experiment: Experiment) -> None:
    """Give every treatment its row, first on top; one without an ok run says so."""
    treatments = experiment.treatments
    axes.set_yticks(range(len(treatments)), treatments)
    axes.set_ylim(len(treatments) - 0.4, -0.6)
    for row, treatment in enumerate(treatments):
        if experiment.runs(treatment).empty:
            label_point(axes, experiment.failure_note(treatment), (0, row), size=7)


def plot_points(
    axes: Axes, experiment: Experiment, values: pd.Series[float], colour: Colour
) -> None:
    """Draw one point a run, from 0 on; `values` has the index of the table of runs."""
    known = values.dropna()
    points = experiment.tables["runs"].loc[known.index, ["treatment"]].assign(value=known)
    order, limits = experiment.treatments, axes.get_ylim()
    sns.stripplot(
        data=points,
        x="value",
        y="treatment",
        order=order,
        ax=axes,
        jitter=False,
        size=5.5,
        alpha=0.6,
        color=colour,
    )
    axes.set_ylim(limits)
    axes.set_ylabel("")
    axes.set_xlim(0, 1.06 * known.max() if len(known) else 1)


def add_legend(figure: Figure, handles: list[Line2D]) -> None:
    """Put a legend below the charts."""
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), fontsize=8, frameon=False
    )


def marker(label: str, shape: str, size: float, colour: Colour, *, hollow: bool = False) -> Line2D:
    """Make a legend's marker."""
    face = "white" if hollow else colour
    return Line2D([], [], ls="", marker=shape, ms=size, mec=colour, mfc=face, mew=1.3, label=label)
