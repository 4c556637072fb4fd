"""Signals, closing from elsewhere, and more than one thread that uses a workflow."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, LOOP, THREAD, stage, statuses
from tests.runner.test_end import ROOT

from stagebench.errors import WorkflowError
from stagebench.runner.sink import ListSink
from stagebench.runner.workflow import Workflow


class Stop(Exception):
    pass


def stop(*_):
    raise Stop


@pytest.fixture
def stopping():
    """SIGUSR1 raises Stop, as SIGTERM raises SystemExit in many services."""
    before = signal.signal(signal.SIGUSR1, stop)
    yield
    signal.signal(signal.SIGUSR1, before)


def send_after(duration_s, number=signal.SIGUSR1):
    timer = threading.Timer(duration_s, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


class Signalling(ListSink):
    """Sends signals, one after each of some times, once the run has started."""

    def __init__(self, *times_s):
        super().__init__()
        self.times_s = times_s

    def event(self, record):
        super().event(record)
        if record.event == "workflow_started":
            for time_s in self.times_s:
                send_after(time_s)


def endless():
    while True:
        yield {}


@pytest.mark.usefixtures("stopping")
@pytest.mark.parametrize("kind", [THREAD, FORK], ids=["thread", "fork"])
def test_a_signal_handler_that_raises_ends_a_run_wherever_it_comes(kind):
    for number in range(40):
        sink = Signalling(0.0003 * number)
        workflow = Workflow([stage("s", workloads.double, kind)], sink, in_flight=50)
        with pytest.raises(Stop), workflow:
            workflow.run(endless())
        assert set(statuses(sink, "s")) <= {"ok", "cancelled"}
        assert len({r.task for r in sink.tasks}) == len(sink.tasks)
    assert signal.getsignal(signal.SIGUSR1) is stop


@pytest.mark.usefixtures("stopping")
def test_many_signals_in_a_row_end_a_run_once():
    sink = Signalling(*[0.001 * number for number in range(30)])
    workflow = Workflow([stage("s", workloads.double, THREAD)], sink, in_flight=50)
    with pytest.raises(Stop):  # the first in the run, others as it ends
        workflow.run(endless())
    for _ in range(30):
        with contextlib.suppress(Stop):
            time.sleep(0.005)
    workflow.close()
    assert signal.getsignal(signal.SIGUSR1) is stop


def test_a_signal_handler_that_does_not_raise_lets_the_run_go_on():
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(threading.current_thread()))
    try:
        with Workflow([stage("s", workloads.take, THREAD)], sink := ListSink()) as workflow:
            send_after(0.02)
            workflow.run([{"s": {"seconds": 0.1}}] * 2)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert statuses(sink, "s") == ["ok"] * 2
    assert seen == [threading.main_thread()]


def handler_of_signal():
    return signal.getsignal(signal.SIGUSR1)


@pytest.mark.usefixtures("stopping")
def test_a_forked_worker_has_the_signal_handlers_of_its_program():
    with Workflow([stage("s", handler_of_signal, FORK, retain=True)], ListSink()) as workflow:
        workflow.run(1)
        assert workflow.results("s") == {0: stop}


def test_ctrl_c_is_answered_while_main_waits_in_the_iterator_of_tasks():
    never = queue.Queue()

    def tasks():
        yield {}
        yield never.get()

    with Workflow([stage("s", workloads.double, THREAD)], sink := ListSink()) as workflow:
        send_after(0.1, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            workflow.run(tasks())
    assert len(sink.tasks) == 1


SLOW_TO_IMPORT = """\
import time
time.sleep(20)
"""
WAITING = """\
import sys, threading, time
from stagebench import ListSink, Stage, Workflow, WorkerSetup
from tests.runner.workloads import keep_nothing

if __name__ == "__main__":
    kind = {"executor": "process", "start_method": "spawn", "workers": WORKERS}
    stage = Stage(name="s", handler=keep_nothing, parameters={"content": bytes(SIZE)}, **kind)
    print("running", flush=True)
    try:
        setup = WorkerSetup(preload=("slow_to_import",))
        with Workflow([stage], ListSink(), setup=setup) as workflow:
            workflow.run(2)
    except KeyboardInterrupt:
        print("ended", flush=True)
