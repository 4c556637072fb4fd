"""Memory over time: a panel for each setting, in it a curve for each level of one factor."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stagebench.present.experiment import choose_treatments, find_design, rank_factors
from stagebench.present.markdown import format_bracket
from stagebench.present.style import (
    GAP_S,
    LEVEL_COLOURS,
    MUTED,
    PART_COLOURS,
    WIDE_SCALE,
    WIDTH,
    Colour,
    add_legend,
    add_title,
    find_long_spans,
    is_wide,
    make_figure,
    marker,
    note_left_out,
    plot_band,
    shorten,
    step_spans,
)
from stagebench.tables.io import numbers
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from stagebench.present.experiment import Design, Experiment
    from stagebench.present.style import Line

_MOST_CURVES = 24
_MOST_IN_PANEL = 4
_MOST_ROWS, _MOST_COLUMNS = 4, 4
_FILLED = 0.7
"""Of a sparser grid than this share, the panels are in lines instead."""
_PANELS_INCHES, _MOST_INCHES, _LEAST_INCHES = 4.6, 2.1, 1.2

_Level = TypeVar("_Level")


class PanelLayout(NamedTuple):
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


def arrange_panels(experiment: Experiment, treatments: Sequence[str]) -> PanelLayout:
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
    if len(titles) < _FILLED * len(rows) * len(columns):
        cells = {place: divmod(index, 3) for index, place in enumerate(sorted(titles))}
        places = {one: (*cells[row, column], level) for one, (row, column, level) in places.items()}
        titles = {cells[place]: title for place, title in titles.items()}
    return PanelLayout(places, titles, shared, _levels(design, shared))


def _wrap(design: Design, name: str, shared: str) -> PanelLayout:
    """Return a layout in lines, for a single factor of many levels."""
    order = list(dict.fromkeys(design[name].values()))
    cells = {level: divmod(index, 3) for index, level in enumerate(order)}
    places = {
        one: (*cells[level], design[shared][one] if shared else "")
        for one, level in design[name].items()
    }
    titles = {cells[level]: _title({name: level}) for level in order}
    return PanelLayout(places, titles, shared, _levels(design, shared))


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
    return ", ".join(parts)


class _Curve(NamedTuple):
    """Memory of one treatment in the run that is drawn, in seconds and MiB.

    `note` is its peak, or why there is no curve; in `gaps` nobody looked. `walks` are moments and
    sizes of the whole tree, where nothing else was read.
    """

    treatment: str
    note: str
    colour: Colour
    edges: Line = np.empty(0)
    low: Line = np.empty(0)
    high: Line = np.empty(0)
    gaps: Sequence[tuple[float, float]] = ()
    last_result_s: float = 0.0
    walks: tuple[Line, Line] = (np.empty(0), np.empty(0))

    @property
    def end_s(self) -> float:
        """Where it ends."""
        return float(np.concatenate([self.edges, self.walks[0], [self.last_result_s]]).max())

    @property
    def highest(self) -> float:
        """The most that it may have reached."""
        return float(np.nanmax(np.concatenate([self.low, self.high, self.walks[1], [0.0]])))

    @property
    def is_bounded(self) -> bool:
        """Whether it has an upper bound."""
        return not np.isnan(self.high).all()


class _Panel(NamedTuple):
    axes: Axes
    curves: Sequence[_Curve]


Place = tuple[int, int]


def plot_memory(experiment: Experiment) -> Figure:
    """Draw the tree's memory over time, between its bounds, in runs of median makespan."""
    layout, chosen = _fit(experiment)
    inches = min(max(_PANELS_INCHES / layout.rows, _LEAST_INCHES), _MOST_INCHES)
    characters = 105 // layout.columns
    titles = {
        place: "\n".join(textwrap.wrap(shorten(title, 2 * characters - 8), characters))
        for place, title in layout.titles.items()
    }
    lines = 1 + max(title.count("\n") for title in titles.values())
    gap = 0.34 + 0.15 * lines
    height = inches * layout.rows + gap * (layout.rows - 1) + 1.36 + 0.14 * lines
    figure = make_figure(WIDTH, height)
    grid = figure.add_gridspec(
        *(layout.rows, layout.columns),
        left=0.75 / WIDTH,
        right=1 - 0.12 / WIDTH,
        bottom=0.9 / height,
        top=1 - (0.46 + 0.14 * lines) / height,
        hspace=gap / inches,
        wspace=0.15,
    )
    colours = dict(zip(layout.curves, LEVEL_COLOURS, strict=False))
    panels: dict[Place, _Panel] = {}
    walked = False
    for place, title in sorted(titles.items()):
        axes = figure.add_subplot(grid[place])
        axes.set_title(title, size=8.5)
        axes.tick_params(labelsize=7.5)
        own = {one: curve for one, (*at, curve) in layout.places.items() if tuple(at) == place}
        is_alone = len(own) == 1
        curves = [
            _read_curve(
                experiment,
                treatment,
                "" if is_alone else level,
                PART_COLOURS["tree"] if is_alone else colours[level],
                _COLUMNS // layout.columns,
            )
            for treatment, level in own.items()
        ]
        panels[place] = _Panel(axes, curves)
        _plot_panel(panels[place], inches)
        if is_alone and _plot_walks(axes, experiment.shown("sweeps", curves[0].treatment)):
            walked = True
    _set_limits(panels, inches)
    add_title(figure, f"{experiment.name}: memory of the process tree over time")
    figure.text(0.012, 0.5, "MiB", rotation=90, va="center", size=9)
    figure.text(
        *(0.5, 0.52 / height),
        "seconds since the workflow started, in the run of median makespan; numbers: its peak",
        ha="center",
        size=8.5,
    )
    curves = [curve for panel in panels.values() for curve in panel.curves]
    add_legend(figure, _list_handles(layout, curves, walked=walked))
    note_left_out(figure, len(experiment.treatments) - len(chosen))
    return figure


