"""The figure of one trace: PSS over time with the bracket of its peak, processes below."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stagebench.present.style import (
    FEW_SWEEPS,
    INK,
    PART_COLOURS,
    figure_style,
    make_figure,
    part_line,
    plot_parts,
    save_figure,
    write_placeholder,
)
from stagebench.tables.quantities import MEMORY_PARTS
from stagebench.trace.summary import POLLED, format_peak, format_size, shorten
from stagebench.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.trace.summary import Timeline

_LINE_WIDTH = 1.6
_COMMAND_CHARACTERS = 92
_LARGE = 10 * GIB


def draw_trace(summary: Mapping[str, Any], timeline: Timeline, path: Path) -> None:
    """Draw a trace into a PNG file."""
    with figure_style():
        save_figure(plot_trace(summary, timeline), path)


def plot_trace(summary: Mapping[str, Any], timeline: Timeline) -> Figure:
    """Plot a trace."""
    figure = make_figure(8, 5.4)
    upper, lower = figure.subplots(
        2,
        1,
        sharex=True,
        gridspec_kw={
            "height_ratios": (3.4, 1),
            "left": 0.1,
            "right": 0.975,
            "top": 0.865,
            "bottom": 0.175,
            "hspace": 0.12,
        },
    )
    _plot_memory(upper, summary, timeline)
    _plot_alive(lower, summary, timeline)
    lower.set_xlim(0, max(summary["duration_s"], 0.01))
    figure.align_ylabels([upper, lower])
    lower.set_xlabel("seconds since the command started", size=10)
    _add_titles(figure, summary)
    _add_legend(figure, summary)
    return figure


def _scale(summary: Mapping[str, Any], timeline: Timeline) -> tuple[str, int]:
    highest = max([summary["peak"]["tree"]["upper_bytes"] or 0, *timeline.pss_bytes["tree"]])
    return ("GiB", GIB) if highest >= _LARGE else ("MiB", MIB)


def _plot_memory(axes: Axes, summary: Mapping[str, Any], timeline: Timeline) -> None:
    name, unit = _scale(summary, timeline)
    axes.set_ylabel(f"PSS in {name}", size=10)
    if not timeline.time_s:
        write_placeholder(axes, "no sweep")
        return
    sizes = {part: [size / unit for size in own] for part, own in timeline.pss_bytes.items()}
    marked = MEMORY_PARTS if len(timeline.time_s) <= FEW_SWEEPS else ()
    plot_parts(axes, timeline.time_s, sizes, width=_LINE_WIDTH, marked=marked, ms=6)
    highest = _mark_peak(axes, summary["peak"]["tree"], unit)
    axes.set_ylim(0, 1.08 * max(highest, *sizes["tree"]))


def _mark_peak(axes: Axes, peak: Mapping[str, Any], unit: int) -> float:
    """Draw the bracket of the tree's peak, and return its highest value in `unit`."""
    lower, upper = peak["lower_bytes"], peak["upper_bytes"]
    if upper is not None:
        axes.axhline(upper / unit, color=INK, lw=1.2, ls=(0, (4, 3)))
    if lower is not None:
        axes.plot(peak["lower_s"], lower / unit, "o", ms=7, mfc="white", mec=INK, mew=1.6)
    return max(lower or 0, upper or 0) / unit


def _plot_alive(axes: Axes, summary: Mapping[str, Any], timeline: Timeline) -> None:
    axes.set_ylabel("processes", size=10)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    if summary["processes"]["means"] == "poll":
        axes.set_title(POLLED, loc="right", size=8, weight="normal", pad=3)
    if timeline.changed_s:
        # The last count holds until the end.
        times = [*timeline.changed_s, max(summary["duration_s"], timeline.changed_s[-1])]
        alive = [*timeline.alive, timeline.alive[-1]]
        axes.fill_between(times, alive, step="post", color=PART_COLOURS["tree"], alpha=0.2, lw=0)
        axes.step(times, alive, where="post", color=PART_COLOURS["tree"], lw=1.2)
    axes.set_ylim(0, 1.15 * max(timeline.alive, default=1))


def _add_titles(figure: Figure, summary: Mapping[str, Any]) -> None:
    figure.text(
        *(0.012, 0.975),
        shorten(shlex.join(summary["command"]), _COMMAND_CHARACTERS),
        va="top",
        weight="bold",
        size=10,
        family="DejaVu Sans Mono",  # its width is known before it is drawn
        parse_math=False,
    )
    notes = {"cut": "CUT OFF. ", "truncated": "NOT WHOLE. "}
    note = notes.get(summary["status"], "")
    peak = format_peak(summary["peak"]["tree"])
    figure.text(0.012, 0.922, f"{note}Peak of the tree: {peak}", va="top", size=10)


def _add_legend(figure: Figure, summary: Mapping[str, Any]) -> None:
    parts = ("tree", "main", "children")
    handles = [part_line(part, width=_LINE_WIDTH) for part in parts]
    peak = summary["peak"]["tree"]
    if peak["lower_bytes"] is not None:
        label = f"highest seen ({format_size(peak['lower_bytes'])})"
        handles.append(Line2D([], [], ls="", marker="o", ms=7, mfc="white", mec=INK, label=label))
    if peak["upper_bytes"] is not None:
        label = f"upper bound ({format_size(peak['upper_bytes'])})"
        handles.append(Line2D([], [], color=INK, lw=1.2, ls=(0, (4, 3)), label=label))
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), fontsize=9.5, frameon=False
    )
