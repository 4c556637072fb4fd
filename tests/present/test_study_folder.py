"""`stagebench show results/<study>`: the first screen, or what is missing."""

import shutil

import pytest
from tests.commands import run_command

from stagebench.errors import OptionError, StoreError
from stagebench.present.answer import MOST_LINES
from stagebench.present.study_folder import is_study, show_study


@pytest.fixture
def folder(analyse, known_run):
    return analyse(known_run(), known_run(treatment="p2", baseline=False, start=20))


def test_a_study_is_shown_in_one_screen(folder, capsys):
    run_command("show", folder)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("known: all 2 runs ok")
    assert len(lines) <= MOST_LINES
    assert lines[-1].startswith("no report yet; ")


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_the_report_is_named(folder, name):
    (folder / name).touch()
    assert show_study(folder).splitlines()[-1] == f"More: {folder / name}"


def test_an_unfinished_study_says_how_many_runs_are_measured(folder):
    shutil.rmtree(folder / "tables")
    shutil.rmtree(folder / "raw/pipe/p2")
    with pytest.raises(StoreError, match=r"not finished, 1 of 2 runs are measured; start the"):
        show_study(folder)


def test_a_study_that_is_not_analysed_names_the_step(folder):
    shutil.rmtree(folder / "tables")
    with pytest.raises(StoreError, match=r"no tables \(rule analyse\)"):
        show_study(folder)


@pytest.mark.parametrize("text", [None, "{}", "[1]", "no JSON"])
def test_a_missing_or_foreign_plan_is_an_error(folder, text):
    plan = folder / "plan.json"
    plan.unlink()
    if text is not None:
        plan.write_text(text)
    with pytest.raises(StoreError, match=r"plan\.json: "):
        show_study(folder)


def test_a_table_of_another_version_is_an_error(folder):
    (folder / "tables/advice.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        StoreError, match=r"advice\.csv: its columns are .*: without exp.*, … and with a, b;"
    ):
        show_study(folder)


def test_a_study_has_no_single_figure(folder, tmp_path):
    with pytest.raises(OptionError, match="only for a run or a trace"):
        show_study(folder, tmp_path / "figure.png")


def test_a_run_is_not_a_study(folder):
    assert is_study(folder)
    assert not is_study(folder / "raw/pipe/p2/r1")
    assert not is_study(folder / "nothing")