def _fit(experiment: Experiment) -> tuple[PanelLayout, Sequence[str]]:
    """Return the layout of as many treatments as there is room for, and those."""
    most = min(_MOST_CURVES, len(experiment.treatments))
    while True:
        kept = set(choose_treatments(experiment, most))
        chosen = [one for one in experiment.treatments if one in kept]
        layout = arrange_panels(experiment, chosen)
        if layout.rows <= _MOST_ROWS:
            return layout, chosen
        most -= 1


_COLUMNS = 800
"""Of all panels beside each other: more spans than columns of pixels could not be seen."""


def _read_curve(
    experiment: Experiment, treatment: str, level: str, colour: Colour, columns: int
) -> _Curve:
    label = f"{shorten(level, 18)}: " if level else ""
    runs = experiment.runs(treatment)
    if runs.empty:
        return _Curve(treatment, f"{label}{experiment.failure_note(treatment)}", colour)
    run = runs[runs["shown"]].iloc[0]
    last_result_s = float(run["makespan_s"])
    peak, bound = (_to_mib(run[f"tree_peak{end}_bytes"]) for end in ("", "_upper"))
    bracket = format_bracket((peak, math.inf if math.isnan(bound) else bound))
    note = f"{label}{'no reading' if math.isnan(peak) else f'{bracket} MiB'}"
    course = experiment.shown("memory", treatment)
    if course.empty:
        whole = select_whole(experiment.shown("sweeps", treatment))
        sizes = (numbers(whole, "tree_pss_bytes") / MIB).to_numpy()
        walks = numbers(whole, "time_s").to_numpy(), sizes
        return _Curve(treatment, note, colour, last_result_s=last_result_s, walks=walks)
    began, ended = (numbers(course, name).to_numpy() for name in ("began_s", "time_s"))
    lower, upper = (
        numbers(course, f"tree_{end}_bytes").to_numpy() / MIB for end in ("reached", "upper")
    )
    is_gap = find_long_spans(began, ended)
    steps = _thin(_Steps(began, ended, lower, upper, is_gap), columns)
    edges, low, high = step_spans((steps.began, steps.ended), steps.low, steps.high, steps.gaps)
    gaps = list(zip(began[is_gap], ended[is_gap], strict=True))
    if last_result_s > ended[-1] + GAP_S:
        gaps.append((ended[-1], last_result_s))
    return _Curve(treatment, note, colour, edges, low, high, gaps, last_result_s)


