"""Regressions: faults that random workflows (test_graphs.py), studies and trials found."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, LOOP, THREAD, run, stage, statuses

from stagebench.runner.engine import Engine
from stagebench.runner.process_pool import ProcessPool
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Arrival
from stagebench.runner.transport import discard, pack
from stagebench.runner.workflow import Workflow


def test_closing_does_not_wait_for_a_thread_that_was_given_up():
    released = threading.Event()

    def linger():
        released.wait(20)

    sink = run([stage("s", linger, THREAD, timeout_s=0.05)], 1)
    assert statuses(sink, "s") == ["timed_out"]
    assert not released.is_set()
    assert any(thread.name.startswith("s_") for thread in threading.enumerate())
    released.set()


def test_a_worker_that_comes_after_its_pool_was_closed_ends_with_it(monkeypatch):
    add = ProcessPool._add  # delayed, to hit the moment between replacing and closing
    replacing, closing = threading.Event(), threading.Event()

    def add_late(pool, requested_ns):
        if threading.current_thread() is not threading.main_thread():
            replacing.set()
            closing.wait(10)
            time.sleep(0.05)
        return add(pool, requested_ns)

    monkeypatch.setattr(ProcessPool, "_add", add_late)
    workflow = Workflow([stage("s", workloads.take, FORK, workers=1, timeout_s=0.1)], ListSink())
    workflow.run([{"s": {"seconds": 60}}])
    assert replacing.wait(10)
    closer = threading.Thread(target=workflow.close, daemon=True)
    closer.start()
    closing.set()
    closer.join(20)
    assert not closer.is_alive()


def test_a_child_that_a_coroutine_forks_serves_nothing(tmp_path):
    marks = tmp_path / "marks"

    async def bear_a_child_that_returns():
        child = os.fork()
        if child:
            os.waitpid(child, 0)  # noqa: ASYNC222 - the child must not outlive the test

    class Marking(ListSink):
        def task(self, record):
            super().task(record)
            with marks.open("a") as file:
                file.write(f"{os.getpid()}\n")

    sink = run([stage("s", bear_a_child_that_returns, LOOP)], 3, Marking())
    assert statuses(sink, "s") == ["ok"] * 3
    assert set(marks.read_text().split()) == {str(os.getpid())}


def test_a_task_cancelled_between_two_attempts_is_recorded_as_the_next_attempt():
    class Full(ListSink):
        def attempt(self, record):
            super().attempt(record)
            raise OSError("no space left")

    def refuse_slowly():
        time.sleep(0.001)
        raise ValueError("no")

    sink = Full()
    # Enough retries that the run is cancelled before the last, however late main wakes up.
    stages = [stage("s", refuse_slowly, THREAD, workers=1, retries=100_000)]
    with (
        Workflow(stages, sink) as workflow,
        pytest.raises(OSError, match="no space left"),
    ):
        workflow.run(1)
    assert [r.attempt for r in sink.attempts] == list(range(1, len(sink.attempts) + 1))
    (final,) = sink.tasks
    assert (final.status, final.attempt) == ("cancelled", len(sink.attempts) + 1)


@pytest.mark.parametrize("transport", ["shared_memory", "path"])
def test_an_abandoned_thread_stores_nothing_after_the_end(transport):
    released, ended = threading.Event(), threading.Event()

    def linger():
        released.wait(20)
        ended.set()
        return bytes(100_000)

    ours = f"stagebench-{os.getpid()}-*"  # another suite may run beside this one
    folders = set(Path(tempfile.gettempdir()).glob(ours))
    stages = [
        stage("s", linger, THREAD, timeout_s=0.05, transport=transport),
        stage("t", workloads.length_of, FORK, after=("s",)),
    ]
    run(stages, 1)
    threads = [t for t in threading.enumerate() if t.name.startswith("s_")]
    released.set()
    for thread in threads:
        thread.join(10)
    assert ended.is_set()
    assert set(Path(tempfile.gettempdir()).glob(ours)) == folders
    assert not list(Path("/dev/shm").glob(f"stagebench_{os.getpid()}_*"))


def test_a_process_that_is_forked_while_a_segment_is_made_can_make_one(monkeypatch):
    tracker, checking = resource_tracker._resource_tracker, threading.Event()
    check = tracker._check_alive  # called with the tracker's lock held

    def check_slowly():
        checking.set()
        time.sleep(0.1)
        return check()

    tracker.ensure_running()
    monkeypatch.setattr(tracker, "_check_alive", check_slowly)
    names = [f"stagebench_{os.getpid()}_{who}" for who in ("thread", "child")]
    thread = threading.Thread(target=pack, args=(bytes(70_000), "shared_memory", names[0]))
    thread.start()
    assert checking.wait(10)
    child = os.fork()
    if not child:
        signal.alarm(10)
        pack(bytes(70_000), "shared_memory", names[1])
        os._exit(0)
    thread.join()
    _, status = os.waitpid(child, 0)
    for name in names:
        discard("shared_memory", name)
    assert status == 0


@pytest.mark.parametrize("size", [0, 70_000])
def test_a_segment_that_a_killed_worker_only_began_is_removed(size, capfd):
    name = f"stagebench_{os.getpid()}_begun"
    path = Path("/dev/shm", name)
    path.write_bytes(bytes(size))
    discard("shared_memory", name)
    assert not path.exists()
    discard("shared_memory", name)
    assert capfd.readouterr().err == ""


def test_a_pool_can_be_closed_while_its_thread_opens_the_next_one(monkeypatch):
    dispatch, close, closing = Engine._dispatch, ProcessPool.close, threading.Event()

    def fail_and_dispatch(engine, job):
        if job.queue.stage.name == "next":
            engine.fail(OSError("stop here"))
            closing.wait(10)
        dispatch(engine, job)

    def signal_and_close(pool, *, cancel):
        closing.set()
        close(pool, cancel=cancel)

    monkeypatch.setattr(Engine, "_dispatch", fail_and_dispatch)
    monkeypatch.setattr(ProcessPool, "close", signal_and_close)
    sink = ListSink()
    following = stage("next", workloads.double, THREAD, after=("s",))
    workflow = Workflow([stage("s", workloads.double, FORK), following], sink)

    def run_into_it():
        with pytest.raises(OSError, match="stop here"):
            workflow.run(1)

    runner = threading.Thread(target=run_into_it, daemon=True)
    runner.start()
    runner.join(20)
    assert not runner.is_alive()
    assert statuses(sink, "next") == ["cancelled"]


def test_a_task_that_is_not_due_when_the_run_fails_does_not_begin(monkeypatch):
    feed, fed = Engine.feed, []

    def note_and_feed(engine, task, overrides, due_ns):
        fed.append(task)
        return feed(engine, task, overrides, due_ns)

    class Full(ListSink):
        def task(self, record):
            super().task(record)
            raise OSError("no space left")

    monkeypatch.setattr(Engine, "feed", note_and_feed)
    workflow = Workflow([stage("s", workloads.double, THREAD)], Full())
    with pytest.raises(OSError, match="no space left"), workflow:
        workflow.run(3, Arrival(kind="fixed_rate", rate_per_s=1.0))
    assert fed == [0]


def test_a_worker_that_is_forked_while_a_thread_prints_can_print(monkeypatch):
    ended = threading.Event()

    def talk():
        while not ended.is_set():
            print("x" * 1000)

    with open("/dev/null", "w", buffering=1, encoding="utf-8") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        talkers = [threading.Thread(target=talk) for _ in range(2)]
        for talker in talkers:
            talker.start()
        try:
            sink = run([stage("s", workloads.print_much, FORK, workers=20, timeout_s=5)], 20)
        finally:
            ended.set()
            for talker in talkers:
                talker.join()
    assert statuses(sink, "s") == ["ok"] * 20


def test_a_fan_in_is_due_when_its_last_upstream_stage_has_ended():
    arrived = threading.Event()

    class Slow(ListSink):
        """Takes long over the record of the first stage."""

        def task(self, record):
            super().task(record)
            if record.stage == "first":
                arrived.wait(10)
            elif record.stage == "second":
                threading.Timer(0.05, arrived.set).start()

    stages = [
        stage("first", workloads.double, THREAD),
        stage("second", workloads.take, THREAD, parameters={"seconds": 0.1}),
        stage("join", workloads.double, THREAD, after=("first", "second")),
    ]
    sink = run(stages, 1, Slow())
    received = {r.stage: r.received_ns for r in sink.tasks}
    (join,) = [r for r in sink.tasks if r.stage == "join"]
    assert join.due_ns >= max(received["first"], received["second"])
    assert join.submitted_ns >= join.due_ns


def bear_and_die_while_sending(note):
    child = os.fork()
    if child == 0:
        time.sleep(60)  # keeps all inherited files open
        os._exit(0)
    Path(note).write_text(str(child))

    def send_in_part(connection, message):
        os.write(connection.fileno(), bytes(message)[:1000])
        if len(message) > 1000:
            os.kill(os.getpid(), signal.SIGKILL)

    Connection._send = send_in_part  # dies after the header and before the end
    return bytes(100_000)


def test_main_does_not_wait_for_a_worker_that_died_while_sending_though_its_child_lives(tmp_path):
    note, sink = tmp_path / "note", ListSink()
    with Workflow([stage("s", bear_and_die_while_sending, FORK, workers=1)], sink) as workflow:
        runner = threading.Thread(target=workflow.run, args=([{"s": {"note": str(note)}}],))
        runner.start()
        runner.join(20)
        waits = runner.is_alive()
        os.kill(int(note.read_text()), signal.SIGKILL)
        runner.join(20)
    assert not waits
    assert statuses(sink, "s") == ["lost"]


MAIN_THAT_DROPS_RESULTS = """
import os
from stagebench import ListSink, Stage, Workflow
from stagebench.handlers.payload import payload
from stagebench.replication.emulate import read_pss
large = Stage(
    name="large", handler=payload, parameters={"size_mib": 40, "delay_s": 0.0},
    executor="process", start_method="fork", workers=5,
)
before = read_pss(os.getpid())
with Workflow([large], ListSink()) as workflow:
    workflow.run(10)
print(read_pss(os.getpid()) - before)
"""


def test_main_keeps_no_memory_of_large_results_that_it_drops():
    # In a process of its own, because malloc's behaviour depends on what was freed before. With
    # socket pairs, results left 11 to 32 MiB; modules and threads of the runner take 2 MiB.
    command = [sys.executable, "-c", MAIN_THAT_DROPS_RESULTS]
    kept = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(kept) < 5 << 20
