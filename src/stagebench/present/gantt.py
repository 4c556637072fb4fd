"""A few runs task by task, on lanes of workers and one time axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from stagebench.present.markdown import format_number
from stagebench.present.style import (
    INK,
    MUTED,
    WIDTH,
    Colour,
    add_legend,
    add_title,
    make_figure,
    note_left_out,
    pale,
    shorten,
    split_scales,
    stage_colours,
    write_placeholder,
)
from stagebench.present.why import limit_cell
from stagebench.tables.io import list_rows, numbers
from stagebench.tables.quantities import TASK_MOMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment

MOST_RUNS = 6
_LANE_INCHES = 0.105
_LEAST_INCHES, _MOST_INCHES = 0.55, 1.35
_HEAD_INCHES, _AXIS_INCHES = 0.24, 0.34
_QUEUE_LANES = 1.7
"""Height of a stage's strip of waiting tasks, in lanes."""

_MANY = 3
"""Fewer waiting tasks are not counted in words."""

_BLOCKED: dict[str, Any] = {"facecolor": "#bbbbbb", "hatch": "xxxx", "edgecolor": INK, "lw": 0}
_HAND_OVER = {"facecolor": INK, "lw": 0}
_START = {"facecolor": "white", "hatch": "////", "edgecolor": INK, "lw": 0.5}
_FIRST = {"edgecolor": "black", "lw": 0.9}


def choose_runs(experiment: Experiment) -> dict[str, list[str]]:
    """Return at most six treatments to draw, each with the reasons for it.

    These are the baseline, the advised ones, both ends of the medians, and one for each kind of
    limit that none of them has.
    """
    known = [one for one, median in experiment.medians.items() if not math.isnan(median)]
    if not known:
        return {}
    roles: dict[str, list[str]] = {}
    baseline = experiment.baseline
    if baseline in known and len(known) > 1:
        roles.setdefault(baseline, []).append("the baseline")
    if len(experiment.advised) == 1 and len(known) > 1:
        roles.setdefault(experiment.advised[0], []).append("to use")
    if len(known) > 1:
        roles.setdefault(known[0], []).append("shortest median")
        roles.setdefault(known[-1], []).append("longest median")
    limits = {one: _kind_of(experiment, one) for one in known}
    met = {limits[one] for one in roles}
    for one in known:
        if limits[one] not in met | {""}:
            met.add(limits[one])
            roles.setdefault(one, [])
    for one in _spread(known):
        if len(roles) < MOST_RUNS:
            roles.setdefault(one, [])
    chosen = list(roles)[:MOST_RUNS]
    return {one: roles[one] for one in known if one in chosen}


def _kind_of(experiment: Experiment, treatment: str) -> str:
    """Return the resource that limits a treatment; "nothing" if none is full, "" if unknown."""
    limits = experiment.tables["limits"]
    for row in list_rows(limits[limits["treatment"] == treatment]):
        return f"{row['resource']} {row['stage']}" if row["is_full"] else "nothing"
    return ""


def _spread(names: Sequence[str]) -> list[str]:
    """Return names in an order of which every beginning is spread over all."""
    count = len(names)
    halves = [names[round(place * (count - 1) / 5)] for place in range(MOST_RUNS)]
    return list(dict.fromkeys(halves))


class _Lane(NamedTuple):
    """Tasks that one worker served one after another, and its place from the top, in lanes."""

    stage: str
    top: float
    tasks: pd.DataFrame


class _Run(NamedTuple):
    """What is drawn of one run: its lanes, the strip of each stage, the height in lanes."""

    treatment: str
    makespan_s: float
    lanes: Sequence[_Lane]
    strips: Mapping[str, float]
    height: float
    tasks: pd.DataFrame


def plot_tasks(experiment: Experiment) -> Figure:
    """Draw the run of median makespan of up to six treatments, a lane for each worker."""
    chosen = choose_runs(experiment)
    title = f"{experiment.name}: what every worker did, in runs of median makespan"
    if not chosen:
        figure = make_figure(WIDTH, 1.3)
        axes = figure.add_axes((0, 0, 1, 0.8))
        axes.set_axis_off()
        add_title(figure, title)
        notes = [f"{shorten(one)}: {experiment.failure_note(one)}" for one in experiment.treatments]
        more = f"\nand {len(notes) - 3} more" * (len(notes) > 3)
        write_placeholder(axes, "\n".join(notes[:3]) + more)
        return figure
    runs = {one: _read_run(experiment, one) for one in chosen}
    groups = split_scales({one: run.makespan_s for one, run in runs.items()})
    inches = {
        one: min(max(_LANE_INCHES * run.height, _LEAST_INCHES), _MOST_INCHES)
        for one, run in runs.items()
    }
    body = sum(inches.values()) + _HEAD_INCHES * len(runs) + _AXIS_INCHES * len(groups)
    height = body + 0.45 + 0.72
    figure = make_figure(WIDTH, height)
    add_title(figure, title)
    colours = stage_colours(experiment.stages)
    place = 1 - 0.45 / height
    marks: dict[str, None] = {}
    for group in groups:
        end_s = max(runs[one].makespan_s for one in group)
        for one in group:
            place -= (_HEAD_INCHES + inches[one]) / height
            axes = figure.add_axes((0.105, place, 0.88, inches[one] / height))
            _plot_run(axes, runs[one], colours, marks)
            axes.set_xlim(-0.004 * end_s, 1.01 * end_s)
            _head(axes, experiment, runs[one], chosen[one])
            axes.tick_params(labelbottom=one == group[-1])
        place -= _AXIS_INCHES / height
        own = " (another scale than above)" if group is not groups[0] else ""
        axes.set_xlabel(f"seconds since the workflow started{own}", size=8, labelpad=1)
    _legend(figure, {stage: colours[stage] for stage in _stages(runs)}, marks)
    note_left_out(figure, len(experiment.treatments) - len(chosen))
    return figure


