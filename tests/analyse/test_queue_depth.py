from __future__ import annotations

import pytest

from stagebench.analyse.queue_depth import deepest_queue, trace_queues


def test_queue_depth_follows_submissions_starts_and_ends(trace):
    rows = [row for row in trace_queues(trace()) if row["stage"] == "work"]
    assert [(row["time_s"], row["waiting"], row["in_service"]) for row in rows] == [
        (0, 2, 0),
        (1, 1, 1),
        (3, 0, 1),
        (4, 0, 0),
    ]


def test_a_task_that_starts_at_once_never_waits(trace):
    rows = [row for row in trace_queues(trace()) if row["stage"] == "save"]
    assert [row["waiting"] for row in rows] == [0, 0, 0, 0]
    assert [row["in_service"] for row in rows] == [1, 0, 1, 0]


def test_a_task_that_was_never_served_stays_in_the_queue(trace, known_run, make_task):
    waiting = make_task(0, "work", (10, None, None, None), status="cancelled")
    rows = trace_queues(trace(known_run(tasks=(waiting,), status="timed_out")))
    assert [(row["waiting"], row["in_service"]) for row in rows] == [(1, 0)]


def test_the_deepest_queue_is_of_the_tasks_that_waited_at_once(trace, known_run):
    assert deepest_queue(trace(), "work") == 2
    assert deepest_queue(trace(), "save") == 0
    assert deepest_queue(trace(known_run(tasks=(), status="crashed")), "work") == 0


def depth(rows):
    return [(row["time_s"], row["waiting"], row["in_service"]) for row in rows]


@pytest.mark.parametrize("status", ["timed_out", "lost"])
def test_a_task_that_was_given_up_leaves_when_it_was(trace, known_run, make_task, status):
    given_up = make_task(0, "work", (10, 11, None, 13), status=status)
    rows = trace_queues(trace(known_run(tasks=(given_up,), status="tasks_failed")))
    assert depth(rows) == [(0, 1, 0), (1, 0, 1), (3, 0, 0)]


def test_a_task_that_was_given_up_before_it_was_served_leaves_the_queue(
    trace, known_run, make_task
):
    unsent = make_task(0, "work", (10, None, None, 12), status="failed")
    rows = trace_queues(trace(known_run(tasks=(unsent,), status="tasks_failed")))
    assert depth(rows) == [(0, 1, 0), (2, 0, 0)]


def test_a_task_that_is_tried_again_is_in_the_queue_again(trace, known_run, make_task):
    first = make_task(0, "work", (10, 11, None, 12), status="timed_out")
    last = make_task(0, "work", (12, 13, 14, 14), attempt=2)
    rows = trace_queues(trace(known_run(attempts=(first,), tasks=(last,))))
    assert depth(rows) == [(0, 1, 0), (1, 0, 1), (2, 1, 0), (3, 0, 1), (4, 0, 0)]


def test_a_task_that_is_held_back_is_not_in_the_queue(trace, known_run, make_task):
    held = make_task(0, "work", (12, 12, 13, 13), due=10)
    assert depth(trace_queues(trace(known_run(tasks=(held,))))) == [(2, 0, 1), (3, 0, 0)]
