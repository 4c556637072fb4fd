from dataclasses import replace

import pytest

from stagebench.analyse.tasks import (
    count_outcomes,
    count_repeated,
    count_tasks,
    deepest_queue,
    quickest_task_efficiency,
    summarise_attempts,
    summarise_tasks,
    summarise_turnaround,
    trace_queues,
    turnarounds,
)

CHILD = 200


def test_task_rows_are_relative_to_the_workflows_start(run_trace):
    row = summarise_tasks(run_trace())[1]
    assert (row["task"], row["stage"]) == (0, "save")
    moments = [row[f"{name}_s"] for name in ("submitted", "started", "finished", "received")]
    assert moments == [3.5, 3.5, 4, 4]


def test_task_rows_derive_every_time(run_trace):
    row = summarise_tasks(run_trace())[2]
    assert (row["task"], row["stage"]) == (1, "work")
    times = [row[f"{name}_s"] for name in ("waiting", "service", "return", "response", "cpu")]
    assert times == [3, 1, 0.5, 4.5, 0.5]


def test_task_rows_fall_back_on_the_first_submission_when_the_start_is_unknown(
    run_trace, known_run
):
    run = known_run(events={}, status="crashed").stretched(2)
    assert summarise_tasks(run_trace(run))[0]["submitted_s"] == 0


def test_workers_are_numbered_by_stage_in_the_order_in_which_they_first_served(run_trace):
    rows = summarise_tasks(run_trace())
    assert [(row["stage"], row["worker"]) for row in rows] == [
        ("work", 0),
        ("save", 0),
        ("work", 0),
        ("save", 1),
    ]


def test_the_first_task_of_each_worker_is_known(run_trace, known_run, make_task):
    rows = summarise_tasks(run_trace())
    assert [row["first"] for row in rows] == [True, True, False, True]
    tasks = (
        make_task(0, "work", (10, 11, 13, 13), worker=(CHILD, 1)),
        make_task(1, "work", (10, 10, 14, 14), worker=(CHILD, 1)),
        make_task(2, "work", (10, 12, 14, 14), worker=(CHILD, 2)),
        make_task(3, "work", (10, 15, 16, 16), worker=(CHILD, 3), attempt=2),
        make_task(4, "work", (None,) * 4, status="cancelled", worker=(None, None)),
    )
    failed = (make_task(3, "work", (10, 10, 11, 11), worker=(CHILD, 3), status="failed"),)
    run = known_run(tasks=tasks, attempts=failed, tasks_planned=5, status="tasks_failed")
    trace = run_trace(run)
    assert [row["first"] for row in summarise_tasks(trace)] == [False, True, True, False, None]
    assert [row["first"] for row in summarise_attempts(trace)] == [True]


def test_the_coroutines_of_a_loop_have_one_first_task(run_trace, known_run, make_task):
    stages = ({**known_run().stages[0], "executor": "asyncio"},)
    tasks = tuple(make_task(n, "work", (10, 11 - n, 13, 13)) for n in range(2))
    rows = summarise_tasks(run_trace(known_run(stages=stages, tasks=tasks)))
    assert [(row["worker"], row["first"]) for row in rows] == [(None, False), (None, True)]


def test_a_task_that_never_started_has_no_worker_and_no_times(run_trace, known_run, make_task):
    lost = make_task(0, "work", (10, None, None, None), status="cancelled", worker=(None, None))
    row = summarise_tasks(run_trace(known_run(tasks=(lost,), status="timed_out")))[0]
    assert row["worker"] is None
    assert [row[f"{name}_s"] for name in ("waiting", "service", "response", "cpu")] == [None] * 4


def test_an_error_is_the_last_line_of_its_traceback(run_trace, known_run, make_task):
    text = 'Traceback (most recent call last):\n  File "x"\nValueError: no | such\n'
    failed = make_task(0, "work", (10, 11, 12, 13), status="failed", error=text)
    row = summarise_tasks(run_trace(known_run(tasks=(failed,), status="tasks_failed")))[0]
    assert row["error"] == "ValueError: no | such"


