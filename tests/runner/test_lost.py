"""Workers that die while something is sent to them, and systems that do not report their end."""

import os
import signal
import threading
import time
from errno import EINVAL, ENOSYS, EPERM

import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, SPAWN, run, stage, statuses
from tests.runner.test_end import start

from stagebench.runner.sink import ListSink
from stagebench.runner.workflow import Workflow

LARGE = {"s": {"content": bytes(10_000_000)}}


def measure(*, content=b""):
    return len(content)


def run_in_background(workflow, tasks):
    thread = threading.Thread(target=workflow.run, args=(tasks,), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_is_killed_while_a_large_job_is_written_to_it_loses_that_job_alone(workers):
    sink = ListSink()
    with Workflow([stage("s", measure, FORK, workers=workers)], sink) as workflow:
        workflow.run(1)
        for _ in range(8):
            alive = [worker.pid for worker in sink.workers[-workers:]]
            sink.tasks.clear()
            for pid in alive:
                os.kill(pid, signal.SIGSTOP)  # so that it reads nothing
            running = run_in_background(workflow, [LARGE] * (workers + 1))
            time.sleep(0.03)  # until the pipes are full; the test does not depend on it
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            running.join(20)
            assert not running.is_alive()
            ends = statuses(sink, "s")
            assert len(ends) == workers + 1
            assert set(ends) == {"lost", "ok"}
            assert ends.count("lost") <= workers
            while len(sink.workers) % workers:
                time.sleep(0.001)


def test_jobs_of_any_size_arrive_whole():
    sizes = [0, 1, 4095, 4096, 16_380, 16_390, 65_530, 65_540, 200_000, 3_000_000]
    tasks = [{"s": {"content": bytes(size)}} for size in sizes]
    with Workflow([stage("s", measure, FORK, retain=True)], ListSink()) as workflow:
        workflow.run(tasks)
        assert list(workflow.results("s").values()) == sizes


REFUSING = """\
import ctypes, os, struct, sys, time
from tests.runner import acts, workloads
from stagebench import ListSink, Stage, Workflow

def refuse_pidfds(number):
    # Four instructions of classic BPF: load the number of the system call; if it is pidfd_open,
    # which has the same one everywhere, return the error, otherwise allow it.
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, 434), (6, 0, 0, 0x50000 | number), (6, 0, 0, 0x7FFF0000)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
    whole = struct.pack("HP", len(code), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, whole, 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, by a filter

def die(fatal):
    if fatal:
        acts.fork_and_die()  # the child holds the files that would tell of the end

if __name__ == "__main__":
    refuse_pidfds({number})
    try:
        os.pidfd_open(os.getpid())
        sys.exit("not refused")
    except OSError as error:
        assert error.errno == {number}
    sink = ListSink()
    kind = {{"executor": "process", "start_method": {method!r}, "workers": 1}}
    stage = Stage(name="s", handler=die, **kind)
    with Workflow([stage], sink) as workflow:
        workflow.run([{{"s": {{"fatal": fatal}}}} for fatal in (False, True, False)])
    print([record.status for record in sorted(sink.tasks, key=lambda record: record.task)])
"""


@pytest.mark.parametrize(
    ("number", "method"),
    [(EPERM, "fork"), (ENOSYS, "fork"), (EINVAL, "spawn"), (EPERM, "forkserver")],
)
def test_a_lost_worker_is_replaced_where_the_system_refuses_pidfds(short_path, number, method):
    ended, _ = start(REFUSING.format(number=number, method=method), short_path)
    assert ended.stdout == "['ok', 'lost', 'ok']\n", ended.stderr


def test_a_worker_that_cannot_be_watched_ends_with_its_workflow(monkeypatch):
    """Without descriptors to watch it, the worker that was just started must not stay."""
    before = set(os.listdir("/proc/self/fd"))

    def refuse(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(os, "dup", refuse)
    with (
        Workflow([stage("s", workloads.double, FORK)], ListSink()) as workflow,
        pytest.raises(OSError, match="Too many open files"),
    ):
        workflow.run(1)
    monkeypatch.undo()
    assert set(os.listdir("/proc/self/fd")) <= before


class Large:
    """A handler as large as the model or table that it holds."""

    def __init__(self):
        self.content = bytes(10_000_000)

    def __call__(self):
        return len(self.content)


@pytest.mark.parametrize("kind", [FORK, SPAWN], ids=["fork", "spawn"])
def test_a_large_handler_reaches_its_workers(kind):
    assert statuses(run([stage("s", Large(), kind)], 2), "s") == ["ok"] * 2
