"""Tasks that are handed over to a worker together."""

import itertools
import os
import time

import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, LOOP, THREAD, errors, run, stage, statuses
from tests.runner.test_routing import Simulation, plain
from tests.runner.test_unpickling import Doing, take_long

from stagebench.records import RULES, TaskRecord
from stagebench.runner.jobs import CrewThread
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Arrival
from stagebench.runner.worker import WorkerSetup
from stagebench.runner.workflow import Workflow

FIRST_S = 0.25
"""How long the first task keeps the only worker: by then all others wait."""

LARGE = 200_000


def serve(*, seconds=0.002, deed="", task=0):
    time.sleep(seconds)
    if deed == "raise":
        raise ValueError(f"refused {task}")
    if deed == "die":
        workloads.die()
    return {"lock": workloads.return_lock, "long": long_result}.get(deed, lambda: task)()


def long_result():
    return Doing(take_long, 5)


def repeat(*, content, task=0):
    return bytes([task]) * len(content)


def lengthen(*, upstream):
    return upstream + b"x"


def tasks_of(deeds, *, first_s=FIRST_S, **others):
    """Return tasks with these deeds, after a first one that all others wait for."""
    first = {"s": {"seconds": first_s}}
    own = [{"s": {"deed": deed, "task": task, **others}} for task, deed in enumerate(deeds, 1)]
    return [first, *own]


def in_order(sink):
    return sorted(sink.tasks, key=lambda record: record.task)


def groups(sink):
    """Return the tasks of each batch: those that started before one another's results came."""
    found = []
    for record in sorted(sink.tasks, key=lambda record: record.started_ns):
        if found and record.started_ns < found[-1][0].received_ns:
            found[-1].append(record)
        else:
            found.append([record])
    return [[record.task for record in group] for group in found]


def check_moments(sink):
    for record in (*sink.tasks, *sink.attempts):
        moments = [getattr(record, name) for name in RULES[TaskRecord].ordered]
        known = [moment for moment in moments if moment is not None]
        assert known == sorted(known), record


def test_results_of_a_batch_come_back_together_and_every_task_has_its_own_record(kind):
    sink = run([stage("s", serve, kind, workers=1, batch=4)], tasks_of([""] * 9))
    assert groups(sink) == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]
    check_moments(sink)
    records = in_order(sink)
    assert [record.status for record in records] == ["ok"] * 10
    for earlier, later in itertools.pairwise(records):
        assert earlier.finished_ns <= later.started_ns
    assert all(record.cpu_ns is not None for record in records)
    assert all(record.finished_ns - record.started_ns >= 2_000_000 for record in records)
    assert min(r.received_ns for r in records[1:5]) >= records[4].finished_ns
    assert len({(record.pid, record.thread_id) for record in records}) == 1
    # Tasks of a batch have been submitted when they came, not when they were handed over.
    assert all(r.submitted_ns < records[0].finished_ns for r in records)


def test_a_worker_takes_what_there_is_and_does_not_wait_for_more(kind):
    sink = run([stage("s", serve, kind, workers=1, batch=100)], tasks_of([""] * 3))
    assert groups(sink) == [[0], [1, 2, 3]]
    sink = ListSink()
    with Workflow([stage("s", serve, kind, workers=1, batch=4)], sink) as workflow:
        workflow.run(1)  # until the worker is ready
        sink.tasks.clear()
        workflow.run(6, Arrival(kind="fixed_rate", rate_per_s=10))
    assert groups(sink)[-1] == [5]


def test_no_more_is_taken_than_may_wait(kind):
    one = stage("s", serve, kind, workers=1, batch=4, queue_size=2)
    sink = run([one], tasks_of([""] * 4))
    assert max(map(len, groups(sink))) == 2
    assert statuses(sink, "s") == ["ok"] * 5


