"""Tables → all figures of one experiment, in one process: importing takes longer than drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.errors import StoreError
from stagebench.present.emulation import emulated_treatments
from stagebench.present.emulation_figure import plot_both_ways
from stagebench.present.experiment import Experiment, split_experiments
from stagebench.present.gantt import plot_tasks
from stagebench.present.main_figure import choose_pools, plot_main
from stagebench.present.memory_figures import plot_memory, plot_peaks
from stagebench.present.overview_figures import plot_efficiency, plot_makespan
from stagebench.present.ratio_figure import has_ratios, plot_ratios
from stagebench.present.style import figure_style, save_figure
from stagebench.store import atomic_folder
from stagebench.tables import read_tables

if TYPE_CHECKING:
    from pathlib import Path

OVERVIEWS = {
    "makespan": plot_makespan,
    "efficiency": plot_efficiency,
    "peaks": plot_peaks,
    "memory": plot_memory,
}
"""File name without ending → figure of a whole experiment."""

MAIN_FIGURE = "main"
"""File name without ending of the figure of experiments that fork workers from main alone."""

RATIOS = "ratios"
"""File name of the figure that experiments have with a treatment beside the baseline."""

BOTH_WAYS = "both-ways"
"""File name of the figure that only runs have that were also sampled the published way."""


def draw_figures(tables_folder: Path, experiment: str, out: Path) -> None:
    """Draw the figures of `experiment` into the folder `out`, replacing it.

    Raises StoreError when the tables hold no such experiment.
    """
    found = {one.name: one for one in split_experiments(read_tables(tables_folder))}
    if experiment not in found:
        raise StoreError(f"{tables_folder}: no experiment {experiment!r}; there are {list(found)}")
    with figure_style(), atomic_folder(out) as folder:
        _draw(found[experiment], folder)


def _draw(experiment: Experiment, folder: Path) -> None:
    for name, plot in OVERVIEWS.items():
        save_figure(plot(experiment), folder / f"{name}.png")
    if has_ratios(experiment):
        save_figure(plot_ratios(experiment), folder / f"{RATIOS}.png")
    if choose_pools(experiment):
        save_figure(plot_main(experiment), folder / f"{MAIN_FIGURE}.png")
    if emulated_treatments(experiment):
        save_figure(plot_both_ways(experiment), folder / f"{BOTH_WAYS}.png")
    for treatment in experiment.treatments:
        save_figure(plot_tasks(experiment, treatment), folder / f"tasks-{treatment}.png")
