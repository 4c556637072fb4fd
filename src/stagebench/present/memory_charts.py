"""Memory over time: a panel for each setting, in it a curve for each level of one factor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stagebench.present.experiment import choose_treatments, find_design, rank_factors
from stagebench.present.markdown import format_bracket
from stagebench.present.style import (
    GAP_S,
    LEVEL_COLOURS,
    MUTED,
    PART_COLOURS,
    WIDTH,
    Colour,
    add_legend,
    add_title,
    find_long_spans,
    is_wide,
    make_figure,
    marker,
    note_left_out,
    shorten,
    step_spans,
    write_placeholder,
)
from stagebench.tables.io import numbers
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from stagebench.present.experiment import Design, Experiment
    from stagebench.present.style import Line

_MOST_CURVES = 24
_MOST_IN_PANEL = 4
_MOST_ROWS, _MOST_COLUMNS = 6, 4
_PANELS_INCHES, _MOST_INCHES, _LEAST_INCHES = 4.6, 2.1, 1.2

_Level = TypeVar("_Level")


class Layout(NamedTuple):
    """Where each treatment is drawn: its row, its column and its curve within the panel.

    `titles` name the panels; `curves` the levels of the factor whose curves share one.
    """

    places: Mapping[str, tuple[int, int, str]]
    titles: Mapping[tuple[int, int], str]
    factor: str
    curves: Sequence[str]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return 1 + max(row for row, _, _ in self.places.values())

    @property
    def columns(self) -> int:
        """Number of columns."""
        return 1 + max(column for _, column, _ in self.places.values())


def arrange_panels(experiment: Experiment, treatments: Sequence[str]) -> Layout:
    """Arrange treatments by their factors: rows, columns, and curves of one panel.

    The factor with the largest effect on the peak has its levels in one panel, unless their
    makespans differ too much for one axis.
    """
    design = {
        name: {one: levels[one] for one in treatments}
        for name, levels in find_design(experiment).items()
    }
    shared = _choose_shared(experiment, design)
    rest = [name for name in design if name != shared and len(set(design[name].values())) > 1]
    across = next((name for name in reversed(rest) if _count(design, name) <= _MOST_COLUMNS), "")
    down = [name for name in rest if name != across]
    if not across and len(down) == 1:
        return _wrap(design, down[0], shared)
    rows = _order([tuple(design[name][one] for name in down) for one in treatments])
    columns = _order([design[across][one] if across else "" for one in treatments])
    places, titles = {}, {}
    for one in treatments:
        row = tuple(design[name][one] for name in down)
        column = design[across][one] if across else ""
        place = rows.index(row), columns.index(column)
        places[one] = (*place, design[shared][one] if shared else "")
        titles[place] = _title(
            dict(zip(down, row, strict=True)) | ({across: column} if across else {})
        )
    return Layout(places, titles, shared, _levels(design, shared))


def _wrap(design: Design, name: str, shared: str) -> Layout:
    """Return a layout in lines, for a single factor of many levels."""
    order = list(dict.fromkeys(design[name].values()))
    cells = {level: divmod(index, 3) for index, level in enumerate(order)}
    places = {
        one: (*cells[level], design[shared][one] if shared else "")
        for one, level in design[name].items()
    }
    titles = {cells[level]: _title({name: level}) for level in order}
    return Layout(places, titles, shared, _levels(design, shared))


def _choose_shared(experiment: Experiment, design: Design) -> str:
    strengths = dict(rank_factors(experiment, "tree_peak_bytes"))
    medians = experiment.medians
    found = []
    for name, levels in design.items():
        panels: dict[tuple[str, ...], list[str]] = {}
        for one in levels:
            key = tuple(other[one] for factor, other in design.items() if factor != name)
            panels.setdefault(key, []).append(one)
        together = max(map(len, panels.values()))
        if 1 < together <= _MOST_IN_PANEL and not any(
            is_wide(medians[one] for one in own if not math.isnan(medians[one]))
            for own in panels.values()
        ):
            found.append(name)
    return max(found, key=lambda name: strengths.get(name, 0.0), default="")


def _count(design: Design, name: str) -> int:
    return len(set(design[name].values()))


def _levels(design: Design, name: str) -> list[str]:
    return _order(list(design[name].values())) if name else [""]


def _order(levels: Sequence[_Level]) -> list[_Level]:
    return list(dict.fromkeys(levels))


def _title(levels: Mapping[str, str]) -> str:
    """Name a panel: "native, thread, workers 5"; a number or a flag needs its factor's name."""
    parts = [
        level
        if any(map(str.isalpha, level)) and level not in ("true", "false", "unset")
        else f"{name} {level}"
        for name, level in levels.items()
    ]
    return shorten(", ".join(parts), 40)


