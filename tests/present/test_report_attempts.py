from __future__ import annotations

import pytest

from stagebench.present import report_attempts
from stagebench.tables import read_tables


@pytest.fixture
def stages_of(analyse):
    return lambda *runs: read_tables(analyse(*runs) / "tables")["stages"]


@pytest.fixture
def repeated(stages_of, known_run, make_task):
    attempts = (
        make_task(0, "work", (10, 10, None, 11), status="timed_out"),
        make_task(1, "work", (10, 10, None, 11), status="timed_out"),
        make_task(1, "work", (11, 11, None, 12), status="lost", attempt=2),
    )
    return stages_of(known_run(attempts=attempts))


def test_attempts_are_counted_by_what_they_were_repeated_after(repeated):
    assert report_attempts.attempts_text(repeated).startswith(
        "Tasks were tried again after 3 attempts (2 timed out, 1 lost its worker). A task counts"
    )


def test_without_attempts_nothing_is_told(stages_of, known_run):
    stages = stages_of(known_run())
    assert report_attempts.attempts_text(stages) == ""
    assert report_attempts.outcomes_table(stages) == ""


def test_stages_in_which_something_went_wrong_are_listed(repeated):
    lines = report_attempts.outcomes_table(repeated).splitlines()
    cells = [cell.strip() for cell in lines[2][1:-1].split("|")]
    assert len(lines) == 3
    assert cells == ["pipe", "p1-fork", "work", "2", "0", "0", "0", "0", "0", "0", "2", "1"]


def test_tasks_that_timed_out_are_counted_over_all_runs(stages_of, known_run, make_task):
    tasks = (
        make_task(0, "work", (10, 11, 12, 12)),
        make_task(1, "work", (10, 11, None, 12), status="timed_out"),
        make_task(0, "save", (12, 12, 13, 13)),
        make_task(1, "save", (None,) * 4, status="skipped"),
    )
    runs = [known_run(tasks=tasks, status="tasks_failed", replicate=n) for n in (1, 2)]
    table = report_attempts.outcomes_table(stages_of(*runs))
    cells = [[c.strip() for c in line[1:-1].split("|")] for line in table.splitlines()[2:]]
    assert [row[2:8] for row in cells] == [
        ["work", "2", "0", "2", "0", "0"],
        ["save", "2", "0", "0", "0", "2"],
    ]
