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


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_bar_is_the_cores_that_were_used(pipe):
    cores = plot_limits(pipe).axes[0]
    used = {row["treatment"]: row["cores_used"] for row in list_rows(pipe.tables["limits"])}
    assert [width for _, width in bars(cores)] == [used["p2-fork"], used["p1-fork"]]


def test_marks_are_the_floors_of_that_run_as_shares_of_its_makespan(pipe):
    floors = plot_limits(pipe).axes[1]
    rows = {row["treatment"]: row for row in list_rows(pipe.tables["limits"])}
    marks = {line.get_xdata()[0] for line in floors.lines if line.get_marker() == "o"}
    expected = [100 * row["floor_s"] / row["makespan_s"] for row in rows.values()]
    assert sorted(marks) == pytest.approx(sorted(set(expected)))
    assert floors.get_xlim()[1] > 100


def test_what_limits_a_treatment_stands_beside_its_row(pipe):
    found = texts(plot_limits(pipe).axes[1])
    assert sum("work" in text for text in found) == 2
    assert "no ok run (timed_out × 1)" in found
    assert "limited by" in found


def test_only_a_resource_in_full_use_is_filled(pipe):
    (row, *_) = list_rows(pipe.tables["limits"])
    for is_full in (True, False):
        changed = pipe.tables["limits"].assign(is_full=is_full, others_full="")
        floors = plot_limits(
            type(pipe)(name="pipe", tables={**pipe.tables, "limits": changed})
        ).axes[1]
        marks = [line for line in floors.lines if line.get_marker() == "o"]
        filled = [line.get_markerfacecolor() != "white" for line in marks]
        assert set(filled) == {is_full}, row


def test_parts_of_a_tasks_time_stand_one_behind_the_other_and_the_queue_is_a_number(pipe):
    found = with_parts(pipe, queue=1.0, held=2.0, gil_wait=0.5, asleep=0.5, response=4.0)
    panels = plot_times(found).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["work", "save"]
    assert bars(panels[0]) == [(0, 2), (2, 0.5), (2.5, 0.5)]
    assert "+1.00 s" in texts(panels[0])
    assert texts(panels[1])[-1] == "nothing is known"


def test_what_is_not_told_apart_is_drawn_as_such(pipe):
    figure = plot_times(with_parts(pipe, queue=1.0, response=4.0))
    assert bars(figure.axes[0]) == [(0, 3)]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["in service, not told apart"]


def test_without_a_diagnosis_the_times_that_every_run_records_are_drawn(pipe):
    assert pipe.tables["parts"].empty
    figure = plot_times(pipe)
    assert bars(figure.axes[0])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "in service" in legend


def test_waits_are_hatched_and_work_is_not(pipe):
    found = with_parts(pipe, held=1.0, computing=1.0, gil_wait=1.0, core_wait=1.0, response=4.0)
    hatches = [bar.get_hatch() for bar in plot_times(found).axes[0].patches]
    assert [bool(hatch) for hatch in hatches] == [False, False, True, True]


def test_treatments_whose_times_differ_by_ten_have_panels_of_their_own(present, known_run):
    fast = known_run(treatment="t2", baseline=False, start=600)
    figure = plot_times(present(known_run().stretched(12), fast))
    rows = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes[::2]]
    assert rows == [["p1-fork"], ["t2"]]
