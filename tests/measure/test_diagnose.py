"""Runs that diagnose: what real calls of handlers cost their threads, in every kind of pool."""

import contextlib
import inspect
import os
import statistics
from concurrent.futures import ThreadPoolExecutor

import pytest

from stagebench import store
from stagebench.measure import diagnose
from stagebench.measure.diagnose import Diagnosed, open_files
from stagebench.pipeline.calls import FirstCall
from stagebench.records import DiagnosisRecord, TaskRecord
from stagebench.runner.worker import begin_worker, end_worker

STEPS = """
import os
import threading
import time

import numpy

LOCK = threading.Lock()


def spin(cpu_s: float = 0.02):
    began = time.thread_time()
    while time.thread_time() - began < cpu_s:
        pass


def sleep(delay_s: float = 0.02):
    time.sleep(delay_s)


def multiply():
    numbers = numpy.ones((300, 300))
    return float((numbers @ numbers).sum())


def take_turns():
    with LOCK:
        time.sleep(0.02)


def fail():
    raise ValueError("as it should")


def go_elsewhere():
    os.chdir("/")


async def rest():
    pass
"""
POOLS = {
    "threads": {"executor": "thread", "workers": 2},
    "fork": {"executor": "process", "start_method": "fork", "workers": 2},
    "spawn": {"executor": "process", "start_method": "spawn", "workers": 2},
}


@pytest.fixture
def run(specify, measure, tmp_path):
    """Diagnose four tasks of a handler; return the run, its tasks by number, and its calls."""
    (tmp_path / "costs.py").write_text(STEPS)

    def make(handler, *, spinner=False, tasks=4, **stage):
        given = {"handler": f"costs:{handler}", "parameters": {}, **stage}
        specification = specify(stage=given, tasks=tasks, diagnose={"spinner": spinner})
        folder = measure(specification, beside=tmp_path)
        read = store.read_records(folder / store.TASKS_FILE, TaskRecord)
        calls = store.read_records(folder / store.DIAGNOSIS_FILE, DiagnosisRecord)
        return store.read_run(folder), sorted(read, key=lambda one: one.task), calls

    return make


def calls_of(task, calls):
    return [
        call
        for call in calls
        if (call.pid, call.thread_id) == (task.pid, task.thread_id)
        and task.started_ns <= call.started_ns <= call.finished_ns <= task.finished_ns
    ]


@pytest.mark.parametrize(
    ("handler", "pool"),
    [
        *(("sleep", pool) for pool in POOLS),
        ("multiply", "threads"),
        ("multiply", "spawn"),
        ("spin", "fork"),
    ],
)
def test_every_task_has_one_call_within_its_time_in_service(run, handler, pool):
    ended, tasks, calls = run(handler, **POOLS[pool])

    assert ended["status"] == "ok"
    assert [len(calls_of(task, calls)) for task in tasks] == [1] * 4
    assert len(calls) == 4
    assert {call.spinner_ns for call in calls} == {None}


@pytest.mark.parametrize("by", ["global", "shared_memory"])
@pytest.mark.parametrize("pool", POOLS)
def test_what_main_makes_for_a_stage_is_there_when_its_calls_are_noted(specify, measure, by, pool):
    stage = {
        "handler": "shared_table",
        "parameters": {"by": by, "size_mib": 0.05, "reads": 100},
        **POOLS[pool],
    }
    folder = measure(specify(stage=stage, tasks=4, diagnose={"spinner": False}))

    assert store.read_run(folder)["status"] == "ok"
    assert len(store.read_records(folder / store.DIAGNOSIS_FILE, DiagnosisRecord)) == 4


def test_a_thread_that_sleeps_gives_up_its_core_by_itself(run):
    _, _, calls = run("sleep")

    assert all(call.voluntary_switches >= 1 for call in calls)
    assert all((call.core_wait_ns or 0) <= call.finished_ns - call.started_ns for call in calls)


def test_threads_that_take_turns_wait_during_their_calls(run):
    _, _, calls = run("take_turns", **POOLS["threads"])

    # The second of two sleeps after it has waited for the first.
    assert max(call.voluntary_switches for call in calls) >= 2


