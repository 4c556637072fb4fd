"""The look of all figures: colours safe for the colour-blind, fonts, labels, saving.

Charts with one row per treatment are sized to hold the longest name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch
    from numpy.typing import NDArray

    from stagebench.present.experiment import Experiment

    Line = NDArray[np.floating[Any]]
    Numbers = Sequence[float] | Line


Colour = tuple[float, float, float]

DPI = 120
INK = "#333333"
MUTED: Colour = to_rgb("#777777")
DARK: Colour = to_rgb(INK)

_COLOURS: list[Colour] = [to_rgb(colour) for colour in sns.color_palette("colorblind", 10)]
PART_COLOURS: dict[str, Colour] = {
    "main": _COLOURS[0],
    "children": _COLOURS[1],
    "tree": DARK,
}
PROCESS_COLOURS: list[Colour] = _COLOURS[2:7] + _COLOURS[8:]
"""For single processes beside main and children; without grey, which stands for all others."""
_PART_LINES: dict[str, tuple[float, float]] = {
    "tree": (2, 0.35),
    "children": (1, 1),
    "main": (1, 1),
}
"""Part → width and opacity of its line: without children, main's line lies on the tree's."""
FEW_SWEEPS = 40
"""Up to this many sweeps, each is marked: nothing was observed between them."""
POINT: Colour = _COLOURS[2]


LIMIT_COLOURS: dict[str, dict[str, Any]] = {
    "workers": {"marker": "o", "ms": 6, "color": _COLOURS[2]},
    "cores": {"marker": "s", "ms": 5.5, "color": _COLOURS[0]},
    "GIL": {"marker": "D", "ms": 5.5, "color": _COLOURS[3]},
    "arrivals": {"marker": "<", "ms": 6, "color": _COLOURS[4]},
    "in flight": {"marker": "v", "ms": 6, "color": _COLOURS[5]},
    "path of a task": {"marker": "|", "ms": 8, "color": DARK},
}
"""Resource → look of its floor: shapes differ, too."""

PART_LOOKS: dict[str, tuple[Colour, str]] = {
    "blocked": (to_rgb("#d9d9d9"), "xxx"),
    "queue": (to_rgb("#eeeeee"), ""),
    "start": (_COLOURS[5], ""),
    "send": (_COLOURS[4], "..."),
    "held": (_COLOURS[2], ""),
    "computing": (_COLOURS[0], ""),
    "gil_wait": (_COLOURS[3], "///"),
    "core_wait": (_COLOURS[1], "\\\\\\"),
    "asleep": (_COLOURS[9], ""),
    "return": (_COLOURS[4], ""),
}
"""Part of a task's time → colour and hatch: waits are hatched, work is not."""


def figure_style() -> AbstractContextManager[None]:
    """Return the context in which every figure is drawn, whatever a matplotlibrc says."""
    own: dict[str, Any] = {
        "axes.edgecolor": "#bbbbbb",
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "font.family": ["DejaVu Sans"],
        "grid.color": "#e4e4e4",
        "text.color": INK,
    }
    style: dict[str, Any] = dict(sns.axes_style("whitegrid"))
    sizes: dict[str, Any] = dict(sns.plotting_context("notebook", font_scale=0.8))
    settings: Any = dict(mpl.rcParamsDefault) | style | sizes | own
    del settings["backend"]  # setting it would import pyplot; figures are drawn without it
    return mpl.rc_context(settings)


def stage_colours(stages: list[str]) -> dict[str, Colour]:
    """Return the colour of every stage; beyond ten, colours repeat."""
    # The first two colours mean main and children in the memory figures, so stages take the rest.
    shifted = _COLOURS[2:] + _COLOURS[:2]
    return {stage: shifted[index % len(shifted)] for index, stage in enumerate(stages)}


def pale(colour: Colour) -> Colour:
    """Mix a colour with white, for time spent waiting."""
    red, green, blue = (1 - 0.3 * (1 - part) for part in colour)
    return red, green, blue


def plot_parts(
    axes: Axes,
    time_s: Any,
    sizes: Mapping[str, Any],
    *,
    width: float = 1.3,
    marked: Collection[str] = (),
    **line: Any,
) -> None:
    """Draw the memory of main, children and tree over time, with dots for the parts in `marked`."""
    for part, (times, opacity) in _PART_LINES.items():
        axes.plot(
            time_s,
            sizes[part],
            color=PART_COLOURS[part],
            lw=times * width,
            alpha=opacity,
            marker="." if part in marked else "",
            **line,
        )


GAP_S = 0.1
"""Where nobody looked for so long, figures show a gap. Nothing is written while nothing moves, but
at least every 50 ms."""

BAND_LINE: dict[str, Any] = {"color": PART_COLOURS["tree"], "lw": 0.8}
BAND: dict[str, Any] = {"color": PART_COLOURS["tree"], "alpha": 0.3, "lw": 0}
GAP: dict[str, Any] = {"color": MUTED, "alpha": 0.3, "lw": 0}


