"""The figure of one trace: PSS over time with the bracket of its peak, processes below.

If there are several processes, each of the largest is an area of its own in a panel in between.
"""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from stagebench.present.style import (
    FEW_SWEEPS,
    INK,
    PART_COLOURS,
    PROCESS_COLOURS,
    figure_style,
    make_figure,
    part_line,
    plot_band,
    plot_parts,
    save_figure,
    write_placeholder,
)
from stagebench.tables.quantities import MEMORY_PARTS
from stagebench.trace.summary import (
    POLLED,
    count_others,
    format_cpu,
    format_peak,
    format_size,
    shorten,
)
from stagebench.units import GIB, MIB, to_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.style import Colour
    from stagebench.trace.curves import Curves, ProcessCourse
    from stagebench.units import Bytes, Seconds

_LINE_WIDTH = 1.6
_COMMAND_CHARACTERS = 92
_LINE_CHARACTERS = 114
"""The width of the figure in characters of the large and of the small font."""
_TEXT_CHARACTERS = 130
_FONT = "DejaVu Sans Mono"
"""Its width is known before it is drawn."""
_LARGE = 10 * GIB
_COLUMNS = 1500
"""No more sweeps than this are drawn as areas: the figure has fewer pixels."""

_OTHERS = "#bbbbbb"
_WIDTH, _PLAIN_HEIGHT, _COURSES_HEIGHT, _ROW_HEIGHT = 8, 5.4, 2.3, 0.16
"""Inches: the figure without single processes; their panel; a row of their list."""


def draw_trace(summary: Mapping[str, Any], curves: Curves, path: Path) -> None:
    """Draw a trace into a PNG file."""
    with figure_style():
        save_figure(plot_trace(summary, curves), path)


def plot_trace(summary: Mapping[str, Any], curves: Curves) -> Figure:
    """Plot a trace; with a panel for single processes if there are several."""
    courses = curves.courses if len(curves.courses) > 1 else ()
    rows = _ROW_HEIGHT * (len(courses) + 1) if courses else 0
    height = _PLAIN_HEIGHT + (_COURSES_HEIGHT + rows if courses else 0)
    figure = make_figure(_WIDTH, height)
    panels = figure.subplots(
        3 if courses else 2,
        1,
        sharex=True,
        gridspec_kw={
            "height_ratios": (3.4, 2.4, 1) if courses else (3.4, 1),
            "left": 0.1,
            "right": 0.975,
            "top": 1 - 0.86 / height,
            "bottom": (0.945 + rows) / height,
            "hspace": 0.12,
        },
    )
    _plot_memory(panels[0], summary, curves)
    if courses:
        _plot_courses(panels[1], curves)
        _list_courses(figure, courses, rows + 0.03)
    _plot_alive(panels[-1], summary, curves)
    panels[-1].set_xlim(0, max(summary["duration_s"], 0.01))
    figure.align_ylabels(panels)
    begin = "command started" if summary["pid"] is None else "trace began"
    panels[-1].set_xlabel(f"seconds since the {begin}", size=10)
    _add_titles(figure, summary)
    _add_legend(figure, summary, curves, rows / height)
    return figure


def _scale(*sizes: Bytes) -> tuple[str, int]:
    highest = max(sizes, default=0)
    return ("GiB", GIB) if highest >= _LARGE else ("MiB", MIB)


def _plot_memory(axes: Axes, summary: Mapping[str, Any], curves: Curves) -> None:
    upper = summary["peak"]["tree"]["upper_bytes"] or 0
    name, unit = _scale(upper, *curves.pss_bytes["tree"])
    axes.set_ylabel(f"PSS in {name}", size=10)
    if curves.moments:
        axes.set_ylabel(f"memory in {name}", size=10)
        highest = max(_plot_lines(axes, curves, unit), _plot_walks(axes, curves, unit))
        highest = max(highest, _mark_peak(axes, summary["peak"]["tree"], unit))
        axes.set_ylim(0, 1.08 * highest or 1)
        return
    if not curves.time_s:
        write_placeholder(axes, "no sweep")
        return
    sizes = {part: [size / unit for size in own] for part, own in curves.pss_bytes.items()}
    marked = MEMORY_PARTS if len(curves.time_s) <= FEW_SWEEPS else ()
    plot_parts(axes, curves.time_s, sizes, width=_LINE_WIDTH, marked=marked, ms=6)
    highest = _mark_peak(axes, summary["peak"]["tree"], unit)
    axes.set_ylim(0, 1.08 * max(highest, *sizes["tree"]))