@pytest.mark.parametrize("pool", ["threads", "fork"])
def test_a_handler_that_raises_has_a_call_as_well(run, pool):
    ended, tasks, calls = run("fail", **POOLS[pool])

    assert ended["status"] == "tasks_failed"
    assert {task.status for task in tasks} == {"failed"}
    assert "ValueError: as it should" in tasks[0].error
    assert [len(calls_of(task, calls)) for task in tasks] == [1] * 4


def test_each_attempt_has_a_call(run):
    _, _, calls = run("fail", tasks=2, retries=1)

    assert len(calls) == 4


def test_a_handler_may_change_the_working_directory(run):
    ended, _, calls = run("go_elsewhere")

    assert (ended["status"], len(calls)) == ("ok", 4)


def test_coroutines_share_a_thread_and_have_no_calls(run):
    ended, _, calls = run("rest", executor="asyncio")

    assert (ended["status"], calls) == ("ok", [])


def test_a_handler_that_spins_holds_the_gil_as_long_as_it_computes(run):
    _, tasks, calls = run("spin", spinner=True)

    held_ns = [call.finished_ns - call.started_ns - call.spinner_ns for call in calls]
    cpu_ns = statistics.median(task.cpu_ns for task in tasks)
    # No two threads of one interpreter compute at a time.
    assert statistics.median(held_ns) >= 0.8 * cpu_ns
    assert cpu_ns >= 0.02e9


def test_a_handler_that_sleeps_leaves_the_gil_to_the_spinner(run):
    _, tasks, calls = run("sleep", spinner=True, parameters={"delay_s": 0.1})

    held_ns = [call.finished_ns - call.started_ns - call.spinner_ns for call in calls]
    cpu_ns = statistics.median(task.cpu_ns for task in tasks)
    assert all(call.spinner_ns > 0 for call in calls)
    # However busy the machine is, a handler holds it for no longer than it computes.
    assert min(statistics.median(held_ns), cpu_ns) < 0.01e9


def test_a_wrapped_handler_has_the_signature_of_the_handler(tmp_path):
    def handler(size: int, upstream=None):
        return size, upstream

    wrapped = Diagnosed(handler, tmp_path / "calls.csv")

    assert inspect.signature(wrapped) == inspect.signature(handler)


@pytest.fixture
def own_calls(tmp_path):
    """Call a function diagnosed, in a thread of its own; return the records of its calls."""
    path = tmp_path / store.DIAGNOSIS_FILE

    def make(function, spinner=None, times=1):
        store.RecordWriter(path, DiagnosisRecord).close()
        diagnosed = Diagnosed(function, path)
        with spinner or contextlib.nullcontext(), ThreadPoolExecutor(1) as thread:
            for _ in range(times):
                thread.submit(diagnosed).result()
        return store.read_records(path, DiagnosisRecord)

    return make


def test_a_wrapped_handler_opens_and_closes_what_the_handler_does(tmp_path):
    done = []
    call = FirstCall(str, (), lambda: done.append("open"), lambda: done.append("close"))
    wrapped = Diagnosed(call, tmp_path / "diagnosis.csv")
    begin_worker(wrapped)
    end_worker(wrapped)
    assert done == ["open", "close"]


def test_what_the_kernel_does_not_count_is_missing(own_calls, monkeypatch):
    monkeypatch.setattr(diagnose, "SCHEDSTAT", "/proc/no/such/file")

    (call,) = own_calls(lambda: None)

    assert (call.core_wait_ns, call.spinner_ns) == (None, None)
    assert (call.voluntary_switches, call.finished_ns >= call.started_ns) == (0, True)


def test_what_diagnosing_costs_is_not_laid_to_the_handler(own_calls):
    # Reading what the kernel knows lets go of the GIL, which the spinner then keeps for 5 ms.
    calls = own_calls(lambda: None, diagnose.Spinner(), times=50)

    assert len(calls) == 50
    assert statistics.median(call.spinner_ns for call in calls) < 0.001e9


def test_a_fork_reads_its_own_thread(own_calls, tmp_path):
    def fork():
        child = os.fork()
        if child == 0:
            ends = [open_files(tmp_path / store.DIAGNOSIS_FILE).pid == os.getpid()]
            os._exit(0 if all(ends) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    (call,) = own_calls(fork)

    assert call.pid == os.getpid()
