"""Every treatment's ratio to the baseline: the blocks as points, the interval, the margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from stagebench.columns import IN_BLOCKS
from stagebench.present.rows import add_title, label_rows, marker, name_inches, rows_inches
from stagebench.present.style import DARK, MUTED, POINT, label_row, make_figure, say_nothing_to_draw

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment

PANELS = {
    "makespan_s": "makespan",
    "tree_peak_bytes": "tree's peak PSS (largest sweep)",
    "tree_memory_time_byte_s": "tree's memory × time",
}
"""Quantity → title of its panel."""

_PANEL_INCHES, _WORD_INCHES = 2.7, 0.95
_BAND = "#e6ecf2"
_REACH = 2.0
"""An interval that reaches beyond so many times the farthest point is cut there."""

_DECADE = 10


def has_ratios(experiment: Experiment) -> bool:
    """Tell whether there is a treatment to compare with the baseline."""
    return len(experiment.treatments) > 1


def plot_ratios(experiment: Experiment) -> Figure:
    """Draw a panel a quantity, a row a treatment; below three blocks there are points only."""
    left, body = name_inches(experiment), rows_inches(experiment)
    panels = _panels(experiment)
    wide = max(2, len(panels)) * (_PANEL_INCHES + _WORD_INCHES)  # the legend takes two
    figure = make_figure(left + wide, body + 1.75)
    width, height = figure.get_figwidth(), figure.get_figheight()
    for column, (quantity, title) in enumerate(panels.items()):
        start = left + column * (_PANEL_INCHES + _WORD_INCHES)
        place = (start / width, 1.0 / height, _PANEL_INCHES / width, body / height)
        axes = figure.add_axes(place)
        label_rows(axes, experiment)
        axes.tick_params(labelleft=column == 0)
        axes.set_title(title, size=9)
        _plot_panel(axes, experiment, quantity)
        axes.set_xlabel(f"ratio to {experiment.baseline} (logarithmic)", size=8)
    add_title(figure, f"{experiment.name}: ratio to {experiment.baseline}, block by block")
    margin = float(experiment.tables["comparisons"]["margin"].iloc[0])
    figure.legend(handles=_legend(margin), loc="lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _panels(experiment: Experiment) -> dict[str, str]:
    """Give the panels that have a ratio; without any, that of the makespan says so."""
    known = set(experiment.tables["ratios"]["quantity"])
    found = {quantity: title for quantity, title in PANELS.items() if quantity in known}
    return found or dict([next(iter(PANELS.items()))])


def _plot_panel(axes: Axes, experiment: Experiment, quantity: str) -> None:
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
        say_nothing_to_draw(axes, "nothing to compare")
    for _, point in ratios.iterrows():
        face = POINT if point["pairing"] == IN_BLOCKS else "white"
        row = rows[point["treatment"]]
        axes.plot(point["ratio"], row, "o", ms=5, mfc=face, mec=POINT, alpha=0.7, zorder=3)
    for _, comparison in compared.iterrows():
        _plot_interval(axes, comparison, rows[comparison["treatment"]])
    label_row(axes, "baseline", rows[experiment.baseline])


def _plot_interval(axes: Axes, comparison: pd.Series[float], row: int) -> None:
    known = comparison[["low", "high"]].notna().all()
    if known:
        axes.plot([comparison["low"], comparison["high"]], [row, row], color=DARK, lw=1.5, zorder=4)
        axes.plot(comparison["ratio"], row, "|", ms=10, mew=1.8, color=DARK, zorder=5)
    label_row(axes, str(comparison["word"]) or ("no interval" if comparison["n"] else "–"), row)


def _limits(compared: pd.DataFrame, ratios: pd.DataFrame, margin: float) -> tuple[float, float]:
    """Give limits that hold all points, the margin, and intervals that do not reach too far."""
    points = [1 / (1 + margin) ** 2, (1 + margin) ** 2, *ratios["ratio"]]
    low, high = min(points), max(points)
    lows, highs = (compared[name].dropna() for name in ("low", "high"))
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
        marker("a block", "o", 5, POINT),
        marker("a run without a pair", "o", 5, POINT, hollow=True),
        Line2D(
            [], [], color=DARK, lw=1.5, marker="|", ms=10, label="mean, 95 % interval, not adjusted"
        ),
        Patch(color=_BAND, label=f"margin of equivalence, ± {100 * margin:g} %"),
    ]