def test_a_task_is_blocked_from_when_it_was_due_to_when_its_queue_took_it(
    run_trace, known_run, make_task
):
    tasks = (make_task(0, "work", (12, 13, 14, 14), due=10.5),)
    row = summarise_tasks(run_trace(known_run(tasks=tasks, status="tasks_failed")))[0]
    assert (row["due_s"], row["submitted_s"], row["blocked_s"], row["waiting_s"]) == (
        *(0.5, 2, 1.5),
        1,
    )


def test_a_task_that_was_never_submitted_was_blocked_for_an_unknown_time(
    run_trace, known_run, make_task
):
    skipped = make_task(0, "work", (None,) * 4, status="skipped")
    row = summarise_tasks(run_trace(known_run(tasks=(skipped,), status="tasks_failed")))[0]
    assert (row["due_s"], row["blocked_s"]) == (None, None)


def test_attempts_have_rows_of_their_own_and_the_task_that_of_the_last(
    run_trace, known_run, make_task
):
    first = make_task(0, "work", (10, 10, 10.4, 10.5), status="failed", worker=(CHILD, 9))
    run = known_run()
    last = replace(run.tasks[0], attempt=2)
    found = run_trace(replace(run, attempts=(first,), tasks=(last, *run.tasks[1:])))
    row = summarise_attempts(found)[0]
    assert (row["attempt"], row["status"], row["worker"]) == (1, "failed", 0)
    assert (row["service_s"], row["received_s"]) == (0.4, 0.5)
    task = summarise_tasks(found)[0]
    assert (task["attempt"], task["status"], task["worker"]) == (2, "ok", 1)


def test_of_an_attempt_that_was_given_up_the_worker_is_not_known(run_trace, known_run, make_task):
    given_up = make_task(0, "work", (10, 10, None, 10.5), status="timed_out", worker=(None, None))
    found = run_trace(known_run(attempts=(given_up,)))
    row = summarise_attempts(found)[0]
    assert (row["worker"], row["started_s"], row["service_s"]) == (None, 0, None)
    assert summarise_tasks(found)[0]["worker"] == 0


def test_attempts_come_in_the_order_of_tasks_stages_and_attempts(run_trace, known_run, make_task):
    attempts = (
        make_task(1, "work", (10, 10, 11, 11), status="failed"),
        make_task(0, "work", (11, 11, 12, 12), status="failed", attempt=2),
        make_task(0, "work", (10, 10, 11, 11), status="failed"),
    )
    rows = summarise_attempts(run_trace(known_run(attempts=attempts)))
    assert [(row["task"], row["attempt"]) for row in rows] == [(0, 1), (0, 2), (1, 1)]


def test_coroutines_of_one_thread_have_no_number(run_trace, known_run):
    work, save = known_run().stages
    alike = work | {"executor": "asyncio", "start_method": None}
    rows = summarise_tasks(run_trace(known_run(stages=(alike, save))))
    assert [row["worker"] for row in rows] == [None, 0, None, 1]


