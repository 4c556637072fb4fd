from __future__ import annotations

from dataclasses import replace

import pytest

from stagebench.present.experiment import split_experiments
from stagebench.present.gantt import plot_tasks
from stagebench.tables.io import read_tables

pytestmark = pytest.mark.usefixtures("styled")


@pytest.fixture
def figure(pipe):
    return plot_tasks(pipe, "p2-fork")


def bars(axes):
    return [(bar.get_x(), bar.get_width(), round(bar.get_y())) for bar in axes.patches]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def drawn(analyse, run):
    experiment = split_experiments(read_tables(analyse(run) / "tables"))[0]
    return plot_tasks(experiment, run.treatment)


def test_every_task_has_a_bar_of_waiting_and_one_of_service_a_stage(figure):
    # Task 1 ended last: it is on top, in row 1.
    assert bars(figure.axes[0]) == [
        (0, 1, 0),
        (0, 3, 1),
        (1, 2, 0),
        (3, 1, 1),
        (3.5, 0, 0),
        (4.5, 0, 1),
        (3.5, 0.5, 0),
        (4.5, 1, 1),
    ]


def outlined(axes):
    black = (0, 0, 0, 1)
    return [(bar.get_x(), bar.get_width()) for bar in axes.patches if bar.get_edgecolor() == black]


def test_the_first_task_of_each_worker_is_outlined(figure):
    # Of `work` the first of two on one worker; of `save` both, each on a worker of its own.
    assert outlined(figure.axes[0]) == [(1, 2), (3.5, 0.5), (4.5, 1)]


def test_nothing_is_outlined_if_all_tasks_are_first_ones(analyse, known_run):
    run = known_run()
    tasks = (run.tasks[0], replace(run.tasks[1], thread_id=2), *run.tasks[2:])
    assert outlined(drawn(analyse, replace(run, tasks=tasks)).axes[0]) == []


def test_tasks_are_sorted_by_duration_the_slowest_on_top(figure):
    labels = {
        label.get_text(): label.get_position()[1] for label in figure.axes[0].get_yticklabels()
    }
    assert labels == {"0": 0, "1": 1}


def test_every_task_is_labelled_with_its_stage_efficiencies(figure):
    assert sorted(texts(figure.axes[0])) == ["25 · 100", "67 · 100"]


def test_service_is_solid_and_waiting_pale_in_the_stages_colour(figure):
    waiting, service = figure.axes[0].patches[0], figure.axes[0].patches[2]
    assert sum(waiting.get_facecolor()[:3]) > sum(service.get_facecolor()[:3])


def test_queue_depth_shares_the_time_axis_of_the_chart(figure):
    chart, queue = figure.axes[:2]
    assert chart.get_xlim() == queue.get_xlim()
    line = queue.lines[0]
    assert list(line.get_xdata()) == [0, 1, 3, 4]
    assert list(line.get_ydata()) == [2, 1, 0, 0]


def test_stage_shares_are_of_the_summed_response_time(figure):
    shares = figure.axes[2]
    assert texts(shares) == ["82 %", "18 %"]
    assert shares.patches[0].get_height() == pytest.approx(100 * 7 / 8.5)
    assert shares.patches[1].get_height() == pytest.approx(100 * 3 / 8.5)


def test_the_title_says_how_long_and_which_run(figure):
    assert [text.get_text() for text in figure.texts] == [
        "pipe / p2-fork: 2 tasks in 6.00 s (replicate 2, median makespan of 3 runs)"
    ]


def test_a_lone_run_is_not_called_a_median(alone):
    assert "(one run)" in plot_tasks(alone, "t1").texts[0].get_text()


def test_a_treatment_without_an_ok_run_says_so(pipe):
    figure = plot_tasks(pipe, "p5-fork")
    assert texts(figure.axes[0]) == ["pipe / p5-fork: no ok run (timed_out × 1)"]


def test_stages_that_a_task_is_in_at_once_have_lanes_of_their_own(analyse, known_run, make_task):
    tasks = (
        make_task(0, "work", (10, 11, 13, 13), cpu=1),
        make_task(0, "save", (10, 10, 14, 14), cpu=1),
    )
    axes = drawn(analyse, known_run(tasks=tasks, tasks_planned=1)).axes[0]
    lanes = {bar.get_y() for bar in axes.patches if bar.get_width()}
    assert lanes == {-0.4, 0.0}


def test_hundreds_of_tasks_fit_and_carry_no_labels(analyse, known_run, make_task):
    stages = (known_run().stages[0],)
    tasks = tuple(make_task(n, "work", (10, 10 + n, 11 + n, 11 + n), cpu=1) for n in range(300))
    figure = drawn(analyse, known_run(stages=stages, tasks=tasks, tasks_planned=300))
    assert figure.get_figheight() < 13
    assert texts(figure.axes[0]) == []
    assert "efficiency" not in figure.axes[0].get_title(loc="left")
    assert len(figure.axes[0].patches) == 600


@pytest.fixture
def repeated(analyse, known_run, make_task):
    """A run whose first task timed out in its first stage a second after a worker started it."""
    given_up = make_task(0, "work", (10, 11, None, 12), status="timed_out")
    tasks = (
        make_task(0, "work", (12, 12, 13, 13), cpu=1, attempt=2),
        make_task(1, "work", (10, 10, 11, 12.5), cpu=1),
    )
    stages = (known_run().stages[0],)
    return drawn(
        analyse, known_run(stages=stages, tasks=tasks, attempts=(given_up,), tasks_planned=2)
    )


def test_a_failed_attempt_is_hatched_until_it_timed_out(repeated):
    hatched = [bar for bar in repeated.axes[0].patches if bar.get_hatch()]
    assert [(bar.get_x(), bar.get_width(), round(bar.get_y())) for bar in hatched] == [(1, 1, 1)]
    assert (0, 1, 1) in bars(repeated.axes[0])  # its waiting


def test_a_task_lasts_from_its_first_attempt_on(repeated):
    labels = [label.get_text() for label in repeated.axes[0].get_yticklabels()]
    assert labels == ["1", "0"]  # from the bottom: task 0 took longer


def test_legend_and_title_name_failed_attempts_where_there_are_any(repeated, figure):
    legends = [
        {text.get_text() for text in one.axes[3].get_legend().get_texts()}
        for one in (repeated, figure)
    ]
    assert ["failed attempt: hatched" in legend for legend in legends] == [True, False]
    titles = [one.axes[0].get_title(loc="left") for one in (repeated, figure)]
    assert ["efficiency of the last attempt" in title for title in titles] == [True, False]
