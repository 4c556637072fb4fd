"""The look of all figures: colours safe for the colour-blind, fonts, sizes, labels, saving.

Every figure of a study is as wide as a page of Markdown shows it, so that its text stays readable.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from stagebench.present.markdown import count_noun, show_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.patches import Patch
    from numpy.typing import NDArray

    Line = NDArray[np.floating[Any]]
    Numbers = Sequence[float] | Line


Colour = tuple[float, float, float]

DPI = 120
INK = "#333333"
MUTED: Colour = to_rgb("#777777")
DARK: Colour = to_rgb(INK)

_COLOURS: list[Colour] = [
    to_rgb(colour)
    for colour in (
        *("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"),
        *("#8c564b", "#b8a9e8", "#949494", "#dcc400", "#56b4e9"),
    )
]
"""Okabe and Ito's colours, which the colour-blind tell apart, and a few between them."""

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

LEVEL_COLOURS: list[Colour] = [_COLOURS[place] for place in (0, 1, 2, 3, 4, 9)]
LEVEL_MARKERS = ("o", "s", "D", "^", "v", "P")
"""Of the levels of a factor: shapes differ, too."""


LIMIT_COLOURS: dict[str, dict[str, Any]] = {
    "workers": {"marker": "o", "ms": 6, "color": _COLOURS[2]},
    "cores": {"marker": "s", "ms": 5.5, "color": _COLOURS[0]},
    "node": {"marker": "p", "ms": 6, "color": _COLOURS[9]},
    "network": {"marker": "X", "ms": 6, "color": _COLOURS[1]},
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
        "axes.axisbelow": True,
        "axes.edgecolor": "#bbbbbb",
        "axes.grid": True,
        "axes.labelsize": 9,
        "axes.titlelocation": "left",
        "axes.titlesize": 9,
        "axes.titley": 1.0,  # else every tick is measured to find where a title is free
        "axes.titleweight": "bold",
        "font.family": ["DejaVu Sans"],
        "font.size": 9,
        "grid.color": "#e4e4e4",
        "hatch.linewidth": 0.6,
        "legend.fontsize": 8,
        "lines.solid_capstyle": "butt",
        "svg.hashsalt": "stagebench",  # else ids are random
        "text.color": INK,
        "text.parse_math": False,  # a name may have dollar signs
        "xtick.bottom": False,
        "xtick.labelsize": 8,
        "ytick.left": False,
        "ytick.labelsize": 8.5,
    }
    settings: Any = dict(mpl.rcParamsDefault) | own
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
    edges, low, high = step_spans((began, ended), lower, upper, gaps)
    axes.fill_between(edges, low, high, **BAND)
    for line in (low, high):
        axes.plot(edges, line, **BAND_LINE)
    for start, end in zip(began[gaps], ended[gaps], strict=True):
        axes.axvspan(start, end, **GAP)


def step_spans(
    spans: tuple[Line, Line], lower: Numbers, upper: Numbers, gaps: NDArray[np.bool_]
) -> tuple[Line, Line, Line]:
    """Return the edges of spans and both lines as steps, which are NaN within gaps."""
    began, ended = spans
    edges = np.repeat(np.append(began[:1], ended), 2)[1:-1]
    low, high = (np.repeat(np.where(gaps, np.nan, line), 2) for line in (lower, upper))
    return edges, low, high


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
    """Write a file in the format of its name; the same figure gives the same bytes."""
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, dpi=DPI, metadata=metadata)


def write_placeholder(axes: Axes, text: str) -> None:
    """Write into axes without data why there is none."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, transform=axes.transAxes)


def label_row(
    axes: Axes,
    text: str,
    row: float,
    *,
    shift: float = 0,
    size: float = 8,
    weight: str = "normal",
) -> None:
    """Write `text` to the right of the axes, at a row of the chart, `shift` inches farther."""
    axes.annotate(
        text,
        (1, row),
        xycoords=("axes fraction", "data"),
        xytext=(5 + 72 * shift, 0),
        textcoords="offset points",
        va="center",
        size=size,
        weight=weight,
        annotation_clip=False,
    )


WIDTH = 9.0
"""The width of every figure of a study, in inches: at 100 pixels an inch, that of a page."""

ROW_INCHES = 0.235
_CHARACTER_INCHES = 0.079
"""Generous width of one character of a row's name."""

_MOST_CHARACTERS = 30
_TITLE_INCHES = 0.42


def shorten(text: str, most: int = _MOST_CHARACTERS) -> str:
    """Return a name in one line, without its middle if it has more than `most` characters."""
    line = show_line(text)
    if len(line) <= most:
        return line
    tail = (most - 1) // 2
    return f"{line[: most - 1 - tail]}…{line[-tail:]}"


