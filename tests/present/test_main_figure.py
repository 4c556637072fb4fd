from __future__ import annotations

import pytest

from stagebench.present.experiment import split_experiments
from stagebench.present.main_figure import choose_pools, plot_main
from stagebench.tables import read_tables

pytestmark = pytest.mark.usefixtures("styled")


@pytest.fixture
def forking(analyse, known_run):
    """An experiment of one stage: forks with 1, 2 and 5 workers, the last retained, and threads."""

    def run(number, treatment, **stage):
        own = known_run().stages[0] | stage
        tasks = tuple(task for task in known_run().tasks if task.stage == "work")
        facts = {"stages": (own,), "tasks": tasks, "workers": known_run().workers[:1]}
        return known_run(treatment=treatment, baseline=number == 0, start=20 * number, **facts)

    runs = (
        run(0, "p1-fork"),
        run(1, "p2-fork", workers=2),
        run(2, "p5-fork-retain", workers=5, retain=True),
        run(3, "t1", executor="thread", start_method=None),
    )
    folder = analyse(*runs, reference=None)
    return split_experiments(read_tables(folder / "tables"))[0]


def test_fewest_and_most_forks_that_drop_results_stand_beside_the_other_kinds(forking):
    assert choose_pools(forking) == ["p1-fork", "p2-fork", "t1"]


def test_an_experiment_without_forks_of_one_pool_has_no_such_figure(pipe, alone):
    assert choose_pools(pipe) == []
    assert choose_pools(alone) == []


def test_mains_four_sizes_stand_above_its_processes(forking):
    figure = plot_main(forking)
    upper, lower = figure.axes[:2]
    assert upper.get_title(loc="left") == "p1-fork"
    lines = [list(line.get_ydata()) for line in upper.lines]
    assert lines[0] == [36, 40, 24, 32, 60, 52]
    assert lines[1] == [18, 20, 12, 16, 30, 26]
    assert lines[2] == [4.5, 5, 3, 4, 7.5, 6.5]
    assert lines[3] == [9, 10, 6, 8, 15, 13]
    assert lower.get_ylim()[1] > 2


def test_no_line_leaves_its_panel(forking):
    figure = plot_main(forking)
    assert figure.axes[0].get_ylim()[1] > 60
    assert len({axes.get_ylim() for axes in figure.axes[::2]}) == 1
