from __future__ import annotations

import math

import pytest

from stagebench.present.ratio_figure import has_ratios, plot_ratios

pytestmark = pytest.mark.usefixtures("styled")


def points(axes):
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    return [(line.get_ydata()[0], round(line.get_xdata()[0], 6)) for line in dots]


def intervals(axes):
    return [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_block_is_a_point_and_the_interval_holds_their_mean(pipe):
    axes = plot_ratios(pipe).axes[0]
    assert points(axes) == [(1, 0.5), (1, round(6 / 12.6, 6)), (1, round(6 / 13.2, 6))]
    low, high = intervals(axes)[-1]
    assert low < math.prod([6 / 12, 6 / 12.6, 6 / 13.2]) ** (1 / 3) < high < 1
    assert texts(axes) == ["no ok run (timed_out × 1)", "faster", "–", "baseline"]


def test_the_axis_is_logarithmic_and_holds_1_and_the_margin(pipe):
    axes = plot_ratios(pipe).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] < 1 / 1.05 < 1.05 < axes.get_xlim()[1]


def test_the_interval_is_said_to_be_unadjusted(pipe):
    labels = [text.get_text() for text in plot_ratios(pipe).legends[0].get_texts()]
    assert "mean, 95 % interval, not adjusted" in labels
    assert "margin of equivalence, ± 5 %" in labels


def test_below_three_blocks_there_are_points_only(present, known_run):
    runs = [known_run(replicate=n + 1, start=20 * n) for n in range(2)]
    others = [known_run(treatment="t2", baseline=False, replicate=n + 1) for n in range(2)]
    axes = plot_ratios(present(*runs, *others)).axes[0]
    assert points(axes) == [(1, 1), (1, 1)]
    assert [line for line in axes.lines if line.get_marker() == "|"] == []
    assert "no interval" in texts(axes)


def test_where_nothing_can_be_compared_the_figure_says_so(present, known_run):
    found = present(known_run(status="crashed"), known_run(treatment="t2", baseline=False))
    assert "nothing to compare" in texts(plot_ratios(found).axes[0])


def test_a_treatment_alone_has_no_ratios(alone, pipe):
    assert not has_ratios(alone)
    assert has_ratios(pipe)


@pytest.mark.parametrize("treatments", [2, 12])
def test_names_of_any_number_and_length_stay_inside_the_figure(present, known_run, treatments):
    name = "p2-forkserver-blas_threads-4-malloc_mmap_threshold-65536-{}"
    runs = [known_run(treatment=name.format(n), baseline=n == 0) for n in range(treatments)]
    figure = plot_ratios(present(*runs))
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    boxes += [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    boxes += [text.get_window_extent() for text in figure.texts]
    boxes.append(figure.legends[0].get_window_extent())
    width, height = figure.bbox.size
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)
    assert all(box.y0 >= 0 and box.y1 <= height for box in boxes)
