"""The figure of memory over time: its panels, its curves between bounds, its gaps."""

import numpy as np
import pandas as pd
import pytest

from stagebench.present.memory_charts import arrange_panels, plot_memory

pytestmark = pytest.mark.usefixtures("styled")


def texts(axes):
    return [text.get_text() for text in axes.texts]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.fixture
def course_of(present, known_run, make_sweep):
    """Return the panel of a run with some readings, and its legend."""

    def draw(*reads, drift=0, **more):
        sampler = {"reads": len(reads), "group_drift_bytes": drift}
        early = (make_sweep(0, 0.1, 5),)
        run = known_run(**{"reads": tuple(reads), "sampled": sampler, "sweeps": early} | more)
        figure = plot_memory(present(run))
        return figure.axes[0], legend(figure)

    return draw


def band(axes):
    """Return the corners of the filled areas, from left to right."""
    paths = [path for filled in axes.collections for path in filled.get_paths()]
    return [
        sorted({(round(x, 3), round(y, 3)) for x, y in path.vertices.tolist()}) for path in paths
    ]


def test_the_trees_memory_is_a_band_between_both_its_lines(course_of, make_read):
    axes, handles = course_of(
        make_read(11.0, 20, peak=20), make_read(11.05, 30, peak=40), make_read(11.1, 25, peak=45)
    )
    # The first reading ends a span in which nobody looked. In the others, the lines are steps.
    assert band(axes) == [
        [(1.0, 30), (1.0, 40), (1.05, 25), (1.05, 30), (1.05, 40), (1.05, 45), (1.1, 25), (1.1, 45)]
    ]
    assert "between both bounds" in handles


def gaps(axes):
    """Return the spans that are marked below 0."""
    return [
        tuple(round(float(x), 3) for x in line.get_xdata())
        for line in axes.lines
        if len(line.get_ydata()) == 2 and max(line.get_ydata()) < 0
    ]


def test_where_nobody_looked_there_is_a_mark_and_no_line(course_of, make_read):
    reads = [make_read(11 + n / 20, 20) for n in range(5)]
    reads += [make_read(12 + n / 20, 30) for n in range(5)]
    axes, handles = course_of(*reads)
    # The last one lasts until the last result.
    assert gaps(axes) == [(-10, 1), (1.2, 2), (2.2, 6)]
    lower = axes.lines[0]
    drawn = lower.get_xdata()[~np.isnan(lower.get_ydata())]
    assert not ((drawn > 1.2001) & (drawn < 1.9999)).any()
    assert len(band(axes)) == 2
    assert "below 0: nobody looked" in handles


def test_a_curve_that_is_read_until_the_last_result_has_no_gap_after_it(course_of, make_read):
    axes, handles = course_of(*(make_read(n * 0.3, 20) for n in range(1, 60)))
    assert gaps(axes) == []
    assert "below 0: nobody looked" not in handles
    assert "last result" in handles


def test_without_a_control_group_there_is_a_lower_line_alone(course_of, make_read):
    reads = [make_read(11 + n / 20, 20 + n, is_charged=False) for n in range(3)]
    axes, handles = course_of(*reads, drift=None)
    lower = axes.lines[0].get_ydata()
    assert lower[-4:].tolist() == [21, 21, 22, 22]
    assert band(axes) == []
    assert "at least (polled, without a control group)" in handles
    assert "between both bounds" not in handles


def test_many_readings_keep_their_highest_bounds_and_take_few_points(alone):
    count = 5000
    reached = (20 + np.arange(count) % 7) * 2**20
    times = np.arange(count) * 1e-3
    rows = {"began_s": times, "time_s": times + 1e-3, "tree_reached_bytes": reached}
    rows |= {"tree_upper_bytes": reached + 5 * 2**20, "tree_lower_bytes": reached, "reading": 0}
    place = {"experiment": "alone", "treatment": "t1", "replicate": 1}
    memory = pd.DataFrame(place | rows)
    axes = plot_memory(type(alone)(name="alone", tables={**alone.tables, "memory": memory})).axes[0]
    lower = axes.lines[0].get_ydata()
    assert len(lower) < count / 2
    assert np.nanmax(lower) == 26
    filled = np.concatenate([path.vertices for c in axes.collections for path in c.get_paths()])
    assert filled[:, 1].max() == 31


def test_the_peak_of_the_run_that_is_drawn_stands_in_its_panel_as_a_bracket(pipe):
    runs = pipe.tables["runs"].copy()
    runs["tree_peak_upper_bytes"] = (runs["tree_peak_bytes"] + 4 * 2**20).astype("Int64")
    bounded = type(pipe)(name=pipe.name, tables={**pipe.tables, "runs": runs})
    found = [text for axes in plot_memory(bounded).axes for text in texts(axes)]
    assert any("36.0 – 40.0 MiB" in text for text in found)