def test_a_task_of_a_batch_fails_alone(kind):
    one = stage("s", serve, kind, workers=1, batch=4)
    sink = run(
        [one, stage("next", workloads.double, THREAD, after=("s",))],
        tasks_of(["", "raise", "", "raise", "raise"]),
    )
    wanted = ["ok", "ok", "failed", "ok", "failed", "failed"]
    assert statuses(sink, "s") == wanted
    assert errors(sink, "s")[2] == "ValueError: refused 2"
    assert statuses(sink, "next") == ["ok" if status == "ok" else "skipped" for status in wanted]
    check_moments(sink)


def test_a_retry_follows_its_batch_alone(kind):
    one = stage("s", serve, kind, workers=1, batch=4, retries=1)
    sink = run([one], tasks_of(["", "raise", "raise", "", ""]))
    assert statuses(sink, "s") == ["ok", "ok", "failed", "failed", "ok", "ok"]
    assert sorted((r.task, r.attempt) for r in sink.attempts) == [(2, 1), (3, 1)]
    assert [group for group in groups(sink) if {2, 3} & set(group)] == [[2], [3]]
    again = [r.started_ns for r in in_order(sink) if r.task in (2, 3)]
    assert min(again) >= max(r.finished_ns for r in in_order(sink) if r.task in (1, 4))
    check_moments(sink)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_lost_worker_loses_its_batch_and_no_more(start_method):
    kind = {"executor": "process", "start_method": start_method}
    sink = run([stage("s", serve, kind, workers=1, batch=4)], tasks_of(["", "die", "", "", "", ""]))
    assert statuses(sink, "s") == ["ok", *["lost"] * 4, "ok", "ok"]
    assert len(sink.workers) == 2
    lost = in_order(sink)[1:5]
    assert {record.pid for record in lost} == {sink.workers[0].pid}
    assert [record.started_ns is None for record in lost] == [False, True, True, True]
    assert all(record.finished_ns is None for record in lost)
    words = "(signal SIGKILL) while it served a batch of tasks"
    assert all(record.error.endswith(words) for record in lost)
    check_moments(sink)


def test_tasks_that_were_lost_with_another_succeed_when_they_are_tried_again():
    one = stage("s", serve, FORK, workers=1, batch=4, retries=1)
    sink = run([one], tasks_of(["", "die", "", "", "", ""]))
    assert statuses(sink, "s") == ["ok", "ok", "lost", *["ok"] * 4]
    assert sorted(record.task for record in sink.attempts) == [1, 2, 3, 4]


def test_a_batch_of_a_worker_that_never_got_ready_goes_to_the_next(tmp_path, monkeypatch):
    mark, sink = tmp_path / "mark", ListSink()
    setup = WorkerSetup(preload=("tests.runner.killed",))
    one = stage("s", serve, FORK, workers=1, batch=3)
    with Workflow([one], sink, setup=setup) as workflow:
        monkeypatch.setenv("STAGEBENCH_TEST_KILLS", f"0 {mark}")
        workflow.run(1)
        sink.tasks.clear()
        monkeypatch.setenv("STAGEBENCH_TEST_KILLS", f"1 {mark}")
        workflow.run([{"s": {"seconds": FIRST_S, "deed": "die"}}, *[{}] * 5])
    assert statuses(sink, "s") == ["lost", *["ok"] * 5]
    assert mark.read_text() == "x"
    assert groups(sink)[1:] == [[1, 2, 3], [4, 5]]


def test_a_time_out_counts_from_the_start_of_each_task(kind):
    limit_s = 0.4
    one = stage("s", serve, kind, workers=1, batch=8, timeout_s=limit_s)
    sink = run([one], tasks_of([""] * 8, seconds=limit_s / 4))
    assert statuses(sink, "s") == ["ok"] * 9
    # Results come back one by one.
    records = in_order(sink)[1:]
    for earlier, later in itertools.pairwise(records):
        assert earlier.received_ns <= later.finished_ns


