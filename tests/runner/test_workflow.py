"""The contract of the runner, the same for every kind of worker."""

import collections
import multiprocessing
import os
import sys
import threading
from collections import Counter
from typing import ClassVar

import pytest
from tests.runner import workloads
from tests.runner.conftest import KINDS, run, stage, statuses

from stagebench.errors import WorkerLostError, WorkflowError
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Stage, order_stages
from stagebench.runner.worker import WorkerSetup
from stagebench.runner.workflow import Workflow
from stagebench.sampler.procfs import read_children


def test_every_task_has_one_record_in_every_stage(kind):
    stages = [
        stage("first", workloads.double, KINDS["thread"]),
        stage("second", workloads.double, kind, after=("first",)),
        stage("third", workloads.double, KINDS["thread"], after=("second",)),
    ]
    sink = run(stages, [{}] * 7)
    seen = Counter((record.task, record.stage) for record in sink.tasks)
    assert seen == {(task, s.name): 1 for task in range(7) for s in stages}
    assert {record.status for record in sink.tasks} == {"ok"}


def test_times_of_a_record_follow_one_another_and_stages_do_too(kind):
    stages = [
        stage("first", workloads.take, kind, parameters={"seconds": 0.02}),
        stage("second", workloads.take, kind, parameters={"seconds": 0.01}, after=("first",)),
    ]
    sink = run(stages, [{}] * 3)
    for record in sink.tasks:
        times = (record.submitted_ns, record.started_ns, record.finished_ns, record.received_ns)
        assert list(times) == sorted(times)
        assert record.finished_ns - record.started_ns >= 10_000_000
    received = {r.task: r.received_ns for r in sink.tasks if r.stage == "first"}
    submitted = {r.task: r.submitted_ns for r in sink.tasks if r.stage == "second"}
    assert all(submitted[task] >= received[task] for task in received)


def test_cpu_time_is_that_of_the_worker_alone(kind):
    stages = [stage("work", workloads.burn, kind, workers=1, parameters={"seconds": 0.05})]
    (record,) = run(stages, [{}]).tasks
    assert 50_000_000 <= record.cpu_ns <= record.finished_ns - record.started_ns + 1_000_000
    stages = [stage("wait", workloads.take, kind, workers=1, parameters={"seconds": 0.05})]
    (record,) = run(stages, [{}]).tasks
    assert record.cpu_ns < 25_000_000


def test_no_more_workers_serve_than_were_asked_for(kind):
    sink = run([stage("s", workloads.take, kind, parameters={"seconds": 0.05})], [{}] * 8)
    workers = {(record.pid, record.thread_id) for record in sink.tasks}
    assert len(workers) == 2
    assert {(w.pid, w.thread_id) for w in sink.workers} == workers
    events = [(t, 1) for t in (r.started_ns for r in sink.tasks)]
    events += [(t, -1) for t in (r.finished_ns for r in sink.tasks)]
    busy = most = 0
    for _, change in sorted(events):
        busy += change
        most = max(most, busy)
    assert most == 2


def test_a_worker_is_ready_before_its_first_task_and_after_the_first_submission(kind):
    sink = run([stage("s", workloads.double, kind)], [{}] * 4)
    first_submitted = min(record.submitted_ns for record in sink.tasks)
    for worker in sink.workers:
        assert worker.requested_ns == first_submitted
        assert worker.requested_ns <= worker.started_ns <= worker.ready_ns
        started = [r.started_ns for r in sink.tasks if r.thread_id == worker.thread_id]
        assert all(worker.ready_ns <= moment for moment in started)
    assert {record.thread_id for record in sink.tasks} <= {w.thread_id for w in sink.workers}


def test_parameters_of_a_task_override_those_of_the_stage(kind):
    stages = [stage("s", workloads.take, kind, parameters={"seconds": 0.0})]
    sink = run(stages, [{}, {"s": {"seconds": 0.1}}, {}])
    service = {r.task: r.finished_ns - r.started_ns for r in sink.tasks}
    assert max(service, key=service.get) == 1
    assert service[1] >= 100_000_000


