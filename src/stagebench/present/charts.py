"""The figures of one experiment, at most six: makespan, limits, memory, trade-off, tasks, times.

They are drawn in one process, because importing the libraries takes longer than drawing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from matplotlib.lines import Line2D

from stagebench.errors import StoreError
from stagebench.present.effects import describe_ratio, outcome_of
from stagebench.present.experiment import (
    choose_treatments,
    find_design,
    leading_factor,
    split_experiments,
)
from stagebench.present.gantt import plot_tasks
from stagebench.present.limit_charts import plot_limits, plot_times
from stagebench.present.markdown import format_bracket, format_number
from stagebench.present.memory_charts import plot_memory
from stagebench.present.style import (
    DPI,
    INK,
    LEVEL_COLOURS,
    LEVEL_MARKERS,
    MUTED,
    WIDTH,
    Colour,
    add_legend,
    add_title,
    figure_style,
    label_row,
    make_figure,
    make_rows,
    marker,
    note_left_out,
    save_figure,
    set_sizes_axis,
    shorten,
    write_placeholder,
)
from stagebench.store import atomic_folder
from stagebench.tables.decisions import EQUIVALENT, FASTER, NOT_DECIDED, SLOWER
from stagebench.tables.io import numbers, read_tables
from stagebench.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment

MOST_ROWS = 32
"""Of more treatments than this, the extremes and the ones to choose from have a row."""


class Looks(NamedTuple):
    """The colours and markers of the levels of one factor.

    Of many levels, those beyond the last look share one: grey.
    """

    factor: str
    levels: Mapping[str, str]
    colours: Mapping[str, Colour]
    markers: Mapping[str, str]

    def of(self, treatment: str) -> tuple[Colour, str]:
        """Return colour and marker of a treatment."""
        level = self.levels[treatment]
        return self.colours[level], self.markers[level]

    def list_handles(self) -> list[Line2D]:
        """Return the legend."""
        if len(self.levels) == 1:
            return []
        looks = {
            (self.colours[level], self.markers[level]): level
            for level in reversed(list(self.colours))
        }
        known = [(look, level) for look, level in looks.items() if look[0] != MUTED]
        handles = [
            marker(f"{shorten(self.factor)}: {shorten(level, 24)}", shape, 6, colour)
            for (colour, shape), level in reversed(known)
        ]
        return handles + [marker("other levels", "o", 6, MUTED)] * (len(known) < len(looks))


def find_looks(experiment: Experiment) -> Looks:
    """Return how treatments look: by the factor with the largest effect on the makespan."""
    design = find_design(experiment)
    factor = leading_factor(experiment, design)
    levels = design.get(factor) or dict.fromkeys(experiment.treatments, "")
    if len(set(levels.values())) == len(levels) > len(LEVEL_COLOURS):
        levels = dict.fromkeys(levels, "")  # names stand beside the rows
    names = list(dict.fromkeys(levels.values()))
    more = max(len(names) - len(LEVEL_COLOURS), 0)
    colours = dict(zip(names, [*LEVEL_COLOURS, *[MUTED] * more], strict=False))
    markers = dict(zip(names, [*LEVEL_MARKERS, *["o"] * more], strict=False))
    return Looks(factor, levels, colours, markers)


def plot_makespan(experiment: Experiment) -> Figure:
    """Draw the makespan of every ok run as a point; treatments in order of their median."""
    treatments = choose_treatments(experiment, MOST_ROWS)
    title = f"{experiment.name}: makespan of every run, shortest median on top"
    figure, axes = make_rows(title, treatments, foot=0.86, right=2.5)
    looks = find_looks(experiment)
    medians = experiment.medians
    points = _list_points(experiment, treatments, looks)
    _plot_points(axes, points, looks)
    if len(treatments) > 1:
        label_row(
            axes, f"against {shorten(experiment.baseline, 16)}", -0.95, shift=0.62, weight="bold"
        )
        label_row(axes, "median", -0.95, weight="bold")
    for row, treatment in enumerate(treatments):
        _label_makespan(axes, experiment, treatment, row)
    if (reference := medians.get(experiment.baseline, math.nan)) > 0 and len(treatments) > 1:
        axes.axvline(reference, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
    set_sizes_axis(axes.xaxis, list(points["makespan_s"]))
    scale = ", logarithmic" if axes.get_xscale() == "log" else ""
    axes.set_xlabel(f"seconds from the first submission to the last result{scale}")
    handles: list[Line2D] = looks.list_handles()
    if not points.empty:
        handles.append(Line2D([], [], ls="", marker="|", ms=11, mew=2, color=INK, label="median"))
    if points["is_noisy"].any():
        handles.append(marker("noisy run", "o", 6, MUTED, hollow=True))
    if len(treatments) > 1:
        dashes = Line2D([], [], color=MUTED, lw=1, ls=(0, (4, 3)))
        dashes.set_label(f"baseline {shorten(experiment.baseline)}")
        handles.append(dashes)
    add_legend(figure, handles)
    note_left_out(figure, len(experiment.treatments) - len(treatments))
    return figure


def _list_points(experiment: Experiment, treatments: Sequence[str], looks: Looks) -> pd.DataFrame:
    """Return a row for every ok run of some treatments."""
    runs = experiment.tables["runs"]
    known = runs[(runs["status"] == "ok") & runs["treatment"].isin(treatments)]
    rows = {treatment: row for row, treatment in enumerate(treatments)}
    return pd.DataFrame(
        {
            "makespan_s": numbers(known, "makespan_s"),
            "row": known["treatment"].map(rows).astype("float64"),
            "level": known["treatment"].map(dict(looks.levels)),
            "is_noisy": known["noisy"] != "",
        }
    )


def _plot_points(axes: Axes, points: pd.DataFrame, looks: Looks) -> None:
    for (level, is_noisy), own in points.groupby(["level", "is_noisy"]):
        axes.scatter(
            own["makespan_s"],
            own["row"],
            marker=looks.markers[str(level)],
            facecolors="none" if is_noisy else looks.colours[str(level)],
            edgecolors=[looks.colours[str(level)]],
            s=30,
            alpha=0.8,
            linewidths=1.1,
            zorder=4,
        )


def _label_makespan(axes: Axes, experiment: Experiment, treatment: str, row: int) -> None:
    median = float(experiment.summary(treatment, "makespan_s")["median"])
    if math.isnan(median):
        label_row(axes, experiment.failure_note(treatment), row)
        return
    axes.plot([median, median], [row - 0.34, row + 0.34], color=INK, lw=2, zorder=3)
    label_row(axes, f"{format_number(median)} s", row, weight="bold")
    label_row(axes, _describe_effect(experiment, treatment), row, shift=0.62)


def _describe_effect(experiment: Experiment, treatment: str) -> str:
    """Return how much faster or slower than the baseline a treatment is, with the interval."""
    if treatment == experiment.baseline:
        return "baseline" * (len(experiment.treatments) > 1)
    rows = experiment.tables["comparisons"]
    own = rows[(rows["treatment"] == treatment) & (rows["quantity"] == "makespan_s")]
    if own.empty or own[["ratio", "low", "high"]].isna().any(axis=None):
        return ""
    row = own.iloc[0]
    plain = {NOT_DECIDED: "no difference found", EQUIVALENT: "no difference that matters"}
    return plain.get(outcome_of(row)) or describe_ratio(row, lower=FASTER, higher=SLOWER)


_MOST_POINTS = 100
_MOST_NAMED = 24
"""Of more treatments than this, only those of interest have a name."""


def plot_tradeoff(experiment: Experiment) -> Figure:
    """Draw makespan against peak memory; what is not beaten in both is the front."""
    figure = make_figure(WIDTH, 4.6)
    axes = figure.add_axes((0.085, 0.2, 0.885, 0.7))
    add_title(figure, f"{experiment.name}: what a short makespan costs in memory")
    treatments = choose_treatments(experiment, _MOST_POINTS)
    looks = find_looks(experiment)
    places = {
        treatment: place
        for treatment in treatments
        if (place := _find_place(experiment, treatment)) is not None
    }
    front = [one for one in experiment.list_advised("front") if one in places]
    for treatment, place in places.items():
        colour, shape = looks.of(treatment)
        axes.plot([place.shortest_s, place.longest_s], [place.peak] * 2, color=colour, lw=0.8)
        axes.plot([place.median_s] * 2, [place.peak, place.upper], color=colour, lw=2.2)
        filled = colour if treatment in front else "white"
        order = 5 if treatment in front else 4
        axes.plot(
            place.median_s, place.peak, shape, ms=7, mec=colour, mfc=filled, mew=1.3, zorder=order
        )
    if not places:
        write_placeholder(axes, "no treatment has both a makespan and a peak")
    set_sizes_axis(axes.xaxis, [place.median_s for place in places.values()], room=1.15)
    set_sizes_axis(axes.yaxis, [place.upper for place in places.values()], room=1.12)
    axes.set_xlabel("makespan in seconds, median (thin line: shortest to longest run)")
    axes.set_ylabel("peak memory in MiB")
    _name_places(axes, experiment, places, front)
    handles = [*looks.list_handles()]
    if front:
        same = " of the same work" * (len(experiment.advised) > 1)
        handles.append(marker(f"filled: none{same} is surely better in both", "o", 7, MUTED))
    if any(place.upper > place.peak for place in places.values()):
        handles.append(
            Line2D([], [], color=MUTED, lw=2.2, label="lower to upper bound of the peak")
        )
    if any(math.isinf(place.bound) for place in places.values()):
        handles.append(Line2D([], [], ls="", marker="^", ms=6, color=MUTED, label="at least"))
    add_legend(figure, handles)
    note_left_out(figure, len(experiment.treatments) - len(treatments))
    missing = [one for one in treatments if one not in places]
    if missing and places:
        names = ", ".join(shorten(one) for one in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        text = f"no makespan or no peak: {names}{more}"
        axes.text(1, 1.01, text, ha="right", size=8, color=MUTED, transform=axes.transAxes)
    return figure


class _TimeAndPeak(NamedTuple):
    """Makespans in seconds and the bracket of the peak in MiB; without an upper bound, infinite."""

    median_s: float
    shortest_s: float
    longest_s: float
    peak: float
    bound: float

    @property
    def upper(self) -> float:
        """The end of the bar."""
        return self.peak if math.isinf(self.bound) else self.bound


def _find_place(experiment: Experiment, treatment: str) -> _TimeAndPeak | None:
    makespan, peak, upper = (
        experiment.summary(treatment, name)
        for name in ("makespan_s", "tree_peak_bytes", "tree_peak_upper_bytes")
    )
    if pd.isna(makespan["median"]) or pd.isna(peak["median"]):
        return None
    bound = math.inf if pd.isna(upper["median"]) else float(upper["median"]) / MIB
    return _TimeAndPeak(
        float(makespan["median"]),
        float(makespan["min"]),
        float(makespan["max"]),
        float(peak["median"]) / MIB,
        bound,
    )


def _name_places(
    axes: Axes, experiment: Experiment, places: Mapping[str, _TimeAndPeak], front: Sequence[str]
) -> None:
    """Write names beside points: all of few, else the front and the baseline; none on another."""
    wanted = [*experiment.advised, experiment.baseline, *front]
    others = places if len(places) <= _MOST_NAMED else ()
    names = [one for one in dict.fromkeys([*wanted, *others]) if one in places]
    taken: list[tuple[float, float, float, float]] = []
    points = {one: _find_pixel(axes, place) for one, place in places.items()}
    for place in places.values():
        ends = [
            axes.transData.transform((x, place.peak)) for x in (place.shortest_s, place.longest_s)
        ]
        taken.append((ends[0][0], ends[0][1] - 2, ends[1][0], ends[1][1] + 2))
    taken += [(x - 5, y - 5, x + 5, y + 5) for x, y in points.values()]
    for name in names:
        text = shorten(name)
        if name in experiment.advised:
            text += f": {format_number(places[name].median_s)} s, {_format_peak(places[name])}"
        shift = _find_room(axes, points[name], len(text), taken)
        if shift is not None:
            axes.annotate(
                text,
                (places[name].median_s, places[name].peak),
                xytext=shift,
                textcoords="offset points",
                va="center",
                size=8,
                weight="bold" if name in experiment.advised else "normal",
                color=INK if name in wanted else MUTED,
            )


def _find_pixel(axes: Axes, place: _TimeAndPeak) -> tuple[float, float]:
    x, y = axes.transData.transform((place.median_s, place.peak))
    return float(x), float(y)


def _format_peak(place: _TimeAndPeak) -> str:
    return f"{format_bracket((place.peak, place.bound))} MiB"


def _find_room(
    axes: Axes,
    point: tuple[float, float],
    characters: int,
    taken: list[tuple[float, float, float, float]],
) -> tuple[float, float] | None:
    """Return how far from a point a text begins that lies on nothing else; None without room."""
    points = 72 / DPI
    width, height = 5.0 * characters / points, 10 / points
    box = axes.bbox
    for rise in (0, 13, -13, 26, -26):
        for left in (point[0] + 12, point[0] - 12 - width):
            low = point[1] + rise - height / 2
            own = (left, low, left + width, low + height)
            fits = box.x0 <= own[0] and own[2] <= box.x1 and box.y0 <= own[1] and own[3] <= box.y1
            if fits and not any(_do_overlap(own, other) for other in taken):
                taken.append(own)
                return (left - point[0]) * points, rise * points
    return None


def _do_overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


OVERVIEWS: dict[str, Callable[[Experiment], Figure]] = {
    "makespan": plot_makespan,
    "limits": plot_limits,
    "memory": plot_memory,
    "tradeoff": plot_tradeoff,
    "tasks": plot_tasks,
    "times": plot_times,
}
"""File name without extension → figure of an experiment, in reading order. A report shows the first
three; the last ones make room for figures that others add."""

MOST_FIGURES = 6
FORMATS = ("png", "svg")


class AddedFigure(NamedTuple):
    """A figure that another package adds to the experiments that it applies to.

    `name` is the file name without extension.
    """

    name: str
    applies: Callable[[Experiment], object]
    plot: Callable[[Experiment], Figure]


def choose_figures(
    experiment: Experiment, added: Sequence[AddedFigure] = ()
) -> dict[str, Callable[[Experiment], Figure]]:
    """Return the figures of an experiment in reading order, those of others last."""
    own = {one.name: one.plot for one in added if one.applies(experiment)}
    kept = list(OVERVIEWS.items())[: MOST_FIGURES - len(own)]
    return dict(kept) | own


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
        for name, draw in choose_figures(found[experiment], added).items():
            figure = draw(found[experiment])
            for suffix in FORMATS:
                save_figure(figure, folder / f"{name}.{suffix}")