def _to_mib(size: Any) -> float:
    return math.nan if pd.isna(size) else float(size) / MIB


class _Steps(NamedTuple):
    """Spans between bounds; a gap is joined with nothing."""

    began: Line
    ended: Line
    low: Line
    high: Line
    gaps: NDArray[np.bool_]

    def join(self, is_apart: NDArray[np.bool_]) -> _Steps:
        """Join neighbours to their highest bounds, unless they are apart."""
        is_start = np.append([True], is_apart | self.gaps[1:] | self.gaps[:-1])
        starts = np.flatnonzero(is_start)
        stops = np.append(starts[1:], len(is_start)) - 1
        low, high = (np.fmax.reduceat(line, starts) for line in (self.low, self.high))
        return _Steps(self.began[starts], self.ended[stops], low, high, self.gaps[starts])


def _thin(steps: _Steps, columns: int) -> _Steps:
    """Join the spans of one column of pixels, and those that stay the same."""
    width = (steps.ended[-1] - steps.began[0]) / columns or 1.0
    column = ((steps.ended - steps.began[0]) / width).astype(int)
    joined = steps.join(np.diff(column) > 0)
    return joined.join(_are_different(joined.low) | _are_different(joined.high))


def _are_different(line: Line) -> NDArray[np.bool_]:
    return ~np.isclose(line[1:], line[:-1], rtol=0, atol=0, equal_nan=True)


def _plot_panel(panel: _Panel, inches: float) -> None:
    for place, curve in enumerate(panel.curves):
        if len(curve.edges):
            look: dict[str, Any] = {"color": curve.colour}
            panel.axes.fill_between(curve.edges, curve.low, curve.high, alpha=0.3, lw=0, **look)
            panel.axes.plot(curve.edges, curve.low, lw=1.1, **look)
            panel.axes.axvline(curve.last_result_s, ymax=0.14, lw=1.6, zorder=5, **look)
        panel.axes.plot(*curve.walks, lw=0, marker=".", ms=5, color=curve.colour)
        panel.axes.text(
            *(0.985, 0.97 - _NOTE_INCHES * place / inches),
            curve.note,
            ha="right",
            va="top",
            size=7.5,
            color=tuple(0.8 * part for part in curve.colour),
            weight="bold",
            transform=panel.axes.transAxes,
            zorder=6,
        )


_NOTE_INCHES = 0.155
_LANE = 0.04
"""Height of the marks of one curve's gaps, as a share of the panel above 0."""

WALKED = ("main", "children")
"""The parts of the tree that a walk reads."""


def select_whole(sweeps: pd.DataFrame) -> pd.DataFrame:
    """Return the walks during which no memory moved from one process to another."""
    return sweeps[sweeps["torn"].fillna(0) == 0]


def _plot_walks(axes: Axes, sweeps: pd.DataFrame) -> bool:
    """Draw main and children in the walks during which nothing changed; return whether any."""
    whole = select_whole(sweeps)
    for part in WALKED:
        sizes = numbers(whole, f"{part}_pss_bytes") / MIB
        axes.plot(whole["time_s"], sizes, color=PART_COLOURS[part], lw=0, marker=".", ms=3)
    return not whole.empty


def plot_course(axes: Axes, course: pd.DataFrame) -> None:
    """Draw the tree's memory over time in one run, a row of the table for each reading."""
    began, ended = (numbers(course, name).to_numpy() for name in ("began_s", "time_s"))
    lower, upper = (
        numbers(course, f"tree_{end}_bytes").to_numpy() / MIB for end in ("reached", "upper")
    )
    plot_band(axes, (began, ended), lower, upper)


