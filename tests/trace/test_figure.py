import pytest

from stagebench.present.style import figure_style
from stagebench.trace.figure import draw_trace, plot_trace
from stagebench.trace.summary import Timeline

MIB = 1 << 20
TIMELINE = Timeline(
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
EMPTY = Timeline([], {"main": [], "children": [], "tree": []}, [], [])


def summary(peak=PEAK, status="complete", means="ptrace", command=("work",)):
    return {
        "command": list(command),
        "status": status,
        "duration_s": 0.4,
        "peak": {"tree": peak},
        "processes": {"means": means},
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
