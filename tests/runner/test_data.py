"""What handlers take from upstream stages, and how it travels."""

import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, LOOP, SPAWN, THREAD, errors, run, stage, statuses

from stagebench.errors import WorkflowError
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import TRANSPORTS, Arrival
from stagebench.runner.transport import LARGE_BYTES
from stagebench.runner.workflow import Workflow


def left_behind():
    """Return the segments and folders of this process that exist."""
    folders = Path(tempfile.gettempdir()).glob(f"stagebench-{os.getpid()}-*")
    return {*folders, *Path("/dev/shm").glob(f"stagebench_{os.getpid()}_*")}


@pytest.fixture(autouse=True)
def nothing_left():
    before = left_behind()
    yield
    assert left_behind() <= before


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("first", [THREAD, FORK], ids=["thread", "fork"])
@pytest.mark.parametrize("second", [THREAD, FORK, SPAWN], ids=["thread", "fork", "spawn"])
def test_a_handler_takes_the_result_of_the_stage_before(first, second, transport):
    sizes = [3, LARGE_BYTES - 200, LARGE_BYTES, 3_000_000]
    make = stage("make", workloads.bytes_of, first, transport=transport)
    measure = stage("measure", workloads.length_of, second, after=("make",), retain=True)
    with Workflow([make, measure], ListSink()) as workflow:
        workflow.run([{"make": {"size": size}} for size in sizes])
        assert workflow.results("measure") == dict(enumerate(sizes))


def test_after_a_fan_in_a_handler_takes_results_by_the_names_of_their_stages(kind):
    stages = [
        stage("a", workloads.double, kind, parameters={"value": 1}),
        stage("b", workloads.double, THREAD, parameters={"value": 2}),
        stage("join", workloads.describe, kind, after=("b", "a")),
    ]
    (error,) = errors(run(stages, 1), "join")
    assert error in ("ValueError: took {'a': 2, 'b': 4}", "ValueError: took {'b': 4, 'a': 2}")


def test_after_a_fan_out_every_stage_takes_the_same_result(kind):
    stages = [
        stage("a", workloads.bytes_of, kind, transport="path", parameters={"size": 100_000}),
        stage("b", workloads.length_of, kind, after=("a",)),
        stage("c", workloads.length_of, THREAD, after=("a",)),
        stage("d", workloads.describe, THREAD, after=("b", "c")),
    ]
    assert set(errors(run(stages, 2), "d")) <= {
        "ValueError: took {'b': 100000, 'c': 100000}",
        "ValueError: took {'c': 100000, 'b': 100000}",
    }


def test_a_coroutine_takes_and_gives_results():
    stages = [
        stage("a", workloads.double, FORK),
        stage("b", workloads.take_async, LOOP, after=("a",)),
        stage("c", workloads.describe, THREAD, after=("b",)),
    ]
    assert errors(run(stages, 2), "c") == ["ValueError: took 4"] * 2


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("taker", [THREAD, FORK], ids=["thread", "fork"])
@pytest.mark.parametrize(("size", "total"), [(100, 4950), (100_000, 4999950000)])
def test_arrays_keep_their_values_and_can_be_written_to(transport, taker, size, total):
    stages = [
        stage("a", workloads.array_of, FORK, transport=transport, parameters={"size": size}),
        stage("b", workloads.sum_of, taker, after=("a",)),
    ]
    error = f"ValueError: sum {total} writeable True"
    assert errors(run(stages, 2), "b") == [error] * 2


def read_only_array():
    array = np.frombuffer(bytes(100_000), dtype=np.uint8)
    assert not array.flags.writeable
    return [array, np.zeros(100_000)]


def increment(*, upstream):
    for array in upstream:
        np.add(array, 1, out=array)
    return [int(array.sum()) for array in upstream]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_process_that_takes_an_array_has_its_own_to_write_to(transport):
    stages = [
        stage("a", read_only_array, FORK, transport=transport, retain=True),
        *(stage(name, increment, FORK, after=("a",), retain=True) for name in "bcd"),
    ]
    with Workflow(stages, ListSink()) as workflow:
        workflow.run(2)
        for name in "bcd":
            assert list(workflow.results(name).values()) == [[100_000, 100_000]] * 2
        assert not any(array.any() for array in workflow.results("a")[1])