def _plot_lines(axes: Axes, curves: Curves, unit: int) -> float:
    """Draw the tree's memory as a band; return the highest value."""
    moments = curves.moments
    began = [to_seconds(moment.began_ns) for moment in moments]
    ended = [to_seconds(moment.ended_ns) for moment in moments]
    lower = [moment.reached / unit for moment in moments]
    upper = [moment.upper / unit for moment in moments]
    plot_band(axes, (began, ended), lower, upper)
    return max((size for size in (*lower, *upper) if math.isfinite(size)), default=0.0)


def _plot_walks(axes: Axes, curves: Curves, unit: int) -> float:
    """Draw main and children where page tables were walked; return the highest value."""
    for part in ("main", "children"):
        sizes = [size / unit for size in curves.pss_bytes[part]]
        axes.plot(curves.time_s, sizes, color=PART_COLOURS[part], lw=0, marker=".", ms=5)
    return max(curves.pss_bytes["tree"], default=0) / unit


def _mark_peak(axes: Axes, peak: Mapping[str, Any], unit: int) -> float:
    """Draw the bracket of the tree's peak, and return its highest value in `unit`."""
    lower, upper = peak["lower_bytes"], peak["upper_bytes"]
    if upper is not None:
        axes.axhline(upper / unit, color=INK, lw=1.2, ls=(0, (4, 3)))
    if lower is not None:
        axes.plot(peak["lower_s"], lower / unit, "o", ms=7, mfc="white", mec=INK, mew=1.6)
    return max(lower or 0, upper or 0) / unit


def _plot_courses(axes: Axes, curves: Curves) -> None:
    """Stack the processes, the largest at the bottom; only between sweeps that saw them."""
    name, unit = _scale(*curves.pss_bytes["tree"])
    axes.set_ylabel(f"by process, {name}", size=10)
    places = choose_columns(curves, _COLUMNS)
    times = [math.nan if place is None else curves.time_s[place] for place in places]
    below = [0.0] * len(places)
    for course, colour in zip(curves.courses, _course_colours(curves.courses), strict=True):
        sizes = [math.nan if place is None else course.pss_bytes[place] / unit for place in places]
        seen = [not math.isnan(size) for size in sizes]
        above = [
            base + size if known else base
            for base, size, known in zip(below, sizes, seen, strict=True)
        ]
        # The edge shows what a single sweep saw, whose area is empty.
        axes.fill_between(times, below, above, where=seen, color=colour, lw=0.7)
        below = above
    axes.set_ylim(0, 1.08 * max(below, default=0) or 1)


def choose_columns(curves: Curves, most: int) -> list[int | None]:
    """Choose the sweeps to draw, the highest of each moment; None stands for a gap."""
    tree, times = curves.pss_bytes["tree"], curves.time_s
    span = (times[-1] - times[0]) / most or 1
    chosen: list[int | None] = []
    for place, time_s in enumerate(times):
        last = chosen[-1] if chosen else None
        if place in curves.gaps:
            chosen.append(None)
        elif last is not None and len(times) > most and _same(times[last], time_s, span):
            if tree[place] > tree[last]:
                chosen[-1] = place
            continue
        chosen.append(place)
    return chosen


def _same(one_s: Seconds, other_s: Seconds, span_s: Seconds) -> bool:
    return one_s // span_s == other_s // span_s


def _course_colours(courses: Sequence[ProcessCourse]) -> list[Colour | str]:
    return [
        _OTHERS if course.name is None else PROCESS_COLOURS[place % len(PROCESS_COLOURS)]
        for place, course in enumerate(courses)
    ]


