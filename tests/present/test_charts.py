"""Which figures an experiment has, what makespan and trade-off show, and that all fit."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from tests.commands import draw_figures
from tests.known_runs import KnownRun
from tests.known_studies import write_analysed

from stagebench.errors import StoreError
from stagebench.present.charts import (
    MOST_FIGURES,
    MOST_ROWS,
    OVERVIEWS,
    AddedFigure,
    choose_figures,
    find_looks,
    plot_makespan,
    plot_tradeoff,
)
from stagebench.present.experiment import split_experiments
from stagebench.present.gantt import plot_tasks
from stagebench.present.limit_charts import plot_limits, plot_times
from stagebench.present.memory_charts import plot_memory
from stagebench.present.style import WIDTH
from stagebench.tables.io import read_tables

pytestmark = pytest.mark.usefixtures("styled")

LONG = "p2-forkserver-blas_threads-4-malloc_mmap_threshold-65536-{}"


@pytest.fixture(scope="module")
def drawn(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "pipe"
    draw_figures(study / "tables", "pipe", folder)
    return folder


def test_an_experiment_has_six_figures_each_as_svg_and_png(drawn):
    names = {f"{name}.{suffix}" for name in OVERVIEWS for suffix in ("png", "svg")}
    assert {path.name for path in drawn.iterdir()} == names
    assert len(OVERVIEWS) == MOST_FIGURES == 6


def test_a_report_can_show_the_first_three():
    assert list(OVERVIEWS)[:3] == ["makespan", "limits", "memory"]


def test_figures_of_others_take_the_place_of_the_last_ones(pipe):
    added = [
        AddedFigure("main", lambda _: True, plot_makespan),
        AddedFigure("absent", lambda _: False, plot_makespan),
    ]
    assert list(choose_figures(pipe, added)) == [*list(OVERVIEWS)[:5], "main"]


def test_every_figure_shows_something(drawn):
    for path in drawn.glob("*.png"):
        pixels = imread(path)[:, :, :3]
        assert np.ptp(pixels) > 0.5, path.name


def test_the_same_tables_give_the_same_bytes_in_place_of_what_was_there(drawn, study, tmp_path):
    (tmp_path / "tasks-gone.png").write_bytes(b"")
    draw_figures(study / "tables", "pipe", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in drawn.iterdir()}
    for path in drawn.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_an_svg_file_names_no_date_and_nothing_outside_it(drawn):
    for path in drawn.glob("*.svg"):
        text = path.read_text()
        assert "<dc:date>" not in text
        assert "href" not in text.replace('xlink:href="#', "").replace("xmlns:xlink", "")


def test_an_unknown_experiment_is_an_error_that_names_those_there_are(study, tmp_path):
    with pytest.raises(StoreError, match=r"no experiment 'pip'; there are \['pipe', 'alone'\]"):
        draw_figures(study / "tables", "pip", tmp_path)


def points(axes):
    offsets = [tuple(map(float, xy)) for dots in axes.collections for xy in dots.get_offsets()]
    return sorted((round(y), round(x, 6)) for x, y in offsets)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_every_ok_run_is_a_point_in_its_treatments_row(pipe):
    axes = plot_makespan(pipe).axes[0]
    assert labels(axes) == ["p2-fork", "p1-fork", "p5-fork"]
    assert points(axes) == [(0, 6), (0, 6), (0, 6), (1, 12), (1, 12.6), (1, 13.2)]


def test_rows_are_in_the_order_of_medians_and_those_without_a_run_come_last(pipe):
    found = texts(plot_makespan(pipe).axes[0])
    assert found[:2] == ["against p1-fork", "median"]
    assert [found[2], found[4], found[-1]] == ["6.00 s", "12.6 s", "no ok run (timed_out × 1)"]


def test_an_effect_has_its_interval_and_the_baseline_is_named(pipe):
    found = texts(plot_makespan(pipe).axes[0])
    assert any(text.endswith("× faster") and "[" in text for text in found)
    assert "baseline" in found


def test_what_no_interval_decides_has_no_word_of_order(present, known_run):
    runs = [known_run(replicate=n + 1, start=40 * n).stretched(1 + n / 3) for n in range(3)]
    others = [
        known_run(treatment="t2", baseline=False, replicate=n + 1, start=400 + 40 * n).stretched(
            1.7 - n / 3
        )
        for n in range(3)
    ]
    found = texts(plot_makespan(present(*runs, *others)).axes[0])
    assert "no difference found" in found
    assert not [text for text in found if "faster" in text or "slower" in text]


def test_noisy_runs_are_hollow_and_the_legend_says_so(pipe):
    runs = pipe.tables["runs"].copy()
    runs.loc[runs.index[0], "noisy"] = "steal"
    noisy = type(pipe)(name=pipe.name, tables={**pipe.tables, "runs": runs})
    figure = plot_makespan(noisy)
    hollow = [
        len(d.get_offsets()) for d in figure.axes[0].collections if not len(d.get_facecolor())
    ]
    assert hollow == [1]
    assert "noisy run" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_an_axis_of_similar_makespans_starts_at_0(pipe):
    axes = plot_makespan(pipe).axes[0]
    assert (axes.get_xscale(), axes.get_xlim()[0]) == ("linear", 0)
    assert axes.get_xlim()[1] > 13.2


def test_an_axis_is_logarithmic_where_makespans_differ_by_ten(present, known_run):
    fast = known_run(treatment="t2", baseline=False, start=60)
    axes = plot_makespan(present(known_run().stretched(12), fast)).axes[0]
    assert axes.get_xscale() == "log"
    low, high = axes.get_xlim()
    assert low < 6
    assert high > 72


def test_levels_of_the_factor_with_the_largest_effect_differ_in_colour_and_shape(pipe):
    looks = find_looks(pipe)
    assert looks.factor == "treatment" or looks.levels
    shown = {looks.of(treatment) for treatment in pipe.treatments}
    assert len(shown) == len(set(looks.levels.values()))
    assert len({colour for colour, _ in shown}) == len({shape for _, shape in shown}) == len(shown)


@pytest.fixture(scope="module")
def crowds(tmp_path_factory):
    """Experiments of 1, 12 and 40 treatments with long names."""

    def make(count):
        runs = [
            KnownRun(treatment=LONG.format(n), baseline=n == 0, start=100 * n).stretched(1 + n / 50)
            for n in range(count)
        ]
        folder = write_analysed(tmp_path_factory.mktemp("crowd") / "study", runs, reference=None)
        return split_experiments(read_tables(folder / "tables"))[0]

    return {count: make(count) for count in (1, 12, 40)}


def is_in_view(axis, tick):
    low, high = sorted(axis.get_view_interval())
    return low <= tick.get_loc() <= high


@pytest.mark.parametrize("name", OVERVIEWS)
@pytest.mark.parametrize("treatments", [1, 40])
def test_no_text_leaves_the_figure_whatever_the_number_and_length_of_names(
    crowds, name, treatments
):
    figure = OVERVIEWS[name](crowds[treatments])
    figure.draw_without_rendering()
    assert figure.get_figwidth() == WIDTH
    assert figure.get_figheight() < 13
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    for axes in figure.axes:
        boxes += [text.get_window_extent() for text in axes.texts]
        boxes += [
            tick.label1.get_window_extent()
            for axis in (axes.xaxis, axes.yaxis)
            for tick in axis.get_major_ticks()
            if tick.label1.get_visible() and tick.label1.get_text() and is_in_view(axis, tick)
        ]
    width, height = figure.bbox.size
    outside = [
        box
        for box in boxes
        if box.width
        and not (box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1)
    ]
    assert outside == []


def test_of_many_treatments_the_ends_and_the_baseline_stay_and_the_others_are_counted(
    crowds,
):
    figure = plot_makespan(crowds[40])
    assert len(labels(figure.axes[0])) == MOST_ROWS
    assert "8 more treatments not drawn" in [text.get_text() for text in figure.texts]
    assert "baseline" in texts(figure.axes[0])


@pytest.mark.parametrize("name", OVERVIEWS)
def test_an_experiment_in_which_nothing_succeeded_says_so(present, known_run, name):
    experiment = present(
        known_run(status="crashed"), known_run(treatment="t2", baseline=False, status="crashed")
    )
    figure = OVERVIEWS[name](experiment)
    figure.draw_without_rendering()
    found = [text for axes in figure.axes for text in texts(axes)]
    assert any(
        part in text
        for text in found
        for part in ("no ok run (crashed × 1)", "no treatment has both a makespan and a peak")
    )


@pytest.mark.parametrize("plot", [plot_makespan, plot_limits, plot_memory, plot_tasks, plot_times])
def test_hostile_names_are_drawn_as_they_are(pipe, plot):
    levels = ["$\\frac{1}{0$", "<b>&amp;{{7*7}}", "a\x1b[31m\nb"]
    runs = pipe.tables["runs"].copy()
    names = dict(zip(pipe.treatments, levels, strict=True))
    runs["factors"] = [f'{{"which": {_quote(names[one])}}}' for one in runs["treatment"]]
    hostile = type(pipe)(name="$pipe_{x", tables={**pipe.tables, "runs": runs})
    figure = plot(hostile)
    figure.draw_without_rendering()
    assert figure.axes


def _quote(text):
    return json.dumps(text)


def places(axes):
    return {
        (round(float(line.get_xdata()[0]), 3), round(float(line.get_ydata()[0]), 3))
        for line in axes.lines
        if line.get_marker() not in ("", "None")
    }


def test_a_treatment_is_where_its_makespan_and_its_peak_are(pipe):
    axes = plot_tradeoff(pipe).axes[0]
    assert places(axes) == {(6, 36), (12.6, 36)}
    assert any("p5-fork" in text for text in texts(axes))  # has neither


def test_a_peak_reaches_from_its_lower_to_its_upper_bound(pipe):
    tables = dict(pipe.tables)
    rows = tables["treatments"].copy()
    upper = rows["quantity"] == "tree_peak_upper_bytes"
    rows.loc[upper, ["median", "min", "max"]] = 40.0 * 2**20
    axes = plot_tradeoff(type(pipe)(name="pipe", tables={**tables, "treatments": rows})).axes[0]
    bars = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 2]
    assert [36, 40] in [[float(y) for y in bar] for bar in bars]
    assert axes.get_ylim()[1] > 40


def test_names_beside_points_do_not_overlap(crowds):
    figure = plot_tradeoff(crowds[12])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert boxes
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_without_a_peak_there_is_no_point_and_a_note(present, known_run):
    axes = plot_tradeoff(present(known_run(sweeps=()))).axes[0]
    assert texts(axes) == ["no treatment has both a makespan and a peak"]
    assert math.isfinite(axes.get_xlim()[1])


def test_figures_know_no_value_that_the_tables_do_not_have(alone):
    runs = alone.tables["runs"]
    values = {round(float(x), 6) for x in runs.loc[runs["status"] == "ok", "makespan_s"]}
    assert {x for _, x in points(plot_makespan(alone).axes[0])} == values
    assert pd.notna(list(values)).all()