"""


@pytest.mark.parametrize(("workers", "size"), [(200, 0), (1, 10_000_000)])
def test_ctrl_c_is_answered_while_workers_start(tmp_path, workers, size):
    script = tmp_path / "script.py"
    (tmp_path / "slow_to_import.py").write_text(SLOW_TO_IMPORT)
    script.write_text(WAITING.replace("WORKERS", str(workers)).replace("SIZE", str(size)))
    program = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}:{tmp_path}"},
        start_new_session=True,
    )
    assert program.stdout.readline() == "running\n"
    time.sleep(0.4)  # some workers have been started; the test does not depend on it
    os.kill(program.pid, signal.SIGINT)
    output, _ = program.communicate(timeout=15)  # importing would take 20 s
    assert output == "ended\n"


def run_again(workflow):
    with pytest.raises(WorkflowError, match="is running already; one run at a time"):
        workflow.run(1)


def test_a_second_run_at_the_same_time_is_refused():
    begun, released, problems = threading.Event(), threading.Event(), []

    def wait():
        begun.set()
        assert released.wait(10)

    with Workflow([stage("s", wait, THREAD)], sink := ListSink()) as workflow:
        first = threading.Thread(target=workflow.run, args=(3,))
        first.start()
        assert begun.wait(10)
        for _ in range(3):
            try:
                run_again(workflow)
            except BaseException as error:
                problems.append(error)
        released.set()
        first.join(10)
        workflow.run(1)
    assert not problems
    assert statuses(sink, "s") == ["ok"] * 4


class Closing(ListSink):
    """Closes the workflow as it receives its first record of a kind."""

    workflow = None

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def close(self, kind):
        if kind == self.kind:
            self.workflow.close()

    def task(self, record):
        super().task(record)
        self.close("task")

    def worker(self, record):
        super().worker(record)
        self.close("worker")

    def event(self, record):
        super().event(record)
        self.close(record.event)


PLACES = ["task", "worker", "workflow_started", "workflow_finished"]
KINDS = {"thread": THREAD, "fork": FORK, "loop": LOOP}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sink_that_closes_the_workflow_cancels_its_run(kind, place):
    handler = workloads.wait_async if kind == "loop" else workloads.double
    sink = Closing(place)
    sink.workflow = Workflow([stage("s", handler, KINDS[kind])], sink)
    raised = []

    def run():
        try:
            sink.workflow.run(30)
        except WorkflowError as error:
            raised.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert raised == ["the workflow was closed while it ran"]
    assert sorted(r.task for r in sink.tasks) == list(range(30))
    sink.workflow.close()


@pytest.mark.parametrize("kind", KINDS)
def test_close_of_another_thread_cancels_a_run(kind):
    handler = workloads.wait_async if kind == "loop" else workloads.take
    long = stage("s", handler, KINDS[kind], parameters={"seconds": 30})
    workflow = Workflow([long], sink := ListSink())
    closer = threading.Timer(0.1, workflow.close)
    closer.start()
    with pytest.raises(WorkflowError, match="was closed while it ran"):
        workflow.run(3)
    closer.join(10)
    assert not closer.is_alive()
    assert sorted(r.task for r in sink.tasks) == [0, 1, 2]
    workflow.close()


def test_a_signal_handler_that_closes_the_workflow_cancels_its_run():
    workflow = Workflow([stage("s", workloads.take, FORK, parameters={"seconds": 30})], ListSink())
    before = signal.signal(signal.SIGUSR1, lambda *_: workflow.close())
    try:
        send_after(0.1)
        with pytest.raises(WorkflowError, match="was closed while it ran"):
            workflow.run(3)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_close_may_be_called_by_many_threads_at_once():
    for _ in range(20):
        workflow = Workflow([stage("s", workloads.double, FORK)], ListSink())
        workflow.run(1)
        closers = [threading.Thread(target=workflow.close) for _ in range(4)]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(10)
            assert not closer.is_alive()


def test_a_forked_child_that_leaves_the_block_does_not_end_the_workers_of_its_parent():
    with Workflow([stage("s", workloads.double, FORK, workers=1)], sink := ListSink()) as workflow:
        workflow.run(1)
        child = os.fork()
        if not child:
            workflow.close()
            try:
                workflow.run(1)
            except WorkflowError as error:
                os._exit("belongs to process" in str(error))
            os._exit(2)
        _, status = os.waitpid(child, 0)
        workflow.run(1)
    assert os.waitstatus_to_exitcode(status) == 1
    assert statuses(sink, "s") == ["ok", "ok"]
    assert len({record.pid for record in sink.tasks}) == 1


ENDS_FORK_SERVERS = """\
import os, pathlib, signal, sys
mark = pathlib.Path(__file__).with_name("mark")
if "multiprocessing.forkserver" in str(sys.orig_argv) and len(mark.read_text()) < TIMES:
    mark.open("a").write("x")
    # As a terminal does, before the server is ready for it.
    os.killpg(0, signal.SIGINT)
    os._exit(1)
"""
SERVED = """\
import signal
from stagebench import ListSink, Stage, Workflow
from tests.runner.workloads import keep_nothing

if __name__ == "__main__":
    seen = []
    if not RAISES:
        signal.signal(signal.SIGINT, lambda *_: seen.append("seen"))
    kind = {"executor": "process", "start_method": "forkserver", "workers": 2}
    stage = Stage(name="s", handler=keep_nothing, parameters={"content": b""}, **kind)
    try:
        with Workflow([stage], sink := ListSink()) as workflow:
            workflow.run(2)
    except BaseException as error:
        seen.append(f"{type(error).__name__} {error}".strip())
    print(*dict.fromkeys(seen), sep="\\n")
    print(*{task.status for task in sink.tasks})
"""


@pytest.mark.parametrize(
    ("raises", "times", "printed"),
    [
        (True, 1, "KeyboardInterrupt\ncancelled\n"),
        (False, 1, "seen\nok\n"),
        (False, 9999, "seen\nWorkerLostError stage 's': the fork server has ended\ncancelled\n"),
    ],
)
def test_ctrl_c_while_a_fork_server_starts_is_answered_as_at_any_time(
    tmp_path, raises, times, printed
):
    (tmp_path / "mark").touch()
    (tmp_path / "sitecustomize.py").write_text(ENDS_FORK_SERVERS.replace("TIMES", str(times)))
    (tmp_path / "script.py").write_text(SERVED.replace("RAISES", str(raises)))
    ended = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}:{ROOT}"},
        start_new_session=True,
        timeout=30,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == (printed, 0), ended.stderr