def test_a_task_of_a_batch_times_out_alone_and_the_rest_goes_to_the_next_worker(kind):
    limit_s = 0.3
    tasks = tasks_of([""] * 6, first_s=limit_s / 2)
    tasks[3]["s"]["seconds"] = 4
    sink = run([stage("s", serve, kind, workers=1, batch=4, timeout_s=limit_s)], tasks)
    assert statuses(sink, "s") == ["ok", "ok", "ok", "timed_out", "ok", "ok", "ok"]
    records = in_order(sink)
    workers = [(record.pid, record.thread_id) for record in records]
    assert workers[:4] == [workers[0]] * 4
    assert workers[4:] == [workers[4]] * 3 != [workers[0]] * 3
    late = records[3]
    assert late.received_ns - late.started_ns >= limit_s * 1e9
    assert late.started_ns >= records[2].finished_ns
    check_moments(sink)


def test_a_task_that_timed_out_is_tried_again_after_the_rest(kind):
    limit_s = 0.3
    tasks = tasks_of([""] * 4, first_s=limit_s / 2)
    tasks[2]["s"]["seconds"] = 4
    sink = run([stage("s", serve, kind, workers=1, batch=4, timeout_s=limit_s, retries=1)], tasks)
    assert statuses(sink, "s") == ["ok", "ok", "timed_out", "ok", "ok"]
    assert [(r.task, r.status) for r in sink.attempts] == [(2, "timed_out")]
    records = in_order(sink)
    assert records[2].started_ns >= records[4].finished_ns


@pytest.mark.parametrize("unfit", [{1}, {2}, {4}, {1, 2}, {3, 4}, {1, 2, 3, 4}, {1, 2, 3, 4, 5, 6}])
def test_what_cannot_be_sent_fails_alone_wherever_it_is_in_a_batch(unfit):
    deeds = ["lock" if task in unfit else "" for task in range(1, 7)]
    stages = [
        stage("s", serve, THREAD, workers=1),
        stage("wait", workloads.length_of_one, FORK, after=("s",), workers=1, batch=4),
    ]
    sink = run(stages, tasks_of(deeds, first_s=0.0, seconds=0.0))
    assert statuses(sink, "s") == ["ok"] * 7
    wanted = ["failed" if task in unfit else "ok" for task in range(7)]
    assert statuses(sink, "wait") == wanted
    check_moments(sink)


def test_what_cannot_be_sent_back_fails_alone():
    one = stage("s", serve, FORK, workers=1, batch=4)
    sink = run([one], tasks_of(["", "lock", "", ""]))
    assert statuses(sink, "s") == ["ok", "ok", "failed", "ok", "ok"]
    assert "cannot be sent to main" in errors(sink, "s")[2]


@pytest.mark.parametrize("place", [0, 1, 3])
def test_results_after_one_that_is_long_to_unpickle_arrive_in_their_order(place):
    deeds = ["long" if number == place else "" for number in range(6)]
    one = stage("s", serve, FORK, workers=1, batch=4, retain=True)
    with Workflow([one], ListSink()) as workflow:
        workflow.run(tasks_of(deeds))
        results = workflow.results("s")
    assert results == {task: 5 if task == place + 1 else task for task in range(7)}


def test_results_arrive_in_their_order_if_the_thread_that_relieves_is_held_up(monkeypatch):
    """On a busy machine, the new manager may go far before the one that starts it goes on."""
    start = CrewThread.start

    def start_and_wait(thread):
        start(thread)
        time.sleep(0.05)

    monkeypatch.setattr(CrewThread, "start", start_and_wait)
    one = stage("s", serve, FORK, workers=1, batch=4, retain=True)
    with Workflow([one], ListSink()) as workflow:
        workflow.run(tasks_of(["", "long", "", "", "", ""]))
        assert workflow.results("s") == {0: 0, 1: 1, 2: 5, 3: 3, 4: 4, 5: 5, 6: 6}