@pytest.mark.parametrize(
    "handler", [workloads.refuse, workloads.leave, workloads.raise_unpicklable]
)
def test_a_handler_that_raises_fails_its_task_alone(kind, handler):
    stages = [
        stage("s", handler, kind),
        stage("other", workloads.double, kind),
        stage("next", workloads.double, KINDS["thread"], after=("s",)),
        stage("last", workloads.double, KINDS["thread"], after=("next", "other")),
    ]
    sink = run(stages, [{}] * 3)
    statuses = Counter((record.stage, record.status) for record in sink.tasks)
    assert statuses == {
        ("s", "failed"): 3,
        ("other", "ok"): 3,
        ("next", "skipped"): 3,
        ("last", "skipped"): 3,
    }
    errors = [record.error for record in sink.tasks if record.stage == "s"]
    assert all("Traceback" in error and handler.__name__ in error for error in errors)


def test_a_result_that_cannot_be_pickled_fails_its_task(kind):
    (record,) = run([stage("s", workloads.return_lock, kind)], [{}]).tasks
    if kind["executor"] == "thread":
        assert record.status == "ok"
    else:
        assert record.status == "failed"
        assert "pickle" in record.error


def test_a_parameter_that_cannot_be_pickled_is_refused_before_anything_starts():
    lock = threading.Lock()
    fork = KINDS["fork"]
    sink = ListSink()
    with (
        Workflow([stage("s", workloads.double, fork)], sink) as workflow,
        pytest.raises(WorkflowError, match=r"task 1, stage 's': parameter 'value' cannot be sent"),
    ):
        workflow.run([{}, {"s": {"value": lock}}])
    assert sink.tasks == []
    with pytest.raises(WorkflowError, match=r"stage 's': parameter 'value' cannot be sent"):
        Workflow([stage("s", workloads.double, fork, parameters={"value": lock})], ListSink())


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_a_killed_worker_is_replaced_and_loses_its_own_task_alone(start_method):
    stages = [
        stage("feed", workloads.double, KINDS["thread"]),
        stage("s", workloads.die_if, KINDS[start_method], after=("feed",)),
        stage("next", workloads.double, KINDS["thread"], after=("s",)),
    ]
    sink = run(stages, [{"s": {"value": task}} for task in range(5)])
    assert statuses(sink, "s") == ["ok", "ok", "ok", "lost", "ok"]
    assert statuses(sink, "next") == ["ok", "ok", "ok", "skipped", "ok"]
    (lost,) = [record for record in sink.tasks if record.status == "lost"]
    assert "SIGKILL" in lost.error
    later = [r for r in sink.tasks if r.stage == "s" and r.started_ns > lost.received_ns]
    assert lost.pid not in {record.pid for record in later}


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_workers_that_end_before_they_are_ready_end_the_run(start_method):
    setup = WorkerSetup(preload=("tests.runner.deadly",))
    stages = [
        stage("s", workloads.double, KINDS[start_method]),
        stage("next", workloads.double, KINDS["thread"], after=("s",)),
    ]
    sink = ListSink()
    with (
        Workflow(stages, sink, setup=setup) as workflow,
        pytest.raises(WorkerLostError, match=r"stage 's': .*(ended|could not start)"),
    ):
        workflow.run(3)
    seen = Counter((record.task, record.stage, record.status) for record in sink.tasks)
    assert seen == {(task, s.name, "cancelled"): 1 for task in range(3) for s in stages}


def test_a_fan_in_waits_for_all_its_upstream_stages(kind):
    stages = [
        stage("slow", workloads.take, kind, parameters={"seconds": 0.05}),
        stage("fast", workloads.double, KINDS["thread"]),
        stage("join", workloads.double, KINDS["thread"], after=("slow", "fast")),
    ]
    sink = run(stages, [{}] * 2)
    for task in range(2):
        times = {r.stage: r for r in sink.tasks if r.task == task}
        assert times["join"].submitted_ns >= times["slow"].received_ns
        assert times["join"].submitted_ns >= times["fast"].received_ns


