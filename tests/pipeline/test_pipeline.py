"""`Pipeline.map`: results, order, errors, and that nothing is left."""

import asyncio
import functools
import math
import operator
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from stagebench import Pipeline, PipelineError, WorkflowError

WAYS = {
    "thread": lambda pipe, function, **more: pipe.threads(function, workers=2, **more),
    "fork": lambda pipe, function, **more: pipe.processes(
        function, workers=2, start_method="fork", **more
    ),
    "spawn": lambda pipe, function, **more: pipe.processes(
        function, workers=2, start_method="spawn", **more
    ),
    "ahead": lambda pipe, function, **more: pipe.processes(
        function, workers=2, start_method="fork", prefetch=3, **more
    ),
    "batch": lambda pipe, function, **more: pipe.processes(
        function, workers=2, start_method="fork", batch=3, **more
    ),
}


@pytest.fixture(params=WAYS)
def add(request):
    """Add a function to a pipeline, served by one kind of workers."""
    return WAYS[request.param]


def double(item):
    return 2 * item


def slow_if_even(item):
    time.sleep(0.02 if item % 2 == 0 else 0.0)
    return item


class OwnError(Exception):
    """An exception that cannot be made from its text."""

    def __init__(self, item, reason):
        super().__init__(f"{item}: {reason}")
        self.item, self.reason = item, reason


class PlainError(Exception):
    """An exception that can."""


def refuse(item):
    if item == 3:
        raise PlainError("refused")
    return item


def refuse_in_its_own_way(item):
    raise OwnError(item, "refused")


def die(item):
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_results_come_in_the_order_of_the_items(add):
    with add(Pipeline(), slow_if_even) as pipe:
        assert list(pipe.map(range(20))) == list(range(20))


def test_results_come_as_they_are_ready_if_asked_so():
    with Pipeline().threads(slow_if_even, workers=2) as pipe:
        results = list(pipe.map([0, 1, 3, 5, 7], ordered=False))
    assert sorted(results) == [0, 1, 3, 5, 7]
    assert results[-1] == 0


def test_functions_are_taken_as_they_are():
    words = ["a", "bb", "ccc"]
    assert list(Pipeline().threads(len).map(words)) == [1, 2, 3]
    assert list(Pipeline().threads(math.sqrt).map([4, 9])) == [2, 3]
    assert list(Pipeline().threads(str.upper).map(words)) == ["A", "BB", "CCC"]
    assert list(Pipeline().threads("-".join).map(words)) == ["a", "b-b", "c-c-c"]
    add_two = functools.partial(operator.add, 2)
    for way in WAYS.values():
        assert list(way(Pipeline(), add_two).map([1, 2])) == [3, 4]
    assert list(Pipeline().threads(lambda item: item + 1).map([1])) == [2]


def test_numpy_functions_are_taken_as_they_are():
    numpy = pytest.importorskip("numpy")
    pipe = Pipeline().processes(numpy.sqrt, start_method="fork").threads(numpy.negative)
    assert list(pipe.map([4.0, 9.0])) == [-2.0, -3.0]


def test_a_result_goes_from_function_to_function(add):
    pipe = add(add(Pipeline(), double), double).threads(str)
    assert list(pipe.map(range(5))) == ["0", "4", "8", "12", "16"]
    assert [stage.name for stage in pipe.stages] == ["double", "double_2", "str"]


def test_branches_and_fan_in():
    pipe = (
        Pipeline()
        .threads(double)
        .processes(str, start_method="fork", name="text")
        .threads(double, name="number", after="double")
        .threads(join, after=("text", "number"))
    )
    assert list(pipe.map([1, 2])) == ["2 4", "4 8"]


def join(text, number):
    return f"{text} {number}"


def test_several_functions_take_the_items_or_are_last():
    pipe = Pipeline().threads(double).threads(str, after=())
    assert list(pipe.map([1, 2])) == [{"double": 2, "str": "1"}, {"double": 4, "str": "2"}]


async def wait_and_double(item):
    await asyncio.sleep(0.001)
    return 2 * item


