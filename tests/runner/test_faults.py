"""Time-outs, retries, lost workers, and handlers that misbehave."""

import asyncio
import contextlib
import contextvars
import decimal
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, LOOP, THREAD, errors, run, stage, statuses

from stagebench.errors import WorkerLostError, WorkflowError
from stagebench.runner import engine
from stagebench.runner.sink import ListSink
from stagebench.runner.worker import WorkerSetup
from stagebench.runner.workflow import Workflow


def test_a_task_that_is_served_for_too_long_is_given_up_and_the_others_are_served(kind):
    slow = stage("s", workloads.take, kind, workers=1, timeout_s=0.2, parameters={"seconds": 0})
    tasks = [{"s": {"seconds": 2}}, {}, {}]
    sink = run([slow, stage("next", workloads.double, THREAD, after=("s",))], tasks)
    assert statuses(sink, "s") == ["timed_out", "ok", "ok"]
    assert statuses(sink, "next") == ["skipped", "ok", "ok"]
    (given_up,) = [record for record in sink.tasks if record.status == "timed_out"]
    assert given_up.error == "timed out after 0.2 s"
    assert given_up.received_ns - given_up.started_ns >= 200_000_000
    assert given_up.finished_ns is None
    assert given_up.cpu_ns is None
    first, second = [worker for worker in sink.workers if worker.stage == "s"]
    assert {r.thread_id for r in sink.tasks if r.stage == "s" and r.status == "ok"} == {
        second.thread_id
    }
    assert first.thread_id != second.thread_id
    assert (given_up.pid, given_up.thread_id) == (first.pid, first.thread_id)


def start_programs(*, how, pids):
    """Start a program that starts another, note the pids of both, and wait for ever."""
    script = f"sleep 60 & echo $$ $! >> {pids}; wait"
    if how == "fork":
        if not os.fork():
            os.execl("/bin/sh", "sh", "-c", script)
        time.sleep(60)
    subprocess.run(["/bin/sh", "-c", script], check=True, start_new_session=how == "session")


@pytest.mark.parametrize("how", ["run", "session", "fork"])
@pytest.mark.parametrize("end", ["time-out", "cancel"])
def test_what_a_handler_has_started_ends_with_its_worker(how, end, tmp_path):
    pids = tmp_path / "pids"
    started = [stage("s", start_programs, FORK, timeout_s=0.5 if end == "time-out" else None)]

    def interrupt():
        wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"))
        os.kill(os.getpid(), signal.SIGINT)

    sink = ListSink()
    if end == "cancel":
        threading.Thread(target=interrupt).start()
    with contextlib.suppress(KeyboardInterrupt):
        run(started, [{"s": {"how": how, "pids": str(pids)}}], sink)
    assert statuses(sink, "s") == ["timed_out" if end == "time-out" else "cancelled"]
    noted = pids.read_text().split()
    assert len(noted) == 2
    wait_until(lambda: not any(is_running(pid) for pid in noted))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(holds):
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


MAIN_WHOSE_HANDLER_SHARES = """
import time
from multiprocessing.shared_memory import SharedMemory
from stagebench import ListSink, Stage, Workflow

def share_and_wait():
    print(SharedMemory(create=True, size=100).name, flush=True)
    time.sleep(60)

stage = Stage(
    name="s", handler=share_and_wait, executor="process", start_method="fork", workers=1,
    timeout_s=0.3,
)
with Workflow([stage], ListSink()) as workflow:
    workflow.run(1)
"""


def test_what_a_killed_handler_shared_is_still_removed_by_its_resource_tracker():
    # In a program of its own: here, the tracker of other tests may be running already.
    command = [sys.executable, "-c", MAIN_WHOSE_HANDLER_SHARES]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    path = Path("/dev/shm", done.stdout.strip())
    assert path.name
    wait_until(lambda: not path.exists())


