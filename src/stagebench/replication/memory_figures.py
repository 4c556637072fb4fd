"""Two figures of memory: main's RSS, PSS and USS over time, and runs sampled both ways."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from stagebench.present.charts import AddedFigure
from stagebench.present.markdown import format_bracket, format_number
from stagebench.present.memory_charts import WALKED, plot_course, select_whole
from stagebench.present.style import (
    INK,
    MUTED,
    PART_COLOURS,
    WIDTH,
    Colour,
    add_legend,
    add_title,
    make_figure,
    marker,
    part_line,
    plot_parts,
    stage_colours,
    write_placeholder,
)
from stagebench.replication.both_ways import (
    FIGURE_NAME,
    BothWays,
    count_children,
    emulated_treatments,
    find_both_ways,
    in_mib,
    there_were,
)
from stagebench.replication.pool_memory import KINDS, list_pools
from stagebench.tables.io import numbers
from stagebench.tables.quantities import MEMORY_PARTS
from stagebench.units import MIB

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment
    from stagebench.replication.pool_memory import PoolMemory


_WIDE = ("anonymous PSS",)
_DASHES = {"USS": (0, (3, 1.5))}
_SERIES = {"RSS": "main_rss", "PSS": "main_pss", "anonymous PSS": "main_anon", "USS": "main_uss"}


def choose_pools(experiment: Experiment) -> list[str]:
    """Return the treatments to draw; none unless one of them forks.

    These are the pools of fewest and of most forked workers, and of every other kind the one with
    the most workers. Pools that drop their results are preferred, because retained results hide
    what is shared.
    """
    chosen = choose_of(list_pools(experiment))
    return [treatment for treatment in experiment.treatments if treatment in chosen]


def choose_of(pools: list[PoolMemory]) -> set[str]:
    """Return those of the treatments of some pools that `choose_pools` returns."""
    forks = _plain([pool for pool in pools if pool.kind == "fork"])
    if not forks:
        return set()
    rest = (_plain([pool for pool in pools if pool.kind == kind]) for kind in KINDS)
    others = [own[-1] for own in rest if own and own[-1].kind != "fork"]
    return {pool.treatment for pool in (forks[0], forks[-1], *others)}


def _plain(pools: list[PoolMemory]) -> list[PoolMemory]:
    """Return the pools that drop their results, or else all, by their number of workers."""
    dropping = [pool for pool in pools if not pool.retain]
    return sorted(dropping or pools, key=lambda pool: pool.workers)


def plot_main(experiment: Experiment) -> Figure:
    """Draw main's memory over time, and below it how many child processes main had."""
    treatments = choose_pools(experiment)
    figure = make_figure(WIDTH, 4.2)
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
    # The panels of a row share their axis, so its limit is set once all are drawn.
    for row in (figure.axes[::2], figure.axes[1::2]):
        row[0].set_ylim(0, 1.05 * max(1, *(float(axes.dataLim.y1) for axes in row)))
    _add_frame(figure, experiment)
    return figure


def _plot_panel(upper: Axes, lower: Axes, experiment: Experiment, treatment: str) -> None:
    sweeps = experiment.shown("sweeps", treatment)
    upper.set_title(treatment, size=9)
    for label, colour in _colours().items():
        sizes = numbers(sweeps, f"{_SERIES[label]}_bytes") / MIB
        upper.plot(sweeps["time_s"], sizes, color=colour, **_line(label))
    beneath = numbers(sweeps, "processes") - 1
    lower.fill_between(sweeps["time_s"], beneath, step="post", color=MUTED, alpha=0.5, lw=0)
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.xaxis.set_major_locator(MaxNLocator(5))
    for axes in (upper, lower):
        axes.tick_params(labelsize=7)


def _line(label: str) -> dict[str, Any]:
    """Return the look of a line: of two that coincide, a wide and a dashed one stay visible."""
    return (
        {"lw": 3.2, "alpha": 0.5} if label in _WIDE else {"lw": 1.2, "ls": _DASHES.get(label, "-")}
    )


def _colours() -> dict[str, Colour]:
    others = stage_colours(["RSS", "anonymous PSS", "USS"])
    return {label: others.get(label, PART_COLOURS["main"]) for label in _SERIES}