def plot_memory(experiment: Experiment) -> Figure:
    """Draw the tree's memory over time, between its bounds, in runs of median makespan."""
    kept = set(choose_treatments(experiment, _MOST_CURVES))
    treatments = [one for one in experiment.treatments if one in kept]
    layout = arrange_panels(experiment, treatments)
    while layout.rows > _MOST_ROWS:
        kept = set(choose_treatments(experiment, len(treatments) - 1))
        treatments = [one for one in experiment.treatments if one in kept]
        layout = arrange_panels(experiment, treatments)
    inches = min(max(_PANELS_INCHES / layout.rows, _LEAST_INCHES), _MOST_INCHES)
    gap = 0.5
    height = inches * layout.rows + gap * (layout.rows - 1) + 1.5
    figure = make_figure(WIDTH, height)
    grid = figure.add_gridspec(
        *(layout.rows, layout.columns),
        left=0.75 / WIDTH,
        right=1 - 0.12 / WIDTH,
        bottom=0.9 / height,
        top=1 - 0.6 / height,
        hspace=gap / inches,
        wspace=0.16,
    )
    colours = dict(zip(layout.curves, LEVEL_COLOURS, strict=False))
    drawn: dict[tuple[int, int], _Panel] = {}
    for place, title in sorted(layout.titles.items()):
        axes = figure.add_subplot(grid[place])
        axes.set_title(title, size=8.5)
        own = {one: curve for one, (*at, curve) in layout.places.items() if tuple(at) == place}
        drawn[place] = _plot_panel(axes, experiment, own, colours, inches=inches)
    _set_limits(drawn, inches)
    _add_frame(figure, experiment, layout, list(drawn.values()))
    note_left_out(figure, len(experiment.treatments) - len(treatments))
    return figure


class _Panel(NamedTuple):
    """A panel: its axes, how far and how high its curves reach, and what is marked."""

    axes: Axes
    curves: int
    end_s: float
    highest: float
    has_gap: bool
    has_bound: bool
    has_line: bool
    has_walks: bool


def _plot_panel(
    axes: Axes,
    experiment: Experiment,
    treatments: Mapping[str, str],
    colours: Mapping[str, Colour],
    *,
    inches: float,
) -> _Panel:
    axes.tick_params(labelsize=7.5)
    is_alone = len(treatments) == 1
    ends, highs, notes = [0.0], [0.0], []
    gaps = bounded = lines = walked = False
    for lane, (treatment, curve) in enumerate(treatments.items()):
        colour = PART_COLOURS["tree"] if is_alone else colours[curve]
        course = experiment.shown("memory", treatment)
        label = "" if is_alone else f"{shorten(curve, 18)}: "
        if course.empty:
            is_known = len(experiment.runs(treatment)) > 0
            notes.append(
                (
                    f"{label}{'no reading' if is_known else experiment.failure_note(treatment)}",
                    colour,
                )
            )
            continue
        began, ended = (numbers(course, name).to_numpy() for name in ("began_s", "time_s"))
        lower, upper = (
            numbers(course, f"tree_{end}_bytes").to_numpy() / MIB for end in ("reached", "upper")
        )
        is_gap = find_long_spans(began, ended)
        edges, low, high = step_spans(*_thin(began, ended, lower, upper, is_gap))
        axes.fill_between(edges, low, high, color=colour, alpha=0.3, lw=0)
        axes.plot(edges, low, color=colour, lw=1.1)
        finish = _finish(experiment, treatment)
        unseen = list(zip(began[is_gap], ended[is_gap], strict=True))
        if finish > ended.max() + GAP_S:
            unseen.append((ended.max(), finish))
        _mark_gaps(axes, unseen, lane, colour)
        axes.plot(
            [finish] * 2, [0, 0.12], color=colour, lw=1.6, transform=axes.get_xaxis_transform()
        )
        if is_alone and _plot_walks(axes, experiment.shown("sweeps", treatment)):
            walked = True
        ends += [finish, float(ended.max())]
        highs += [float(np.nanmax(np.append(lower, upper)))]
        gaps = gaps or bool(unseen)
        bounded = bounded or not np.isnan(upper).all()
        lines = True
        notes.append((f"{label}{_peak(experiment, treatment)}", colour))
    for place, (text, colour) in enumerate(notes):
        axes.text(
            *(0.985, 0.97 - 0.155 * place / inches),
            text,
            ha="right",
            va="top",
            size=7.5,
            color=tuple(0.8 * part for part in colour),
            weight="bold",
            transform=axes.transAxes,
            zorder=6,
        )
    return _Panel(axes, len(notes), max(ends), max(highs), gaps, bounded, lines, walked)


_COLUMNS = 600
"""As many spans as a panel has columns of pixels, or more, are drawn."""


def _thin(
    began: Line, ended: Line, lower: Line, upper: Line, is_gap: NDArray[np.bool_]
) -> tuple[tuple[Line, Line], Line, Line, NDArray[np.bool_]]:
    """Join the readings of one column of pixels to their highest bounds; gaps stay."""
    width = (ended[-1] - began[0]) / _COLUMNS or 1.0
    column = ((ended - began[0]) / width).astype(int)
    starts = np.flatnonzero(np.append(True, (np.diff(column) > 0) | is_gap[1:] | is_gap[:-1]))
    stops = np.append(starts[1:], len(ended)) - 1
    low, high = (np.fmax.reduceat(line, starts) for line in (lower, upper))
    return (began[starts], ended[stops]), low, high, is_gap[starts]