def test_the_start_of_a_worker_does_not_count_towards_a_time_out():
    spawn = {"executor": "process", "start_method": "spawn"}
    quick = stage("s", workloads.double, spawn, workers=1, timeout_s=0.02)
    assert statuses(run([quick], 1), "s") == ["ok"]


@pytest.mark.parametrize("kind", [THREAD, FORK, LOOP], ids=["thread", "fork", "coroutine"])
def test_an_import_of_a_worker_that_never_ends_ends_the_run(kind, monkeypatch):
    monkeypatch.setenv("STAGEBENCH_TEST_ENDLESS", "1")
    monkeypatch.setattr(engine, "START_S", 0.2)
    handler = workloads.wait_async if kind is LOOP else workloads.double
    stages = [stage("s", handler, kind, workers=1, timeout_s=0.1)]
    sink, setup = ListSink(), WorkerSetup(preload=("tests.runner.endless",))
    try:
        with (
            Workflow(stages, sink, setup=setup) as workflow,
            pytest.raises(WorkerLostError, match=r"stage 's': a worker was not ready after 0.3 s"),
        ):
            workflow.run(2)
        assert statuses(sink, "s") == ["cancelled"] * 2
    finally:
        monkeypatch.delenv("STAGEBENCH_TEST_ENDLESS")
        for thread in threading.enumerate():
            if thread.name.startswith("s_"):
                thread.join(10)
        sys.modules.pop("tests.runner.endless", None)


def test_a_coroutine_is_cancelled_at_its_time_out():
    slow = stage("s", workloads.wait_async, LOOP, timeout_s=0.1, parameters={"seconds": 30})
    sink = run([slow], [{}, {"s": {"seconds": 0}}])
    assert statuses(sink, "s") == ["timed_out", "ok"]


def test_a_coroutine_that_ignores_its_cancellation_is_left_to_itself():
    slow = stage("s", workloads.ignore_cancellation, LOOP, workers=1, timeout_s=0.1)
    sink = run([slow], [{"s": {"seconds": 1.0}}, {"s": {"seconds": 0}}])
    assert statuses(sink, "s") == ["timed_out", "ok"]


ENDED = threading.Event()


async def ignore_all_cancellations():
    while not ENDED.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)


async def wait_in_a_thread():
    await asyncio.to_thread(ENDED.wait, 30)


async def leave_a_task_behind(*, tasks=set()):  # noqa: B006 - keeps the task
    tasks.add(asyncio.create_task(ignore_all_cancellations()))


@pytest.mark.parametrize(
    "handler", [ignore_all_cancellations, wait_in_a_thread, leave_a_task_behind]
)
def test_closing_does_not_wait_for_a_coroutine_that_ignores_every_cancellation(handler):
    ENDED.clear()
    slow = stage("s", handler, LOOP, timeout_s=0.1)
    workflow = Workflow([slow], ListSink())
    workflow.run(1)
    closer = threading.Thread(target=workflow.close, daemon=True)
    closer.start()
    closer.join(10)
    waits = closer.is_alive()
    ENDED.set()
    closer.join(10)
    for thread in threading.enumerate():
        if thread.name == "s_loop":
            thread.join(10)
    assert not waits


SHARED = contextvars.ContextVar("shared", default=0)


async def count_in_the_context():
    SHARED.set(SHARED.get() + 1)
    await asyncio.sleep(0)
    return SHARED.get()


async def set_precision(*, digits):
    before = decimal.getcontext().prec
    decimal.getcontext().prec = digits
    return before


async def know_own_task(*, seen=[]):  # noqa: B006 - keeps the tasks, so that none is reused
    task = asyncio.current_task()
    seen.append(task)
    await asyncio.sleep(0)
    return seen.count(task), task.cancelling()


async def sleep_or_cancel(*, kind="sleep"):
    if kind == "cancel":
        asyncio.current_task().cancel()
        return kind
    await asyncio.sleep(0)
    return kind


