"""All figures of one experiment: makespan, limits, memory, peaks, ratios, and tasks.

They are drawn in one process, because importing the libraries takes longer than drawing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from stagebench.errors import StoreError
from stagebench.present.experiment import Experiment, split_experiments
from stagebench.present.gantt import plot_tasks
from stagebench.present.limit_charts import plot_limits, plot_times
from stagebench.present.markdown import format_number
from stagebench.present.style import (
    BAND,
    BAND_LINE,
    DARK,
    GAP,
    INK,
    MUTED,
    PART_COLOURS,
    POINT,
    add_legend,
    add_title,
    figure_style,
    find_long_spans,
    label_row,
    label_rows,
    make_figure,
    make_rows,
    marker,
    name_inches,
    pale,
    plot_band,
    plot_points,
    rows_inches,
    save_figure,
    write_placeholder,
)
from stagebench.store import atomic_folder
from stagebench.tables.io import numbers, read_tables
from stagebench.tables.schema import IN_BLOCKS
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.style import Line


def plot_makespan(experiment: Experiment) -> Figure:
    """Draw the makespan of every ok run as a point, and the median of each treatment as a bar."""
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


def plot_memory(experiment: Experiment) -> Figure:
    """Draw the tree's memory over time as a band, and what walks read, one panel per treatment."""
    treatments = experiment.treatments
    columns = panel_columns(len(treatments))
    rows = -(-len(treatments) // columns)
    figure = make_figure(max(3.3 * columns, 6.6), 1.75 * rows + 1.35)
    width, height = figure.get_figwidth(), figure.get_figheight()
    grid = figure.add_gridspec(
        *(rows, columns),
        left=0.75 / width,
        right=1 - 0.15 / width,
        bottom=0.9 / height,
        top=1 - 0.72 / height,
        hspace=0.3,
        wspace=0.06,
    )
    first: Axes | None = None
    for index, treatment in enumerate(treatments):
        row, column = divmod(index, columns)
        axes = figure.add_subplot(grid[row, column], sharex=first, sharey=first)
        first = first or axes
        _plot_memory_panel(axes, experiment, treatment)
        axes.tick_params(labelleft=column == 0, labelbottom=index + columns >= len(treatments))
    # The panels share their axes, so the limit is set once all lines are drawn.
    figure.axes[0].set_ylim(0, 1.05 * _highest_mib(experiment))
    _add_frame(figure, experiment)
    return figure


def _highest_mib(experiment: Experiment) -> float:
    shown = [
        (experiment.shown(table, treatment), column)
        for table, column in (
            ("memory", "tree_reached_bytes"),
            ("memory", "tree_upper_bytes"),
            ("sweeps", "tree_pss_bytes"),
        )
        for treatment in experiment.treatments
    ]
    highest = [numbers(rows, column).max() / MIB for rows, column in shown if len(rows)]
    return max((value for value in highest if not math.isnan(value)), default=1)


def panel_columns(panels: int) -> int:
    """Return the number of columns, three to five, that leaves the fewest empty places."""
    if panels <= 3:
        return panels
    return min((3, 4, 5), key=lambda columns: -panels % columns)


def _plot_memory_panel(axes: Axes, experiment: Experiment, treatment: str) -> None:
    course, sweeps = (experiment.shown(table, treatment) for table in ("memory", "sweeps"))
    axes.set_title(treatment, size=9 if len(treatment) < 30 else 6)  # fits the panel
    axes.tick_params(labelsize=7)
    if course.empty and sweeps.empty:
        known = len(experiment.runs(treatment)) > 0
        write_placeholder(axes, "no reading" if known else experiment.failure_note(treatment))
    plot_course(axes, course)
    for part in _WALKED:
        sizes = numbers(sweeps, f"{part}_pss_bytes") / MIB
        axes.plot(sweeps["time_s"], sizes, color=PART_COLOURS[part], lw=0, marker=".", ms=3)


_WALKED = ("main", "children")


def plot_course(axes: Axes, course: pd.DataFrame) -> None:
    """Draw the tree's memory over time in one run, a row of the table for each reading."""
    began, ended = _spans(course)
    lower, upper = (
        numbers(course, f"tree_{end}_bytes").to_numpy() / MIB for end in ("reached", "upper")
    )
    plot_band(axes, (began, ended), lower, upper)


def _spans(course: pd.DataFrame) -> tuple[Line, Line]:
    began, ended = (numbers(course, name).to_numpy() for name in ("began_s", "time_s"))
    return began, ended


def _add_frame(figure: Figure, experiment: Experiment) -> None:
    height = figure.get_figheight()
    add_title(figure, f"{experiment.name}: memory over time, in the run of median makespan")
    figure.text(0.012, 0.5, "memory in MiB", rotation=90, va="center", size=9)
    figure.text(0.5, 0.4 / height, "seconds since the workflow started", ha="center", size=9)
    add_legend(figure, _list_handles(experiment))


def _list_handles(experiment: Experiment) -> list[Line2D | Patch]:
    """Return the legend of what the panels show."""
    courses = [experiment.shown("memory", treatment) for treatment in experiment.treatments]
    course = pd.concat(courses) if courses else experiment.tables["memory"]
    handles: list[Line2D | Patch] = []
    if course["tree_upper_bytes"].notna().any():
        line, band = BAND_LINE["color"], (*BAND["color"], BAND["alpha"])
        label = "tree: between the lower and the upper line"
        handles.append(Patch(facecolor=band, edgecolor=line, lw=0.8, label=label))
    elif not course.empty:
        label = "tree: at least (no upper line: processes were polled, without a control group)"
        handles.append(Line2D([], [], **BAND_LINE, label=label))
    dots = [marker(f"PSS of {part} in a walk", ".", 6, PART_COLOURS[part]) for part in _WALKED]
    gaps = Patch(**GAP, label="gap: nobody looked")
    return [*handles, *dots, *[gaps] * any(find_long_spans(*_spans(own)).any() for own in courses)]


def plot_peaks(experiment: Experiment) -> Figure:
    """Draw the bracket of the tree's peak, and main and children in the walk that saw most."""
    title = "peak of the tree's memory, as far as it is certain"
    figure, axes = make_rows(experiment, title, foot=1.1)
    runs = experiment.tables["runs"]
    ok = runs[runs["status"] == "ok"]
    plot_points(axes, experiment, numbers(ok, "tree_peak_bytes") / MIB, DARK)
    ends = [
        _stack_peak(axes, experiment, treatment, row)
        for row, treatment in enumerate(experiment.treatments)
    ]
    axes.set_xlim(0, max([axes.get_xlim()[1], *(1.06 * end for end in ends)]))
    axes.set_xlabel("memory in MiB; bars, whiskers and numbers are of the run of median peak")
    handles: list[Line2D | Patch] = [
        marker(f"{part}, in the walk that saw most", "s", 8, PART_COLOURS[part]) for part in _WALKED
    ]
    if any(bar.get_facecolor()[:3] == _UNSPLIT for bar in axes.patches):
        handles.append(marker("of either, seen between walks", "s", 8, _UNSPLIT))
    bracket = Line2D([], [], color=DARK, lw=0.8, marker="|", ms=9)
    bracket.set_label("lower to upper end of the peak")
    handles += [bracket, marker("lower end of each run", "o", 4.5, DARK)]
    figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=8, frameon=False)
    return figure


