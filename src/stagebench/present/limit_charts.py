"""Figures of what limits treatments: cores used and floors, and where the time of a task goes."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.patches import Patch

from stagebench.present.experiment import choose_treatments
from stagebench.present.markdown import format_number, show_line
from stagebench.present.style import (
    INK,
    LIMIT_COLOURS,
    MUTED,
    PART_COLOURS,
    PART_LOOKS,
    WIDTH,
    add_legend,
    add_title,
    label_row,
    label_rows,
    make_figure,
    marker,
    name_inches,
    note_left_out,
    pale,
    rows_inches,
    shorten,
    split_scales,
    write_placeholder,
)
from stagebench.present.why import limit_cell
from stagebench.tables.io import list_rows, numbers
from stagebench.tables.schema import TASK_TIME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagebench.present.experiment import Experiment

    Row = Mapping[str, Any]

MOST_ROWS = 32

_RESOURCES = {
    "workers": "workers of a stage",
    "cores": "all cores",
    "node": "cores of one node",
    "network": "network between nodes",
    "GIL": "the GIL",
    "arrivals": "arrival of tasks",
    "in flight": "tasks in flight",
    "path of a task": "path of one task",
}
_CORES_INCHES, _LIMIT_INCHES, _GAP_INCHES = 1.15, 2.95, 0.5


def plot_limits(experiment: Experiment) -> Figure:
    """Draw the cores that each treatment used, and how much of its makespan a resource needs."""
    treatments = choose_treatments(experiment, MOST_ROWS)
    left, body = name_inches(treatments), rows_inches(len(treatments))
    height = body + 1.46
    figure = make_figure(WIDTH, height)
    cores, floors = (
        figure.add_axes((start / WIDTH, 0.86 / height, width / WIDTH, body / height))
        for start, width in (
            (left, _CORES_INCHES),
            (
                left + _CORES_INCHES + _GAP_INCHES,
                WIDTH - left - _CORES_INCHES - _GAP_INCHES - _LIMIT_INCHES,
            ),
        )
    )
    add_title(figure, f"{experiment.name}: cores used, and why not more")
    for axes in (cores, floors):
        label_rows(axes, treatments)
    floors.tick_params(labelleft=False)
    limits = {row["treatment"]: row for row in list_rows(experiment.tables["limits"])}
    used: dict[str, None] = {}
    for place, treatment in enumerate(treatments):
        row = limits.get(treatment)
        if row is None:
            known = len(experiment.runs(treatment)) > 0
            text = "no limit is known" if known else experiment.failure_note(treatment)
            label_row(floors, text, place)
            continue
        _plot_cores(cores, row, place)
        used |= dict.fromkeys(_plot_floors(floors, experiment, row, place))
        _label_limit(floors, limit_cell(experiment, treatment), place)
    machine = [row["cores"] for row in limits.values() if not _is_missing(row["cores"])]
    cores.set_xlim(0, 1.02 * max(machine, default=1))
    if machine:
        cores.set_xticks(sorted({0, *_middle(max(machine)), max(machine)}))
        cores.axvline(max(machine), color=INK, lw=1.2)
    else:
        write_placeholder(cores, "no run")
    cores.set_xlabel("cores used", size=8.5)
    cores.set_title("", size=8)
    floors.set_xlim(0, 104)
    floors.axvline(100, color=INK, lw=1.2)
    floors.set_xticks([0, 25, 50, 75, 100])
    floors.set_xlabel("% of the makespan for which a resource is needed", size=8.5)
    label_row(floors, "limited by", -0.95, weight="bold")
    add_legend(
        figure,
        [
            *[marker("filled: in full use", "o", 6, MUTED)] * bool(used),
            *[marker("hollow: has room", "o", 6, MUTED, hollow=True)] * bool(used),
        ]
        + [
            marker(_RESOURCES[name], look["marker"], look["ms"], look["color"])
            for name, look in LIMIT_COLOURS.items()
            if name in used
        ],
    )
    note_left_out(figure, len(experiment.treatments) - len(treatments))
    return figure


def _label_limit(axes: Axes, text: str, place: int) -> None:
    """Write what limits a treatment beside its row, in two small lines if it is long."""
    if len(text) <= _LINE:
        label_row(axes, show_line(text), place)
        return
    small = int(1.2 * _LINE)
    label_row(axes, textwrap.fill(shorten(text, 2 * small - 12), small), place, size=6.5)


_LINE = 44
"""Characters of a line beside a row."""


def _middle(cores: int) -> set[int]:
    return {cores // 2} if cores % 2 == 0 else set()


def _plot_cores(axes: Axes, row: Row, place: int) -> None:
    used = row["cores_used"]
    if math.isnan(used):
        return
    axes.barh(place, used, height=0.62, color=pale(PART_COLOURS["main"]), lw=0, zorder=2)
    axes.annotate(
        format_number(used),
        (0, place),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        size=8,
        zorder=5,
    )


def _plot_floors(axes: Axes, experiment: Experiment, row: Row, place: int) -> list[str]:
    """Draw the highest floor of each resource as a share of the makespan; return the resources."""
    floors = _highest_floors(experiment, row["treatment"], row["replicate"])
    shares = {name: 100 * floor_s / row["makespan_s"] for name, floor_s in floors.items()}
    axes.plot([0, max(shares.values(), default=0)], [place] * 2, color=pale(MUTED), lw=1, zorder=1)
    for resource, share in sorted(shares.items(), key=lambda item: item[0] == row["resource"]):
        look = LIMIT_COLOURS[resource]
        others = str(row["others_full"]).split(", ")
        is_full = resource == row["resource"] or any(one.startswith(resource) for one in others)
        faint = {} if is_full and row["is_full"] else {"mfc": "white"}
        axes.plot(share, place, **(look | faint), mew=1.3, zorder=4, clip_on=False, ls="")
    return list(shares)


def _highest_floors(experiment: Experiment, treatment: str, replicate: int) -> dict[str, float]:
    rows = experiment.tables["floors"]
    own = rows[(rows["treatment"] == treatment) & (rows["replicate"] == replicate)]
    highest: dict[str, float] = {}
    for row in list_rows(own[numbers(own, "floor_s") > 0]):
        highest[row["resource"]] = max(highest.get(row["resource"], 0.0), row["floor_s"])
    return highest


def _is_missing(value: object) -> bool:
    return not isinstance(value, (int, float)) or math.isnan(value)


_SERVICE = ""
"""What is left of a task's time when its known parts are taken away: service, not told apart."""