@pytest.mark.parametrize(
    ("handler", "tasks", "wanted"),
    [
        (count_in_the_context, [{}] * 5, [1] * 5),
        (set_precision, [{"s": {"digits": 5 + n}} for n in range(4)], [28] * 4),
        (know_own_task, [{}] * 5, [(1, 0)] * 5),
        (sleep_or_cancel, [{"s": {"kind": "cancel"}}, {}, {}], ["cancel", "sleep", "sleep"]),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_coroutine_finds_nothing_of_the_one_before(handler, tasks, wanted, workers):
    SHARED.set(100)
    kept = stage("s", handler, LOOP, workers=workers, retain=True)
    with Workflow([kept], ListSink()) as workflow:
        workflow.run(tasks)
        assert list(workflow.results("s").values()) == wanted


@pytest.mark.parametrize(("retries", "status"), [(1, "failed"), (2, "ok"), (5, "ok")])
def test_a_task_that_fails_is_tried_again_and_every_attempt_is_recorded(
    kind, tmp_path, retries, status
):
    given = {"path": str(tmp_path / "marks"), "attempts": 3}
    sink = run([stage("s", workloads.fail_until, kind, retries=retries, parameters=given)], 1)
    (last,) = sink.tasks
    assert last.status == status
    assert last.attempt == min(3, retries + 1)
    assert [(r.attempt, r.status) for r in sink.attempts] == [
        (attempt, "failed") for attempt in range(1, last.attempt)
    ]
    moments = [m for r in (*sink.attempts, last) for m in (r.submitted_ns, r.received_ns)]
    assert moments == sorted(moments)


def test_only_what_is_named_is_tried_again(tmp_path):
    given = {"path": str(tmp_path / "marks"), "attempts": 3}
    fails = stage("s", workloads.fail_until, FORK, retries=4, retry_on=("lost",), parameters=given)
    sink = run([fails], 1)
    assert statuses(sink, "s") == ["failed"]
    assert not sink.attempts


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_a_task_whose_worker_was_killed_is_tried_again_by_another(start_method, tmp_path):
    kind = {"executor": "process", "start_method": start_method}
    given = {"path": str(tmp_path / "marks"), "attempts": 3}
    sink = run([stage("s", workloads.die_until, kind, workers=1, retries=2, parameters=given)], 1)
    assert statuses(sink, "s") == ["ok"]
    assert [record.status for record in sink.attempts] == ["lost", "lost"]
    assert len({record.pid for record in (*sink.attempts, *sink.tasks)}) == 3
    assert len(sink.workers) == 3


def test_a_task_that_was_given_up_is_tried_again():
    slow = stage("s", workloads.take, FORK, workers=1, timeout_s=0.1, retries=1)
    sink = run([slow], [{"s": {"seconds": 5}}])
    assert [r.status for r in (*sink.attempts, *sink.tasks)] == ["timed_out", "timed_out"]


def test_a_child_that_a_handler_forks_sends_and_records_nothing(kind):
    bears = stage("s", workloads.bear_a_child_that_returns, kind, retain=True)
    sink = ListSink()
    with Workflow([bears], sink) as workflow:
        workflow.run(4)
        results = workflow.results("s")
    assert sorted(record.task for record in sink.tasks) == [0, 1, 2, 3]
    assert set(results.values()) <= {record.pid for record in sink.tasks}


def test_a_handler_that_prints_does_not_disturb_its_records(kind, capfd):
    assert statuses(run([stage("s", workloads.print_much, kind)], 3), "s") == ["ok"] * 3
    if kind.get("start_method") != "forkserver":  # its server started with other files
        assert "x" * 1000 in capfd.readouterr().out


def test_what_cannot_be_sent_back_is_named():
    sink = run([stage("s", workloads.return_lock, FORK)], 1)
    (error,) = errors(sink, "s")
    assert error.startswith("the result of return_lock, a lock, cannot be sent to main: TypeError")


def test_an_upstream_result_that_cannot_be_sent_fails_the_task_that_takes_it():
    stages = [
        stage("lock", workloads.return_lock, THREAD),
        stage("s", workloads.length_of, FORK, after=("lock",)),
    ]
    (error,) = errors(run(stages, 1), "s")
    assert error.startswith("upstream results cannot be sent to a process: TypeError")


def test_many_tasks_that_cannot_be_sent_do_not_exhaust_the_stack():
    stages = [
        stage("lock", workloads.return_lock, THREAD),
        stage("s", workloads.length_of, FORK, after=("lock",), workers=1),
    ]
    assert statuses(run(stages, 3000), "s") == ["failed"] * 3000


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_worker_that_is_killed_while_it_starts_is_replaced(start_method, tmp_path):
    kind = {"executor": "process", "start_method": start_method}
    mark = tmp_path / "mark"
    starting = stage("s", workloads.double, kind, workers=1, retain=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        Workflow(
            [starting], ListSink(), setup=WorkerSetup(preload=("tests.runner.killed",))
        ) as workflow,
    ):
        patch.setenv("STAGEBENCH_TEST_KILLS", f"2 {mark}")
        workflow.run(3)
        assert workflow.results("s") == {0: 2, 1: 2, 2: 2}
    assert mark.read_text() == "xx"


def test_a_replacement_that_is_killed_while_it_starts_is_replaced(tmp_path, monkeypatch):
    mark, sink = tmp_path / "mark", ListSink()
    setup = WorkerSetup(preload=("tests.runner.killed",))
    with Workflow([stage("s", die_and_count, FORK, workers=1)], sink, setup=setup) as workflow:
        monkeypatch.setenv("STAGEBENCH_TEST_KILLS", f"0 {mark}")
        workflow.run([{"s": {"kills": ""}}])
        monkeypatch.setenv("STAGEBENCH_TEST_KILLS", f"1 {mark}")
        workflow.run([{"s": {"kills": "x"}}, {"s": {"kills": ""}}])
    assert [r.status for r in sorted(sink.tasks, key=lambda r: r.received_ns)] == [
        *("ok", "lost", "ok")
    ]
    assert mark.read_text() == "x"


def die_and_count(*, kills):
    if kills:
        workloads.die()


@pytest.mark.parametrize("workers", [1, 5])
def test_workers_that_are_all_killed_while_they_start_end_the_run(workers, tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    monkeypatch.setenv("STAGEBENCH_TEST_KILLS", f"1000 {mark}")
    setup = WorkerSetup(preload=("tests.runner.killed",))
    with (
        Workflow(
            [stage("s", workloads.double, FORK, workers=workers)], ListSink(), setup=setup
        ) as w,
        pytest.raises(WorkerLostError, match=r"signal SIGKILL\) before it was ready"),
    ):
        w.run(3)
    assert len(mark.read_text()) <= 2 * workers + 3


def test_a_workflow_that_has_failed_is_not_run_again():
    class FullDisk(ListSink):
        def task(self, record):
            raise OSError(f"no space left for {record.task}")

    workflow = Workflow([stage("s", workloads.double, THREAD)], FullDisk())
    with pytest.raises(OSError, match="no space left"):
        workflow.run(2)
    with pytest.raises(WorkflowError, match="has failed before"):
        workflow.run(2)


PROGRAM = """\
import sys
from tests.runner import workloads
from stagebench import ListSink, Stage, Workflow

if __name__ == "__main__":
    sink = ListSink()
    kind = {kind}
    stages = [
        Stage(name="s", handler=workloads.take, workers=2, parameters={{"seconds": 30}}, **kind),
        Stage(name="t", handler=workloads.double, workers=1, executor="thread", after=("s",)),
    ]
    print("running", flush=True)
    try:
        with Workflow(stages, sink) as workflow:
            workflow.run(5)
    except KeyboardInterrupt:
        seen = sorted((r.task, r.stage, r.status) for r in sink.tasks)
        assert seen == [(t, s, "cancelled") for t in range(5) for s in "st"], seen
        print("ended", flush=True)
        sys.exit(130)
"""


def wait_for_the_end_of(group):
    """Wait until the last process of a group has ended: resource trackers end after the others.

    Not until it is reaped: the machine's init may come round for that every two seconds only.
    """
    for _ in range(1000):
        if not any(living_in(group)):
            return
        time.sleep(0.01)
    pytest.fail("a process of the group is left")


def living_in(group):
    """Yield the processes of a group that have not ended."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        # One that is reaped meanwhile is gone at the opening of its file, or at the reading.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, of, *_ = status.read_text().rpartition(")")[2].split()
            if int(of) == group and state not in "ZX":
                yield status.parent.name


def test_ctrl_c_ends_a_run_at_once_with_every_task_recorded(kind, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(PROGRAM).format(kind=kind))
    root = Path(__file__).parents[2]
    program = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}"},
        start_new_session=True,
    )
    assert program.stdout.readline() == "running\n"
    time.sleep(0.7)  # until the workers serve; the test does not depend on it
    os.killpg(program.pid, signal.SIGINT)  # to all processes, as a terminal does
    output, _ = program.communicate(timeout=20)  # the handlers would take 30 s
    assert output == "ended\n"
    assert program.returncode == 130
    wait_for_the_end_of(program.pid)


MAIN_THAT_IDLES = """
import time
from stagebench import ListSink, Stage, Workflow
from stagebench.handlers.payload import payload
stage = Stage(
    name="s", handler=payload, parameters={{"size_mib": 0, "delay_s": 0.0}}, workers=3,
    executor="process", start_method="{method}",
)
if __name__ == "__main__":
    with Workflow([stage], ListSink()) as workflow:
        workflow.run(6)
        print("idle", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_end_with_a_main_that_is_killed(method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(MAIN_THAT_IDLES.format(method=method))
    command = [sys.executable, script]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert program.stdout.readline() == "idle\n"
        program.kill()
        program.wait()
        wait_for_the_end_of(program.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.stdout.close()


MAIN_THAT_IS_KILLED = """
import os, subprocess, sys, time
from stagebench import ListSink, Stage, Workflow

def make():
    return bytes(100_000)

def say_busy():
    os.write(1, b"busy\\n")  # whole: print may write the end of the line on its own

def sleep(upstream):
    say_busy()
    time.sleep(60)

def compute(upstream):
    say_busy()
    while True:
        pass

def call(upstream):
    subprocess.run(["/bin/sh", "-c", "echo busy; sleep 60; true"])

process = dict(executor="process", start_method="{method}", workers=2)
if __name__ == "__main__":
    stages = [
        Stage(name="make", handler=make, transport="path", **process),
        Stage(name="s", handler={handler}, after=("make",), **process),
    ]
    with Workflow(stages, ListSink()) as workflow:
        workflow.run(3)
"""


@pytest.mark.parametrize(
    ("method", "handler"),
    [("forkserver", "sleep"), ("spawn", "compute"), ("fork", "call")],
)
def test_busy_workers_end_with_a_main_that_is_killed_and_no_folder_is_left(
    method, handler, short_path
):
    script, temporary = short_path / "script.py", short_path / "temporary"
    temporary.mkdir()
    script.write_text(MAIN_THAT_IS_KILLED.format(method=method, handler=handler))
    program = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        assert [program.stdout.readline() for _ in range(2)] == ["busy\n"] * 2
        assert list(temporary.glob("stagebench-*/*"))
        program.kill()
        program.wait()
        wait_for_the_end_of(program.pid)
        assert not list(temporary.glob("stagebench-*"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


def test_nothing_of_a_workflow_is_left_when_it_is_closed(kind):
    threads = set(threading.enumerate())
    descriptors = set(Path("/proc/self/fd").iterdir())
    run([stage("s", workloads.double, kind, workers=3)], 6)
    assert set(threading.enumerate()) <= threads
    if kind.get("start_method") in (None, "fork"):  # the others keep a server or a tracker
        assert set(Path("/proc/self/fd").iterdir()) <= descriptors
