"""Results whose own unpickling hangs, takes long, ends the program, or kills."""

import os
import signal
import threading
import time

import pytest
from tests.runner.conftest import FORK, LOOP, THREAD, errors, run, stage, statuses

from stagebench.errors import WorkflowError
from stagebench.runner.sink import ListSink
from stagebench.runner.workflow import Workflow

RELEASED = threading.Event()
"""Ends everything that hangs in this process."""

WORKERS = []
"""Records of the workers of a run whose results look at them."""

MAIN = os.getpid()
LARGE = 70_000


class Odd(BaseException):
    """An exception that no unpickling should raise."""


@pytest.fixture(autouse=True)
def release():
    """End what a test has left hanging; the threads of other tests may sleep for long."""
    before = set(threading.enumerate())
    RELEASED.clear()
    yield
    RELEASED.set()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(("s_", "t_")):
            thread.join(10)


class Doing:
    """A result that is unpickled by calling a function of this module."""

    def __init__(self, deed, *arguments):
        self.call = deed, arguments, bytes(LARGE)

    def __reduce__(self):
        return do, self.call


def do(deed, arguments, _):
    return deed(*arguments)


def hang():
    RELEASED.wait(30)


def hang_in_main():
    if os.getpid() == MAIN:
        hang()
    return "y" * LARGE


def take_long(value):
    if os.getpid() == MAIN:
        time.sleep(0.8)
    return value


def take_long_and_kill(pid):
    wait_for(2, lambda: sum(thread.name == "s_manager" for thread in threading.enumerate()))
    os.kill(pid, signal.SIGKILL)
    wait_for(2, lambda: len(WORKERS))  # it is replaced
    return pid


def wait_for(number, count):
    end = time.monotonic() + 10
    while count() < number:
        assert time.monotonic() < end
        time.sleep(0.01)


def end(kind):
    raise kind("done")


DEEDS = {
    "hang": lambda: Doing(hang),
    "hang_in_main": lambda: Doing(hang_in_main),
    "long": lambda: Doing(take_long, 5),
    "kill": lambda: Doing(take_long_and_kill, os.getpid()),
    "exit": lambda: Doing(end, SystemExit),
    "interrupt": lambda: Doing(end, KeyboardInterrupt),
    "odd": lambda: Doing(end, Odd),
}


def make(*, what):
    return DEEDS[what]() if what in DEEDS else what


def tasks_of(*whats):
    return [{"s": {"what": what}} for what in whats]


def take(*, upstream):
    return upstream


async def take_later(*, upstream):
    return upstream


def test_a_result_that_hangs_when_it_is_unpickled_times_out_alone():
    sink = run([stage("s", make, FORK, workers=1, timeout_s=0.3)], tasks_of(1, "hang", 2, "hang"))
    assert statuses(sink, "s") == ["ok", "timed_out", "ok", "timed_out"]


def test_without_a_time_out_only_its_own_worker_waits_for_it():
    sink, others = ListSink(), threading.Event()
    sink.task = lambda record: (sink.tasks.append(record), len(sink.tasks) == 5 and others.set())
    with Workflow([stage("s", make, FORK)], sink) as workflow:
        runner = threading.Thread(target=workflow.run, args=[tasks_of("hang", 1, 2, 3, 4, 5)])
        runner.start()
        assert others.wait(10)
        RELEASED.set()
        runner.join(10)
    assert statuses(sink, "s") == ["ok"] * 6


@pytest.mark.parametrize("retries", [0, 1])
def test_ctrl_c_ends_a_run_whose_results_hang(retries):
    def interrupt():
        time.sleep(0.2)
        os.kill(MAIN, signal.SIGINT)

    sink = ListSink()
    stages = [stage("s", make, FORK, retries=retries)]
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), Workflow(stages, sink) as workflow:
        workflow.run(tasks_of("hang", "hang", "hang"))
    assert statuses(sink, "s") == ["cancelled"] * 3


def test_a_result_that_takes_long_arrives_and_its_worker_serves_on():
    stages = [stage("s", make, FORK, workers=1, retain=True)]
    with Workflow(stages, ListSink()) as workflow:
        workflow.run(tasks_of("long", 1, 2))
        assert workflow.results("s") == {0: 5, 1: 1, 2: 2}


def test_a_result_that_has_arrived_is_not_lost_with_its_worker():
    sink = ListSink()
    WORKERS.clear()
    sink.workers = WORKERS
    run([stage("s", make, FORK, workers=1)], tasks_of("kill", 1), sink)
    assert statuses(sink, "s") == ["ok", "ok"]
    assert len(sink.workers) == 2


@pytest.mark.parametrize("what", ["exit", "interrupt", "odd"])
def test_a_result_that_raises_anything_fails_its_task_alone(what):
    sink = run([stage("s", make, FORK)], tasks_of(1, what, 2))
    assert statuses(sink, "s") == ["ok", "failed", "ok"]
    assert errors(sink, "s")[1].endswith(": done")


@pytest.mark.parametrize("transport", ["shared_memory", "path"])
@pytest.mark.parametrize("kind", [THREAD, FORK, LOOP], ids=["thread", "fork", "coroutine"])
@pytest.mark.parametrize("what", ["exit", "odd"])
def test_inputs_that_raise_anything_fail_the_task_that_takes_them(kind, what, transport):
    following = stage("t", take_later if kind is LOOP else take, kind, after=("s",))
    sink = run([stage("s", make, FORK, transport=transport), following], tasks_of(1, what, 2))
    assert statuses(sink, "s") == ["ok"] * 3
    assert statuses(sink, "t") == ["ok", "failed", "ok"]


@pytest.mark.parametrize("kind", [THREAD, LOOP], ids=["thread", "coroutine"])
def test_inputs_that_hang_when_they_are_unpickled_time_out_alone(kind):
    handler = take_later if kind is LOOP else take
    stages = [
        stage("s", make, FORK, transport="path"),
        stage("t", handler, kind, workers=1, after=("s",), timeout_s=0.3),
    ]
    sink = run(stages, tasks_of(1, "hang_in_main", 2))
    assert statuses(sink, "t") == ["ok", "timed_out", "ok"]


def test_a_retained_result_that_cannot_be_read_is_an_error_that_names_its_task():
    kept = stage("s", make, FORK, transport="path", retain=True)
    with Workflow([kept], ListSink()) as workflow:
        workflow.run(tasks_of(1, "exit"))
        with pytest.raises(WorkflowError, match="task 1 in stage 's' cannot be read: SystemExit"):
            workflow.results("s")
