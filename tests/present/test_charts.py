"""The figures of an experiment: what they show, and that they fit."""

import math

import numpy as np
import pytest
from matplotlib.image import imread
from tests.commands import draw_figures

from stagebench.errors import StoreError
from stagebench.present.charts import (
    has_ratios,
    panel_columns,
    plot_efficiency,
    plot_makespan,
    plot_memory,
    plot_peaks,
    plot_ratios,
)
from stagebench.present.experiment import split_experiments
from stagebench.tables.io import read_tables

pytestmark = pytest.mark.usefixtures("styled")


def lines(axes):
    return {tuple(line.get_ydata()) for line in axes.lines}


def test_every_treatment_has_a_panel_with_main_children_and_tree(pipe):
    panels = plot_memory(pipe).axes
    assert [axes.get_title(loc="left") for axes in panels] == pipe.treatments
    assert lines(panels[1]) == {
        (18, 20, 12, 16, 30, 26),
        (0, 0, 8, 20, 4, 0),
        (18, 20, 20, 36, 34, 26),
    }
    assert list(panels[1].lines[0].get_xdata()) == [-1.5, -0.5, 1.5, 3.25, 5, 6.75]


def test_all_panels_share_axes_that_hold_every_value(pipe):
    panels = plot_memory(pipe).axes
    assert len({axes.get_ylim() for axes in panels}) == 1
    assert panels[0].get_ylim()[0] == 0
    assert panels[0].get_ylim()[1] > 36
    assert panels[0].get_xlim()[1] > 6.75


def test_a_panel_without_an_ok_run_says_so(pipe):
    texts = [text.get_text() for text in plot_memory(pipe).axes[2].texts]
    assert texts == ["no ok run (timed_out × 1)"]


def test_a_run_that_no_sweep_saw_says_so(analyse, known_run):
    folder = analyse(known_run(sweeps=()))
    experiment = split_experiments(read_tables(folder / "tables"))[0]
    assert [text.get_text() for text in plot_memory(experiment).axes[0].texts] == ["no sweep"]
    assert list(plot_peaks(experiment).axes[0].patches) == []


def test_few_sweeps_are_marked_one_by_one(alone):
    assert plot_memory(alone).axes[0].lines[0].get_marker() == "."


@pytest.mark.parametrize(
    ("panels", "columns"), [(1, 1), (2, 2), (3, 3), (4, 4), (8, 4), (18, 3), (20, 4), (40, 4)]
)
def test_panels_leave_as_few_places_empty_as_can_be(panels, columns):
    assert panel_columns(panels) == columns


def test_peaks_stack_children_on_main_at_the_trees_peak(pipe):
    bars = plot_peaks(pipe).axes[0].patches
    assert [(bar.get_x(), bar.get_width()) for bar in bars[:2]] == [(0, 16), (16, 20)]


def test_an_upper_bound_is_drawn_and_labelled(pipe):
    runs = pipe.tables["runs"]
    runs["tree_peak_upper_bytes"] = (runs["tree_peak_bytes"] + 4 * 2**20).astype("Int64")
    axes = plot_peaks(pipe).axes[0]
    assert "36–40 MiB" in [text.get_text() for text in axes.texts]
    ends = [line.get_xdata().tolist() for line in axes.lines if len(line.get_xdata()) == 2]
    assert [36, 40] in ends
    assert axes.get_xlim()[1] > 40