def _stages(runs: Mapping[str, _Run]) -> list[str]:
    return list(dict.fromkeys(stage for run in runs.values() for stage in run.strips))


_COLUMNS = [
    *("stage", "worker", "first", "status", "start_s", "send_s"),
    *(f"{moment}_s" for moment in TASK_MOMENTS),
]


def _read_run(experiment: Experiment, treatment: str) -> _Run:
    tasks, attempts = (
        experiment.shown(table, treatment)[_COLUMNS] for table in ("tasks", "attempts")
    )
    every = tasks if attempts.empty else pd.concat([tasks, attempts.assign(is_repeated=True)])
    every = every.assign(is_repeated=every.get("is_repeated", pd.Series(dtype=object)).notna())
    lanes, strips, top = [], {}, 0.0
    for stage in [one for one in experiment.stages if (every["stage"] == one).any()]:
        strips[stage] = top
        top += _QUEUE_LANES + 0.15
        own = every[(every["stage"] == stage) & every["started_s"].notna()]
        for rows in _split_lanes(own):
            lanes.append(_Lane(stage, top, rows))
            top += 1
        top += 0.5
    runs = experiment.runs(treatment)
    makespan_s = float(runs.loc[runs["shown"], "makespan_s"].iloc[0])
    return _Run(treatment, makespan_s, lanes, strips, top, every)


