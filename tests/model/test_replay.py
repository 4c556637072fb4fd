"""The replay against cases computed by hand, known results, the runner's router, and real runs."""

import heapq
import math
import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runner import workloads
from tests.runner.conftest import FORK, THREAD, stage

from stagebench.errors import ModelError
from stagebench.handlers.wait import wait
from stagebench.model.replay import Alone, Model, ModelStage, replay
from stagebench.model.sharing import Host, Mix
from stagebench.runner.jobs import StageQueue
from stagebench.runner.routing import Router
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Arrival
from stagebench.runner.transport import NOTHING, Parcels
from stagebench.runner.workflow import Workflow

ASLEEP = Mix()
COMPUTES = Mix(cpu=1.0)
HOLDS = Mix(cpu=1.0, held=1.0)
HOST = Host(cores=2)


def one(name="s", workers=1, mix=ASLEEP, **others):
    return ModelStage(name=name, workers=workers, mix=mix, **others)


def play(stages, tasks, seconds, **others):
    """Replay tasks, of which stage s takes `seconds[s]` or, for each task, `seconds[s][task]`."""

    def alone(place, task, _is_first):
        own = seconds[place]
        return Alone(0.0, own[task] if isinstance(own, list) else own, 0.0)

    settings = {"arrivals": [0.0] * tasks, "host": HOST, "alone": alone} | others
    return replay(Model(stages=stages, **settings))


def spans(replayed, place):
    """Return when each task was taken and received in a stage, by task."""
    return {t: (taken, received) for s, t, _, taken, received in replayed.services if s == place}


def ends(replayed, place):
    return [
        round(received, 9) for _, received in dict(sorted(spans(replayed, place).items())).values()
    ]


# One stage.


@pytest.mark.parametrize(
    ("workers", "tasks", "rounds"), [(1, 5, 5), (3, 9, 3), (4, 9, 3), (9, 4, 1)]
)
def test_equal_tasks_take_as_many_rounds_as_the_workers_need(workers, tasks, rounds):
    assert play([one(workers=workers)], tasks, [0.5]).makespan_s == rounds * 0.5


def test_unequal_tasks_go_to_the_next_free_worker_in_their_order():
    replayed = play([one(workers=2)], 4, [[5.0, 1.0, 2.0, 3.0]])
    assert spans(replayed, 0) == {0: (0, 5), 1: (0, 1), 2: (1, 3), 3: (3, 6)}
    assert [task for _, task, *_ in replayed.services] == [1, 2, 0, 3]


def test_no_tasks_take_no_time():
    assert play([one()], 0, [1.0]) == (0.0, [])


def test_hand_over_keeps_the_worker():
    def alone(_place, _task, _is_first):
        return Alone(0.25, 1.0, 0.5)

    assert play([one()], 3, [], alone=alone).makespan_s == 3 * 1.75


def test_only_the_first_task_of_each_worker_takes_longer():
    def alone(_place, _task, is_first):
        return Alone(0.0, 3.0 if is_first else 1.0, 0.0)

    replayed = play([one(workers=2)], 6, [], alone=alone)
    assert ends(replayed, 0) == [3, 3, 4, 4, 5, 5]


def test_main_hands_over_to_processes_one_after_another():
    stage = one(workers=2, pins=True)
    handed = play([stage], 2, [1.0], alone=lambda *_: Alone(0.0, 1.0, 0.2005))
    # Both end at 1: half a millisecond for the other side, then 0.2 s of work for each.
    assert sorted(ends(handed, 0)) == [pytest.approx(1.2005), pytest.approx(1.4005)]
    threads = play([one(workers=2)], 2, [1.0], alone=lambda *_: Alone(0.0, 1.0, 0.2005))
    assert ends(threads, 0) == [pytest.approx(1.2005)] * 2


def test_a_hand_over_is_not_slowed_down_by_what_its_stage_does():
    stage = one(workers=2, mix=HOLDS)
    handed = play([stage], 2, [1.0], alone=lambda *_: Alone(0.5, 1.0, 0.5))
    assert handed.makespan_s == pytest.approx(1.0 + 2.0)


def test_tasks_that_are_handed_over_together_pay_for_it_once():
    def alone(_place, _task, _is_first):
        return Alone(1.0, 2.0, 3.0)

    replayed = play([one(batch=3)], 6, [], alone=alone)
    # A worker that is free takes what is there: the first task alone, then three and two.
    assert ends(replayed, 0) == [6, 16, 16, 16, 24, 24]


