"""A comparison on a terminal: what differs first, then the answer, all within 80 columns."""

import pytest
from tests.commands import run_command

from stagebench.compare.comparison_text import WIDTH, _cut_apart
from stagebench.compare.forbidden import ForbiddenError
from stagebench.errors import StoreError

STEADY = [0.99, 1.0, 1.01, 0.995, 1.005]
NOISY = [0.7, 1.4, 0.9, 1.2, 1.0]


@pytest.fixture
def texts(write_side, capsys):
    """Return what `compare` prints of two studies."""

    def show(base, other, *options, **environment):
        run_command(
            *("compare", f"old={write_side(base)}"),
            f"new={write_side(other, environment=environment or None)}",
            *options,
        )
        return capsys.readouterr().out

    return show


def test_what_differs_comes_before_the_answer(texts):
    text = texts({"t1": STEADY}, {"t1": STEADY}, host="b", python="3.13.1", cores="2")
    parts = [
        "What differs",
        "3.11.7 → 3.13.1",
        "new against old",
        "pace, makespan",
        "pace: makespan",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_words_and_numbers_of_a_row_agree(texts):
    runs = {"t1": STEADY, "t2": STEADY, "p1": NOISY}
    other = {"t1": [v * 2 for v in STEADY], "t2": [v / 2 for v in STEADY], "p1": NOISY}
    lines = texts(runs, other).splitlines()
    rows = {line.split()[0]: line for line in lines if line[:3] in ("t1 ", "t2 ", "p1 ")}
    assert "2.00 × slower  [" in rows["t1"]
    assert "2.00 × faster  [" in rows["t2"]
    assert " ~ " in rows["p1"]
    low, high = rows["t2"].partition("[")[2].partition("]")[0].split("–")
    assert 1 < float(low) < 2 < float(high)


def test_no_line_is_wider_than_a_terminal(texts):
    long = {"t1" + "-very-long-name" * 9: STEADY, "t1": [*NOISY, {"status": "failed"}]}
    noisy = {"makespan_s": 1.0, "noisy": "x", "swapped_bytes": 1}
    text = texts(long, long | {"t1": [*NOISY, noisy]}, host="h" * 200)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "1 + 0 failed, 1 noisy, swapped" in text


def test_hostile_names_are_shown_in_one_line(texts):
    runs = {"t1\x1b[31m\nslower": STEADY}
    text = texts(runs, runs)
    assert "\x1b" not in text
    assert "�[31m slower" in text


def test_files_are_written_even_if_a_condition_holds(texts, tmp_path):
    page, data = tmp_path / "page.html", tmp_path / "found.json"
    with pytest.raises(ForbiddenError):
        texts(
            {"t1": STEADY},
            {"t1": [v * 2 for v in STEADY]},
            *("--html", page, "--json", data, "--fail-if", "makespan_s slower 10%"),
        )
    assert page.exists()
    assert data.exists()


def test_of_many_treatments_those_that_differ_are_shown(texts):
    runs = {f"t{number}": STEADY for number in range(100)}
    lines = texts(runs, runs | {"t99": [2 * value for value in STEADY]}).splitlines()
    assert len(lines) < 70
    assert any(line.startswith("t99 ") and "slower" in line for line in lines)
    assert "and 61 more (--html and --json have all)" in lines


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("old", "new"), ("old", "new")),
        (("results/study-1", "results/study-2"), ("…ts/study-1", "…ts/study-2")),
        (("before/the/study", "after/the/study"), ("before/the…", "after/the/…")),
        (("x" * 20 + "1" + "y" * 20, "x" * 20 + "2" + "y" * 20), ("base", "other")),
    ],
)
def test_long_names_are_cut_where_they_still_differ(names, expected):
    assert _cut_apart(*names) == expected


def test_a_file_that_cannot_be_written_is_an_error(texts, tmp_path):
    with pytest.raises(StoreError, match=r"--html .*: cannot be written"):
        texts({"t1": STEADY}, {"t1": STEADY}, "--html", tmp_path)


def find_limits(text):
    low, high = text.partition("t1 ")[2].partition("[")[2].partition("]")[0].split("–")
    return float(low), float(high)


def test_the_allowance_for_campaigns_widens_times_and_is_said(texts):
    sizes = [round(1e6 * v) for v in STEADY]
    peaks = [{"tree_peak_bytes": size, "tree_peak_upper_bytes": size} for size in sizes]
    runs = {"t1": [{"makespan_s": v} | peak for v, peak in zip(STEADY, peaks, strict=True)]}
    shares = ("0", "1%", "4%")
    of_time, of_memory = (
        [texts(runs, runs, "--quantity", name, "--campaigns-differ", share) for share in shares]
        for name in ("makespan_s", "tree_peak_bytes")
    )
    widths = [high - low for low, high in map(find_limits, of_time)]
    assert widths == sorted(set(widths))
    assert len(set(map(find_limits, of_memory))) == 1
    assert "is not in the intervals" in " ".join(of_time[0].split())
    assert "allow for 4 % between campaigns" in " ".join(of_time[2].split())


@pytest.mark.parametrize("share", ["-1%", "101%", "much"])
def test_an_allowance_that_is_none_is_one_clear_error(texts, capsys, share):
    with pytest.raises(SystemExit) as ended:
        texts({"t1": STEADY}, {"t1": STEADY}, f"--campaigns-differ={share}")
    assert ended.value.code == 2
    assert "allowed: a percentage from 0 to 100" in capsys.readouterr().err
