"""The figure of a few runs task by task: which are chosen, and what stands on their lanes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.collections import PolyCollection

from stagebench.present.gantt import MOST_RUNS, choose_runs, plot_tasks
from stagebench.present.style import stage_colours

pytestmark = pytest.mark.usefixtures("styled")


def texts(axes):
    return [text.get_text() for text in axes.texts]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def bars(axes, colour):
    """Return start, end and lane of the bars that are filled with a colour."""
    found = []
    for drawn in axes.collections:
        if type(drawn) is not PolyCollection or not len(drawn.get_facecolor()):
            continue
        if tuple(drawn.get_facecolor()[0][:3]) != pytest.approx(colour):
            continue
        for path in drawn.get_paths():
            (left, top), (right, _), (_, bottom) = path.vertices[:3]
            found.append((round(left, 3), round(right, 3), round((top + bottom) / 2, 2)))
    return sorted(found)


@pytest.fixture
def axes(pipe):
    """The run of `p2-fork`: its first panel, because its median is the shortest."""
    return plot_tasks(pipe).axes[0]


def test_a_task_is_a_bar_on_the_lane_of_its_worker(axes, pipe):
    colours = stage_colours(pipe.stages)
    work = bars(axes, colours["work"])
    assert [(start, end) for start, end, _ in work] == [(1, 3), (3, 4)]
    assert len({lane for *_, lane in work}) == 1  # one worker served both
    save = bars(axes, colours["save"])
    assert [(start, end) for start, end, _ in save] == [(3.5, 4), (4.5, 5.5)]
    assert len({lane for *_, lane in save}) == 2


def test_stages_stand_below_each_other_with_their_names(axes, pipe):
    colours = stage_colours(pipe.stages)
    assert max(lane for *_, lane in bars(axes, colours["work"])) < min(
        lane for *_, lane in bars(axes, colours["save"])
    )
    assert [text for text in texts(axes) if text in pipe.stages] == ["work", "save"]


def test_empty_lanes_waiting_and_first_tasks_are_in_the_legend(pipe):
    found = legend(plot_tasks(pipe))
    assert "empty: the worker has no task" in found
    assert "pale: tasks waiting" in found
    assert "outlined: first task of a worker" in found
    assert "failed" not in found


def test_all_runs_share_one_time_axis(pipe):
    figure = plot_tasks(pipe)
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_xlim()[1] > 12.6


def test_runs_that_differ_by_ten_have_axes_of_their_own_and_say_so(present, known_run):
    fast = known_run(treatment="t2", baseline=False, start=600)
    figure = plot_tasks(present(known_run().stretched(12), fast))
    assert len({axes.get_xlim() for axes in figure.axes}) == 2
    assert figure.axes[-1].get_xlabel().endswith("(another scale than above)")


def test_the_head_says_which_run_it_is_and_what_limits_it(pipe):
    figure = plot_tasks(pipe)
    assert titles(figure)[0].startswith("p2-fork (")
    assert titles(figure)[0].endswith("): 6.00 s")
    assert "the baseline" in titles(figure)[1]
    assert all(axes.get_title(loc="right") for axes in figure.axes)


def test_at_most_six_runs_are_drawn_the_baseline_and_both_ends_among_them(present, known_run):
    runs = [
        known_run(treatment=f"t{n}", baseline=n == 4, start=200 * n).stretched(1 + n / 10)
        for n in range(11)
    ]
    experiment = present(*runs)
    chosen = choose_runs(experiment)
    assert len(chosen) == MOST_RUNS
    assert {"t0", "t4", "t10"} <= set(chosen)
    assert "the baseline" in chosen["t4"]
    figure = plot_tasks(experiment)
    assert len(figure.axes) == MOST_RUNS
    assert "5 more treatments not drawn" in [text.get_text() for text in figure.texts]


def test_a_run_alone_has_no_role(alone):
    assert choose_runs(alone) == {"t1": []}
    assert titles(plot_tasks(alone)) == ["t1: 2.00 s"]


def test_experiments_without_an_ok_run_say_how_they_ended(present, known_run):
    figure = plot_tasks(present(known_run(status="timed_out")))
    assert texts(figure.axes[0]) == ["p1-fork: no ok run (timed_out × 1)"]


def test_tasks_that_one_worker_serves_at_once_have_lanes_of_their_own(
    present, known_run, make_task
):
    stages = (known_run().stages[0],)
    tasks = tuple(make_task(n, "work", (10, 10.5, 14 + n, 14 + n), cpu=1) for n in range(3))
    experiment = present(known_run(stages=stages, tasks=tasks, tasks_planned=3))
    found = bars(plot_tasks(experiment).axes[0], stage_colours(["work"])["work"])
    assert len({lane for *_, lane in found}) == 3


def test_thousands_of_tasks_fit(present, known_run, make_task):
    stages = (known_run().stages[0],)
    tasks = tuple(make_task(n, "work", (10, 10 + n, 11 + n, 11 + n), cpu=1) for n in range(2000))
    figure = plot_tasks(present(known_run(stages=stages, tasks=tasks, tasks_planned=2000)))
    assert figure.get_figheight() < 4
    assert len(bars(figure.axes[0], stage_colours(["work"])["work"])) == 2000


def test_a_failed_attempt_is_hatched_until_it_timed_out(present, known_run, make_task):
    given_up = make_task(0, "work", (10, 11, None, 12), status="timed_out")
    tasks = (
        make_task(0, "work", (12, 12, 13, 13), cpu=1, attempt=2),
        make_task(1, "work", (10, 10, 11, 12.5), cpu=1),
    )
    stages = (known_run().stages[0],)
    run = known_run(stages=stages, tasks=tasks, attempts=(given_up,), tasks_planned=2)
    figure = plot_tasks(present(run))
    hatched = [drawn for drawn in figure.axes[0].collections if drawn.get_hatch() == "\\\\\\\\"]
    assert [path.vertices[:2, 0].tolist() for path in hatched[0].get_paths()] == [[1, 2]]
    assert "failed" in legend(figure)


def test_nothing_is_outlined_if_all_tasks_are_first_ones(present, known_run):
    run = known_run()
    tasks = (run.tasks[0], replace(run.tasks[1], thread_id=2), *run.tasks[2:])
    assert "outlined: first task of a worker" not in legend(
        plot_tasks(present(replace(run, tasks=tasks)))
    )