# Starts of workers.


def test_workers_start_with_the_first_task_and_serve_once_they_are_ready():
    stages = [one("a"), one("b", 3, after=(0,), starts_s=(1.0, 2.5, 9.0))]
    replayed = play(stages, 3, [1.0, 4.0])
    # The workers of b start at 1; they are ready at 2, 3.5 and 10.
    assert spans(replayed, 1) == {0: (2, 6), 1: (3.5, 7.5), 2: (6, 10)}


def test_workers_beyond_the_known_starts_take_as_long_as_the_last_of_them():
    replayed = play([one(workers=3, starts_s=(1.0, 2.0))], 3, [1.0])
    assert sorted(ends(replayed, 0)) == [2, 3, 3]


def test_workers_that_start_count_as_free_for_the_bound_of_a_queue():
    stages = [one("a", 1), one("b", 2, after=(0,), queue_size=1, starts_s=(10.0,))]
    replayed = play(stages, 5, [1.0, 1.0])
    # Two tasks are with workers that start, one waits, one is held by a; then a stands still.
    assert ends(replayed, 0) == [1, 2, 3, 4, 13]


def test_a_pinned_task_waits_for_the_worker_that_was_started_last():
    stages = [one(workers=3, starts_s=(1.0, 2.0, 3.0), pins=True)]
    replayed = play(stages, 4, [1.0], arrivals=[0.0, 0.0, 9.0, 9.5])
    assert [(task, worker, taken) for _, task, worker, taken, _ in replayed.services] == [
        (1, 1, 2),
        (0, 2, 3),
        (2, 2, 9),
        (3, 1, 9.5),
    ]


def test_tasks_that_are_not_pinned_go_to_the_worker_that_was_idle_for_longest():
    replayed = play([one(workers=3)], 5, [1.0], arrivals=[0.0, 2.0, 4.0, 6.0, 6.5])
    assert [worker for _, _, worker, *_ in replayed.services] == [0, 1, 2, 0, 1]


# Several stages.


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_pipeline_of_single_workers_is_a_flow_shop(number):
    seconds = [[random.Random(place).uniform(1, 9) for _ in range(6)] for place in range(number)]
    stages = [one(f"s{p}", after=(p - 1,) if p else ()) for p in range(number)]
    replayed = play(stages, 6, [list(own) for own in seconds])
    completed = [[0.0] * 6 for _ in range(number)]
    for task in range(6):
        for place in range(number):
            before = completed[place][task - 1] if task else 0.0
            arrived = completed[place - 1][task] if place else 0.0
            completed[place][task] = max(before, arrived) + seconds[place][task]
    for place in range(number):
        assert ends(replayed, place) == pytest.approx(completed[place])


def test_the_slowest_stage_sets_the_pace():
    stages = [one("a", 2), one("b", 3, after=(0,)), one("c", after=(1,))]
    replayed = play(stages, 10, [1.0, 6.0, 1.0])
    assert replayed.makespan_s == 1 + 6 + 6 + 6 + 6 + 1  # b: four rounds of three


def test_a_stage_after_two_others_waits_for_the_later_part():
    stages = [
        one("a"),
        one("left", after=(0,)),
        one("right", after=(0,)),
        one("join", after=(1, 2)),
    ]
    replayed = play(stages, 2, [1.0, 2.0, 5.0, 1.0])
    assert spans(replayed, 1) == {0: (1, 3), 1: (3, 5)}
    assert spans(replayed, 2) == {0: (1, 6), 1: (6, 11)}
    assert spans(replayed, 3) == {0: (6, 7), 1: (11, 12)}


def test_a_full_queue_holds_up_the_worker_that_brings_a_task():
    stages = [one("a"), one("b", after=(0,), queue_size=1)]
    replayed = play(stages, 5, [1.0, 4.0])
    # a has 2 done at 3 and keeps it until b takes 1 at 5.
    assert ends(replayed, 0) == [1, 2, 3, 6, 10]
    assert ends(replayed, 1) == [5, 9, 13, 17, 21]


def test_a_full_first_queue_holds_up_the_arrival():
    replayed = play([one(queue_size=1)], 4, [2.0], arrivals=[0.0, 0.5, 1.0, 1.5])
    assert ends(replayed, 0) == [2, 4, 6, 8]