_WIDE_HEIGHTS = 2.5
"""From this ratio of peaks on, rows of panels have axes of their own: panels are not high."""


def _set_limits(panels: Mapping[Place, _Panel], inches: float) -> None:
    """Let panels share their axes where sizes allow it: all, else those of a row, else none."""
    ends = {place: max(one.end_s for one in panel.curves) for place, panel in panels.items()}
    highs = {place: max(one.highest for one in panel.curves) for place, panel in panels.items()}
    beside, level = _share(ends, WIDE_SCALE), _share(highs, _WIDE_HEIGHTS)
    for place, (axes, curves) in panels.items():
        end_s = max(ends[other] for other in beside[place]) or 1.0
        axes.set_xlim(-0.04 * end_s, 1.03 * end_s)
        together = [panels[other] for other in level[place]]
        lines = max(len(panel.curves) for panel in together)
        room = 1 / (0.95 - _NOTE_INCHES * lines / inches)
        top = room * (max(highs[other] for other in level[place]) or 1.0)
        lanes = max(_count_lanes(panel) for panel in together)
        axes.set_ylim(-_LANE * lanes * top, top)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(_format_tick))
        axes.tick_params(labelleft=place == min(o for o in level[place] if o[0] == place[0]))
        for lane, curve in enumerate(curves):
            for start, end in curve.gaps:
                height = -_LANE * (lane + 0.5) * top
                axes.plot([start, end], [height] * 2, color=curve.colour, lw=2.5, zorder=5)


def _count_lanes(panel: _Panel) -> int:
    return len(panel.curves) if any(curve.gaps for curve in panel.curves) else 0


def _format_tick(value: float, _: int | None) -> str:
    return "" if value < 0 else f"{value:.10g}"


def _share(sizes: Mapping[Place, float], wide: float) -> dict[Place, list[Place]]:
    """Return with which panels each one shares an axis; `wide` is for those of all rows."""
    shared = {}
    for place in sizes:
        row = [other for other in sizes if other[0] == place[0]]
        if not _is_wide(sizes, list(sizes), wide):
            shared[place] = list(sizes)
        else:
            shared[place] = [place] if _is_wide(sizes, row, WIDE_SCALE) else row
    return shared


def _is_wide(sizes: Mapping[Place, float], places: Sequence[Place], wide: float) -> bool:
    known = [sizes[place] for place in places if sizes[place] > 0]
    return len(places) > 1 and bool(known) and max(known) >= wide * min(known)


def _list_handles(
    layout: PanelLayout, curves: Sequence[_Curve], *, walked: bool
) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    if layout.factor and len(layout.curves) > 1:
        name = shorten(layout.factor)
        handles += [
            Line2D([], [], color=colour, lw=2.5, label=f"{name}: {shorten(level, 18)}")
            for level, colour in zip(layout.curves, LEVEL_COLOURS, strict=False)
        ]
    drawn = [curve for curve in curves if len(curve.edges)]
    if any(curve.is_bounded for curve in drawn):
        handles.append(Patch(facecolor=(*MUTED, 0.3), label="between both bounds"))
    if drawn and not all(curve.is_bounded for curve in drawn):
        label = "at least (polled, without a control group)"
        handles.append(Line2D([], [], color=MUTED, lw=1.1, label=label))
    if any(len(curve.walks[0]) for curve in curves):
        handles.append(marker("tree, by walks", ".", 8, MUTED))
    if walked:
        handles += [marker(f"{part}, by walks", ".", 6, PART_COLOURS[part]) for part in WALKED]
    if drawn:
        line: dict[str, Any] = {"ls": "", "marker": "|", "ms": 8, "mew": 1.6, "color": MUTED}
        handles.append(Line2D([], [], label="last result", **line))
    if any(curve.gaps for curve in drawn):
        handles.append(Line2D([], [], color=MUTED, lw=2.5, label="below 0: nobody looked"))
    return handles
