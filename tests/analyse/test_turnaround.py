from __future__ import annotations

from dataclasses import replace

import pytest

from stagebench.analyse.turnaround import summarise_turnaround, turnarounds


def test_a_turnaround_is_from_the_arrival_to_the_last_receipt(trace):
    assert turnarounds(trace()) == {0: 4, 1: 6}


def test_back_pressure_cannot_hide_waiting(trace, known_run, make_task):
    # Both tasks arrived at 10 s; the second one was let in when the first had been served.
    tasks = (
        make_task(0, "work", (10, 10, 12, 12)),
        make_task(1, "work", (12, 12, 14, 14), due=10),
        make_task(0, "save", (12, 12, 13, 13)),
        make_task(1, "save", (14, 14, 15, 15)),
    )
    found = trace(known_run(tasks=tasks))
    assert turnarounds(found) == {0: 3, 1: 5}
    times = summarise_turnaround(found)
    assert times["turnaround_mean_s"] == 4
    assert times["turnaround_p95_s"] == pytest.approx(4.9)
    assert times["blocked_s"] == 2


def test_earlier_attempts_are_a_part_of_it(trace, known_run, make_task):
    run = known_run()
    first = make_task(0, "work", (9, 9, None, 10), status="lost", due=8)
    last = replace(run.tasks[0], attempt=2)
    found = trace(replace(run, attempts=(first,), tasks=(last, *run.tasks[1:])))
    assert turnarounds(found) == {0: 6, 1: 6}
    assert summarise_turnaround(found)["blocked_s"] == 1


def test_a_task_that_a_stage_did_not_serve_has_none(trace, known_run, make_task):
    run = known_run()
    skipped = make_task(1, "save", (None,) * 4, status="skipped")
    found = trace(replace(run, tasks=(*run.tasks[:3], skipped), status="tasks_failed"))
    assert turnarounds(found) == {0: 4}


def test_an_unknown_arrival_leaves_it_unknown(trace, known_run):
    run = known_run()
    unknown = replace(run.tasks[0], due_ns=None)
    assert turnarounds(trace(replace(run, tasks=(unknown, *run.tasks[1:])))) == {1: 6}


def test_where_nothing_was_heard_of_any_task_it_is_missing(trace, known_run):
    times = summarise_turnaround(trace(known_run(tasks=(), status="crashed")))
    assert times == {"blocked_s": None}
