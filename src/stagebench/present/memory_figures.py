"""Memory of all treatments of an experiment: over time, and at the peak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from stagebench.present.rows import add_legend, add_title, make_rows, marker, plot_points
from stagebench.present.style import (
    DARK,
    FEW_SWEEPS,
    PART_COLOURS,
    label_row,
    make_figure,
    part_line,
    plot_parts,
    say_nothing_to_draw,
)
from stagebench.quantities import MEMORY_PARTS
from stagebench.tables import numbers
from stagebench.units import MIB

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment


def plot_memory(experiment: Experiment) -> Figure:
    """Draw the PSS of main, children and tree over time, a panel a treatment."""
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
        _plot_panel(axes, experiment, treatment)
        axes.tick_params(labelleft=column == 0, labelbottom=index + columns >= len(treatments))
    # The panels share their axes: their limit is set when all lines are drawn.
    figure.axes[0].set_ylim(0, 1.05 * _highest_mib(experiment))
    _add_frame(figure, experiment)
    return figure


def _highest_mib(experiment: Experiment) -> float:
    shown = (experiment.shown("memory", treatment) for treatment in experiment.treatments)
    highest = [numbers(sweeps, "tree_pss_bytes").max() / MIB for sweeps in shown if len(sweeps)]
    return max(highest, default=1)


def panel_columns(panels: int) -> int:
    """Give the number of columns, three to five, that leaves the fewest places empty."""
    if panels <= 3:
        return panels
    return min((3, 4, 5), key=lambda columns: -panels % columns)


def _plot_panel(axes: Axes, experiment: Experiment, treatment: str) -> None:
    sweeps = experiment.shown("memory", treatment)
    axes.set_title(treatment, size=9 if len(treatment) < 30 else 6)  # fits the panel
    axes.tick_params(labelsize=7)
    if sweeps.empty:
        known = len(experiment.runs(treatment)) > 0
        say_nothing_to_draw(axes, "no sweep" if known else experiment.failure_note(treatment))
    sizes = {part: numbers(sweeps, f"{part}_pss_bytes") / MIB for part in MEMORY_PARTS}
    marked = MEMORY_PARTS if len(sweeps) <= FEW_SWEEPS else ()
    plot_parts(axes, sweeps["time_s"], sizes, marked=marked, ms=4)


def _add_frame(figure: Figure, experiment: Experiment) -> None:
    height = figure.get_figheight()
    add_title(figure, f"{experiment.name}: PSS over time, in the run of median makespan")
    figure.text(0.012, 0.5, "PSS in MiB", rotation=90, va="center", size=9)
    figure.text(0.5, 0.4 / height, "seconds since the workflow started", ha="center", size=9)
    add_legend(figure, [part_line(part) for part in MEMORY_PARTS])


def plot_peaks(experiment: Experiment) -> Figure:
    """Draw main and children at the peak, stacked; every run's peak; and the upper bound."""
    title = "main and children at the moment of the tree's peak"
    figure, axes = make_rows(experiment, title, foot=0.9)
    runs = experiment.tables["runs"]
    ok = runs[runs["status"] == "ok"]
    plot_points(axes, experiment, numbers(ok, "tree_peak_bytes") / MIB, DARK)
    ends = [
        _stack_peak(axes, experiment, treatment, row)
        for row, treatment in enumerate(experiment.treatments)
    ]
    axes.set_xlim(0, max([axes.get_xlim()[1], *(1.06 * end for end in ends)]))
    axes.set_xlabel("PSS in MiB at the tree's peak")
    parts = [marker(part, "s", 8, PART_COLOURS[part]) for part in ("main", "children")]
    label = "tree's peak, a point a run (bars, numbers: the run of median peak)"
    bound = marker("its upper bound", "|", 9, DARK)
    add_legend(figure, [*parts, marker(label, "o", 4.5, DARK), bound])
    return figure


def _stack_peak(axes: Axes, experiment: Experiment, treatment: str, row: int) -> float:
    """Draw the run of median peak; gives how far to the right."""
    run = _median_peak(experiment.runs(treatment))
    if run is None:
        return 0
    main, children = (float(run[f"at_peak_{part}_bytes"]) / MIB for part in ("main", "children"))
    axes.barh(row, main, color=PART_COLOURS["main"], height=0.62, linewidth=0)
    axes.barh(row, children, left=main, color=PART_COLOURS["children"], height=0.62, linewidth=0)
    label, end = f"{main + children:.0f}", main + children
    if pd.notna(run["tree_peak_upper_bytes"]):
        end = float(run["tree_peak_upper_bytes"]) / MIB
        axes.plot([main + children, end], [row, row], color=DARK, lw=0.8)
        axes.plot([end], [row], color=DARK, marker="|", ms=9, lw=0)
        label += f"–{end:.0f}"
    label_row(axes, f"{label} MiB", row)
    return end


def _median_peak(runs: pd.DataFrame) -> pd.Series[float] | None:
    """Give the run of median peak, the lower one of two: a moment that was seen, not a mixture."""
    known = runs[runs["tree_peak_bytes"].notna()].sort_values("tree_peak_bytes", kind="stable")
    return None if known.empty else known.iloc[(len(known) - 1) // 2]