@pytest.mark.parametrize("transport", ["pickle", "shared_memory", "path"])
def test_batches_larger_than_a_pipe_arrive_whole(kind, transport):
    content = {"content": bytes(LARGE)}
    one = stage("s", repeat, kind, batch=6, transport=transport, parameters=content)
    two = stage("t", lengthen, kind, batch=5, after=("s",), retain=True)
    with Workflow([one, two], ListSink()) as workflow:
        workflow.run([{"s": {"task": task}} for task in range(20)])
        results = workflow.results("t")
    assert results == {task: bytes([task]) * LARGE + b"x" for task in range(20)}


def test_a_batch_of_many_small_tasks_arrives_whole():
    one = stage("s", serve, FORK, workers=1, batch=3000, retain=True)
    with Workflow([one], ListSink()) as workflow:
        workflow.run(tasks_of([""] * 2000, seconds=0.0))
        assert workflow.results("s") == {task: task for task in range(2001)}


def test_a_full_queue_holds_a_worker_until_all_of_its_batch_have_a_place(kind):
    stages = [
        stage("s", serve, kind, workers=1, batch=4, parameters={"seconds": 0.0}),
        stage("slow", workloads.take, kind, workers=1, queue_size=1, after=("s",)),
    ]
    sink = run(stages, [{"slow": {"seconds": 0.005}}] * 20)
    assert statuses(sink, "slow") == ["ok"] * 20
    check_moments(sink)


def test_a_worker_is_free_once_all_of_its_batch_have_ended_and_found_a_place():
    simulation = Simulation([plain("a", 1, batch=3), plain("b", 1, queue_size=1, after=("a",))])
    simulation.feed(*range(6))
    assert simulation.serving("a") == [0]
    simulation.end("a", 0)
    assert simulation.serving("a") == [1, 2, 3]
    for task in (1, 2, 3):
        simulation.end("a", task)
    assert simulation.serving("b") == [0]
    assert simulation.serving("a") == []  # 2 and 3 wait for a place
    simulation.end("b", 0)
    assert simulation.serving("a") == []
    simulation.end("b", 1)
    assert simulation.serving("a") == [4, 5]


def test_only_the_first_of_a_batch_is_given_to_a_pool():
    simulation = Simulation([plain("s", 1, batch=3)])
    simulation.feed(*range(5))
    (job,), _, _ = simulation.router.take()
    assert [one.task for one in job.chain()] == [0]
    simulation.end("s", 0)
    (job,), _, _ = simulation.router.take()
    assert [one.task for one in job.chain()] == [1, 2, 3]


class FailingSink(ListSink):
    def task(self, record):
        super().task(record)
        if len(self.tasks) == 1:
            raise OSError("no space left")


def test_a_run_that_ends_early_does_not_serve_the_rest_of_a_batch(kind, tmp_path):
    marks = tmp_path / "marks"
    marks.touch()
    one = stage("s", note, kind, workers=1, batch=50, parameters={"path": str(marks)})
    quick = stage("quick", serve, THREAD, workers=1)
    sink = FailingSink()
    tasks = [{"quick": {"seconds": 0.4}}, *([{"quick": {"seconds": 0.0}}] * 49)]
    with pytest.raises(OSError, match="no space left"):
        run([one, quick], tasks, sink)
    time.sleep(0.2)
    assert marks.stat().st_size < 50
    assert {(r.task, r.stage) for r in sink.tasks} == {
        (task, name) for task in range(50) for name in ("s", "quick")
    }


def note(*, path):
    with open(path, "a") as file:
        file.write("x")
    time.sleep(0.1)


def test_a_nested_worker_keeps_its_batches_to_itself():
    """A child that a handler forks must not send what its parent has collected."""
    one = stage("s", workloads.bear_a_child_that_returns, FORK, workers=1, batch=4, retain=True)
    sink = ListSink()
    with Workflow([one], sink) as workflow:
        workflow.run(9)
        results = workflow.results("s")
    assert sorted(record.task for record in sink.tasks) == list(range(9))
    assert os.getpid() not in results.values()
    assert len(set(results.values())) == 1


def test_coroutines_have_no_batches():
    one = stage("s", workloads.wait_async, LOOP, batch=1)
    assert statuses(run([one], 3), "s") == ["ok"] * 3
