from __future__ import annotations

import pytest

from stagebench.present.experiment import split_experiments
from stagebench.present.memory_figures import panel_columns, plot_memory, plot_peaks
from stagebench.tables import read_tables

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


def test_an_upper_bound_is_drawn_to_and_told(pipe):
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