def _split_lanes(tasks: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the tasks of every worker; of one that serves several at once, in as many lanes."""
    lanes = []
    for _, own in tasks.sort_values("started_s", kind="stable").groupby("worker", dropna=False):
        ends: list[float] = []
        places = []
        finished = own["finished_s"].fillna(own["received_s"]).astype("float64")
        for start, end in zip(own["started_s"], finished, strict=True):
            free = next((lane for lane, until in enumerate(ends) if until <= start), len(ends))
            if free == len(ends):
                ends.append(0.0)
            ends[free] = float(end)
            places.append(free)
        lanes += [rows for _, rows in own.groupby(np.array(places), sort=True)]
    return lanes


def _plot_run(axes: Axes, run: _Run, colours: Mapping[str, Colour], marks: dict[str, None]) -> None:
    axes.set_ylim(run.height, -0.8)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    for lane in run.lanes:
        axes.axhspan(lane.top + 0.08, lane.top + 0.92, color="#f4f4f4", lw=0, zorder=0)
        _plot_lane(axes, lane, colours[lane.stage], marks)
    for stage, top in run.strips.items():
        _plot_strip(axes, run.tasks[run.tasks["stage"] == stage], top, colours[stage], marks)
    ends = [*list(run.strips.values())[1:], run.height]
    for (stage, top), end in zip(run.strips.items(), ends, strict=True):
        axes.annotate(
            shorten(stage, 13),
            (0, (top + end) / 2),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            size=7.5,
            annotation_clip=False,
        )


def _plot_lane(axes: Axes, lane: _Lane, colour: Colour, marks: dict[str, None]) -> None:
    rows = lane.tasks
    started, received = (numbers(rows, f"{name}_s") for name in ("started", "received"))
    finished = numbers(rows, "finished_s").fillna(received)
    send, start = (numbers(rows, f"{name}_s").fillna(0.0) for name in ("send", "start"))
    is_first = rows["first"].fillna(value=False).astype(bool) & (not rows["first"].all())
    failed = rows["is_repeated"] | (rows["status"] != "ok")
    kinds: list[tuple[str, Any, Any, Any, dict[str, Any]]] = [
        ("start", start > 0, started - send - start, started - send, _START),
        ("hand-over", send > 0, started - send, started, _HAND_OVER),
        ("hand-over", finished < received, finished, received, _HAND_OVER),
        ("", ~failed, started, finished, {"facecolor": colour, "edgecolor": "white", "lw": 0.3}),
        ("failed", failed, started, finished, _failed_look(colour)),
        ("first", is_first, started, finished, {"facecolor": "none", **_FIRST}),
    ]
    for order, (name, which, left, right, look) in enumerate(kinds):
        if not which.any():
            continue
        if name:
            marks[name] = None
        low, high = (0.3, 0.7) if name == "hand-over" else (0.1, 0.9)
        _add_bars(
            axes, left[which], right[which], (lane.top + low, lane.top + high), look, 2 + order
        )


def _add_bars(
    axes: Axes,
    left: pd.Series[float],
    right: pd.Series[float],
    rows: tuple[float, float],
    look: Mapping[str, Any],
    order: float,
) -> None:
    low, high = rows
    corners = [
        [(start, low), (end, low), (end, high), (start, high)]
        for start, end in zip(left, right, strict=True)
    ]
    axes.add_collection(PolyCollection(corners, zorder=order, **look), autolim=False)


def _failed_look(colour: Colour) -> dict[str, Any]:
    """Return the look of a service that failed or after which the task was retried."""
    return {"facecolor": "white", "edgecolor": colour, "hatch": "\\\\\\\\", "lw": 0.8}


def _plot_strip(
    axes: Axes, tasks: pd.DataFrame, top: float, colour: Colour, marks: dict[str, None]
) -> None:
    """Draw how many tasks of a stage wait, and above them how many are held back."""
    due, submitted, started, received = (
        numbers(tasks, f"{name}_s").to_numpy()
        for name in ("due", "submitted", "started", "received")
    )
    # A task that was never served waited until its end.
    began = np.where(np.isnan(started), received, started)
    moments = np.unique(np.concatenate([due, submitted, began]))
    moments = moments[~np.isnan(moments)]
    if not len(moments):
        return
    waiting = _count(moments, submitted, began)
    blocked = _count(moments, due, submitted)
    most = int((waiting + blocked).max())
    if most == 0:
        return
    base = top + _QUEUE_LANES
    scale = _QUEUE_LANES / most
    look: dict[str, Any] = {"step": "post", "zorder": 2}
    axes.fill_between(moments, base, base - scale * waiting, color=pale(colour), lw=0, **look)
    axes.step(
        moments, base - scale * (waiting + blocked), where="post", color=colour, lw=0.8, zorder=3
    )
    marks["waiting"] = None
    if _are_long(due, submitted, received):
        marks["blocked"] = None
        axes.fill_between(
            moments, base - scale * waiting, base - scale * (waiting + blocked), **look, **_BLOCKED
        )
    if most < _MANY:
        return
    total = waiting + blocked
    last = int(np.flatnonzero(total == most)[-1])
    held = " or held back" * bool(blocked[last] and "blocked" in marks)
    axes.annotate(
        f"{most} waiting{held}",
        (moments[min(last + 1, len(moments) - 1)], top - 0.35),
        xytext=(3, 0),
        textcoords="offset points",
        va="top",
        size=6.5,
        color=INK,
        zorder=6,
    )


def _count(moments: Any, begins: Any, ends: Any) -> Any:
    """Return how many spans are open from each moment on."""
    known = ~(np.isnan(begins) | np.isnan(ends))
    opened, closed = np.sort(begins[known]), np.sort(ends[known])
    return np.searchsorted(opened, moments, "right") - np.searchsorted(closed, moments, "right")


def _are_long(due: Any, submitted: Any, received: Any) -> bool:
    """Return whether some task was held back for longer than a drawing shows as nothing."""
    known = ~np.isnan(submitted - due)
    return bool(known.any()) and float((submitted - due)[known].max()) > 0.005 * float(
        np.nanmax(received)
    )


_LEAST_ROOM = 20
"""With less room than this beside a title, in characters, a limit is not named."""


def _head(axes: Axes, experiment: Experiment, run: _Run, roles: Sequence[str]) -> None:
    why = f" ({', '.join(roles)})" if roles else ""
    text = f"{shorten(run.treatment)}{why}: {format_number(run.makespan_s)} s"
    limit = limit_cell(experiment, run.treatment)
    if _kind_of(experiment, run.treatment) not in ("", "nothing"):
        limit = f"limited by {limit}"
    room = 120 - int(1.35 * len(text))
    axes.set_title(text, size=8.5, pad=3)
    axes.set_title(
        shorten(limit, room) if room > _LEAST_ROOM else "",
        size=7.5,
        pad=3,
        loc="right",
        weight="normal",
        color=MUTED,
    )


def _legend(figure: Figure, stages: Mapping[str, Colour], marks: Mapping[str, None]) -> None:
    handles = [Patch(color=colour, label=shorten(stage, 24)) for stage, colour in stages.items()]
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "waiting": (
            "pale: tasks waiting",
            {"facecolor": pale(MUTED), "edgecolor": MUTED, "lw": 0.8},
        ),
        "blocked": ("held back", _BLOCKED),
        "start": ("start of a worker", _START),
        "hand-over": ("hand-over", _HAND_OVER),
        "failed": ("failed", _failed_look(MUTED)),
        "first": ("outlined: first task of a worker", {"facecolor": MUTED, **_FIRST}),
    }
    handles += [
        Patch(label=label, **look) for name, (label, look) in looks.items() if name in marks
    ]
    handles.append(
        Patch(
            facecolor="#f4f4f4", edgecolor="#cccccc", lw=0.5, label="empty: the worker has no task"
        )
    )
    add_legend(figure, handles)