_UNSPLIT = pale(MUTED)
"""Memory of the tree that readings prove, but that no walk divided between main and children."""


def _stack_peak(axes: Axes, experiment: Experiment, treatment: str, row: int) -> float:
    """Draw the run of median peak; return the right end of the drawing in MiB."""
    run = _median_peak(experiment.runs(treatment))
    if run is None:
        return 0
    left = 0.0
    for part in _WALKED:
        size = run[f"at_peak_{part}_bytes"]
        if pd.notna(size):
            width, colour = float(size) / MIB, PART_COLOURS[part]
            axes.barh(row, width, left=left, color=colour, height=0.62, linewidth=0)
            left += width
    lower = end = float(run["tree_peak_bytes"]) / MIB
    if lower > left:
        axes.barh(row, lower - left, left=left, color=_UNSPLIT, height=0.62, linewidth=0)
    label = f"{lower:.0f}"
    if pd.notna(run["tree_peak_upper_bytes"]):
        end = float(run["tree_peak_upper_bytes"]) / MIB
        axes.plot([lower, end], [row, row], color=DARK, lw=0.8, marker="|", ms=9, zorder=6)
        label += f"–{end:.0f}" * (f"{end:.0f}" != label)
    label_row(axes, f"{label} MiB", row)
    return end


