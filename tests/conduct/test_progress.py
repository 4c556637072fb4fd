"""How far a study is, in words, from a real plan and real runs."""

import os
from pathlib import Path

import pytest
from tests.conftest import SPECIFICATION
from tests.study import ROOT

from stagebench.conduct.display import Display
from stagebench.conduct.finished import (
    LONGEST_CAUSE,
    Finished,
    Outcome,
    cut,
    describe_failures,
    read_finished,
)
from stagebench.conduct.progress import Progress, format_about
from stagebench.design.config import load_study
from stagebench.design.plan import make_plan, name_runs

PLAN = make_plan(load_study(ROOT / "config/smoke.yaml", None))


def begin(folder):
    return Progress(PLAN, folder, ROOT / "config")


@pytest.mark.parametrize("width", [20, 39, 79, 200])
def test_no_line_is_wider_than_the_screen(tmp_path, width):
    progress = begin(tmp_path)
    for name in name_runs(PLAN):
        progress.start_run(name, 0.0)
        assert max(map(len, progress.format_screen(5.0, width))) <= width


def test_a_study_without_runs_has_no_time_left_that_could_be_known(tmp_path):
    progress = begin(tmp_path)
    name = next(iter(name_runs(PLAN)))
    progress.start_run(name, 0.0)
    text = " ".join(progress.format_screen(2.0, 79))
    assert "left" not in text
    assert "so far" not in text
    assert f"0/{len(PLAN['runs'])}  block 1 of 2" in text
    assert f"now {name}, 2.0 s" in " ".join(text.split())
    assert progress.format_line(2.0) == "0 of 18 runs, block 1 of 2, failed 0, noisy 0"


def test_a_run_that_cannot_be_read_counts_as_not_there(tmp_path):
    progress = begin(tmp_path)
    name = next(iter(name_runs(PLAN)))
    (tmp_path / "raw" / name).mkdir(parents=True)
    (tmp_path / "raw" / name / "run.json").write_text('{"schema_version": 6')
    assert progress.finish_run(name, 1.0) is None
    assert progress.outcome.finished == {}


def test_a_run_of_another_specification_is_not_there(specify, measure):
    specification = specify()
    folder = measure(specification)
    found = read_finished(folder, specification, Path())
    assert found is not None
    assert (found.status, found.cause) == ("ok", "")
    assert 0 < found.makespan_s < found.took_s
    assert read_finished(folder, SPECIFICATION | {"tasks": 3}, Path()) is None


def test_a_failed_run_has_the_beginning_of_its_error_and_no_makespan(specify, measure):
    specification = specify(stage={"handler": "no_such", "source": "0"})
    found = read_finished(measure(specification), specification, Path())
    assert found is not None
    assert found.status == "crashed"
    assert "no_such" in found.cause
    assert found.makespan_s is None


def test_failures_are_counted_and_the_first_is_named():
    ok, bad = (
        Finished("ok", "", 1.0, 2.0, ""),
        Finished("timed_out", "after 1 s", None, 2.0, "others used 9 %"),
    )
    assert describe_failures(Outcome(3, {"x/a/r1": ok})) == ""
    assert (
        describe_failures(Outcome(3, {"x/a/r1": ok, "x/b/r1": bad, "x/c/r1": bad}))
        == "2 of 3 runs failed; the first: x/b/r1: timed out: after 1 s"
    )


def test_an_error_is_cut_to_one_line_that_fits():
    assert cut("a\nb\t c") == "a b c"
    assert len(cut("x" * 50_000_000)) == LONGEST_CAUSE


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "5 s"),
        (58, "60 s"),
        (90, "2 min"),
        (3600, "60 min"),
        (11000, "3 h"),
        (9000, "2 h 30 min"),
    ],
)
def test_a_time_left_is_no_more_exact_than_it_is_known(duration_s, text):
    assert format_about(duration_s) == text


def test_a_display_without_a_terminal_writes_what_stays_and_draws_nothing():
    read, write = os.pipe()
    display = Display(write)
    display.draw(["drawn"])
    display.say("stays \x1b[31m\ud800")
    display.clear()
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as file:
        assert file.read() == "stays \\x1b[31m\\ud800\n"


def test_a_display_whose_reader_has_gone_is_silent():
    read, write = os.pipe()
    os.close(read)
    Display(write).say("nobody reads this")
    os.close(write)