def plot_times(experiment: Experiment) -> Figure:
    """Draw the parts of a task's time in each stage, but for its queue, which is a number."""
    treatments = choose_treatments(experiment, MOST_ROWS)
    stages = experiment.stages
    parts: dict[tuple[str, str], Row] = {
        (row["treatment"], row["stage"]): row for row in list_rows(experiment.tables["parts"])
    }
    is_diagnosed = bool(parts)
    parts = parts or _own_parts(experiment, treatments)
    sizes = {
        one: max(
            (_drawn_s(parts[one, stage]) for stage in stages if (one, stage) in parts),
            default=math.nan,
        )
        for one in treatments
    }
    groups = split_scales(sizes)
    left = name_inches(treatments)
    heights = [rows_inches(len(group)) for group in groups]
    body = sum(heights) + 0.55 * (len(groups) - 1)
    height = body + 1.75
    figure = make_figure(WIDTH, height)
    grid = figure.add_gridspec(
        *(len(groups), len(stages)),
        height_ratios=heights,
        left=left / WIDTH,
        right=1 - 0.8 / WIDTH,
        bottom=1.0 / height,
        top=(1.0 + body) / height,
        wspace=0.42,
        hspace=0.55 * len(groups) / max(sum(heights), 1),
    )
    shown: dict[str, None] = {}
    for line, group in enumerate(groups):
        for column, stage in enumerate(stages):
            axes = figure.add_subplot(grid[line, column])
            label_rows(axes, group)
            axes.tick_params(labelleft=column == 0)
            own = {one: parts[one, stage] for one in group if (one, stage) in parts}
            _stack_times(axes, group, own, shown)
            if column == 0:
                _note_failed(axes, experiment, group)
            if line == 0:
                axes.set_title(shorten(stage, int(60 / len(stages))), size=9)
            if line == len(groups) - 1:
                axes.set_xlabel("seconds a task", size=8.5)
    add_title(
        figure, f"{experiment.name}: where the time of a task goes, besides its queue (means)"
    )
    if any(_queue_s(row) > 0 for row in parts.values()):
        text = "numbers: time in the queue" + (
            "; each row of panels has its own scale" * (len(groups) > 1)
        )
        figure.text(0.988, 1 - 0.36 / height, text, ha="right", va="top", size=8, color=MUTED)
    handles = [Patch(label=TASK_TIME[part], **_fill(part)) for part in TASK_TIME if part in shown]
    label = "in service" if not is_diagnosed else "in service, not told apart"
    handles += [Patch(label=label, **_fill(_SERVICE))] * (_SERVICE in shown)
    add_legend(figure, handles)
    note_left_out(figure, len(experiment.treatments) - len(treatments))
    return figure