def arrays_of(*, note):
    import numpy as np

    numbers = np.arange(70_007)
    return {
        note: numbers.astype(float),
        "odd": numbers[::2].astype(np.int8),
        "empty": numbers[:0],
        "wide": (numbers + 1j).reshape(-1, 7).T,
        "last": [numbers, numbers[1:].copy()],
    }


def misfits(*, upstream):
    """Return by how many bytes each array misses a multiple of 64; raise if values are wrong."""
    (note,) = set(upstream) - {"odd", "empty", "wide", "last"}
    wanted = arrays_of(note=note)
    pairs = [(upstream[name], wanted[name]) for name in (note, "odd", "empty", "wide")]
    pairs += zip(upstream["last"], wanted["last"], strict=True)
    assert all((got == want).all() and got.dtype == want.dtype for got, want in pairs)
    return [got.ctypes.data % 64 for got, _ in pairs if got.size]


@pytest.mark.parametrize("transport", ["shared_memory", "path"])
@pytest.mark.parametrize("taker", [THREAD, FORK], ids=["thread", "fork"])
def test_every_array_of_a_packed_result_is_aligned(transport, taker):
    stages = [
        stage("a", arrays_of, FORK, transport=transport),
        stage("b", misfits, taker, after=("a",), retain=True),
    ]
    with Workflow(stages, ListSink()) as workflow:
        workflow.run([{"a": {"note": "x" * length}} for length in range(1, 6)])
        assert workflow.results("b") == dict.fromkeys(range(5), [0] * 5)


def test_a_handler_may_keep_what_lies_in_shared_memory():
    stages = [
        stage(
            "a", workloads.array_of, FORK, transport="shared_memory", parameters={"size": 100_000}
        ),
        stage("b", workloads.keep, FORK, workers=1, after=("a",), retain=True),
    ]
    with Workflow(stages, ListSink()) as workflow:
        workflow.run(3)
        assert sorted(workflow.results("b").values()) == [1, 2, 3]


def test_handlers_that_take_nothing_are_sent_nothing():
    stages = [
        stage("lock", workloads.return_lock, THREAD),  # a lock cannot be sent
        stage("s", workloads.double, FORK, after=("lock",)),
    ]
    assert statuses(run(stages, 2), "s") == ["ok", "ok"]


@pytest.mark.parametrize("transport", ["shared_memory", "path"])
@pytest.mark.parametrize("handler", [workloads.die, workloads.refuse])
def test_nothing_is_left_of_results_when_those_that_take_them_fail(transport, handler):
    stages = [
        stage("a", workloads.bytes_of, FORK, transport=transport, parameters={"size": 200_000}),
        stage("b", handler, FORK, after=("a",), transport=transport),
        stage("c", workloads.keep, THREAD, after=("a", "b")),
    ]
    sink = run(stages, 3)
    assert set(statuses(sink, "c")) == {"skipped"}


def test_nothing_is_left_of_retained_results_or_of_a_failed_run():
    class FullDisk(ListSink):
        def task(self, record):
            if record.task == 3:
                raise OSError("no space left")

    kept = stage(
        "a",
        workloads.bytes_of,
        FORK,
        transport="shared_memory",
        retain=True,
        parameters={"size": 200_000},
    )
    with pytest.raises(OSError, match="no space"), Workflow([kept], FullDisk()) as workflow:
        workflow.run(6)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("first", [THREAD, FORK, SPAWN], ids=["thread", "fork", "spawn"])
