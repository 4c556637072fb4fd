from __future__ import annotations

import pytest

from stagebench.present.experiment import split_experiments
from stagebench.present.memory_figures import plot_peaks
from stagebench.present.overview_figures import plot_efficiency, plot_makespan
from stagebench.tables import read_tables

pytestmark = pytest.mark.usefixtures("styled")


def points(axes):
    offsets = [tuple(map(float, xy)) for dots in axes.collections for xy in dots.get_offsets()]
    return sorted((round(y), round(x, 6)) for x, y in offsets)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_ok_run_is_a_point_in_its_treatments_row(pipe):
    axes = plot_makespan(pipe).axes[0]
    assert points(axes) == [(0, 12), (0, 12.6), (0, 13.2), (1, 6), (1, 6), (1, 6)]


def test_medians_are_marked_and_told(pipe):
    axes = plot_makespan(pipe).axes[0]
    assert [line.get_xdata()[0] for line in axes.lines] == pytest.approx([12.6, 6])
    assert texts(axes) == ["no ok run (timed_out × 1)", "12.6 s", "6.00 s"]


def test_the_axis_of_makespans_starts_at_0(pipe):
    low, high = plot_makespan(pipe).axes[0].get_xlim()
    assert low == 0
    assert high > 13.2


def test_every_treatment_has_a_row_the_first_on_top(pipe):
    axes = plot_makespan(pipe).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == pipe.treatments
    bottom, top = axes.get_ylim()
    assert bottom > top


def test_efficiency_has_a_panel_a_stage_with_both_shares(pipe):
    panels = plot_efficiency(pipe).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["work", "save"]
    dots = [line.get_xdata()[0] for line in panels[0].lines if line.get_marker() == "o"]
    diamonds = [line.get_xdata()[0] for line in panels[0].lines if line.get_marker() == "D"]
    assert dots[:2] == pytest.approx([100 * 3 / 7] * 2)
    assert diamonds[1] == pytest.approx(100 * 1.5 / 7)


def test_a_stage_that_a_treatment_lacks_has_no_mark(analyse, known_run, make_task):
    alone = tuple(make_task(n, "work", (10, 10, 11, 11), cpu=1) for n in range(2))
    stages = known_run().stages
    folder = analyse(known_run(), known_run(treatment="short", stages=stages[:1], tasks=alone))
    experiment = split_experiments(read_tables(folder / "tables"))[0]
    rows = [line.get_ydata()[0] for line in plot_efficiency(experiment).axes[1].lines]
    assert set(rows) == {0}


@pytest.mark.parametrize("plot", [plot_makespan, plot_efficiency, plot_peaks])
@pytest.mark.parametrize("treatments", [1, 40])
def test_names_of_any_number_and_length_stay_inside_the_figure(
    analyse, known_run, plot, treatments
):
    name = "p2-forkserver-blas_threads-4-malloc_mmap_threshold-65536-{}"
    runs = [known_run(treatment=name.format(n), baseline=n == 0) for n in range(treatments)]
    figure = plot(split_experiments(read_tables(analyse(*runs) / "tables"))[0])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    boxes += [text.get_window_extent() for text in [*axes.texts, *figure.texts]]
    width, height = figure.bbox.size
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)
    assert all(box.y0 >= 0 and box.y1 <= height for box in boxes)


def test_an_experiment_in_which_nothing_succeeded_is_drawn(analyse, known_run):
    folder = analyse(known_run(status="crashed"))
    experiment = split_experiments(read_tables(folder / "tables"))[0]
    for plot in (plot_makespan, plot_efficiency, plot_peaks):
        assert "no ok run (crashed × 1)" in texts(plot(experiment).axes[0])
