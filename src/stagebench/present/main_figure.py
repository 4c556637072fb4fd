"""Where main's memory goes: RSS, PSS, anonymous PSS and USS of main beside its processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stagebench.present.figures import AddedFigure
from stagebench.present.pools import KINDS, list_pools
from stagebench.present.rows import add_legend, add_title
from stagebench.present.style import MUTED, PART_COLOURS, Colour, make_figure, stage_colours
from stagebench.tables import numbers
from stagebench.units import MIB

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment
    from stagebench.present.pools import Pool

_WIDE = ("anonymous PSS",)
_SERIES = {"RSS": "main_rss", "PSS": "main_pss", "anonymous PSS": "main_anon", "USS": "main_uss"}


def choose_pools(experiment: Experiment) -> list[str]:
    """Give the treatments to draw, none unless one forks: fewest and most forks, and the others.

    Of every other kind the one with the most workers is chosen; pools that drop their results come
    first, since what is retained hides what is shared.
    """
    pools = list_pools(experiment)
    forks = _plain([pool for pool in pools if pool.kind == "fork"])
    if not forks:
        return []
    rest = (_plain([pool for pool in pools if pool.kind == kind]) for kind in KINDS)
    others = [own[-1] for own in rest if own and own[-1].kind != "fork"]
    return list(dict.fromkeys(pool.treatment for pool in (forks[0], forks[-1], *others)))


def _plain(pools: list[Pool]) -> list[Pool]:
    """Give the pools that drop their results, or else all, by their number of workers."""
    dropping = [pool for pool in pools if not pool.retain]
    return sorted(dropping or pools, key=lambda pool: pool.workers)


def plot_main(experiment: Experiment) -> Figure:
    """Draw main's memory over time, and below it how many processes lived beneath main."""
    treatments = choose_pools(experiment)
    figure = make_figure(max(3.1 * len(treatments), 6.6) + 0.9, 4.6)
    grid = figure.add_gridspec(
        *(2, len(treatments)),
        height_ratios=(3.4, 1),
        left=0.75 / figure.get_figwidth(),
        right=1 - 0.15 / figure.get_figwidth(),
        bottom=0.2,
        top=0.85,
        hspace=0.12,
        wspace=0.06,
    )
    above: Axes | None = None
    below: Axes | None = None
    for column, treatment in enumerate(treatments):
        upper = figure.add_subplot(grid[0, column], sharey=above)
        lower = figure.add_subplot(grid[1, column], sharex=upper, sharey=below)
        above, below = above or upper, below or lower
        _plot_panel(upper, lower, experiment, treatment)
        upper.tick_params(labelleft=column == 0, labelbottom=False)
        lower.tick_params(labelleft=column == 0)
    # The panels of a row share their axis: its limit is set when all are drawn.
    for row in (figure.axes[::2], figure.axes[1::2]):
        row[0].set_ylim(0, 1.05 * max(1, *(float(axes.dataLim.y1) for axes in row)))
    _add_frame(figure, experiment)
    return figure


def _plot_panel(upper: Axes, lower: Axes, experiment: Experiment, treatment: str) -> None:
    sweeps = experiment.shown("memory", treatment)
    upper.set_title(treatment, size=9)
    for label, colour in _colours().items():
        sizes = numbers(sweeps, f"{_SERIES[label]}_bytes") / MIB
        # Of two that coincide, the wider one shows beside the other.
        upper.plot(sweeps["time_s"], sizes, color=colour, lw=2.6 if label in _WIDE else 1.2)
    beneath = numbers(sweeps, "processes") - 1
    lower.fill_between(sweeps["time_s"], beneath, step="post", color=MUTED, alpha=0.5, lw=0)
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.xaxis.set_major_locator(MaxNLocator(5))
    for axes in (upper, lower):
        axes.tick_params(labelsize=7)


def _colours() -> dict[str, Colour]:
    others = stage_colours(["RSS", "anonymous PSS", "USS"])
    return {label: others.get(label, PART_COLOURS["main"]) for label in _SERIES}


def _add_frame(figure: Figure, experiment: Experiment) -> None:
    add_title(figure, f"{experiment.name}: where main's memory goes, in the run of median makespan")
    first, second = figure.axes[:2]
    first.set_ylabel("main, MiB", size=8)
    second.set_ylabel("processes\nbeneath", size=8)
    figure.text(0.5, 0.09, "seconds since the workflow started", ha="center", size=9)
    handles = [
        Line2D([], [], color=colour, lw=2.6 if label in _WIDE else 1.2, label=label)
        for label, colour in _colours().items()
    ]
    add_legend(figure, handles)


MAIN_FIGURE = AddedFigure("main", choose_pools, plot_main)
"""Of experiments that fork workers from main alone."""
