from __future__ import annotations

import pytest

from stagebench.analyse.outcomes import count_outcomes, count_repeated, count_tasks


def test_a_task_counts_by_its_worst_stage_and_unheard_tasks_are_missing(
    trace, known_run, make_task
):
    tasks = (
        make_task(0, "work", (10, 11, 12, 13)),
        make_task(0, "save", (13, 13, 14, 14)),
        make_task(1, "work", (10, 12, 13, 14), status="failed", error="E"),
        make_task(1, "save", (None,) * 4, status="skipped"),
        make_task(2, "work", (10, 13, None, 14), status="lost"),
        make_task(2, "save", (None,) * 4, status="skipped"),
        make_task(3, "work", (10, None, None, None), status="cancelled"),
        make_task(4, "work", (10, 11, None, 14), status="timed_out"),
    )
    counts = count_tasks(trace(known_run(tasks=tasks, tasks_planned=7, status="worker_lost")))
    assert counts == {
        "tasks": 7,
        "tasks_ok": 1,
        "tasks_failed": 1,
        "tasks_timed_out": 1,
        "tasks_lost": 1,
        "tasks_cancelled": 1,
        "tasks_skipped": 0,
        "tasks_missing": 2,
    }


def test_a_list_of_tasks_counts_its_entries(trace, known_run):
    run = known_run(tasks_planned=[{}, {"work": {"size_mib": 1.0}}])
    assert count_tasks(trace(run))["tasks"] == 2


@pytest.fixture
def repeated(trace, known_run, make_task):
    """A run whose task 0 took three attempts in one stage, and whose queue overflowed once."""
    attempts = (
        make_task(0, "work", (10, 10, None, 10.5), status="timed_out"),
        make_task(0, "work", (10.5, 10.5, 10.75, 11), status="failed", attempt=2),
    )
    return trace(known_run(attempts=attempts, overflows=("save",)))


def test_a_task_counts_once_however_many_attempts_it_took(repeated):
    counts = count_tasks(repeated)
    assert (counts["tasks_ok"], counts["tasks_timed_out"], counts["tasks_failed"]) == (2, 0, 0)
    assert count_outcomes(repeated, "work")["tasks_ok"] == 2


def test_repeated_attempts_are_counted_by_how_they_ended(repeated):
    work, save = (count_outcomes(repeated, stage) for stage in ("work", "save"))
    ended = ("repeated_failed", "repeated_timed_out", "repeated_lost", "attempts_repeated")
    assert [work[name] for name in ended] == [1, 1, 0, 2]
    assert [save[name] for name in ended] == [0, 0, 0, 0]


def test_overflows_are_of_the_stage_whose_queue_it_was(repeated):
    stages = [count_outcomes(repeated, stage)["queue_overflows"] for stage in ("work", "save")]
    assert stages == [0, 1]


def test_a_run_counts_repeated_attempts_and_overflows_of_all_stages(repeated, trace):
    assert count_repeated(repeated) == {"attempts_repeated": 2, "queue_overflows": 1}
    assert count_repeated(trace()) == {"attempts_repeated": 0, "queue_overflows": 0}


def test_a_file_of_tasks_counts_as_many_as_it_was_said_to_have(trace, known_run):
    named = {"file": "tasks.csv", "sha256": "0", "number": 7, "columns": {}}
    assert count_tasks(trace(known_run(tasks_planned=named)))["tasks"] == 7