def _own_parts(experiment: Experiment, treatments: Sequence[str]) -> dict[tuple[str, str], Row]:
    """Return the parts that every run records, where no run was diagnosed."""
    found: dict[tuple[str, str], Row] = {}
    for treatment in treatments:
        tasks = experiment.shown("tasks", treatment)
        for stage, own in tasks[tasks["status"] == "ok"].groupby("stage", sort=False):
            means = {
                f"{part}_s": float(numbers(own, f"{part}_s").mean())
                for part in ("blocked", "queue", "start", "send", "return", "response")
            }
            rest = {f"{part}_s": math.nan for part in TASK_TIME}
            found[treatment, str(stage)] = rest | means
    return found


def _queue_s(row: Row) -> float:
    waited = row["queue_s"]
    return 0.0 if math.isnan(waited) else float(waited)


def _drawn_s(row: Row) -> float:
    return float(row["response_s"] + row["blocked_s"] - _queue_s(row))


def _stack_times(
    axes: Axes, treatments: Sequence[str], rows: Mapping[str, Row], shown: dict[str, None]
) -> None:
    longest = max((_drawn_s(row) for row in rows.values()), default=0.0)
    if not rows:
        write_placeholder(axes, "nothing is known")
    for place, treatment in enumerate(treatments):
        if treatment not in rows:
            continue
        row, end = rows[treatment], 0.0
        for part in TASK_TIME:
            seconds = row[f"{part}_s"]
            if part == "queue" or math.isnan(seconds) or seconds < 0.002 * longest:
                continue
            shown[part] = None
            axes.barh(place, seconds, left=end, height=0.68, zorder=2, **_fill(part))
            end += seconds
        rest = _drawn_s(row) - end
        if rest > 0.02 * longest:
            shown[_SERVICE] = None
            axes.barh(place, rest, left=end, height=0.68, zorder=2, **_fill(_SERVICE))
        if (waited := _queue_s(row)) > 0.02 * longest:
            label_row(axes, f"+{format_number(waited)} s", place, size=7)
    axes.set_xlim(0, 1.03 * longest or 1)
    axes.locator_params(axis="x", nbins=4)


def _note_failed(axes: Axes, experiment: Experiment, treatments: Sequence[str]) -> None:
    for place, treatment in enumerate(treatments):
        if experiment.runs(treatment).empty:
            axes.annotate(
                experiment.failure_note(treatment),
                (0, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                size=7.5,
            )


def _fill(part: str) -> dict[str, Any]:
    colour, hatch = PART_LOOKS.get(part, (pale(MUTED), ""))
    return {"facecolor": colour, "hatch": hatch, "edgecolor": INK, "lw": 0.3}