def test_a_fan_out_hands_on_to_every_downstream_stage():
    thread = KINDS["thread"]
    stages = [
        stage("a", workloads.double, thread),
        stage("b", workloads.double, thread, after=("a",)),
        stage("c", workloads.double, thread, after=("a",)),
    ]
    sink = run(stages, [{}] * 4)
    assert Counter(r.stage for r in sink.tasks) == {"a": 4, "b": 4, "c": 4}


def test_a_workflow_without_tasks_ends_at_once():
    assert run([stage("s", workloads.double, KINDS["thread"])], []).tasks == []


def test_an_error_of_the_sink_is_raised_by_run_and_does_not_hang_it(kind):
    class FullDisk(ListSink):
        def task(self, record):
            if record.task == 1:
                raise OSError("no space left")
            super().task(record)

    with pytest.raises(OSError, match="no space left"):
        run([stage("s", workloads.double, kind)], [{}] * 3, FullDisk())


def pools():
    """Return the stages whose pools have live threads."""
    return {thread.name.split("_")[0] for thread in threading.enumerate()} & {"kept", "gone"}


def test_pools_of_retaining_stages_can_stay_open_longer_than_the_others():
    stages = [
        stage("kept", workloads.bytes_of, KINDS["thread"], retain=True, parameters={"size": 10}),
        stage("gone", workloads.bytes_of, KINDS["thread"], parameters={"size": 10}),
    ]
    workflow = Workflow(stages, ListSink())
    workflow.run([{}] * 4)
    assert pools() == {"kept", "gone"}
    workflow.close(keep_retained=True)
    assert pools() == {"kept"}
    workflow.close()
    assert pools() == set()


class Weighed:
    """A result that notes when it is freed."""

    alive: ClassVar[set[int]] = set()

    def __init__(self):
        self.alive.add(id(self))

    def __del__(self):
        self.alive.discard(id(self))


@pytest.mark.parametrize(("retain", "left"), [(True, 3), (False, 0)])
def test_results_are_kept_as_long_as_they_are_retained(retain, left):
    workflow = Workflow([stage("s", Weighed, KINDS["thread"], retain=retain)], ListSink())
    workflow.run([{}] * 3)
    workflow.close(keep_retained=True)
    assert len(Weighed.alive) == left
    workflow.close()
    assert not Weighed.alive


def test_a_run_can_be_followed_by_another():
    sink = ListSink()
    with Workflow([stage("s", workloads.double, KINDS["thread"])], sink) as workflow:
        workflow.run([{}] * 2)
        workflow.run([{}] * 3)
    assert len(sink.tasks) == 5


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_handler_may_run_a_workflow_of_its_own(kind, start_method):
    given = {"start_method": start_method}
    outer = stage("s", workloads.run_a_workflow_within, kind, retain=True, parameters=given)
    with Workflow([outer], ListSink()) as workflow:
        workflow.run(2)
        assert workflow.results("s") == {0: {0: 2, 1: 2}, 1: {0: 2, 1: 2}}


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([], ["at least one stage"]),
        ([("a", {"workers": 0})], ["stage 'a'", "workers is 0", ">= 1"]),
        ([("a", {"workers": True})], ["workers is True"]),
        (
            [("a", {"executor": "proces"})],
            ["'proces'", "thread, process", "did you mean 'process'"],
        ),
        ([("a", {"executor": "process"})], ["start_method is None", "fork"]),
        (
            [("a", {"executor": "process", "start_method": "forks"})],
            ["start_method is 'forks'", "did you mean 'fork'"],
        ),
        ([("a", {"start_method": "fork"})], ["threads have none"]),
        ([("a", {"after": ("b",)})], ["unknown stage 'b'"]),
        ([("a", {}), ("a", {})], ["defined 2 times"]),
        ([("a", {"handler": 3})], ["handler is 3"]),
        (
            [("a", {"handler": lambda: 0, "executor": "process", "start_method": "fork"})],
            ["lambda", "define it in a module"],
        ),
        ([("a", {"after": ("b",)}), ("b", {"after": ("a",)})], ["cycle", "a -> b -> a"]),
        ([("a", {"after": ("a",)})], ["cycle", "a -> a"]),
    ],
)
def test_an_invalid_workflow_is_refused_before_anything_starts(stages, words):
    made = [
        Stage(**{"name": n, "handler": workloads.double, "executor": "thread", "workers": 1, **o})
        for n, o in stages
    ]
    with pytest.raises(WorkflowError) as caught:
        Workflow(made, ListSink())
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (-2, "tasks is -2; allowed: a whole number >= 0"),
        (True, "tasks is True"),
        (2.0, "tasks is 2.0"),
        (None, "tasks is None"),
        ({"s": {}}, "tasks is {'s': {}}"),
        ([1, 2], "task 1 is 2; allowed: a mapping of stage names to mappings of parameters"),
        ([{"s": 1}], "task 0 is {'s': 1}; allowed: a mapping"),
    ],
)
def test_invalid_tasks_are_refused(tasks, words):
    sink = ListSink()
    with (
        Workflow([stage("s", workloads.double, KINDS["thread"])], sink) as workflow,
        pytest.raises(WorkflowError) as caught,
    ):
        workflow.run(tasks)
    assert words in str(caught.value)
    assert sink.tasks == []