def _median_peak(runs: pd.DataFrame) -> pd.Series[float] | None:
    """Return the run of median peak, the lower one of two: a real run, not a mean of two."""
    known = runs[runs["tree_peak_bytes"].notna()].sort_values("tree_peak_bytes", kind="stable")
    return None if known.empty else known.iloc[(len(known) - 1) // 2]


PANELS = {
    "makespan_s": "makespan",
    "tree_peak_bytes": "tree's peak (lower end)",
    "tree_memory_time_byte_s": "tree's memory × time (lower end)",
}
"""Quantity → title of its panel."""

_PANEL_INCHES, _WORD_INCHES = 2.7, 0.95
_BAND = "#e6ecf2"
_REACH = 2.0
"""Intervals that reach farther than this many times the farthest point do not widen the axis."""

_DECADE = 10


def has_ratios(experiment: Experiment) -> bool:
    """Return whether any treatment can be compared with the baseline."""
    return len(experiment.treatments) > 1


def plot_ratios(experiment: Experiment) -> Figure:
    """Draw one panel per quantity, one row per treatment; below three blocks, points only.

    The intervals of a panel hold together, as in the table.
    """
    left, body = name_inches(experiment), rows_inches(experiment)
    panels = _panels(experiment)
    wide = max(2, len(panels)) * (_PANEL_INCHES + _WORD_INCHES)  # the legend needs two
    figure = make_figure(left + wide, body + 1.75)
    width, height = figure.get_figwidth(), figure.get_figheight()
    for column, (quantity, title) in enumerate(panels.items()):
        start = left + column * (_PANEL_INCHES + _WORD_INCHES)
        place = (start / width, 1.0 / height, _PANEL_INCHES / width, body / height)
        axes = figure.add_axes(place)
        label_rows(axes, experiment)
        axes.tick_params(labelleft=column == 0)
        axes.set_title(title, size=9)
        _plot_ratio_panel(axes, experiment, quantity)
        axes.set_xlabel(f"ratio to {experiment.baseline} (logarithmic)", size=8)
    add_title(figure, f"{experiment.name}: ratio to {experiment.baseline}, block by block")
    margin = float(experiment.tables["comparisons"]["margin"].iloc[0])
    figure.legend(handles=_legend(margin), loc="lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _panels(experiment: Experiment) -> dict[str, str]:
    """Return the panels that have a ratio; without any, the makespan panel, which then says so.

    A ratio that has no bound at all is none.
    """
    ratios = experiment.tables["ratios"]
    is_bound = (ratios["ratio"] > 0) | (ratios["ratio_upper"] < math.inf)
    known = set(ratios.loc[is_bound, "quantity"])
    found = {quantity: title for quantity, title in PANELS.items() if quantity in known}
    return found or dict([next(iter(PANELS.items()))])


def _plot_ratio_panel(axes: Axes, experiment: Experiment, quantity: str) -> None:
    axes.set_xscale("log")
    rows = {treatment: row for row, treatment in enumerate(experiment.treatments)}
    compared, ratios = (
        table[table["quantity"] == quantity]
        for table in (experiment.tables["comparisons"], experiment.tables["ratios"])
    )
    margin = float(compared["margin"].iloc[0])
    axes.axvspan(1 / (1 + margin), 1 + margin, color=_BAND, lw=0, zorder=0)
    axes.axvline(1, color=MUTED, lw=0.9, zorder=1)
    low, high = _limits(compared, ratios, margin)
    axes.set_xlim(low, high)
    _set_ticks(axes, high / low)
    if ratios.empty:
        write_placeholder(axes, "nothing to compare")
    for _, point in ratios.iterrows():
        _plot_block(axes, point, rows[point["treatment"]])
    for _, comparison in compared.iterrows():
        _plot_interval(axes, comparison, rows[comparison["treatment"]])
    label_row(axes, "baseline", rows[experiment.baseline])


def _plot_block(axes: Axes, point: pd.Series[float], row: int) -> None:
    """Draw the ratio of one block: a point, or all that brackets leave open as a line."""
    if pd.notna(point["ratio_upper"]):
        low, high = _within(axes, point["ratio"], point["ratio_upper"])
        axes.plot([low, high], [row, row], color=POINT, lw=4, alpha=0.25, zorder=3)
        return
    face = POINT if point["pairing"] == IN_BLOCKS else "white"
    axes.plot(point["ratio"], row, "o", ms=5, mfc=face, mec=POINT, alpha=0.7, zorder=3)


def _plot_interval(axes: Axes, comparison: pd.Series[float], row: int) -> None:
    known = comparison[["low", "high"]].notna().all()
    if known:
        low, high = _within(axes, comparison["low"], comparison["high"])
        axes.plot([low, high], [row, row], color=DARK, lw=1.5, zorder=4)
        middle = [value for value in comparison[["ratio", "ratio_upper"]] if 0 < value < math.inf]
        axes.plot(middle, [row] * len(middle), "|", ms=10, mew=1.8, color=DARK, zorder=5)
    label_row(axes, str(comparison["word"]) or ("no interval" if comparison["n"] else "–"), row)


def _within(axes: Axes, low: float, high: float) -> tuple[float, float]:
    """Cut a line off at the limits of the axis, because an end may be 0 or infinite."""
    left, right = axes.get_xlim()
    return max(low, left), min(high, right)


def _limits(compared: pd.DataFrame, ratios: pd.DataFrame, margin: float) -> tuple[float, float]:
    """Return limits that hold all points, the margin, and intervals that do not reach too far."""
    drawn = [*ratios["ratio"], *ratios["ratio_upper"]]
    points = [1 / (1 + margin) ** 2, (1 + margin) ** 2]
    points += [point for point in drawn if 0 < point < math.inf]
    low, high = min(points), max(points)
    lows, highs = (
        limits[(limits > 0) & (limits < math.inf)] for limits in (compared["low"], compared["high"])
    )
    low = min([low, *lows[lows > low / _REACH]], default=low)
    high = max([high, *highs[highs < high * _REACH]], default=high)
    return low / 1.08, high * 1.08


def _set_ticks(axes: Axes, span: float) -> None:
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5), numticks=7) if span > _DECADE else MaxNLocator(5)
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.tick_params(axis="x", labelsize=8)


