"""The figures of an experiment: what they show, and that they fit."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from tests.commands import draw_figures

from stagebench.errors import StoreError
from stagebench.present.charts import (
    has_ratios,
    panel_columns,
    plot_makespan,
    plot_memory,
    plot_peaks,
    plot_ratios,
)
from stagebench.present.experiment import split_experiments
from stagebench.present.limit_charts import plot_limits, plot_times
from stagebench.tables.io import read_tables

pytestmark = pytest.mark.usefixtures("styled")


def lines(axes):
    return {tuple(line.get_ydata()) for line in axes.lines if len(line.get_ydata())}


def test_every_treatment_has_a_panel_with_main_and_children_as_walked(pipe):
    panels = plot_memory(pipe).axes
    assert [axes.get_title(loc="left") for axes in panels] == pipe.treatments
    assert lines(panels[1]) == {(18, 20, 12, 16, 30, 26), (0, 0, 8, 20, 4, 0)}
    assert list(panels[1].lines[-1].get_xdata()) == [-1.5, -0.5, 1.5, 3.25, 5, 6.75]


@pytest.fixture
def course_of(present, known_run, make_sweep):
    """Return the panel of a run with some readings, and its legend."""

    def draw(*reads, drift=0):
        sampler = {"reads": len(reads), "group_drift_bytes": drift}
        early = (make_sweep(0, 0.1, 5),)
        run = known_run(reads=tuple(reads), sampled=sampler, sweeps=early)
        figure = plot_memory(present(run))
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        return figure.axes[0], legend

    return draw


def band(axes):
    """Return the corners of the filled areas, from left to right."""
    paths = [path for filled in axes.collections for path in filled.get_paths()]
    return [
        sorted({(round(x, 3), round(y, 3)) for x, y in path.vertices.tolist()}) for path in paths
    ]


def test_the_trees_memory_is_a_band_between_both_its_lines(course_of, make_read):
    axes, legend = course_of(
        make_read(11.0, 20, peak=20), make_read(11.05, 30, peak=40), make_read(11.1, 25, peak=45)
    )
    # The first reading ends a span in which nobody looked. In the others, the lines are steps.
    assert band(axes) == [
        [(1.0, 30), (1.0, 40), (1.05, 25), (1.05, 30), (1.05, 40), (1.05, 45), (1.1, 25), (1.1, 45)]
    ]
    lower, upper = (line.get_ydata() for line in axes.lines[:2])
    assert lower[-4:].tolist() == [30, 30, 25, 25]
    assert upper[-4:].tolist() == [40, 40, 45, 45]
    assert "tree: between the lower and the upper line" in legend


def test_where_nobody_looked_there_is_a_gap_and_no_line(course_of, make_read):
    reads = [make_read(11 + n / 20, 20) for n in range(5)]
    reads += [make_read(12 + n / 20, 30) for n in range(5)]
    axes, legend = course_of(*reads)
    gaps = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
    assert gaps == [(pytest.approx(-10), 1), (pytest.approx(1.2), pytest.approx(2))]
    lower = axes.lines[0]
    drawn = lower.get_xdata()[~np.isnan(lower.get_ydata())]
    assert not ((drawn > 1.2001) & (drawn < 1.9999)).any()
    assert len(band(axes)) == 2
    assert "gap: nobody looked" in legend


def test_rows_of_a_long_run_are_no_gaps_though_they_have_several_readings(course_of, make_read):
    reads = [make_read(n * 0.3, 20) for n in range(1, 50)]
    axes, legend = course_of(*reads)
    assert list(axes.patches) == []
    assert "gap: nobody looked" not in legend


def test_without_a_control_group_there_is_a_lower_line_alone(course_of, make_read):
    reads = [make_read(11 + n / 20, 20 + n, is_charged=False) for n in range(3)]
    axes, legend = course_of(*reads, drift=None)
    lower, upper = (line.get_ydata() for line in axes.lines[:2])
    assert lower[-4:].tolist() == [21, 21, 22, 22]
    assert np.isnan(upper).all()
    assert (
        "tree: at least (no upper line: processes were polled, without a control group)" in legend
    )


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
    assert [text.get_text() for text in plot_memory(experiment).axes[0].texts] == ["no reading"]
    assert list(plot_peaks(experiment).axes[0].patches) == []


def test_walks_are_dots_and_no_line_joins_them(alone):
    walked = plot_memory(alone).axes[0].lines[-2:]
    assert [(line.get_marker(), line.get_linewidth()) for line in walked] == [(".", 0)] * 2


@pytest.mark.parametrize(
    ("panels", "columns"), [(1, 1), (2, 2), (3, 3), (4, 4), (8, 4), (18, 3), (20, 4), (40, 4)]
)
def test_panels_leave_as_few_places_empty_as_can_be(panels, columns):
    assert panel_columns(panels) == columns


def test_peaks_stack_children_on_main_at_the_trees_peak(pipe):
    bars = plot_peaks(pipe).axes[0].patches
    assert [(bar.get_x(), bar.get_width()) for bar in bars[:2]] == [(0, 16), (16, 20)]


def test_an_upper_bound_is_drawn_and_labelled(pipe):
    runs = pipe.tables["runs"].copy()
    runs["tree_peak_upper_bytes"] = (runs["tree_peak_bytes"] + 4 * 2**20).astype("Int64")
    axes = plot_peaks(replace(pipe, tables={**pipe.tables, "runs": runs})).axes[0]
    assert "36–40 MiB" in [text.get_text() for text in axes.texts]
    ends = [line.get_xdata().tolist() for line in axes.lines if len(line.get_xdata()) == 2]
    assert [36, 40] in ends
    assert axes.get_xlim()[1] > 40


def test_what_readings_prove_beyond_the_walks_is_of_neither_part(present, known_run):
    pipe = present(known_run())
    runs = pipe.tables["runs"]
    runs["tree_peak_bytes"] = (runs["tree_peak_bytes"] + 9 * 2**20).astype("Int64")
    runs["tree_peak_upper_bytes"] = (runs["tree_peak_bytes"] + 4 * 2**20).astype("Int64")
    figure = plot_peaks(pipe)
    bars = figure.axes[0].patches[:3]
    assert [(bar.get_x(), bar.get_width()) for bar in bars] == [(0, 16), (16, 20), (36, 9)]
    assert "45–49 MiB" in texts(figure.axes[0])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "of either, seen between walks" in legend
    ends = [line.get_xdata().tolist() for line in figure.axes[0].lines]
    assert [45, 49] in ends


def test_both_ends_that_round_to_the_same_are_one_number(present, known_run):
    pipe = present(known_run())
    runs = pipe.tables["runs"]
    runs["tree_peak_upper_bytes"] = (runs["tree_peak_bytes"] + 2**18).astype("Int64")
    assert "36 MiB" in texts(plot_peaks(pipe).axes[0])


def test_a_peak_that_no_walk_saw_is_of_neither_part(present, known_run):
    pipe = present(known_run())
    runs = pipe.tables["runs"]
    runs[["at_peak_main_bytes", "at_peak_children_bytes"]] = pd.NA
    bars = plot_peaks(pipe).axes[0].patches
    assert (bars[0].get_x(), bars[0].get_width()) == (0, 36)


def test_the_bar_is_of_the_run_of_median_peak(analyse, known_run, make_sweep):
    def run(replicate, main, child):
        sweeps = (make_sweep(0, 9, 5), make_sweep(1, 11, main, [child]))
        return known_run(replicate=replicate, sweeps=sweeps)

    folder = analyse(run(1, 10, 90), run(2, 30, 20), run(3, 40, 20))
    axes = plot_peaks(split_experiments(read_tables(folder / "tables"))[0]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [40, 20]
    assert "60 MiB" in [text.get_text() for text in axes.texts]


OVERVIEWS = {"makespan.png", "limits.png", "times.png", "peaks.png", "memory.png"}


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


@pytest.mark.parametrize("plot", [plot_makespan, plot_limits, plot_times, plot_peaks])
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
    for plot in (plot_makespan, plot_limits, plot_times, plot_peaks):
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
