from __future__ import annotations

from dataclasses import replace

from stagebench.analyse.tasks import summarise_attempts, summarise_tasks

CHILD = 200


def test_task_rows_are_relative_to_the_workflows_start(trace):
    row = summarise_tasks(trace())[1]
    assert (row["task"], row["stage"]) == (0, "save")
    moments = [row[f"{name}_s"] for name in ("submitted", "started", "finished", "received")]
    assert moments == [3.5, 3.5, 4, 4]


def test_task_rows_derive_every_time(trace):
    row = summarise_tasks(trace())[2]
    assert (row["task"], row["stage"]) == (1, "work")
    times = [row[f"{name}_s"] for name in ("waiting", "service", "return", "response", "cpu")]
    assert times == [3, 1, 0.5, 4.5, 0.5]


def test_task_rows_fall_back_on_the_first_submission_when_the_start_is_unknown(trace, known_run):
    run = known_run(events={}, status="crashed").stretched(2)
    assert summarise_tasks(trace(run))[0]["submitted_s"] == 0


def test_workers_are_numbered_by_stage_in_the_order_in_which_they_first_served(trace):
    rows = summarise_tasks(trace())
    assert [(row["stage"], row["worker"]) for row in rows] == [
        ("work", 0),
        ("save", 0),
        ("work", 0),
        ("save", 1),
    ]


def test_a_task_that_never_started_has_no_worker_and_no_times(trace, known_run, make_task):
    lost = make_task(0, "work", (10, None, None, None), status="cancelled", worker=(None, None))
    row = summarise_tasks(trace(known_run(tasks=(lost,), status="timed_out")))[0]
    assert row["worker"] is None
    assert [row[f"{name}_s"] for name in ("waiting", "service", "response", "cpu")] == [None] * 4


def test_an_error_is_told_by_the_last_line_of_its_traceback(trace, known_run, make_task):
    text = 'Traceback (most recent call last):\n  File "x"\nValueError: no | such\n'
    failed = make_task(0, "work", (10, 11, 12, 13), status="failed", error=text)
    row = summarise_tasks(trace(known_run(tasks=(failed,), status="tasks_failed")))[0]
    assert row["error"] == "ValueError: no | such"


def test_a_task_is_blocked_from_when_it_was_due_to_when_its_queue_took_it(
    trace, known_run, make_task
):
    tasks = (make_task(0, "work", (12, 13, 14, 14), due=10.5),)
    row = summarise_tasks(trace(known_run(tasks=tasks)))[0]
    assert (row["due_s"], row["submitted_s"], row["blocked_s"], row["waiting_s"]) == (
        *(0.5, 2, 1.5),
        1,
    )


def test_a_task_that_was_never_submitted_was_blocked_for_an_unknown_time(
    trace, known_run, make_task
):
    skipped = make_task(0, "work", (None,) * 4, status="skipped")
    row = summarise_tasks(trace(known_run(tasks=(skipped,), status="tasks_failed")))[0]
    assert (row["due_s"], row["blocked_s"]) == (None, None)


def test_attempts_have_rows_of_their_own_and_the_task_that_of_the_last(trace, known_run, make_task):
    first = make_task(0, "work", (10, 10, 10.4, 10.5), status="failed", worker=(CHILD, 9))
    run = known_run()
    last = replace(run.tasks[0], attempt=2)
    found = trace(replace(run, attempts=(first,), tasks=(last, *run.tasks[1:])))
    row = summarise_attempts(found)[0]
    assert (row["attempt"], row["status"], row["worker"]) == (1, "failed", 0)
    assert (row["service_s"], row["received_s"]) == (0.4, 0.5)
    task = summarise_tasks(found)[0]
    assert (task["attempt"], task["status"], task["worker"]) == (2, "ok", 1)


def test_of_an_attempt_that_was_given_up_the_worker_is_not_known(trace, known_run, make_task):
    given_up = make_task(0, "work", (10, 10, None, 10.5), status="timed_out", worker=(None, None))
    found = trace(known_run(attempts=(given_up,)))
    row = summarise_attempts(found)[0]
    assert (row["worker"], row["started_s"], row["service_s"]) == (None, 0, None)
    assert summarise_tasks(found)[0]["worker"] == 0


def test_attempts_come_in_the_order_of_tasks_stages_and_attempts(trace, known_run, make_task):
    attempts = (
        make_task(1, "work", (10, 10, 11, 11), status="failed"),
        make_task(0, "work", (11, 11, 12, 12), status="failed", attempt=2),
        make_task(0, "work", (10, 10, 11, 11), status="failed"),
    )
    rows = summarise_attempts(trace(known_run(attempts=attempts)))
    assert [(row["task"], row["attempt"]) for row in rows] == [(0, 1), (0, 2), (1, 1)]


def test_coroutines_of_one_thread_have_no_number(trace, known_run):
    work, save = known_run().stages
    alike = work | {"executor": "asyncio", "start_method": None}
    rows = summarise_tasks(trace(known_run(stages=(alike, save))))
    assert [row["worker"] for row in rows] == [None, 0, None, 1]
