"""The figures of main's memory and of runs sampled both ways."""

import pytest

from stagebench.present.experiment import split_experiments
from stagebench.replication.memory_figures import (
    MOST_PANELS,
    choose_pools,
    plot_both_ways,
    plot_main,
)
from stagebench.tables.io import read_tables

pytestmark = pytest.mark.usefixtures("styled")


@pytest.fixture
def forking(analyse, known_run):
    """A single-stage experiment: 1, 2 and 5 forked workers, the last with retain, and threads."""

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


def panels(figure):
    """Return the axes of each treatment: of our sweeps and of the published way."""
    return list(zip(figure.axes[::2], figure.axes[1::2], strict=True))


def lines(axes):
    return {tuple(line.get_ydata()) for line in axes.lines}


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.fixture
def both(present, emulated_run):
    """The panels of one run with a false peak of 50 MiB at 5 s, when the tree held 34."""
    return panels(plot_both_ways(present(emulated_run())))[0]


def test_our_sweeps_stand_above_and_the_published_way_below(both):
    above, below = both
    walked = {tuple(xy) for dots in above.collections for xy in dots.get_offsets().tolist()}
    assert {size for _, size in walked} == {18, 20, 12, 16, 30, 26, 0, 8, 4}
    assert {(20, 16, 30, 26), (0, 20, 20, 20), (20, 36, 50, 46)} <= lines(below)
    assert above.get_title(loc="left") == "p1-fork"
    assert (above.get_xlim(), above.get_ylim()) == (below.get_xlim(), below.get_ylim())


def test_what_was_read_last_stands_until_the_next_reading(both):
    styles = {line.get_drawstyle() for line in both[1].lines if len(line.get_xdata()) == 4}
    assert styles == {"steps-post"}
    assert {line.get_drawstyle() for line in both[0].lines} == {"default"}


def test_discoveries_are_marked(both):
    marks = [line for line in both[1].lines if line.get_marker() == "^"]
    assert [list(line.get_xdata()) for line in marks] == [[-0.25, 3.25]]


def test_the_false_peak_is_marked_named_and_set_beside_the_truth(both):
    above, below = both
    assert texts(below) == [
        "false peak 50.0 MiB =\n30.0 main +\n20.0 children, read 1.75 s earlier"
    ]
    assert texts(above) == ["peak ≥ 36.0 MiB", "34.0 MiB at that moment"]
    circles = [
        (line.get_xdata()[0], line.get_ydata()[0])
        for axes in both
        for line in axes.lines
        if line.get_marker() == "o"
    ]
    assert circles == [(5, 34), (5, 50)]


def test_a_peak_that_is_not_false_has_its_number(present, emulated_run, make_reading):
    found = (make_reading(13.5, 70, 20, 2, 13.25), make_reading(16.75, 26, 20, 2, 13.25))
    _, below = panels(plot_both_ways(present(emulated_run(*found))))[0]
    assert texts(below) == [
        "peak 90.0 MiB",
        "false peak 46.0 MiB =\n26.0 main +\n20.0 children, read 3.50 s earlier",
    ]


def test_children_that_were_never_seen_are_counted(present, emulated_run, make_reading):
    found = make_reading(9.75, 20), make_reading(15, 30)
    above, below = panels(plot_both_ways(present(emulated_run(*found, created=6))))[0]
    assert below.get_title(loc="left") == "published way: no child seen; there were 5"
    assert texts(below) == ["peak 30.0 MiB"]
    assert texts(above) == ["peak ≥ 36.0 MiB"]


def test_treatments_stand_side_by_side_and_no_more_than_four(present, emulated_run):
    names = [f"t{n}" for n in range(1, 7)]
    runs = [emulated_run(treatment=name, baseline=name == "t1") for name in names]
    figure = plot_both_ways(present(*runs))
    assert len(panels(figure)) == MOST_PANELS == 4
    assert [above.get_title(loc="left") for above, _ in panels(figure)] == names[:4]
    assert any("(2 more are not drawn)" in text.get_text() for text in figure.texts)


def test_a_treatment_without_an_ok_run_says_so(present, emulated_run):
    above, _ = panels(plot_both_ways(present(emulated_run(status="timed_out"))))[0]
    assert texts(above) == ["no ok run (timed_out × 1)"]


def test_a_run_that_no_sweep_saw_is_drawn(present, emulated_run):
    above, below = panels(plot_both_ways(present(emulated_run(sweeps=()))))[0]
    assert texts(above) == []
    assert texts(below) == ["peak 50.0 MiB"]
