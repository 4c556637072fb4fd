from __future__ import annotations

from pathlib import Path

import pytest
from tests.commands import draw_figures, render_report

from stagebench.present.experiment import split_experiments
from stagebench.present.explanations import explain_experiments
from stagebench.tables import read_tables


@pytest.fixture
def forked(known_run):
    def make(**changes):
        stages = (known_run().stages[0],)
        tasks = tuple(task for task in known_run().tasks if task.stage == "work")
        facts = {"stages": stages, "tasks": tasks, "workers": known_run().workers[:1]}
        return known_run(**facts | changes)

    return make


@pytest.fixture
def report(analyse):
    def write(*runs):
        folder = analyse(*runs, reference=None)
        draw_figures(folder / "tables", "pipe", folder / "figures/pipe")
        render_report(folder / "tables", folder / "plan.json", folder / "figures", folder)
        return folder, (folder / "report.md").read_text()

    return write


def test_a_study_of_one_pool_is_explained_and_its_figure_is_there(report, forked):
    folder, text = report(forked())
    for words in (
        "· [why memory looks as it does](#why)",
        "## Why memory looks as it does",
        "#### Why main's PSS falls while workers live: `pipe`",
        "](figures/pipe/main.png)",
    ):
        assert words in text
    assert (folder / "figures/pipe/main.png").is_file()


def test_a_workflow_of_several_stages_is_not_explained(report, known_run):
    folder, text = report(known_run())
    assert "#why" not in text
    assert "Why memory looks" not in text
    assert not (folder / "figures/pipe/main.png").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "crashed", "sweeps": (), "events": {}, "tasks": (), "workers": ()},
        {"sweeps": ()},
        {"status": "timed_out"},
    ],
)
def test_runs_of_which_too_little_is_known_are_not_explained(report, forked, changes):
    assert "Why memory looks" not in report(forked(**changes))[1]


def test_threads_alone_are_explained_without_a_figure_of_forks(report, forked, make_sweep):
    stage = forked().stages[0] | {"executor": "thread", "start_method": None}
    sweeps = (make_sweep(0, 9.5, 20), make_sweep(1, 11, 22.5), make_sweep(2, 16.75, 22.5))
    _, text = report(forked(stages=(stage,), sweeps=sweeps, workers=()))
    assert "1.0 (`p1-fork`) results, one a worker" in text
    assert "main.png" not in text


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"python": "3.11.2", "python_implementation": "CPython"}, True),
        ({"python": "3.11.2", "python_implementation": "PyPy"}, False),
        ({}, False),
    ],
)
def test_copies_are_counted_for_a_known_interpreter_alone(analyse, forked, environment, known):
    processes = forked(run={"environment": environment})
    folder = analyse(processes, reference=None)
    tables = read_tables(folder / "tables")
    # The known runs' census knows no high-water mark.
    tables["roles"]["high_water_bytes"] = 10**9
    experiments = split_experiments(tables)
    explained = explain_experiments(experiments, tables["environment"], Path("figures"))
    text = " ".join(s for one in explained[0].explanations for s in one.sentences)
    assert ("blocks of its size" in text) is known
    assert ("of a result its interpreter makes is not known" in text) is not known