def test_coroutines():
    assert list(Pipeline().coroutines(wait_and_double, workers=5).map(range(9))) == [
        2 * item for item in range(9)
    ]


def test_items_are_read_as_there_is_room_for_them():
    read = []
    with Pipeline(window=5).threads(double, workers=2) as pipe:
        results = pipe.map(read.append(item) or item for item in range(1000))
        assert next(results) == 0
        assert len(read) == 5
        assert [next(results) for _ in range(10)] == [2 * item for item in range(1, 11)]
        assert len(read) <= 5 + 11


def test_a_result_is_there_before_a_slow_source_gives_the_next_item():
    gate = threading.Event()

    def items():
        yield from range(3)
        assert gate.wait(10)  # set only once the first results are out
        yield 3

    results = Pipeline().threads(double).map(slowly(items()))
    assert [next(results) for _ in range(2)] == [0, 2]
    gate.set()
    assert list(results) == [4, 6]


def slowly(items):
    for item in items:
        time.sleep(0.01)
        yield item


def test_an_exception_is_raised_at_its_place_as_the_object_that_it_was(add):
    with add(Pipeline(), refuse) as pipe:
        results = pipe.map(range(10))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(PlainError, match="refused") as caught:
            next(results)
        assert "stage 'refuse', item 3: 3" in caught.value.__notes__[0]
        # After that it can be used again.
        assert list(pipe.map([1, 2])) == [1, 2]


def test_failures_take_the_place_of_results_or_are_left_out(add):
    with add(Pipeline(), refuse) as pipe:
        results = list(pipe.map(range(6), on_error="return"))
        assert results[:3] + results[4:] == [0, 1, 2, 4, 5]
        assert isinstance(results[3], PlainError)
        assert list(pipe.map(range(6), on_error="skip")) == [0, 1, 2, 4, 5]


def test_an_exception_that_cannot_travel_is_raised_as_text():
    pipe = Pipeline().processes(refuse_in_its_own_way, start_method="fork")
    with pytest.raises(PipelineError, match="OwnError: 7: refused"):
        list(pipe.map([7]))
    with pytest.raises(OwnError):
        list(Pipeline().threads(refuse_in_its_own_way).map([7]))


@pytest.mark.parametrize("way", ["fork", "spawn", "ahead"])
def test_a_worker_that_dies_costs_its_item(way):
    with WAYS[way](Pipeline(), die) as pipe:
        results = list(pipe.map(range(6), on_error="return"))
    assert results[:3] + results[4:] == [0, 1, 2, 4, 5]
    assert isinstance(results[3], PipelineError)
    assert "SIGKILL" in str(results[3])


def test_stages_after_a_failure_are_skipped():
    called = []
    pipe = Pipeline().threads(refuse).threads(called.append)
    assert list(pipe.map(range(5), on_error="skip")) == [None] * 4
    assert sorted(called) == [0, 1, 2, 4]


def test_an_error_of_the_items_is_raised(add):
    def items():
        yield 1
        raise LookupError("no more")

    with add(Pipeline(), double) as pipe, pytest.raises(LookupError, match="no more"):
        list(pipe.map(items()))


def test_leaving_early_ends_the_run_and_the_pipeline_can_be_used_again(add):
    with add(Pipeline(), double) as pipe:
        for result in pipe.map(iter(range(10**9))):
            if result > 50:
                break
        assert list(pipe.map([1])) == [2]


def test_only_one_map_at_a_time():
    with Pipeline().threads(double) as pipe:
        results = pipe.map(range(5))
        next(results)
        with pytest.raises(WorkflowError, match="passes items already"):
            pipe.map(range(5))
        results.close()
        assert list(pipe.map([4])) == [8]


def test_workers_stay_from_one_map_to_the_next():
    with Pipeline().processes(pid_of, start_method="fork") as pipe:
        first, second = list(pipe.map([1])), list(pipe.map([1]))
        assert first == second
    assert not Path(f"/proc/{first[0]}").exists()


def pid_of(_):
    return os.getpid()


def test_without_a_with_block_workers_end_with_the_results():
    (pid,) = Pipeline().processes(pid_of, start_method="fork").map([1])
    assert not Path(f"/proc/{pid}").exists()