class Bar:
    """A progress bar around tasks that can be read once, as tqdm makes it."""

    def __init__(self, tasks, total):
        self.tasks, self.total = tasks, total

    def __len__(self):
        return self.total

    def __contains__(self, task):
        return task in self.tasks

    def __iter__(self):
        yield from self.tasks


class Emptied(list):
    """A list that is empty once it was read."""

    def __iter__(self):
        while self:
            yield self.pop(0)


@pytest.mark.parametrize(
    "make",
    [
        iter,
        lambda tasks: Bar(iter(tasks), 3),
        lambda tasks: Bar(iter(tasks), 100),
        lambda tasks: Bar(iter(tasks), None),  # has no length after all
        Emptied,
        lambda tasks: dict(enumerate(tasks)).values(),
        collections.deque,
    ],
    ids=["iterator", "bar", "too long", "no length", "emptied", "values", "deque"],
)
def test_tasks_that_can_be_read_once_are_all_run(make):
    kept = stage("s", workloads.double, KINDS["thread"], retain=True)
    with Workflow([kept], ListSink()) as workflow:
        workflow.run(make([{"s": {"value": task}} for task in range(3)]))
        assert workflow.results("s") == {0: 0, 1: 2, 2: 4}
        with pytest.raises(WorkflowError, match="task 1, stage 's': parameter 'x' is unknown"):
            workflow.run(make([{}, {"s": {"x": 1}}]))


def test_tasks_with_a_length_may_depend_on_those_before():
    sink, ended = ListSink(), threading.Event()
    sink.task = lambda record: (sink.tasks.append(record), ended.set())

    def each_after_the_one_before():
        for _ in range(3):
            yield {}
            assert ended.wait(10)
            ended.clear()

    bar = Bar(each_after_the_one_before(), 3)
    run([stage("s", workloads.double, KINDS["thread"])], bar, sink)
    assert statuses(sink, "s") == ["ok"] * 3


def test_arguments_of_the_wrong_type_are_refused():
    one = stage("s", workloads.double, KINDS["thread"])
    for stages in (one, [one, "s"], {"s": one}):
        with pytest.raises(WorkflowError, match=r"stages is .*; allowed: a list of Stage"):
            Workflow(stages, ListSink())
    with pytest.raises(WorkflowError, match="is a class; allowed: an object with task, attempt"):
        Workflow([one], ListSink)
    with pytest.raises(WorkflowError, match="has no attempt, worker, event"):
        Workflow([one], type("Sink", (), {"task": print})())
    with pytest.raises(WorkflowError, match="arrival is 'poisson'; allowed: an Arrival"):
        Workflow([one], ListSink()).run(1, "poisson")