def test_an_incomplete_task_takes_a_place():
    stages = [one("a"), one("b"), one("join", after=(0, 1), queue_size=1)]
    replayed = play(stages, 3, [1.0, 5.0, 1.0])
    # a's second task finds the place taken by the first, of which b's part is missing until 5.
    assert ends(replayed, 0) == [1, 2, 6]
    assert ends(replayed, 1) == [5, 10, 15]
    assert ends(replayed, 2) == [6, 11, 16]


def test_when_nothing_else_can_continue_the_oldest_task_gets_a_place_beyond_the_bound():
    stages = [
        one("a"),
        one("p", 3),
        one("b", after=(1,)),
        one("join", after=(0, 2), queue_size=1),
    ]
    # As in tests/runner/test_routing.py: the oldest tasks reach b last.
    replayed = play(stages, 3, [[0.4, 0.4, 0.4], [0.3, 0.5, 0.1], 0.9, 1.0])
    assert [(s, t) for s, t, *_ in replayed.services if s == 2] == [(2, 2), (2, 0), (2, 1)]
    # At 1.0 b holds 2, and a holds 1: nothing serves. Task 1 gets a place, and a goes on.
    assert spans(replayed, 0)[2] == pytest.approx((1.0, 1.4))
    assert spans(replayed, 3)[2][0] == pytest.approx(1.4)


def test_no_more_tasks_are_in_flight_than_allowed():
    stages = [one("a", 9), one("b", 9, after=(0,))]
    assert play(stages, 6, [1.0, 2.0], in_flight=2).makespan_s == 3 * 3.0


def test_tasks_at_a_fixed_rate_are_served_as_they_come():
    arrivals = [0.5 * task for task in range(8)]
    replayed = play([one()], 8, [0.25], arrivals=arrivals)
    assert [taken for taken, _ in spans(replayed, 0).values()] == arrivals
    assert replayed.makespan_s == 3.75


def test_waiting_after_poisson_arrivals_follows_lindley():
    offsets = Arrival(kind="poisson", rate_per_s=2.0, seed=7).offsets_s()
    arrivals = [moment for moment, _ in zip(offsets, range(500), strict=False)]
    service = [random.Random(task).expovariate(3.0) for task in range(500)]
    replayed = play([one()], 500, [service], arrivals=arrivals)
    free = 0.0
    for task, (taken, received) in sorted(spans(replayed, 0).items()):
        assert taken == pytest.approx(max(free, arrivals[task]))
        assert received == pytest.approx(taken + service[task])
        free = received


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (1, 0.8), (3, 0.7)])
def test_mean_waiting_at_random_is_that_of_erlang(workers, load):
    rng = random.Random(workers)
    tasks = 60_000
    moments, now = [], 0.0
    for _ in range(tasks):
        now += rng.expovariate(workers * load)
        moments.append(now)
    service = [rng.expovariate(1.0) for _ in range(tasks)]
    replayed = play([one(workers=workers)], tasks, [service], arrivals=moments)
    waited = sum(taken - moments[t] for _, t, _, taken, _ in replayed.services) / tasks
    offered = workers * load
    last = offered**workers / math.factorial(workers) / (1 - load)
    waits = last / (sum(offered**k / math.factorial(k) for k in range(workers)) + last)
    assert waited == pytest.approx(waits / (workers * (1 - load)), rel=0.1)


# Cores and the GIL.


@pytest.mark.parametrize(("workers", "cores"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 4), (2, 4)])
def test_workers_that_compute_share_the_cores(workers, cores):
    replayed = play([one(workers=workers, mix=COMPUTES)], workers, [1.0], host=Host(cores=cores))
    assert replayed.makespan_s == pytest.approx(max(1.0, workers / cores))


@pytest.mark.parametrize("cores", [1, 2, 16])
@pytest.mark.parametrize("asks", [0.0, 1.0, 200.0, 10_000.0])
def test_threads_that_hold_the_gil_take_turns_on_any_number_of_cores(cores, asks):
    mix = HOLDS._replace(asks=asks)
    replayed = play([one(workers=3, mix=mix)], 3, [1.0], host=Host(cores=cores))
    assert replayed.makespan_s == pytest.approx(3.0, rel=0.01)


def test_a_task_that_starts_slows_down_those_that_are_served():
    replayed = play([one(workers=2, mix=HOLDS)], 2, [1.0], arrivals=[0.0, 0.5])
    # Alone for 0.5 s; then both at half speed for 1 s; then the second alone for 0.5 s.
    assert ends(replayed, 0) == pytest.approx([1.5, 2.0])


