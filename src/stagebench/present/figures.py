"""Tables → all figures of one experiment, in one process: importing takes longer than drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench.errors import StoreError
from stagebench.present.experiment import Experiment, split_experiments
from stagebench.present.gantt import plot_tasks
from stagebench.present.memory_figures import plot_memory, plot_peaks
from stagebench.present.overview_figures import plot_efficiency, plot_makespan
from stagebench.present.ratio_figure import has_ratios, plot_ratios
from stagebench.present.style import figure_style, save_figure
from stagebench.store import atomic_folder
from stagebench.tables import read_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

OVERVIEWS = {
    "makespan": plot_makespan,
    "efficiency": plot_efficiency,
    "peaks": plot_peaks,
    "memory": plot_memory,
}
"""File name without ending → figure of a whole experiment."""

RATIOS = "ratios"
"""File name of the figure that experiments have with a treatment beside the baseline."""


class AddedFigure(NamedTuple):
    """A figure that another package adds, of the experiments that it applies to.

    `name` is that of its file, without the ending.
    """

    name: str
    applies: Callable[[Experiment], object]
    plot: Callable[[Experiment], Figure]


def draw_figures(
    tables_folder: Path, experiment: str, out: Path, added: Sequence[AddedFigure] = ()
) -> None:
    """Draw the figures of `experiment` into the folder `out`, replacing it.

    Raises StoreError when the tables hold no such experiment.
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
