"""Whatever ends a thread of the runner ends the run; values and exceptions may do as they like."""

import asyncio
import contextlib
import gc
import resource
import sys
import threading
import time

import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, KINDS, LOOP, THREAD, stage, statuses

from stagebench.errors import WorkflowError
from stagebench.runner.sink import ListSink
from stagebench.runner.workflow import Workflow

EXECUTORS = {"thread": THREAD, "fork": FORK, "loop": LOOP}


def run_to_its_end(stages, tasks):
    """Run tasks in a thread, so that a run that hangs fails its test; return sink and failure."""
    sink, raised = ListSink(), []

    def run():
        try:
            with Workflow(stages, sink) as workflow:
                workflow.run(tasks)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the run hangs"
    wanted = sorted((task, one.name) for task in range(tasks) for one in stages)
    assert sorted((r.task, r.stage) for r in sink.tasks) == wanted
    return sink, *(raised or [None])


@contextlib.contextmanager
def limits_are_restored():
    before, size = resource.getrlimit(resource.RLIMIT_NOFILE), threading.stack_size()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        threading.stack_size(size)


def leave_no_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def leave_no_threads():
    threading.stack_size(1 << 46)  # more than there is of address space


async def do_nothing():
    pass


# A loop of asyncio that could not be made complains once more when it is freed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("prepare", "handler", "kind"),
    [
        (leave_no_descriptors, workloads.double, FORK),
        (leave_no_descriptors, do_nothing, LOOP),
        (leave_no_threads, workloads.double, THREAD),
        (leave_no_threads, workloads.double, FORK),
        (leave_no_threads, do_nothing, LOOP),
    ],
)
def test_a_later_stage_whose_pool_cannot_be_made_ends_the_run(prepare, handler, kind):
    stages = [stage("first", prepare, THREAD), stage("later", handler, kind, after=("first",))]
    with limits_are_restored():
        sink, error = run_to_its_end(stages, 3)
    assert isinstance(error, OSError | RuntimeError)
    del error
    gc.collect()
    assert "cancelled" in statuses(sink, "later")


def linger_without_threads():
    leave_no_threads()
    time.sleep(0.5)


def test_a_thread_that_cannot_be_replaced_after_its_time_out_ends_the_run():
    with limits_are_restored():
        sink, error = run_to_its_end([stage("s", linger_without_threads, THREAD, timeout_s=0.1)], 9)
    assert isinstance(error, RuntimeError)
    assert "timed_out" in statuses(sink, "s")


def test_a_watchdog_that_cannot_be_started_ends_the_run():
    with limits_are_restored():
        leave_no_threads()
        with Workflow([stage("s", workloads.double, THREAD, timeout_s=5)], ListSink()) as workflow:
            with pytest.raises(RuntimeError, match="can't start new thread"):
                workflow.run(2)
            threading.stack_size(0)


async def stop_the_loop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(60)


def test_a_handler_that_stops_its_event_loop_ends_the_run():
    sink, error = run_to_its_end([stage("s", stop_the_loop, LOOP)], 4)
    assert "Event loop stopped" in str(error)
    assert set(statuses(sink, "s")) <= {"cancelled", "failed"}


class Proxy(Exception):
    """Asks something that it does not have for every attribute, so for `inner`, too."""

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Textless(Exception):
    def __str__(self):
        raise SystemExit(3)


class Tangled(Exception):
    @property
    def __cause__(self):
        raise MemoryError


def throw(error):
    raise error


async def throw_later(error):
    raise error


@pytest.mark.parametrize("kind", EXECUTORS)
@pytest.mark.parametrize("error", [Proxy, Textless, Tangled])
def test_an_exception_that_cannot_be_formatted_fails_its_task(kind, error):
    handler = throw_later if kind == "loop" else throw
    kind = EXECUTORS[kind]
    sink, failure = run_to_its_end([stage("s", handler, kind, parameters={"error": error})], 3)
    assert failure is None
    assert statuses(sink, "s") == ["failed"] * 3
    assert all(error.__name__ in record.error for record in sink.tasks)


class LeavesWhenPickled:
    def __reduce__(self):
        sys.exit(3)


class LeavesWhenUnpickled:
    """Large enough for any transport."""

    content = bytes(100_000)

    def __reduce__(self):
        return leave_with, (self.content,)


def leave_with(content):
    sys.exit(len(content))


@pytest.mark.parametrize("transport", ["pickle", "shared_memory", "path"])
@pytest.mark.parametrize("value", [LeavesWhenPickled, LeavesWhenUnpickled])
@pytest.mark.parametrize(
    ("maker", "taker"), [("thread", "fork"), ("fork", "thread"), ("fork", "fork")]
)
def test_a_value_that_exits_as_it_travels_fails_its_task(maker, taker, value, transport):
    stages = [
        stage("make", value, KINDS[maker], transport=transport),
        stage("take", workloads.describe, KINDS[taker], after=("make",)),
    ]
    sink, failure = run_to_its_end(stages, 2)
    assert failure is None
    assert "failed" in statuses(sink, "make") + statuses(sink, "take")


def test_a_parameter_that_exits_as_it_is_pickled_is_refused():
    with pytest.raises(WorkflowError, match=r"parameter 'value' cannot be sent .*System"):
        Workflow(
            [stage("s", workloads.double, FORK, parameters={"value": LeavesWhenPickled()})],
            ListSink(),
        )