def test_a_task_counts_by_its_worst_stage_and_tasks_without_records_are_missing(
    run_trace, known_run, make_task
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
    counts = count_tasks(run_trace(known_run(tasks=tasks, tasks_planned=7, status="worker_lost")))
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


def test_a_list_of_tasks_counts_its_entries(run_trace, known_run):
    run = known_run(tasks_planned=[{}, {"work": {"size_mib": 1.0}}])
    assert count_tasks(run_trace(run))["tasks"] == 2


@pytest.fixture
def repeated(run_trace, known_run, make_task):
    """A run whose task 0 took three attempts in a stage whose queue overflowed once."""
    attempts = (
        make_task(0, "work", (10, 10, None, 10.5), status="timed_out"),
        make_task(0, "work", (10.5, 10.5, 10.75, 11), status="failed", attempt=2),
    )
    return run_trace(known_run(attempts=attempts, overflows=("save",)))


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


def test_a_run_counts_repeated_attempts_and_overflows_of_all_stages(repeated, run_trace):
    assert count_repeated(repeated) == {"attempts_repeated": 2, "queue_overflows": 1}
    assert count_repeated(run_trace()) == {"attempts_repeated": 0, "queue_overflows": 0}


def test_a_file_of_tasks_counts_as_many_as_the_specification_says(run_trace, known_run):
    named = {"file": "tasks.csv", "sha256": "0", "number": 7, "columns": {}}
    run = known_run(tasks_planned=named, status="tasks_failed")
    assert count_tasks(run_trace(run))["tasks"] == 7


def test_queue_depth_follows_submissions_starts_and_ends(run_trace):
    rows = [row for row in trace_queues(run_trace()) if row["stage"] == "work"]
    assert [(row["time_s"], row["waiting"], row["in_service"]) for row in rows] == [
        (0, 2, 0),
        (1, 1, 1),
        (3, 0, 1),
        (4, 0, 0),
    ]


def test_a_task_that_starts_at_once_never_waits(run_trace):
    rows = [row for row in trace_queues(run_trace()) if row["stage"] == "save"]
    assert [row["waiting"] for row in rows] == [0, 0, 0, 0]
    assert [row["in_service"] for row in rows] == [1, 0, 1, 0]


def test_a_task_that_was_never_served_stays_in_the_queue(run_trace, known_run, make_task):
    waiting = make_task(0, "work", (10, None, None, None), status="cancelled")
    rows = trace_queues(run_trace(known_run(tasks=(waiting,), status="timed_out")))
    assert [(row["waiting"], row["in_service"]) for row in rows] == [(1, 0)]


def test_the_deepest_queue_is_of_the_tasks_that_waited_at_once(run_trace, known_run):
    assert deepest_queue(run_trace(), "work") == 2
    assert deepest_queue(run_trace(), "save") == 0
    assert deepest_queue(run_trace(known_run(tasks=(), status="crashed")), "work") == 0


def depth(rows):
    return [(row["time_s"], row["waiting"], row["in_service"]) for row in rows]


@pytest.mark.parametrize("status", ["timed_out", "lost"])
def test_a_task_that_was_given_up_leaves_when_it_was(run_trace, known_run, make_task, status):
    given_up = make_task(0, "work", (10, 11, None, 13), status=status)
    rows = trace_queues(run_trace(known_run(tasks=(given_up,), status="tasks_failed")))
    assert depth(rows) == [(0, 1, 0), (1, 0, 1), (3, 0, 0)]


def test_a_task_that_was_given_up_before_it_was_served_leaves_the_queue(
    run_trace, known_run, make_task
):
    unsent = make_task(0, "work", (10, None, None, 12), status="failed")
    rows = trace_queues(run_trace(known_run(tasks=(unsent,), status="tasks_failed")))
    assert depth(rows) == [(0, 1, 0), (2, 0, 0)]


def test_a_task_that_is_tried_again_is_in_the_queue_again(run_trace, known_run, make_task):
    first = make_task(0, "work", (10, 11, None, 12), status="timed_out")
    last = make_task(0, "work", (12, 13, 14, 14), attempt=2)
    run = known_run(attempts=(first,), tasks=(last,), status="tasks_failed")
    rows = trace_queues(run_trace(run))
    assert depth(rows) == [(0, 1, 0), (1, 0, 1), (2, 1, 0), (3, 0, 1), (4, 0, 0)]


def test_a_task_that_is_held_back_is_not_in_the_queue(run_trace, known_run, make_task):
    held = make_task(0, "work", (12, 12, 13, 13), due=10)
    run = known_run(tasks=(held,), status="tasks_failed")
    assert depth(trace_queues(run_trace(run))) == [(2, 0, 1), (3, 0, 0)]


@pytest.fixture
def efficiency(run_trace, known_run):
    """Give what a run of some tasks has, which need not be all that were planned."""
    return lambda *tasks: quickest_task_efficiency(
        run_trace(known_run(tasks=tasks, status="tasks_failed"))
    )


def test_it_is_the_lowest_efficiency_that_the_quickest_task_had_in_a_stage(efficiency, make_task):
    # The first takes 4 s, with 2 of 3 s in service; the other takes 6 s without waiting.
    quickest = (
        make_task(0, "work", (10, 11, 13, 13)),
        make_task(0, "save", (13, 13, 14, 14)),
    )
    slower = (make_task(1, "work", (10, 10, 15, 15)), make_task(1, "save", (15, 15, 16, 16)))
    assert efficiency(*quickest, *slower) == pytest.approx(2 / 3)


def test_a_task_that_never_waited_has_an_efficiency_of_1(efficiency, make_task):
    assert efficiency(make_task(0, "work", (10, 10, 12, 12.5))) == 1


def test_a_task_that_a_stage_did_not_serve_is_not_the_quickest(efficiency, make_task):
    whole = (make_task(0, "work", (10, 12, 14, 14)), make_task(0, "save", (14, 14, 15, 15)))
    failed = (
        make_task(1, "work", (10, 10, 11, 11), status="failed", error="E"),
        make_task(1, "save", (None,) * 4, status="skipped"),
    )
    assert efficiency(*whole, *failed) == 0.5


def test_without_a_task_that_was_served_throughout_there_is_none(efficiency, make_task):
    assert efficiency(make_task(0, "work", (10, None, None, None), status="cancelled")) is None
    assert efficiency() is None


def test_a_turnaround_is_from_the_arrival_to_the_last_receipt(run_trace):
    assert turnarounds(run_trace()) == {0: 4, 1: 6}


def test_back_pressure_cannot_hide_waiting(run_trace, known_run, make_task):
    # Both tasks arrived at 10 s; the second was admitted once the first had been served.
    tasks = (
        make_task(0, "work", (10, 10, 12, 12)),
        make_task(1, "work", (12, 12, 14, 14), due=10),
        make_task(0, "save", (12, 12, 13, 13)),
        make_task(1, "save", (14, 14, 15, 15)),
    )
    found = run_trace(known_run(tasks=tasks))
    assert turnarounds(found) == {0: 3, 1: 5}
    times = summarise_turnaround(found)
    assert times["turnaround_mean_s"] == 4
    assert times["turnaround_p95_s"] == pytest.approx(4.9)
    assert times["blocked_s"] == 2


def test_earlier_attempts_are_a_part_of_it(run_trace, known_run, make_task):
    run = known_run()
    first = make_task(0, "work", (9, 9, None, 10), status="lost", due=8)
    last = replace(run.tasks[0], attempt=2)
    found = run_trace(replace(run, attempts=(first,), tasks=(last, *run.tasks[1:])))
    assert turnarounds(found) == {0: 6, 1: 6}
    assert summarise_turnaround(found)["blocked_s"] == 1


def test_a_task_that_a_stage_did_not_serve_has_none(run_trace, known_run, make_task):
    run = known_run()
    skipped = make_task(1, "save", (None,) * 4, status="skipped")
    found = run_trace(replace(run, tasks=(*run.tasks[:3], skipped), status="tasks_failed"))
    assert turnarounds(found) == {0: 4}


def test_an_unknown_arrival_leaves_it_unknown(run_trace, known_run):
    run = known_run()
    unknown = replace(run.tasks[0], due_ns=None)
    assert turnarounds(run_trace(replace(run, tasks=(unknown, *run.tasks[1:])))) == {1: 6}


def test_without_records_of_any_task_it_is_missing(run_trace, known_run):
    times = summarise_turnaround(run_trace(known_run(tasks=(), status="crashed")))
    assert times == {"blocked_s": None}
