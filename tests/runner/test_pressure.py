"""Bounded queues, limits of tasks in flight, and arrivals."""

import itertools
import time

import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, THREAD, run, stage, statuses

from stagebench.errors import WorkflowError
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Arrival
from stagebench.runner.workflow import Workflow


def deepest(sink, name):
    """Return the most tasks that waited for a stage at once."""
    own = [r for r in sink.tasks if r.stage == name and r.started_ns]
    # A task that starts at once does not wait: at equal times, the end comes first.
    events = sorted(
        event
        for r in own
        for event in ((r.submitted_ns, 1, r.task), (max(r.started_ns, r.submitted_ns), 0, r.task))
    )
    waiting = most = 0
    for _, begins, _ in events:
        waiting += 1 if begins else -1
        most = max(most, waiting)
    return most


def most_in_flight(sink, last):
    begun, ended = {}, {}
    for r in sink.tasks:
        begun[r.task] = min(begun.get(r.task, r.submitted_ns), r.submitted_ns)
        if r.stage == last:
            ended[r.task] = r.received_ns
    events = sorted([(m, 1) for m in begun.values()] + [(m, -1) for m in ended.values()])
    return max(itertools.accumulate(change for _, change in events))


@pytest.mark.parametrize("size", [1, 3])
def test_a_full_queue_blocks_the_stage_before(kind, size):
    stages = [
        stage("fast", workloads.double, kind, workers=2),
        stage(
            "slow",
            workloads.take,
            THREAD,
            workers=1,
            queue_size=size,
            after=("fast",),
            parameters={"seconds": 0.02},
        ),
    ]
    sink = run(stages, 12)
    assert statuses(sink, "slow") == ["ok"] * 12
    # A worker starts a task just after it has left the queue: one more may seem to wait.
    assert deepest(sink, "slow") <= size + 1
    held = [r.submitted_ns - r.due_ns for r in sink.tasks if r.stage == "slow"]
    assert max(held) > 10_000_000
    fast = sorted(r.started_ns for r in sink.tasks if r.stage == "fast")
    slow = sorted(r.started_ns for r in sink.tasks if r.stage == "slow")
    # Results that are not yet served are in the queue, or held by the two workers of "fast".
    assert all(fast[i + size + 4] > slow[i] for i in range(12 - size - 4))


def test_without_a_bound_nothing_is_held():
    stages = [
        stage("fast", workloads.double, THREAD),
        stage("slow", workloads.take, THREAD, after=("fast",), parameters={"seconds": 0.01}),
    ]
    sink = run(stages, 10)
    assert all(r.submitted_ns == r.due_ns for r in sink.tasks if r.stage == "slow")


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_tasks_are_in_flight_than_allowed(kind, limit):
    stages = [
        stage("a", workloads.double, kind),
        stage("b", workloads.take, THREAD, after=("a",), parameters={"seconds": 0.005}),
    ]
    sink = run(stages, 9, in_flight=limit)
    assert most_in_flight(sink, "b") <= limit
    assert statuses(sink, "b") == ["ok"] * 9


def test_a_bounded_first_queue_takes_tasks_when_it_has_a_place():
    slow = stage("s", workloads.take, THREAD, workers=1, queue_size=1, parameters={"seconds": 0.01})
    read = []

    def tasks():
        for _ in range(6):
            read.append(time.monotonic_ns())
            yield {}

    sink = run([slow], tasks())
    assert statuses(sink, "s") == ["ok"] * 6
    started = sorted(r.started_ns for r in sink.tasks)
    assert read[5] > started[2]


@pytest.mark.parametrize("size", [1, 2])
def test_a_fan_in_with_full_queues_comes_to_its_end(size):
    """One branch is slower than the other, so tasks with missing parts fill the places."""
    bounds = {"workers": 1, "queue_size": size}
    stages = [
        stage("source", workloads.double, THREAD, **bounds),
        stage("a", workloads.take, THREAD, after=("source",), **bounds),
        stage("b", workloads.take, THREAD, after=("source",), **{**bounds, "workers": 3}),
        stage("join", workloads.double, FORK, after=("a", "b"), **bounds),
        stage("late", workloads.double, THREAD, after=("join", "a"), **bounds),
    ]
    tasks = [
        {"a": {"seconds": 0.0}, "b": {"seconds": 0.03 if task % 4 == 0 else 0.0}}
        for task in range(20)
    ]
    sink = run(stages, tasks)
    assert statuses(sink, "late") == ["ok"] * 20


def test_tasks_arrive_at_a_fixed_rate():
    arrival = Arrival(kind="fixed_rate", rate_per_s=200)
    sink = run([stage("s", workloads.double, THREAD)], 10, arrival=arrival)
    due = sorted(r.due_ns for r in sink.tasks)
    assert [later - early for early, later in itertools.pairwise(due)] == [5_000_000] * 9
    assert all(r.submitted_ns >= r.due_ns for r in sink.tasks)


def test_poisson_arrivals_depend_only_on_their_seed():
    def gaps(seed):
        offsets = Arrival(kind="poisson", rate_per_s=100, seed=seed).offsets_s()
        return list(itertools.islice(offsets, 4000))

    assert gaps(1) == gaps(1) != gaps(2)
    assert gaps(1) == sorted(gaps(1))
    # The mean of 4,000 exponential gaps lies within 5 standard errors (8 %) of the true one.
    assert 36.8 < gaps(3)[-1] < 43.2


def test_a_task_that_is_held_back_keeps_the_time_at_which_it_was_due():
    slow = stage("s", workloads.take, THREAD, workers=1, parameters={"seconds": 0.02})
    arrival = Arrival(kind="fixed_rate", rate_per_s=1000)
    sink = run([slow], 5, arrival=arrival, in_flight=1)
    by_task = sorted((r.task, r.due_ns, r.submitted_ns) for r in sink.tasks)
    first_due = by_task[0][1]
    for task, due, submitted in by_task:
        assert due == first_due + task * 1_000_000
        assert submitted - due >= task * 18_000_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "poison"}, "kind is 'poison'; allowed: at_once, fixed_rate, poisson; did you"),
        ({"kind": "fixed_rate"}, "rate_per_s is None; allowed: a number > 0"),
        ({"kind": "poisson", "rate_per_s": 1}, "seed is None; allowed: a whole number >= 0"),
        *(
            ({"kind": "fixed_rate", "rate_per_s": rate}, "allowed: a number > 0, from 1e-09 to 1e")
            for rate in (1e-12, 5e-324, 1e300, 10**400, float("nan"), "1", True)
        ),
        ({"rate_per_s": 1}, "at_once has none"),
        ({"kind": "fixed_rate", "rate_per_s": 1, "seed": 1}, "only poisson has one"),
    ],
)
def test_an_invalid_arrival_is_refused(changes, words):
    with pytest.raises(WorkflowError) as caught:
        Arrival(**changes)
    assert words in str(caught.value)


@pytest.mark.parametrize("limit", [0, True, 1.5])
def test_an_invalid_limit_of_tasks_in_flight_is_refused(limit):
    with pytest.raises(WorkflowError, match=r"in_flight is .*allowed: a whole number >= 1"):
        Workflow([stage("s", workloads.double, THREAD)], ListSink(), in_flight=limit)