def name_inches(names: Iterable[str]) -> float:
    """Return the width that the longest of some names needs."""
    return 0.2 + _CHARACTER_INCHES * max((len(shorten(name)) for name in names), default=0)


def make_rows(
    title: str, names: Sequence[str], *, foot: float, right: float
) -> tuple[Figure, Axes]:
    """Return a figure with a row for each name, the first on top.

    `foot` inches below the rows are for labels and legend, `right` inches for texts beside them.
    """
    left, body = name_inches(names), rows_inches(len(names))
    height = body + foot + _TITLE_INCHES
    figure = make_figure(WIDTH, height)
    place = (left / WIDTH, foot / height, (WIDTH - left - right) / WIDTH, body / height)
    axes = figure.add_axes(place)
    label_rows(axes, names)
    add_title(figure, title)
    return figure, axes


def rows_inches(rows: int) -> float:
    """Return the height of some rows."""
    return max(ROW_INCHES * rows, 0.7)


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label one row per name, the first on top."""
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def add_title(figure: Figure, text: str) -> None:
    """Write the title into the upper left corner of a figure."""
    height = figure.get_figheight()
    figure.text(0.012, 1 - 0.12 / height, text, va="top", weight="bold", size=10.5)


def note_left_out(figure: Figure, treatments: int) -> None:
    """Say in the upper right corner how many treatments are not drawn, if any."""
    if treatments:
        text = f"{count_noun(treatments, 'more treatment')} not drawn"
        height = figure.get_figheight()
        figure.text(0.988, 1 - 0.14 / height, text, ha="right", va="top", size=8, color=MUTED)


WIDE_SCALE = 10
"""From this ratio of the largest to the smallest on, sizes need a logarithmic axis, or panels."""


def is_wide(sizes: Iterable[float]) -> bool:
    """Return whether the smallest of some sizes could not be read beside the largest."""
    known = [size for size in sizes if size > 0]
    return bool(known) and max(known) >= WIDE_SCALE * min(known)


def split_scales(sizes: Mapping[str, float]) -> list[list[str]]:
    """Split names into groups that can share an axis, those of large sizes first.

    Where sizes differ too much, they part at the widest gap. Names stay in order within a group.
    """
    if not is_wide(sizes.values()):
        return [list(sizes)]
    ordered = sorted((size for size in sizes.values() if size > 0), reverse=True)
    _, least = max((above / below, above) for above, below in pairwise(ordered))
    large = {name: size for name, size in sizes.items() if size >= least}
    small = {name: size for name, size in sizes.items() if name not in large}
    return [*split_scales(large), *split_scales(small)]


def set_sizes_axis(axis: Axis, sizes: Sequence[float], *, room: float = 1.05) -> None:
    """Let an axis begin at 0, or be logarithmic if sizes differ too much."""
    known = [size for size in sizes if size > 0]
    is_x = axis is axis.axes.xaxis
    limits: Callable[..., Any] = axis.axes.set_xlim if is_x else axis.axes.set_ylim
    if not is_wide(known):
        limits(0, room * max(known, default=1))
        axis.set_major_locator(MaxNLocator(6))
        axis.set_major_formatter(FuncFormatter(_plain_number))
        return
    scale: Callable[..., Any] = axis.axes.set_xscale if is_x else axis.axes.set_yscale
    scale("log")
    limits(min(known) / 1.25, 1.25 * max(known))
    steps = (1, 2, 5) if max(known) < 200 * min(known) else (1,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_plain_number))


def _plain_number(value: float, _: int | None = None) -> str:
    return f"{value:.10g}"


def legend_inches(handles: Sequence[Line2D | Patch], width: float = WIDTH) -> float:
    """Return the height of a legend, which has as many lines as its texts need."""
    return 0.08 + 0.175 * -(-len(handles) // _count_columns(handles, width))


def _count_columns(handles: Sequence[Line2D | Patch], width: float) -> int:
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(1, min(len(handles), int(width / (0.45 + 0.066 * longest))))
    lines = max(1, -(-len(handles) // columns))
    return max(1, -(-len(handles) // lines))


def add_legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """Add a legend below the charts."""
    if not handles:
        return
    figure.legend(
        handles=[*handles],
        loc="lower center",
        ncols=_count_columns(handles, figure.get_figwidth()),
        fontsize=8,
        frameon=False,
        handletextpad=0.5,
        columnspacing=1.2,
        borderaxespad=0.2,
    )


def marker(label: str, shape: str, size: float, colour: Colour, *, hollow: bool = False) -> Line2D:
    """Return a legend's marker."""
    face = "white" if hollow else colour
    return Line2D([], [], ls="", marker=shape, ms=size, mec=colour, mfc=face, mew=1.3, label=label)