def _list_courses(figure: Figure, courses: Sequence[ProcessCourse], top: float) -> None:
    """List the processes with their colours below the panels, up to `top` inches."""
    rows = [("largest processes", "highest PSS", "CPU time", "command")]
    for course in courses:
        others = count_others(course.processes)
        name = f"{course.name['pid']} {course.name['role']}" if course.name else others
        command = course.name["command"] if course.name else ""
        rows.append((name, format_size(course.peak_bytes), format_cpu(course.cpu), command))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    height = figure.get_figheight()
    for row, (cells, colour) in enumerate(
        zip(rows, [None, *_course_colours(courses)], strict=True)
    ):
        y = (top - _ROW_HEIGHT * (row + 0.5)) / height
        begin = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False))
        command = shorten(cells[-1], _LINE_CHARACTERS - len(begin) - 2)
        figure.text(
            *(0.035, y),
            f"{begin}  {command}",
            va="center",
            size=7.5,
            family=_FONT,
            parse_math=False,
        )
        if colour is not None:
            patch = Rectangle((0.014, y - 0.045 / height), 0.012, 0.09 / height, color=colour, lw=0)
            figure.add_artist(patch)


def _plot_alive(axes: Axes, summary: Mapping[str, Any], curves: Curves) -> None:
    axes.set_ylabel("processes", size=10)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    if summary["processes"]["means"] == "poll":
        axes.set_title(POLLED, loc="right", size=8, weight="normal", pad=3)
    if curves.changed_s:
        # The last count holds until the end.
        times = [*curves.changed_s, max(summary["duration_s"], curves.changed_s[-1])]
        alive = [*curves.alive, curves.alive[-1]]
        axes.fill_between(times, alive, step="post", color=PART_COLOURS["tree"], alpha=0.2, lw=0)
        axes.step(times, alive, where="post", color=PART_COLOURS["tree"], lw=1.2)
    axes.set_ylim(0, 1.15 * max(curves.alive, default=1))


def _add_titles(figure: Figure, summary: Mapping[str, Any]) -> None:
    height = figure.get_figheight()
    figure.text(
        *(0.012, 1 - 0.135 / height),
        shorten(shlex.join(summary["command"]), _COMMAND_CHARACTERS),
        va="top",
        weight="bold",
        size=10,
        family=_FONT,
        parse_math=False,
    )
    notes = {"cut": "CUT OFF. ", "truncated": "NOT WHOLE. "}
    note = notes.get(summary["status"], "")
    peak = format_peak(summary["peak"]["tree"])
    figure.text(0.012, 1 - 0.38 / height, f"{note}Peak of the tree: {peak}", va="top", size=10)
    if summary["cpu"]:
        text = shorten(_describe_cpu(summary["cpu"]), _TEXT_CHARACTERS)
        figure.text(0.012, 1 - 0.6 / height, text, va="top", size=10)


def _describe_cpu(cpu: Mapping[str, Any]) -> str:
    roles = [f"{role} {format_cpu(used)}" for role, used in cpu["roles"].items()]
    each = f" ({', '.join(roles)})" if len(roles) > 1 else ""
    return f"CPU time: {format_cpu(cpu['tree'])}{each}"


def _dot(label: str, colour: Colour) -> Line2D:
    return Line2D([], [], ls="", marker=".", ms=8, color=colour, label=label)


def _add_legend(figure: Figure, summary: Mapping[str, Any], curves: Curves, bottom: float) -> None:
    parts = ("tree", "main", "children")
    handles = [part_line(part, width=_LINE_WIDTH) for part in parts]
    if curves.moments:
        label = "tree, lower and upper line"
        handles = [part_line("tree", width=_LINE_WIDTH, label=label)]
        handles += [_dot(f"{part}, walked", PART_COLOURS[part]) for part in ("main", "children")]
    peak = summary["peak"]["tree"]
    if peak["lower_bytes"] is not None:
        label = f"highest seen ({format_size(peak['lower_bytes'])})"
        handles.append(Line2D([], [], ls="", marker="o", ms=7, mfc="white", mec=INK, label=label))
    if peak["upper_bytes"] is not None:
        label = f"upper bound ({format_size(peak['upper_bytes'])})"
        handles.append(Line2D([], [], color=INK, lw=1.2, ls=(0, (4, 3)), label=label))
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, bottom),
        ncols=min(3, len(handles)) if curves.moments else len(handles),
        fontsize=9.5,
        frameon=False,
    )