def _legend(margin: float) -> list[Line2D | Patch]:
    return [
        marker("a block (a bar: between its bounds)", "o", 5, POINT),
        marker("a run without a pair", "o", 5, POINT, hollow=True),
        Line2D([], [], color=DARK, lw=1.5, marker="|", ms=10, label="mean, 95 % interval"),
        Patch(color=_BAND, label=f"margin of equivalence, ± {100 * margin:g} %"),
    ]


OVERVIEWS = {
    "makespan": plot_makespan,
    "limits": plot_limits,
    "times": plot_times,
    "peaks": plot_peaks,
    "memory": plot_memory,
}
"""File name without extension → figure of a whole experiment."""

RATIOS = "ratios"
"""File name of the figure of ratios; experiments of one treatment have none."""


class AddedFigure(NamedTuple):
    """A figure that another package adds to the experiments that it applies to.

    `name` is the file name without extension.
    """

    name: str
    applies: Callable[[Experiment], object]
    plot: Callable[[Experiment], Figure]


def draw_figures(
    tables_folder: Path, experiment: str, out: Path, added: Sequence[AddedFigure] = ()
) -> None:
    """Draw the figures of `experiment` into the folder `out`, replacing it.

    Raises StoreError if the tables have no such experiment.
    """
    found = {one.name: one for one in split_experiments(read_tables(tables_folder))}
    if experiment not in found:
        raise StoreError(f"{tables_folder}: no experiment {experiment!r}; there are {list(found)}")
    with figure_style(), atomic_folder(out) as folder:
        _draw(found[experiment], folder, added)


def _draw(experiment: Experiment, folder: Path, added: Sequence[AddedFigure]) -> None:
    for overview, draw in OVERVIEWS.items():
        save_figure(draw(experiment), folder / f"{overview}.png")
    if has_ratios(experiment):
        save_figure(plot_ratios(experiment), folder / f"{RATIOS}.png")
    for name, applies, plot in added:
        if applies(experiment):
            save_figure(plot(experiment), folder / f"{name}.png")
    for treatment in experiment.treatments:
        save_figure(plot_tasks(experiment, treatment), folder / f"tasks-{treatment}.png")