def test_threads_of_several_interpreters_do_not_share_a_gil():
    shared = Host(cores=4, has_gil=False)
    assert play([one(workers=3, mix=HOLDS)], 3, [1.0], host=shared).makespan_s == 1.0


def test_a_thread_that_asks_often_is_slowed_down_by_one_that_computes():
    asking = Mix(cpu=0.01, held=0.01, asks=100.0)
    stages = [one("reads", mix=asking), one("computes", mix=HOLDS)]
    replayed = play(stages, 1, [1.0, 9.0])
    assert ends(replayed, 0) == pytest.approx([1 + 100 * 0.005], rel=0.01)


def test_other_work_does_not_slow_down_those_who_sleep():
    stages = [one("sleeps", 5), one("computes", 5, mix=HOLDS)]
    replayed = play(stages, 5, [1.0, 1.0])
    assert ends(replayed, 0) == [1.0] * 5
    assert replayed.makespan_s == pytest.approx(5.0)


# Errors.


def test_no_cores_are_an_error():
    with pytest.raises(ModelError, match="cores: 0 is not allowed; allowed: more than 0"):
        play([one()], 1, [1.0], host=Host(cores=0))


@pytest.mark.parametrize(
    ("stages", "seconds"),
    [
        ([one("a"), one("b", workers=0, after=(0,))], [1.0, 1.0]),
        ([one("a"), one("b", after=(0,))], [1.0, math.inf]),
        ([one("a"), one("b", after=(0,), starts_s=(math.inf,))], [1.0, 1.0]),
        ([one("a"), one("b", after=(0,), starts_s=(math.inf,), pins=True)], [1.0, 1.0]),
    ],
)
def test_a_model_that_stands_still_names_the_stages_that_wait(stages, seconds):
    with pytest.raises(ModelError, match=r"^the model stands still: tasks wait for b$"):
        play(stages, 3, seconds)


# The runner's router, with simulated workers.


def play_router(stages, seconds, arrivals, in_flight):
    """Let the runner's router move tasks; return (stage, task, taken, received) by their ends."""
    queues = [StageQueue(each, index) for index, each in enumerate(stages)]
    for queue in queues:
        queue.connect([other for other in queues if queue.stage.name in other.stage.after])
    router = Router(queues, in_flight, Parcels())
    places = {each.name: place for place, each in enumerate(stages)}
    served, serving, now, fed, number = [], [], 0.0, 0, 0
    while fed < len(arrivals) or router.tasks:
        is_due = fed < len(arrivals) and router.may_feed()
        if is_due and (not serving or arrivals[fed] < serving[0][0]):
            now = max(now, arrivals[fed])
            router.feed(fed, {}, 0, 0)
            fed += 1
            number = _serve(router, places, seconds, serving, now, number)
            continue
        now, _, taken, job = heapq.heappop(serving)
        served.append((places[job.queue.stage.name], job.task, taken, now))
        assert router.claim(job, final=True)
        router.deliver(job, NOTHING, 0)
        number = _serve(router, places, seconds, serving, now, number)
    return served


def _serve(router, places, seconds, serving, now, number):
    for job in router.take()[0]:
        number += 1
        end = now + seconds[places[job.queue.stage.name]][job.task]
        heapq.heappush(serving, (end, number, now, job))
    return number


@st.composite
def graphs(draw):
    """Draw stages of the runner, in an order in which they may run."""
    stages = []
    for place in range(draw(st.integers(1, 5))):
        before = st.sampled_from([each.name for each in stages]) if stages else st.nothing()
        after = draw(st.lists(before, max_size=3, unique=True)) if stages else []
        settings = {"workers": draw(st.integers(1, 3)), "after": tuple(after)}
        size = draw(st.sampled_from([None, 1, 1, 2]))
        stages.append(stage(f"s{place}", workloads.double, THREAD, queue_size=size, **settings))
    return stages