def _add_frame(figure: Figure, experiment: Experiment) -> None:
    add_title(figure, f"{experiment.name}: where main's memory goes, in the run of median makespan")
    first, second = figure.axes[:2]
    first.set_ylabel("main, MiB", size=8)
    second.set_ylabel("child\nprocesses", size=8)
    figure.text(0.5, 0.09, "seconds since the workflow started", ha="center", size=9)
    handles = [
        Line2D([], [], color=colour, label=label, **_line(label))
        for label, colour in _colours().items()
    ]
    add_legend(figure, handles)


MAIN_FIGURE = AddedFigure("main", choose_pools, plot_main)
"""For experiments with a single stage that forks its workers."""


MOST_PANELS = 4

_FALSE: Colour = to_rgb("#c2185b")
_ROOM = 1.6
"""Height of a panel relative to its highest value: labels stand above their points."""


def plot_both_ways(experiment: Experiment) -> Figure:
    """Draw the run of median makespan of up to four treatments that were sampled both ways."""
    emulated = emulated_treatments(experiment)
    treatments = emulated[:MOST_PANELS]
    columns = min(len(treatments), 2)
    pairs = -(-len(treatments) // 2)
    height = 4.4 * pairs + 1.65
    figure = make_figure(WIDTH, height)
    grid = figure.add_gridspec(
        *(2 * pairs, columns),
        left=0.7 / WIDTH,
        right=1 - 0.15 / WIDTH,
        bottom=1.2 / height,
        top=1 - 0.65 / height,
        hspace=0.26,
        wspace=0.14,
    )
    for index, treatment in enumerate(treatments):
        pair, column = divmod(index, columns)
        above = figure.add_subplot(grid[2 * pair, column])
        below = figure.add_subplot(grid[2 * pair + 1, column], sharex=above, sharey=above)
        _plot_treatment(above, below, experiment, treatment)
        if column == 0:
            above.set_ylabel("our readings, MiB")
            below.set_ylabel("published way, MiB")
    left_out = len(emulated) - len(treatments)
    _add_both_ways_frame(
        figure, experiment, f" ({left_out} more are not drawn)" if left_out else ""
    )
    return figure


def _plot_treatment(above: Axes, below: Axes, experiment: Experiment, treatment: str) -> None:
    for axes in (above, below):
        axes.tick_params(labelsize=8)
    above.tick_params(labelbottom=False)
    above.set_title(treatment, size=10)
    both = find_both_ways(experiment, treatment)
    if both is None:
        known = len(experiment.runs(treatment)) > 0
        write_placeholder(above, "no record" if known else experiment.failure_note(treatment))
        return
    _plot_ours(above, experiment, both)
    _plot_emulated(below, both)
    if both.has_false_peak:
        _mark_false_peak(above, below, both)
    course = experiment.shown("memory", treatment)
    highest = max(
        [
            *in_mib(both.emulated, "total"),
            *numbers(course, "tree_upper_bytes").fillna(numbers(course, "tree_reached_bytes"))
            / MIB,
            both.mib("tree_peak") if both.known("tree_peak_bytes") else 0.0,
        ]
    )
    above.set_ylim(0, _ROOM * highest)


def _plot_ours(axes: Axes, experiment: Experiment, both: BothWays) -> None:
    """Draw what our readings prove, and main and children in the walks that nothing tore."""
    plot_course(axes, experiment.shown("memory", both.treatment))
    whole = select_whole(both.sweeps)
    if not whole.empty:
        _plot_walks(axes, whole)
    if both.known("tree_peak_bytes"):
        peak = both.mib("tree_peak")
        upper = both.mib("tree_peak_upper") if both.known("tree_peak_upper_bytes") else math.inf
        moment = both.seconds("tree_time_to_peak")
        _label(axes, f"peak {format_bracket((peak, upper))} MiB", (moment, peak))


def _plot_walks(axes: Axes, sweeps: pd.DataFrame) -> None:
    # Importing it takes longer than drawing a figure, and few experiments need it.
    import seaborn as sns

    sizes = {part: in_mib(sweeps, part) for part in WALKED}
    walks = sweeps[["time_s"]].assign(**sizes).melt("time_s", var_name="part", value_name="mib")
    sns.scatterplot(
        data=walks,
        x="time_s",
        y="mib",
        hue="part",
        palette={part: PART_COLOURS[part] for part in WALKED},
        s=16,
        legend=False,
        ax=axes,
    )
    axes.set(xlabel="", ylabel="")


def _plot_emulated(axes: Axes, both: BothWays) -> None:
    columns = {"main": "main", "children": "children", "tree": "total"}
    sizes = {part: in_mib(both.emulated, column) for part, column in columns.items()}
    plot_parts(
        axes,
        both.emulated["time_s"],
        sizes,
        marked=("main",),
        # A reading is valid until the next one.
        drawstyle="steps-post",
        ms=4,
    )
    moments = both.discoveries_s
    axes.plot(moments, [0] * len(moments), "^", ms=7, color=INK, clip_on=False, zorder=5)
    _title_children(axes, both)
    if not both.false_peak_is_the_peak:
        peak = both.mib("emulated_peak")
        moment = both.seconds("emulated_peak_time")
        _label(axes, f"peak {format_number(peak)} MiB", (moment, peak))


def _title_children(axes: Axes, both: BothWays) -> None:
    there = "" if both.children is None else f"; {there_were(both.children)}"
    text = f"published way: {count_children(both.seen)} seen{there}"
    colour, weight = (_FALSE, "bold") if both.missed_children else (INK, "normal")
    axes.set_title(text, size=9, color=colour, weight=weight)


def _mark_false_peak(above: Axes, below: Axes, both: BothWays) -> None:
    """Mark the record in the lower panel, and what the tree held then in the upper one."""
    moment = both.seconds("emulated_false_peak_time")
    age = f"{both.seconds('emulated_false_peak_age'):.2f}"
    false, main, children, tree = (
        both.mib(f"emulated_false_peak{part}") for part in ("", "_main", "_children", "_tree")
    )
    parts = (
        f"{format_number(main)} main +\n{format_number(children)} children, read {age} s earlier"
    )
    marks = [(below, false, f"false peak {format_number(false)} MiB =\n{parts}")]
    if both.known("emulated_false_peak_tree_bytes"):
        marks.append((above, tree, f"{format_number(tree)} MiB at that moment"))
    for axes, value, text in marks:
        axes.axvline(moment, color=_FALSE, lw=1, ls=(0, (2, 2)), zorder=0)
        axes.plot(moment, value, "o", ms=8, mfc="none", mec=_FALSE, mew=1.6, zorder=6)
        _label_top(axes, text, moment)


def _label(axes: Axes, text: str, point: tuple[float, float]) -> None:
    """Write above a point, on the side where there is room."""
    shift, side = _towards_middle(axes, point[0])
    axes.annotate(
        text,
        point,
        xytext=(-shift, 6),
        textcoords="offset points",
        ha=side,
        va="bottom",
        size=8,
        zorder=7,
    )


def _label_top(axes: Axes, text: str, moment: float) -> None:
    """Write at the top of a panel, beside the line that marks the moment."""
    shift, side = _towards_middle(axes, moment)
    axes.annotate(
        text,
        (moment, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(shift, 0),
        textcoords="offset points",
        ha=side,
        va="top",
        size=8,
        color=_FALSE,
        zorder=7,
    )


def _towards_middle(axes: Axes, moment: float) -> tuple[float, str]:
    """Return shift in points and alignment of a text on the inner side of a moment."""
    low, high = axes.get_xlim()
    return (-5, "right") if moment > (low + high) / 2 else (5, "left")


def _add_both_ways_frame(figure: Figure, experiment: Experiment, more: str) -> None:
    height = figure.get_figheight()
    add_title(figure, f"{experiment.name}: the same runs sampled both ways{more}")
    figure.text(0.5, 0.78 / height, "seconds since the workflow started", ha="center", size=9)
    labels = {"tree": "total recorded"}
    handles = [part_line(part, label=labels.get(part, "")) for part in MEMORY_PARTS]
    discovery = Line2D([], [], ls="", marker="^", ms=7, color=INK, label="children discovered")
    false = marker("false peak: includes children that had ended", "o", 7, _FALSE, hollow=True)
    ours = Patch(facecolor=(*PART_COLOURS["tree"], 0.3), label="tree, by our readings")
    walks = marker("main or children, by a walk", "o", 4, MUTED)
    add_legend(figure, [ours, walks, *handles, discovery, false])


BOTH_WAYS = AddedFigure(FIGURE_NAME, emulated_treatments, plot_both_ways)
"""For experiments with runs that were also sampled the published way."""