def find_long_spans(began_s: Line, ended_s: Line) -> NDArray[np.bool_]:
    """Return the spans in which nobody looked; a span of a long run has several readings."""
    spans = ended_s - began_s
    return spans > max(GAP_S, 2 * float(np.median(spans))) if len(spans) else spans > 0


def plot_band(
    axes: Axes,
    spans: tuple[Numbers, Numbers],
    lower: Numbers,
    upper: Numbers,
) -> None:
    """Draw both lines of the tree's memory, the band between them, and the gaps of the readings.

    `spans` are the beginnings and ends of the readings, in seconds. Nothing is drawn from one
    reading to another that is far away: nobody looked in between.
    """
    began, ended = map(np.asarray, spans)
    gaps = find_long_spans(began, ended)
    edges = np.repeat(np.append(began[:1], ended), 2)[1:-1]
    low, high = (np.repeat(np.where(gaps, np.nan, line), 2) for line in (lower, upper))
    axes.fill_between(edges, low, high, **BAND)
    for line in (low, high):
        axes.plot(edges, line, **BAND_LINE)
    for start, end in zip(began[gaps], ended[gaps], strict=True):
        axes.axvspan(start, end, **GAP)


def part_line(part: str, *, width: float = 1.3, label: str = "") -> Line2D:
    """Return the legend's line for one part."""
    times, opacity = _PART_LINES[part]
    colour = PART_COLOURS[part]
    return Line2D([], [], color=colour, lw=times * width, alpha=opacity, label=label or part)


def make_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, which needs no display."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file."""
    figure.savefig(path, dpi=DPI)


def write_placeholder(axes: Axes, text: str) -> None:
    """Write into axes without data why there is none."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, transform=axes.transAxes)


def label_point(
    axes: Axes, text: str, point: tuple[float, float], *, size: float = 8, above: bool = False
) -> None:
    """Write `text` to the right of a point in data coordinates, or above it."""
    axes.annotate(
        text,
        point,
        xytext=(0, 2) if above else (4, 0),
        textcoords="offset points",
        ha="center" if above else "left",
        va="bottom" if above else "center",
        size=size,
        color=INK,
    )


def label_row(axes: Axes, text: str, row: float) -> None:
    """Write `text` to the right of the axes, at a row of the chart."""
    axes.annotate(
        text,
        (1, row),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        size=8,
    )


_ROW_INCHES = 0.27
_CHARACTER_INCHES = 0.085
"""Generous width of one character of a row's name."""


def make_rows(experiment: Experiment, title: str, *, foot: float) -> tuple[Figure, Axes]:
    """Return a figure with one chart; label and legend are in the `foot` inches below it."""
    left, body, top = name_inches(experiment), rows_inches(experiment), 0.45
    width, height = left + 7.4, body + foot + top
    figure = make_figure(width, height)
    # Right of it is room for "1211–1215 MiB".
    axes = figure.add_axes((left / width, foot / height, 6.3 / width, body / height))
    label_rows(axes, experiment)
    add_title(figure, f"{experiment.name}: {title}")
    return figure, axes


def rows_inches(experiment: Experiment) -> float:
    """Return the height of all rows."""
    return max(_ROW_INCHES * len(experiment.treatments), 0.9)


def name_inches(experiment: Experiment) -> float:
    """Return the width that the longest name of a row needs."""
    return 0.4 + _CHARACTER_INCHES * max(len(name) for name in experiment.treatments)


def add_title(figure: Figure, text: str) -> None:
    """Write the title into the upper left corner of a figure."""
    height = figure.get_figheight()
    figure.text(0.012, 1 - 0.13 / height, text, va="top", weight="bold", size=10.5)


def label_rows(axes: Axes, experiment: Experiment) -> None:
    """Label one row per treatment, the first on top; note those without an ok run."""
    treatments = experiment.treatments
    axes.set_yticks(range(len(treatments)), treatments)
    axes.set_ylim(len(treatments) - 0.4, -0.6)
    for row, treatment in enumerate(treatments):
        if experiment.runs(treatment).empty:
            label_point(axes, experiment.failure_note(treatment), (0, row), size=7)


def plot_points(
    axes: Axes, experiment: Experiment, values: pd.Series[float], colour: Colour
) -> None:
    """Draw one point per run, on an axis from 0; `values` has the index of the table of runs."""
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


def add_legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """Add a legend below the charts."""
    figure.legend(
        handles=[*handles], loc="lower center", ncols=len(handles), fontsize=8, frameon=False
    )


def marker(label: str, shape: str, size: float, colour: Colour, *, hollow: bool = False) -> Line2D:
    """Return a legend's marker."""
    face = "white" if hollow else colour
    return Line2D([], [], ls="", marker=shape, ms=size, mec=colour, mfc=face, mew=1.3, label=label)