def _finish(experiment: Experiment, treatment: str) -> float:
    """Return when the shown run received its last result, in seconds."""
    runs = experiment.runs(treatment)
    return float(runs.loc[runs["shown"], "makespan_s"].iloc[0])


def _mark_gaps(axes: Axes, gaps: Sequence[tuple[float, float]], lane: int, colour: Colour) -> None:
    height = 0.03 + 0.035 * lane
    for start, end in gaps:
        axes.plot(
            *([start, end], [height] * 2),
            color=colour,
            lw=3,
            alpha=0.75,
            transform=axes.get_xaxis_transform(),
            zorder=5,
        )


def _plot_walks(axes: Axes, sweeps: pd.DataFrame) -> bool:
    """Draw main and children in the walks that no change of the tree tore; return whether any."""
    whole = sweeps[sweeps["torn"].fillna(0) == 0]
    for part in _WALKED:
        sizes = numbers(whole, f"{part}_pss_bytes") / MIB
        axes.plot(whole["time_s"], sizes, color=PART_COLOURS[part], lw=0, marker=".", ms=3)
    return not whole.empty


_WALKED = ("main", "children")


def _peak(experiment: Experiment, treatment: str) -> str:
    """Return the bounds of the peak of the run that is drawn."""
    runs = experiment.runs(treatment)
    run = runs[runs["shown"]].iloc[0]
    peak, upper = run["tree_peak_bytes"], run["tree_peak_upper_bytes"]
    bound = math.inf if _is_missing(upper) else float(upper)
    return "" if _is_missing(peak) else f"{format_bracket((float(peak), bound), scale=1 / MIB)} MiB"


def _is_missing(value: object) -> bool:
    return not isinstance(value, (int, float, np.number)) or bool(np.isnan(float(value)))


def _set_limits(drawn: Mapping[tuple[int, int], _Panel], inches: float) -> None:
    """Let panels share their axes where sizes allow it: all, else those of a row, else none."""
    for name, upper in (("x", "end_s"), ("y", "highest")):
        sizes = {place: float(getattr(panel, upper)) for place, panel in drawn.items()}
        groups = _share(sizes)
        for place, panel in drawn.items():
            largest = max(sizes[other] for other in groups[place]) or 1.0
            if name == "x":
                start = (
                    min((panel.axes.dataLim.x0, 0.0)) if np.isfinite(panel.axes.dataLim.x0) else 0.0
                )
                panel.axes.set_xlim(max(start, -0.04 * largest), 1.03 * largest)
            else:
                lines = max(drawn[other].curves for other in groups[place])
                room = 1 / (1 - 0.05 - 0.16 * lines / inches)
                panel.axes.set_ylim(0, room * largest)


def _share(sizes: Mapping[tuple[int, int], float]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    if not is_wide(sizes.values()):
        return {place: list(sizes) for place in sizes}
    shared = {}
    for place in sizes:
        row = [other for other in sizes if other[0] == place[0]]
        shared[place] = [place] if is_wide(sizes[other] for other in row) else row
    return shared


def _add_frame(
    figure: Figure, experiment: Experiment, layout: Layout, panels: Sequence[_Panel]
) -> None:
    height = figure.get_figheight()
    add_title(figure, f"{experiment.name}: memory of the process tree over time")
    figure.text(0.012, 0.5, "MiB", rotation=90, va="center", size=9)
    figure.text(
        *(0.5, 0.52 / height),
        "seconds since the workflow started, in the run of median makespan; numbers: its peak",
        ha="center",
        size=8.5,
    )
    handles: list[Line2D | Patch] = []
    if layout.factor and len(layout.curves) > 1:
        handles += [
            Line2D(
                [],
                [],
                color=colour,
                lw=2.5,
                label=f"{shorten(layout.factor)}: {shorten(level, 18)}",
            )
            for level, colour in zip(layout.curves, LEVEL_COLOURS, strict=False)
        ]
    if any(panel.has_bound for panel in panels):
        handles.append(Patch(facecolor=(*MUTED, 0.3), label="between both bounds"))
    if any(panel.has_line and not panel.has_bound for panel in panels):
        label = "at least (polled, without a control group)"
        handles.append(Line2D([], [], color=MUTED, lw=1.1, label=label))
    if any(panel.has_walks for panel in panels):
        handles += [marker(f"{part}, by walks", ".", 6, PART_COLOURS[part]) for part in _WALKED]
    if any(panel.has_line for panel in panels):
        handles.append(
            Line2D([], [], ls="", marker="|", ms=8, mew=1.6, color=MUTED, label="end of the run")
        )
    if any(panel.has_gap for panel in panels):
        handles.append(Line2D([], [], color=MUTED, lw=3, label="at the bottom: nobody looked"))
    add_legend(figure, handles)
    if not any(panel.has_line for panel in panels) and len(panels) > 1:
        write_placeholder(panels[0].axes, "no memory was read")