def test_no_curve_leaves_its_panel(pipe):
    for axes in plot_memory(pipe).axes:
        low, high = axes.get_ylim()
        drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
        assert ((drawn >= low) & (drawn <= high))[~np.isnan(drawn)].all()


def test_a_treatment_without_an_ok_run_says_so(pipe):
    found = [text for axes in plot_memory(pipe).axes for text in texts(axes)]
    assert any(text.endswith("no ok run (timed_out × 1)") for text in found)


def test_a_run_that_nobody_read_says_so(present, known_run):
    assert texts(plot_memory(present(known_run(sweeps=()))).axes[0]) == ["no reading"]


def test_walks_are_dots_and_torn_ones_are_not_drawn(alone):
    sweeps = alone.tables["sweeps"].copy()
    sweeps["torn"] = sweeps["torn"].fillna(0)
    sweeps.loc[sweeps.index[-1], "torn"] = 1
    torn = type(alone)(name=alone.name, tables={**alone.tables, "sweeps": sweeps})
    counts = []
    for experiment in (alone, torn):
        dots = [line for line in plot_memory(experiment).axes[0].lines if line.get_marker() == "."]
        assert {line.get_linewidth() for line in dots} == {0}
        counts.append({len(line.get_xdata()) for line in dots})
    assert counts == [{2}, {1}]


@pytest.fixture
def grid(present, known_run):
    """Two factors of three and two levels; the second takes twelve times as long on one level."""

    def make(slow=1.0):
        return present(
            *(
                known_run(
                    treatment=f"w{workers}-{logic}",
                    baseline=workers == 1 and logic == "a",
                    start=200 * (3 * place + workers),
                    factors={"workers": workers, "logic": logic},
                ).stretched(slow if logic == "b" else 1.0)
                for place, logic in enumerate("ab")
                for workers in (1, 2, 5)
            )
        )

    return make


def test_every_treatment_has_one_place_and_levels_of_one_factor_share_a_panel(grid):
    experiment = grid()
    layout = arrange_panels(experiment, experiment.treatments)
    assert set(layout.places) == set(experiment.treatments)
    assert len(set(layout.places.values())) == 6
    assert set(layout.curves) in ({"1", "2", "5"}, {"a", "b"})


def test_curves_of_makespans_that_differ_by_ten_share_no_panel(grid):
    experiment = grid(slow=12.0)
    layout = arrange_panels(experiment, experiment.treatments)
    assert (layout.factor, set(layout.curves)) == ("workers", {"1", "2", "5"})
    ends = sorted({round(axes.get_xlim()[1]) for axes in plot_memory(experiment).axes})
    assert ends[-1] > 5 * ends[0]


def test_panels_of_a_row_share_their_height_and_rows_of_other_sizes_do_not(
    present, known_run, make_sweep
):
    sizes = {("a", 1): 100, ("a", 2): 20, ("b", 1): 5, ("b", 2): 4, ("b", 3): 5}
    experiment = present(
        *(
            known_run(
                treatment=f"{logic}-{n}-{kind}",
                baseline=(logic, n, kind) == ("a", 1, "x"),
                factors={"logic": logic, "n": n, "kind": kind},
                start=100 * place,
                sweeps=(make_sweep(0, 9.5, size), make_sweep(1, 12, size)),
            ).stretched(12 if logic == "b" else 1)
            for place, ((logic, n), size) in enumerate(sizes.items())
            for kind in "xy"
        )
    )
    tops = {}
    for axes in plot_memory(experiment).axes:
        logic = axes.get_title(loc="left").split(",")[0]
        tops.setdefault(logic, set()).add(round(axes.get_ylim()[1], 3))
    assert {logic: len(found) for logic, found in tops.items()} == {"a": 1, "b": 1}
    assert tops["a"].pop() > 2.5 * tops["b"].pop()


def test_treatments_without_factors_have_curves_or_panels_of_their_own(present, known_run):
    names = [f"t{n}" for n in range(7)]
    runs = [
        known_run(treatment=name, baseline=name == "t0", factors={}, start=20 * n)
        for n, name in enumerate(names)
    ]
    few, many = present(*runs[:3]), present(*runs)
    assert len(plot_memory(few).axes) == 1
    figure = plot_memory(many)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"treatment {n}" for n in names
    ] or len(figure.axes) == 7
