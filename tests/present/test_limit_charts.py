"""The figures of limits and of the time of tasks: bars and marks are what the tables say."""

import pytest

from stagebench.present.limit_charts import plot_limits, plot_times
from stagebench.tables.io import list_rows, make_table
from stagebench.tables.schema import TASK_TIME

pytestmark = pytest.mark.usefixtures("styled")


def with_parts(experiment, **parts):
    """Return an experiment whose stage `work` of `p1-fork` was diagnosed with these parts."""
    names = {f"{part}_s": parts.get(part) for part in TASK_TIME}
    row = {"experiment": experiment.name, "treatment": "p1-fork", "stage": "work", "tasks": 1}
    row |= names | {"blocked_s": parts.get("blocked", 0.0), "response_s": parts["response"]}
    tables = {**experiment.tables, "parts": make_table("parts", [row])}
    return type(experiment)(name=experiment.name, tables=tables)


def bars(axes):
    return [(bar.get_x(), bar.get_width()) for bar in axes.patches]


def test_a_bar_is_the_makespan_and_marks_are_the_floors_of_that_run(pipe):
    axes = plot_limits(pipe).axes[0]
    limits = list_rows(pipe.tables["limits"])
    assert [width for _, width in bars(axes)] == [row["makespan_s"] for row in limits]
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert marks == pytest.approx([row["floor_s"] for row in limits])
    assert max(marks) <= max(width for _, width in bars(axes))


def test_the_cores_that_were_used_stand_beside_the_bar(pipe):
    texts = [text.get_text() for text in plot_limits(pipe).axes[0].texts]
    assert sum(text.endswith(" cores") for text in texts) == 2  # p5-fork has no ok run


def test_parts_of_a_tasks_time_stand_one_behind_the_other(pipe):
    found = with_parts(pipe, queue=1.0, held=2.0, gil_wait=0.5, asleep=0.5, response=4.0)
    panels = plot_times(found).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["work", "save"]
    assert bars(panels[0]) == [(0, 1), (1, 2), (3, 0.5), (3.5, 0.5)]
    assert [text.get_text() for text in panels[1].texts][-1] == "no run diagnosed it"


def test_what_is_not_told_apart_is_drawn_as_such(pipe):
    figure = plot_times(with_parts(pipe, queue=1.0, response=4.0))
    assert bars(figure.axes[0]) == [(0, 1), (1, 3)]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["in the queue", "in service, not told apart"]


def test_waits_are_hatched_and_work_is_not(pipe):
    found = with_parts(pipe, held=1.0, computing=1.0, gil_wait=1.0, core_wait=1.0, response=4.0)
    hatches = [bar.get_hatch() for bar in plot_times(found).axes[0].patches]
    assert [bool(hatch) for hatch in hatches] == [False, False, True, True]
