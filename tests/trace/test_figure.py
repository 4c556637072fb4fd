import math

import pytest

from stagebench.present.style import figure_style
from stagebench.trace.curves import Curves, ProcessCourse
from stagebench.trace.figure import choose_columns, draw_trace, plot_trace

MIB = 1 << 20
TIMELINE = Curves(
    time_s=[0.1, 0.2, 0.3],
    pss_bytes={
        "main": [10 * MIB, 12 * MIB, 9 * MIB],
        "children": [0, 30 * MIB, 0],
        "tree": [10 * MIB, 42 * MIB, 9 * MIB],
    },
    changed_s=[0, 0.15, 0.25],
    alive=[1, 2, 1],
)
PEAK = {"lower_bytes": 42 * MIB, "lower_s": 0.2, "upper_bytes": 47 * MIB}
EMPTY = Curves([], {"main": [], "children": [], "tree": []}, [], [])


def summary(peak=PEAK, status="complete", means="ptrace", command=("work",), cpu=None, pid=None):
    return {
        "command": list(command),
        "pid": pid,
        "status": status,
        "duration_s": 0.4,
        "peak": {"tree": peak},
        "processes": {"means": means},
        "cpu": cpu,
    }


def words_of(figure):
    figure.canvas.draw()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    titles = [axes.get_title("right") for axes in figure.axes]
    return " | ".join([*(text.get_text() for text in figure.texts), *titles, *legend])


def test_the_bracket_is_a_point_and_a_line_over_the_curves():
    with figure_style():
        figure = plot_trace(summary(), TIMELINE)
        words = words_of(figure)
    memory, processes = figure.axes
    curves = [list(line.get_ydata()) for line in memory.get_lines()]
    assert [10, 42, 9] in curves
    assert [0, 30, 0] in curves
    assert [47, 47] in curves
    (point,) = [line for line in memory.get_lines() if list(line.get_xdata()) == [0.2]]
    assert list(point.get_ydata()) == [42]
    assert memory.get_ylim()[1] > 47
    (steps,) = processes.get_lines()
    assert list(steps.get_ydata()) == [1, 2, 1, 1]
    assert "between 42.0 and 47.0 MiB, at 0.20 s" in words
    assert "upper bound (47.0 MiB)" in words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"means": "poll"}, "polled: short-lived processes may be missed"),
        ({"status": "cut"}, "CUT OFF"),
        ({"status": "truncated"}, "NOT WHOLE"),
        ({"peak": PEAK | {"upper_bytes": None}}, "upper bound not known"),
    ],
)
def test_the_figure_says_what_is_missing(values, words):
    with figure_style():
        assert words in words_of(plot_trace(summary(**values), TIMELINE))


def test_every_text_fits_into_the_figure():
    long = ("command" * 40, "$x^2$ _{y}")
    with figure_style():
        figure = plot_trace(summary(status="truncated", means="poll", command=long), TIMELINE)
        figure.canvas.draw()
        for text in figure.texts:
            box = text.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= figure.bbox.width, text.get_text()


def test_a_trace_without_a_sweep_is_drawn_all_the_same(tmp_path):
    peak = {"lower_bytes": None, "lower_s": None, "upper_bytes": None}
    draw_trace(summary(peak=peak), EMPTY, tmp_path / "trace.png")
    assert (tmp_path / "trace.png").read_bytes()[:4] == b"\x89PNG"


def course(pid, *sizes, cpu_s=1.5, is_whole=True):
    name = pid and {"pid": pid, "role": "worker", "command": "work\n$x$ \x1b[31m " + "w" * 300}
    sizes = [size * MIB for size in sizes]
    cpu = {"cpu_s": cpu_s, "is_whole": is_whole}
    return ProcessCourse(name, 1 if pid else 12, max(filter(math.isfinite, sizes)), cpu, sizes)


def areas_of(figure):
    """Return the areas of the panel of processes: of each the pieces, as their corners."""
    figure.canvas.draw()
    return [
        [{(round(x, 3), round(y, 3)) for x, y in path.vertices} for path in area.get_paths()]
        for area in figure.axes[1].collections
    ]


def timeline_of(*courses, gaps=frozenset()):
    count = len(courses[0].pss_bytes)
    times = [0.1 * (place + 1) for place in range(count)]
    tree = [
        sum(size for each in courses if math.isfinite(size := each.pss_bytes[place]))
        for place in range(count)
    ]
    pss = {"main": [0] * count, "children": tree, "tree": tree}
    return Curves(times, pss, [0], [2], courses, gaps)


def test_processes_are_stacked_the_largest_first_where_sweeps_saw_them():
    curves = timeline_of(course(71, 30, 40, math.nan, 20), course(72, math.nan, 5, 6, 7))
    with figure_style():
        large, small = areas_of(plot_trace(summary(), curves))
    assert [max(x for x, _ in piece) for piece in large] == [0.2, 0.4]
    assert {(0.1, 30), (0.2, 40)} <= large[0]
    (piece,) = small
    assert {(0.2, 40), (0.2, 45), (0.3, 0), (0.3, 6), (0.4, 27)} <= piece


def test_a_gap_is_not_bridged():
    curves = timeline_of(course(71, 3, 3, 3, 3), course(72, 1, 1, 1, 1), gaps={2})
    with figure_style():
        figure = plot_trace(summary(), curves)
        for pieces in areas_of(figure):
            assert [{x for x, _ in piece} for piece in pieces] == [{0.1, 0.2}, {0.3, 0.4}]


def test_every_process_of_the_figure_is_listed_with_its_cpu_time():
    courses = [course(pid, 30, 40) for pid in range(4_194_290, 4_194_297)]
    courses += [course(None, 2, 3, cpu_s=12.5, is_whole=False)]
    cpu = {"tree": {"cpu_s": 20.0, "is_whole": False}, "roles": {}}
    with figure_style():
        figure = plot_trace(summary(cpu=cpu), timeline_of(*courses))
        words = words_of(figure)
        boxes = [text.get_window_extent() for text in figure.texts]
    assert "CPU time: at least 20 s" in words
    assert "4194290 worker     40.0 MiB     1.5 s            work $x$ " in words
    assert "12 others          3.0 MiB      at least 12.5 s" in words
    assert all(0 <= box.x0 < box.x1 <= figure.bbox.width and box.y0 >= 0 for box in boxes)


def test_a_long_trace_is_drawn_by_its_highest_sweeps_and_its_gaps():
    sizes = [1.0] * 5000
    sizes[1234] = 9.0
    curves = timeline_of(course(71, *sizes), course(72, *sizes), gaps={777})
    places = choose_columns(curves, 100)
    assert len(places) < 110
    assert 1234 in places
    assert None in places
    assert choose_columns(curves, 10_000) == [*range(777), None, *range(777, 5000)]