class Connection:
    """What a worker opens once."""

    def __init__(self):
        self.pid = os.getpid()


def ask(item, connection):
    assert connection.pid == os.getpid()
    return item, id(connection)


def close_connection(connection):
    assert connection.pid == os.getpid()
    sys.stderr.write("closed\n")


@pytest.mark.parametrize("way", WAYS)
def test_each_worker_opens_and_closes_something_of_its_own(way, capfd):
    more = {"initializer": Connection, "teardown": close_connection}
    with WAYS[way](Pipeline(), ask, **more) as pipe:
        assert [item for item, _ in pipe.map(range(8))] == list(range(8))
    assert capfd.readouterr().err.count("closed") == 2


def test_async_for():
    async def read():
        pipe = Pipeline().threads(double, workers=2)
        return [result async for result in pipe.map(range(10))]

    assert asyncio.run(read()) == [2 * item for item in range(10)]


def test_stop_from_elsewhere_ends_the_results():
    with Pipeline().threads(slow_if_even, workers=2) as pipe:
        timer = threading.Timer(0.2, pipe.stop)
        timer.start()
        taken = list(pipe.map(iter(range(10**9))))
        timer.join()
        assert taken == list(range(len(taken)))
        assert list(pipe.map([1])) == [1]


def test_records_are_kept_up_to_a_number():
    with Pipeline(records=10).threads(double) as pipe:
        list(pipe.map(range(100)))
        assert [record.task for record in pipe.records] == list(range(90, 100))


def test_millions_of_items_take_no_more_memory():
    """The memory that is in use after 30,000 items is that after 10,000."""
    script = textwrap.dedent("""
        import gc, tracemalloc
        from stagebench import Pipeline

        def same(item):
            return item

        used = []
        with Pipeline(records=100).threads(same, workers=2) as pipe:
            tracemalloc.start()
            for number, _ in enumerate(pipe.map(iter(range(30_001)))):
                if number in (10_000, 20_000, 30_000):
                    gc.collect()
                    used.append(tracemalloc.get_traced_memory()[0])
        assert used[2] < used[0] + 100_000, used
    """)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_ctrl_c_ends_everything():
    script = textwrap.dedent("""
        import time
        from stagebench import Pipeline

        def wait(item):
            time.sleep(0.05)
            return item

        if __name__ == "__main__":
            with Pipeline().processes(wait, workers=2, start_method="fork") as pipe:
                for result in pipe.map(iter(range(10**9))):
                    print(result, flush=True)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "0\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode != 0
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert len(children) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Pipeline().threads(double, worker=2), "setting 'worker' is unknown.*'workers'"),
        (lambda: Pipeline().threads(wait_and_double), "wait_and_double does not fit threads()"),
        (lambda: Pipeline().coroutines(double), "does not fit coroutines()"),
        (lambda: Pipeline().threads(3), "function is 3; allowed: a plain function"),
        (lambda: Pipeline().threads(double, initializer=3), "initializer is 3; allowed"),
        (lambda: Pipeline(window=0), "window is 0; allowed: a whole number >= 1"),
        (lambda: Pipeline().map([1]), "a workflow needs at least one stage"),
        (lambda: Pipeline().threads(double).map(3), "items is 3; allowed: anything to iterate"),
        (lambda: Pipeline().threads(double).map([], on_error="rise"), "did you mean 'raise'"),
        (lambda: Pipeline().threads(double, after="x").map([1]), "follows unknown stage 'x'"),
        (lambda: Pipeline().threads(double, workers=0).map([1]), "workers is 0; allowed"),
        (
            lambda: Pipeline().processes(lambda item: item, start_method="fork").map([1]),
            "cannot be sent to a process",
        ),
        (
            lambda: Pipeline().processes(double, start_method="frok").map([1]),
            "start_method is 'frok'; allowed here: .*; did you mean 'fork'",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(make, text):
    with pytest.raises(WorkflowError, match=text.replace("()", r"\(\)")):
        make()


def test_a_start_method_has_no_default():
    with pytest.raises(TypeError, match="start_method"):
        Pipeline().processes(double)
