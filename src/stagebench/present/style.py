"""How all figures look: colours that stay apart for the colour-blind, fonts, saving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from matplotlib.axes import Axes

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
_PART_LINES: dict[str, tuple[float, float]] = {
    "tree": (2, 0.35),
    "children": (1, 1),
    "main": (1, 1),
}
"""Part → how wide its line is, and how opaque: without children, main lies on the tree's."""
FEW_SWEEPS = 40
"""Up to so many sweeps each is marked: the line between them was not observed."""
POINT: Colour = _COLOURS[2]


def figure_style() -> AbstractContextManager[None]:
    """Give the context in which every figure is made."""
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
    settings: Any = style | sizes | own
    return mpl.rc_context(settings)


def stage_colours(stages: list[str]) -> dict[str, Colour]:
    """Give every stage its colour; beyond ten, colours repeat."""
    # From the third colour on: the first two stand for main and children in the memory figures.
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
    """Draw the memory of main, children and tree over time; of those `marked` every value."""
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


def part_line(part: str, *, width: float = 1.3, label: str = "") -> Line2D:
    """Make the legend's line of one part."""
    times, opacity = _PART_LINES[part]
    colour = PART_COLOURS[part]
    return Line2D([], [], color=colour, lw=times * width, alpha=opacity, label=label or part)


def make_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches, drawn without a display."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file."""
    figure.savefig(path, dpi=DPI)


def say_nothing_to_draw(axes: Axes, text: str) -> None:
    """Fill axes without data with the reason."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, transform=axes.transAxes)


def label_point(
    axes: Axes, text: str, point: tuple[float, float], *, size: float = 8, above: bool = False
) -> None:
    """Write `text` right of a point of the data, or above it."""
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
    """Write `text` right of the axes, at a row of the data."""
    axes.annotate(
        text,
        (1, row),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        size=8,
    )