@pytest.mark.parametrize("method", ["thread", "fork"])
def test_a_handler_needs_no_module_of_its_own(method):
    upper = stage("s", "x".upper, KINDS[method], retain=True)
    with Workflow([upper], ListSink()) as workflow:
        workflow.run(1)
        assert workflow.results("s") == {0: "X"}


def test_names_that_are_no_text_are_all_reported():
    def make(name, after=()):
        return stage(name, workloads.double, KINDS["thread"], after=after)

    with pytest.raises(WorkflowError) as caught:
        Workflow([make(5), make("a", (5,)), make(["b"]), make("c", ("d",)), make(5)], ListSink())
    lines = str(caught.value).splitlines()
    assert [line.partition(";")[0] for line in lines] == [
        "stage 5: name is 5",
        "stage 'a': after is (5,)",
        "stage ['b']: name is ['b']",
        "stage 'c': follows unknown stage 'd'",
        "stage 5: name is 5",
    ]


def test_a_task_with_a_name_that_is_no_text_is_refused():
    with pytest.raises(WorkflowError, match="task 0: unknown stage 5"):
        run([stage("s", workloads.double, KINDS["thread"])], [{5: {}}])
    with pytest.raises(WorkflowError, match="parameter 5 is no name"):
        run([stage("s", workloads.double, KINDS["thread"])], [{"s": {5: 1, "value": 2}}])


def count_steps(stages):
    """Return how many lines of Python are executed to build a workflow."""
    steps = 0

    def step(*_):
        nonlocal steps
        steps += 1
        return step

    sys.settrace(step)
    try:
        Workflow(stages, ListSink())
    finally:
        sys.settrace(None)
    return steps


def chain(length):
    return [
        stage(f"s{n}", int, KINDS["thread"], after=(f"s{n - 1}",) if n else ())
        for n in range(length)
    ]


def star(length):
    names = tuple(f"s{n}" for n in range(length))
    return [stage(n, int, KINDS["thread"]) for n in names] + [
        stage("end", int, KINDS["thread"], after=names)
    ]


@pytest.mark.parametrize("shape", [chain, star, lambda n: chain(n)[::-1]])
def test_a_workflow_is_built_in_steps_that_grow_with_its_stages_alone(shape):
    assert count_steps(shape(400)) < 2.2 * count_steps(shape(200))


def test_stages_are_ordered_by_depth_and_then_as_they_were_given():
    def make(name, *after):
        return stage(name, workloads.double, KINDS["thread"], after=after)

    given = [make("e", "a", "d"), make("d", "b"), make("b"), make("c", "b"), make("a")]
    assert [one.name for one in order_stages(given)] == ["b", "a", "d", "c", "e"]


def test_all_problems_of_a_workflow_are_reported_at_once():
    bad = {"handler": workloads.double, "executor": "thread", "workers": 0}
    with pytest.raises(WorkflowError) as caught:
        Workflow([Stage(name="a", **bad), Stage(name="b", **bad)], ListSink())
    assert str(caught.value).count("workers is 0") == 2


def test_a_task_for_an_unknown_stage_is_refused():
    sink = ListSink()
    with (
        Workflow([stage("load", workloads.double, KINDS["thread"])], sink) as workflow,
        pytest.raises(WorkflowError, match=r"task 1: unknown stage 'laod'.*'load'"),
    ):
        workflow.run([{}, {"laod": {}}])
    assert sink.tasks == []


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_no_process_is_started_before_the_first_submission(start_method):
    before = set(read_children(os.getpid()))
    with Workflow([stage("s", workloads.double, KINDS[start_method])], ListSink()) as workflow:
        assert set(read_children(os.getpid())) == before
        workflow.run([{}])
        assert multiprocessing.active_children()


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_the_switch_interval_is_set_in_a_worker_process_however_it_was_started(start_method):
    stages = [stage("s", workloads.raise_switch_interval, KINDS[start_method])]
    sink = ListSink()
    with Workflow(stages, sink, setup=WorkerSetup(switch_interval_s=0.25)) as workflow:
        workflow.run([{}])
    assert "interval 0.25" in sink.tasks[0].error
