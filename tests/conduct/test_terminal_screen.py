"""A study in a terminal: what is seen there, a killed Snakemake, Ctrl-C, a second study."""

import os
import re
import signal

import pytest
from tests.conduct.pseudo_terminal import Picture, PseudoTerminal
from tests.conduct.small_study import count_runs_there, run_study, write_study
from tests.study import ROOT, SNAKEMAKE, STAGEBENCH

from stagebench.sampler.procfs import read_children


def find_snakemake(pid):
    """Return the child that is Snakemake."""
    for child in read_children(pid):
        with open(f"/proc/{child}/cmdline", "rb") as file:
            if b"\0snakemake\0" in file.read():
                return child
    raise AssertionError("no Snakemake is running")


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A study whose Snakemake is killed while it measures, and which is started again."""
    folder = tmp_path_factory.mktemp("resumed")
    write_study(folder, ["never"], replicates=6, workers=(1, 2))
    command = [STAGEBENCH, "run", "study.yaml", "--no-trial"]
    killed = PseudoTerminal(command, folder)
    assert killed.read_until(r"1/12 .*\n.*now +tried/")
    second = run_study(folder)
    assert killed.read_until(r"block [2-6] of 6 .*\n.*now +tried/")
    os.kill(find_snakemake(killed.pid), signal.SIGKILL)
    code = killed.wait()
    locked = list((folder / ".snakemake/locks").iterdir())
    there = count_runs_there(folder)
    again = PseudoTerminal(command, folder)
    return folder, (killed, code, locked, there), second, (again, again.wait())


def test_a_second_study_in_a_folder_is_refused_by_name_of_the_first(resumed):
    _, (killed, *_), second, _ = resumed
    assert second.returncode == 1
    assert f"stagebench run is running here (process {killed.pid})" in second.stderr


def test_a_killed_snakemake_is_named_with_what_is_there(resumed):
    _, (killed, code, locked, there), _, _ = resumed
    assert code == 1
    assert locked
    assert 2 <= there < 12
    text = killed.words
    assert "Snakemake ended: ended by signal SIGKILL" in text
    assert "start it again to go on" in text


def test_a_study_goes_on_after_a_kill_and_says_so(resumed):
    folder, (*_, there), _, (again, code) = resumed
    assert code == 0, again.output
    assert count_runs_there(folder) == 12
    found = re.search(r"resuming: (\d+) of 12 runs", again.words)
    assert found
    assert int(found[1]) >= there
    assert "a lock was removed that a killed" in again.words


def test_the_first_block_is_shown_as_preliminary_and_removed_at_the_end(resumed):
    folder, (killed, *_), _, _ = resumed
    text = killed.words
    assert "small (preliminary, after block 1 of 6): all 2 runs ok" in text
    assert not (folder / "results/small/preliminary").exists()


def test_what_was_drawn_is_gone_at_the_end_and_the_report_is_named_last(resumed):
    *_, (again, _) = resumed
    assert "[###" in again.output
    assert not any("[#" in row or row.startswith("now  ") for row in again.rows)
    rows = [row for row in again.rows if row]
    assert "The report: results/small/report.md" in " ".join(rows[-2:])


def test_the_screen_has_bar_block_time_and_no_word_of_order(resumed):
    *_, (again, _) = resumed
    drawn = again.output.split("\x1b[J")
    assert any(re.search(r"\[#+\.+\]  \d+/12  block \d of 6  about .* left", one) for one in drawn)
    first = re.findall(r"so far .*\r\n.*", again.output)
    assert first
    assert all("median makespans; without intervals, nothing is decided" in one for one in first)
    assert not any(re.search("faster|slower|shortest|least", one) for one in first)


def test_ctrl_c_ends_a_study_orderly_and_says_how_to_go_on(tmp_path):
    write_study(tmp_path, ["never"], replicates=30)
    terminal = PseudoTerminal([STAGEBENCH, "run", "study.yaml", "--no-trial"], tmp_path, columns=40)
    assert terminal.read_until(r"1/30 .*\n(.*\n)?.*now +tried/")
    snakemake = find_snakemake(terminal.pid)
    terminal.type("\x03")
    assert terminal.wait() == 130
    assert "go on: stagebench run study.yaml" in terminal.words
    assert "Traceback" not in terminal.output
    assert "FAILED" not in terminal.output
    assert not os.path.exists(f"/proc/{snakemake}")
    assert not list(tmp_path.glob(".snakemake/locks/*"))


def test_no_drawn_line_is_wider_than_a_terminal_of_40_columns(tmp_path):
    write_study(tmp_path, ["never"], replicates=1, workers=(1, 2))
    command = [
        SNAKEMAKE,
        "--snakefile",
        ROOT / "Snakefile",
        "--cores",
        "1",
        "--logger",
        "stagebench",
    ]
    terminal = PseudoTerminal([*command, "--configfile", "study.yaml"], tmp_path, columns=40)
    assert terminal.wait() == 0, terminal.output
    frames = [
        frame.split("\r\n") for frame in re.split(r"\r?(?:\x1b\[\d+A)?\x1b\[J", terminal.output)
    ]
    drawn = [line for frame in frames for line in frame if frame[0].startswith("small")]
    assert drawn
    assert max(map(len, drawn)) < 40
    assert "The report: results/small/report.md" in terminal.words
    assert "rule measure:" not in terminal.output


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path):
    write_study(tmp_path, ["always"], replicates=1)
    command = [STAGEBENCH, "run", "study.yaml"]
    terminal = PseudoTerminal(command, tmp_path, TERM="dumb")
    assert terminal.wait() == 1
    assert "\x1b[J" not in terminal.output
    assert "the trial of the baseline" in terminal.output


def test_a_picture_forgets_what_is_erased():
    picture = Picture(10)
    picture.write("stays\r\nbar\r\nnow\r\x1b[1A\x1b[Jdone\r\n")
    assert picture.rows == ["stays", "done", ""]