@settings(derandomize=True, database=None, deadline=None, max_examples=400)
@given(
    stages=graphs(),
    tasks=st.integers(1, 12),
    gap=st.sampled_from([0.0, 0.4, 3.0]),
    in_flight=st.sampled_from([None, None, 1, 2, 4]),
    seed=st.integers(0, 10_000),
)
def test_tasks_move_as_the_runner_moves_them(stages, tasks, gap, in_flight, seed):
    rng = random.Random(seed)
    seconds = [[rng.uniform(0.1, 2.0) for _ in range(tasks)] for _ in stages]
    arrivals = [gap * task for task in range(tasks)]
    places = {each.name: place for place, each in enumerate(stages)}
    model = [
        one(
            each.name,
            each.workers,
            after=tuple(places[name] for name in each.after),
            queue_size=each.queue_size,
        )
        for each in stages
    ]
    expected = play_router(stages, seconds, arrivals, in_flight)
    replayed = play(model, tasks, seconds, arrivals=arrivals, in_flight=in_flight)
    assert [(s, t) for s, t, *_ in replayed.services] == [(s, t) for s, t, *_ in expected]
    times = [moment for _, _, _, *moments in replayed.services for moment in moments]
    assert times == pytest.approx([moment for _, _, *moments in expected for moment in moments])


# Real runs. Pools are open and workers ready in the second run of a workflow.


def run_twice(stages, tasks, *arrival, in_flight=None):
    """Return the records of the second of two runs, in the order of their ends."""
    sink = ListSink()
    with Workflow(stages, sink, in_flight=in_flight) as workflow:
        workflow.run(tasks)
        sink.tasks.clear()
        workflow.run(tasks, *arrival)
    return sorted(sink.tasks, key=lambda each: each.received_ns)


def find_services(records, stages):
    """Return how long each task was served, by stage and task."""
    served = {(each.stage, each.task): each.received_ns - each.started_ns for each in records}
    tasks = range(len(served) // len(stages))
    return [[served[each.name, task] / 1e9 for task in tasks] for each in stages]


def order_of_ends(pairs):
    order = defaultdict(list)
    for place, task in pairs:
        order[place].append(task)
    return dict(order)


TASKS = 6
PIPELINE = (("a", 2, (), None), ("b", 1, ("a",), 1), ("c", 2, ("b",), 1))
DIAMOND = (
    ("a", 2, (), None),
    ("left", 1, ("a",), None),
    ("right", 2, ("a",), 1),
    ("join", 1, ("left", "right"), 1),
)
PIPELINE_MS = (
    (50, 25, 35, 40, 45, 35),
    (40, 35, 30, 35, 50, 40),
    (30, 50, 50, 45, 20, 25),
)
DIAMOND_MS = (
    (35, 20, 45, 50, 45, 45),
    (45, 50, 40, 25, 25, 35),
    (40, 30, 25, 25, 40, 45),
    (30, 20, 40, 40, 30, 45),
)
"""Chosen so that tasks overtake each other, and that the order of ends stays the same when each of
them takes up to 15 ms more."""

GRAPHS = {"pipeline": (PIPELINE, PIPELINE_MS), "diamond": (DIAMOND, DIAMOND_MS)}


@pytest.mark.parametrize("kind", [THREAD, FORK], ids=["thread", "fork"])
@pytest.mark.parametrize("in_flight", [None, 3])
@pytest.mark.parametrize("name", GRAPHS)
def test_real_workers_end_tasks_in_the_order_of_the_model(name, kind, in_flight):
    graph, delays_ms = GRAPHS[name]
    stages = [
        stage(name, wait, kind, workers=workers, after=after, queue_size=size)
        for name, workers, after, size in graph
    ]
    tasks = [
        {
            each.name: {"delay_s": own[task] / 1e3}
            for each, own in zip(stages, delays_ms, strict=True)
        }
        for task in range(TASKS)
    ]
    places = {each.name: place for place, each in enumerate(stages)}
    model = [
        one(name, workers, after=tuple(places[before] for before in after), queue_size=size)
        for name, workers, after, size in graph
    ]
    real = run_twice(stages, tasks, in_flight=in_flight)
    replayed = play(model, TASKS, find_services(real, stages), in_flight=in_flight)
    assert order_of_ends((places[each.stage], each.task) for each in real) == order_of_ends(
        (place, task) for place, task, *_ in replayed.services
    )


def test_real_processes_that_are_often_idle_leave_all_work_to_the_last_one():
    stages = [stage("s", wait, FORK, workers=3, parameters={"delay_s": 0.005})]
    real = run_twice(stages, 4, Arrival(kind="fixed_rate", rate_per_s=8.0))
    assert len({record.pid for record in real}) == 1
    arrivals = [task / 8 for task in range(4)]
    replayed = play([one(workers=3, pins=True)], 4, [0.005], arrivals=arrivals)
    assert {worker for _, _, worker, *_ in replayed.services} == {2}