def test_results_of_tasks_that_are_done_can_be_read_after_a_run_failed(first, transport):
    class Full(ListSink):
        def task(self, record):
            super().task(record)
            if (record.task, record.stage) == (2, "b"):
                raise OSError("no space left")

    make = stage("a", workloads.bytes_of, first, workers=1, transport=transport, retain=True)
    measure = stage("b", workloads.length_of, FORK, after=("a",), transport=transport)
    sink = Full()
    with Workflow([make, measure], sink) as workflow:
        with pytest.raises(OSError, match="no space"):
            workflow.run([{"a": {"size": 100_000 + task}} for task in range(6)])
        done = [r.task for r in sink.tasks if r.stage == "a" and r.status == "ok"]
        wanted = {task: bytes(100_000 + task) for task in done}
        assert {0, 1, 2} <= set(wanted)
        assert {**workflow.results("a"), **wanted} == workflow.results("a")
    with pytest.raises(WorkflowError, match="stage 'a' is closed"):
        workflow.results("a")


def test_retained_results_are_given_by_task_until_the_stage_is_closed(kind):
    kept = stage("s", workloads.double, kind, retain=True)
    workflow = Workflow([kept], ListSink())
    workflow.run([{"s": {"value": task}} for task in range(4)])
    assert workflow.results("s") == {0: 0, 1: 2, 2: 4, 3: 6}
    workflow.run(1)
    assert workflow.results("s") == {0: 2}
    workflow.close()
    with pytest.raises(WorkflowError, match="stage 's' is closed and its results are gone"):
        workflow.results("s")


def test_asking_for_results_that_do_not_exist_is_an_error():
    workflow = Workflow([stage("s", workloads.double, THREAD)], ListSink())
    with pytest.raises(WorkflowError, match="retains no results"):
        workflow.results("s")
    with pytest.raises(WorkflowError, match="unknown stage 'ss'; stages are s"):
        workflow.results("ss")
    for name in (5, None, ["s"]):
        with pytest.raises(WorkflowError, match="unknown stage"):
            workflow.results(name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"handler": workloads.length_of}, "takes 'upstream', but the stage follows no other"),
        ({"parameters": {"valu": 1}}, "'valu' is unknown; double takes value; did you mean"),
        ({"parameters": {"upstream": 1}}, "'upstream' is set by the runner"),
        ({"handler": workloads.wait_async}, "'thread': a plain function"),
        ({"executor": "asyncio"}, "'asyncio': a coroutine function"),
        ({"transport": "shm"}, "transport is 'shm'; allowed: pickle, shared_memory, path"),
        ({"queue_size": 0}, "queue_size is 0; allowed: a whole number >= 1"),
        ({"batch": 0}, "batch is 0; allowed: a whole number >= 1"),
        ({"batch": None}, "batch is None; allowed: a whole number >= 1"),
        ({"batch": 1.5}, "batch is 1.5; allowed: a whole number >= 1"),
        (
            {"batch": 2, "executor": "asyncio", "handler": workloads.wait_async},
            "batch is 2; coroutines take one task each, so only 1 is allowed",
        ),
        ({"timeout_s": 0}, "timeout_s is 0; allowed: seconds > 0"),
        ({"timeout_s": float("inf")}, "timeout_s is inf"),
        ({"retries": -1}, "retries is -1; allowed: a whole number >= 0"),
        ({"retry_on": ("late",)}, "retry_on is 'late'; allowed: failed, timed_out, lost"),
        ({"after": "a"}, "after is 'a'; allowed: a tuple of names, such as ('a',)"),
        ({"after": (5,)}, "after is (5,); allowed: a tuple of names"),
        ({"after": ([], "a")}, "after is ([], 'a'); allowed: a tuple of names"),
        ({"retry_on": (None,)}, "retry_on is (None,); allowed: a tuple of names"),
        ({"after": ("a", "a")}, "after is ('a', 'a'); allowed: each name once"),
        ({"name": ""}, "name is ''; allowed: a non-empty string"),
        ({"name": 5}, "name is 5; allowed: a non-empty string"),
        ({"name": ["s"]}, "name is ['s']; allowed: a non-empty string"),
        ({"name": b"s"}, "name is b's'; allowed: a non-empty string"),
        ({"name": "\ud800"}, r"name is '\ud800'; allowed: a non-empty string"),
        ({"parameters": {5: 1, "value": 2}}, "parameter 5 is no name; allowed: a string"),
        ({"timeout_s": 1e300}, "timeout_s is 1e+300; allowed: seconds > 0, from 1e-09 to 1e+09"),
        ({"timeout_s": 10**400}, "; allowed: seconds > 0, from 1e-09 to 1e+09"),
        ({"timeout_s": 1e-300}, "timeout_s is 1e-300; allowed"),
        ({"timeout_s": float("nan")}, "timeout_s is nan; allowed"),
        ({"timeout_s": "1"}, "timeout_s is '1'; allowed"),
        ({"workers": np.float64(2)}, "workers is 2.0; allowed"),
        ({"workers": np.bool_(True)}, "allowed: a whole number >= 1"),
        ({"handler": workloads.Asynchronous()}, "'thread': a plain function"),
        ({"handler": partial(workloads.Asynchronous())}, "'thread': a plain function"),
        ({"handler": workloads.Asynchronous().__call__}, "'thread': a plain function"),
        ({"handler": partial(workloads.wait_async)}, "'thread': a plain function"),
        ({"handler": workloads.generate_async}, "'thread': a plain function"),
        ({"handler": workloads.generate_async, "executor": "asyncio"}, "a coroutine function"),
        ({"handler": workloads.Asynchronous, "executor": "asyncio"}, "a coroutine function"),
        ({"handler": workloads.unseen, "after": ("a",)}, "shows no 'upstream', so it would get no"),
        ({"handler": partial(workloads.unseen, a=1), "after": ("a",)}, "shows no 'upstream'"),
        ({"handler": workloads.Unseen(), "after": ("a",)}, "takes **given and shows no 'upstream'"),
        ({"parameters": [1]}, "parameters is [1]; allowed: a mapping of names to values"),
        (
            {"handler": workloads.by_position},
            "parameter 'value' of by_position is positional-only",
        ),
    ],
)
def test_an_invalid_stage_is_refused(changes, words):
    given = {"name": "s", "handler": workloads.double, "executor": "thread", "workers": 1}
    with pytest.raises(WorkflowError) as caught:
        run([stage(**{"kind": {}, **given, **changes})], 1)
    assert words in str(caught.value)