def test_the_bar_is_of_the_run_of_median_peak(analyse, known_run, make_sweep):
    def run(replicate, main, child):
        sweeps = (make_sweep(0, 9, 5), make_sweep(1, 11, main, [child]))
        return known_run(replicate=replicate, sweeps=sweeps)

    folder = analyse(run(1, 10, 90), run(2, 30, 20), run(3, 40, 20))
    axes = plot_peaks(split_experiments(read_tables(folder / "tables"))[0]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [40, 20]
    assert "60 MiB" in [text.get_text() for text in axes.texts]


OVERVIEWS = {"makespan.png", "efficiency.png", "peaks.png", "memory.png"}


@pytest.fixture(scope="module")
def drawn(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "pipe"
    draw_figures(study / "tables", "pipe", folder)
    return folder


def test_an_experiment_has_its_overviews_and_a_figure_a_treatment(drawn):
    tasks = {"tasks-p1-fork.png", "tasks-p2-fork.png", "tasks-p5-fork.png"}
    assert {path.name for path in drawn.iterdir()} == OVERVIEWS | tasks | {"ratios.png"}


def test_every_figure_shows_something(drawn):
    for path in drawn.iterdir():
        pixels = imread(path)[:, :, :3]
        assert np.ptp(pixels) > 0.5, path.name


def test_the_same_tables_give_the_same_bytes_in_place_of_what_was_there(drawn, study, tmp_path):
    (tmp_path / "tasks-gone.png").write_bytes(b"")
    draw_figures(study / "tables", "pipe", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in drawn.iterdir()}
    for path in drawn.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_an_unknown_experiment_is_an_error_that_names_those_there_are(study, tmp_path):
    with pytest.raises(StoreError, match=r"no experiment 'pip'; there are \['pipe', 'alone'\]"):
        draw_figures(study / "tables", "pip", tmp_path)


def points(axes):
    offsets = [tuple(map(float, xy)) for dots in axes.collections for xy in dots.get_offsets()]
    return sorted((round(y), round(x, 6)) for x, y in offsets)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_ok_run_is_a_point_in_its_treatments_row(pipe):
    axes = plot_makespan(pipe).axes[0]
    assert points(axes) == [(0, 12), (0, 12.6), (0, 13.2), (1, 6), (1, 6), (1, 6)]


def test_medians_are_marked_and_labelled(pipe):
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


def points_of_ratio_figure(axes):
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    return [(line.get_ydata()[0], round(line.get_xdata()[0], 6)) for line in dots]


def intervals(axes):
    return [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]


def test_every_block_is_a_point_and_the_interval_holds_their_mean(pipe):
    axes = plot_ratios(pipe).axes[0]
    assert points_of_ratio_figure(axes) == [
        (1, 0.5),
        (1, round(6 / 12.6, 6)),
        (1, round(6 / 13.2, 6)),
    ]
    low, high = intervals(axes)[-1]
    assert low < math.prod([6 / 12, 6 / 12.6, 6 / 13.2]) ** (1 / 3) < high < 1
    assert texts(axes) == ["no ok run (timed_out × 1)", "faster", "–", "baseline"]


def test_the_axis_is_logarithmic_and_holds_1_and_the_margin(pipe):
    axes = plot_ratios(pipe).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] < 1 / 1.05 < 1.05 < axes.get_xlim()[1]


def test_the_legend_calls_the_interval_unadjusted(pipe):
    labels = [text.get_text() for text in plot_ratios(pipe).legends[0].get_texts()]
    assert "mean, 95 % interval" in labels
    assert "margin of equivalence, ± 5 %" in labels


def test_below_three_blocks_there_are_points_only(present, known_run):
    runs = [known_run(replicate=n + 1, start=20 * n) for n in range(2)]
    others = [known_run(treatment="t2", baseline=False, replicate=n + 1) for n in range(2)]
    axes = plot_ratios(present(*runs, *others)).axes[0]
    assert points_of_ratio_figure(axes) == [(1, 1), (1, 1)]
    assert [line for line in axes.lines if line.get_marker() == "|"] == []
    assert "no interval" in texts(axes)


def test_where_nothing_can_be_compared_the_figure_says_so(present, known_run):
    found = present(known_run(status="crashed"), known_run(treatment="t2", baseline=False))
    assert "nothing to compare" in texts(plot_ratios(found).axes[0])


def test_a_treatment_alone_has_no_ratios(alone, pipe):
    assert not has_ratios(alone)
    assert has_ratios(pipe)


@pytest.mark.parametrize("treatments", [2, 12])
def test_names_of_any_number_and_length_stay_inside_the_figure_of_ratio_figure(
    present, known_run, treatments
):
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