def test_decorated_handlers_that_show_their_parameters_take_upstream_results():
    stages = [
        stage("a", workloads.bytes_of, THREAD, parameters={"size": 3}),
        stage("b", workloads.seen, THREAD, after=("a",), retain=True),
        stage("c", workloads.Asynchronous(), LOOP, after=("a",), retain=True),
    ]
    with Workflow(stages, ListSink()) as workflow:
        workflow.run(2)
        assert workflow.results("b") == {0: 3, 1: 3}
        assert workflow.results("c") == {0: 7, 1: 7}


@pytest.mark.parametrize("kind", [THREAD, FORK], ids=["thread", "fork"])
def test_a_coroutine_that_no_one_awaits_is_a_failure(kind):
    stages = [stage("s", workloads.hidden_async, kind)]
    assert errors(run(stages, 1), "s") == [
        "the handler returned a coroutine; allowed with executor 'asyncio'"
    ]


def test_numbers_of_numpy_count_as_numbers():
    given = {"workers": np.int64(2), "queue_size": np.uint8(1), "retries": np.int32(0)}
    kind = {"executor": "process", "start_method": "fork"}
    one = stage("s", workloads.double, kind, timeout_s=np.float32(9), retain=True, **given)
    assert [type(value) for value in (one.workers, one.queue_size, one.retries, one.timeout_s)] == [
        *(int, int, int),
        float,
    ]
    arrival = Arrival(kind="poisson", rate_per_s=np.float32(1000), seed=np.int64(3))
    with Workflow([one], ListSink(), in_flight=np.int16(2)) as workflow:
        workflow.run(np.int64(3), arrival)
        assert workflow.results("s") == {0: 2, 1: 2, 2: 2}


def test_a_missing_parameter_is_reported_before_anything_starts():
    with pytest.raises(WorkflowError, match="task 1, stage 's': parameter 'seconds' of take"):
        run([stage("s", workloads.take, THREAD)], [{"s": {"seconds": 1}}, {}])
