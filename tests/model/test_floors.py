"""Floors by hand, what is close to them, and that no replay of a random workflow is below one."""

import pytest
from tests.made_runs import even_run, measured_run, random_run, served, stage_run

from stagebench.model.floors import find_floors, may_be_gil
from stagebench.model.measured import Calibrated
from stagebench.model.resources import (
    ARRIVALS,
    CORES,
    GIL,
    IN_FLIGHT,
    NETWORK,
    NODE,
    PATH,
    RESOURCES,
    WORKERS,
    Floor,
    Line,
    Load,
    Machine,
    NodeLoad,
    bound_makespan,
    find_limit,
)

ASLEEP = Load(1.0, 0.0, 0.0)
COMPUTES = Load(1.0, 1.0, 0.0)
HOLDS = Load(1.0, 1.0, 1.0)
OF_NODES = (NODE, NETWORK)
"""Resources of several nodes, which the runner has not."""
MACHINE = Machine(cores=2, has_gil=True, in_flight=None)


def line(name, workers=1, *after):
    return Line(name, workers, after)


def bound(stages, loads, due=None, machine=MACHINE):
    """Return floors by resource and stage; `loads` has those of a stage's tasks, from 0 on."""
    tasks = range(max(map(len, loads.values())))
    by_key = {(task, name): load for name, own in loads.items() for task, load in enumerate(own)}
    found = bound_makespan(stages, by_key, due or dict.fromkeys(tasks, 0.0), machine)
    assert [floor.floor_s for floor in found] == sorted((f.floor_s for f in found), reverse=True)
    return {(floor.resource, floor.stage): floor.floor_s for floor in found}


def seconds(*works):
    return [Load(work, 0.0, 0.0) for work in works]


# Nodes.


def nodes(*loads):
    return MACHINE._replace(nodes=[NodeLoad(*load) for load in loads])


def test_the_busier_node_needs_its_own_cores_as_long_as_all_share_none():
    loads = {"s": [COMPUTES] * 6}
    found = bound([line("s", 6)], loads, machine=nodes((4.0, 1, None, None), (2.0, 1, None, None)))
    assert (found[NODE, ""], found[CORES, ""]) == (4.0, 3.0)
    shared = bound([line("s", 6)], loads, machine=nodes((4.0, None, None, None)))
    assert (NODE, "") not in shared


def test_a_link_needs_the_time_of_what_it_has_carried_if_its_rate_is_known():
    loads = {"s": [ASLEEP]}
    busy, idle = (0.0, None, 5e6 + 65_536, 1e6), (0.0, None, 3e6, 1e6)
    assert bound([line("s")], loads, machine=nodes(busy, idle))[NETWORK, ""] == 5.0
    for unknown in [(0.0, None, 5e6, None), (0.0, None, None, 1e6)]:
        assert (NETWORK, "") not in bound([line("s")], loads, machine=nodes(unknown))


def test_each_node_has_a_gil_of_its_own():
    loads = {"s": [HOLDS] * 6}
    two = nodes((3.0, None, None, None), (3.0, None, None, None))
    assert bound([line("s", 6)], loads, machine=two)[GIL, ""] == 3.0
    assert bound([line("s", 6)], loads)[GIL, ""] == 6.0


# Workers.


@pytest.mark.parametrize(("workers", "floor"), [(1, 12.0), (2, 6.0), (5, 3.0), (12, 1.0)])
def test_workers_need_whole_rounds_for_equal_tasks(workers, floor):
    found = bound([line("s", workers)], {"s": [ASLEEP] * 12})
    assert found[WORKERS, "s"] == floor


def test_workers_share_unequal_work_if_that_is_more_than_the_rounds_of_the_shortest_tasks():
    found = bound([line("s", 2)], {"s": seconds(1.0, 1.0, 1.0, 9.0)})
    assert found[WORKERS, "s"] == 6.0


def test_one_worker_serves_the_shortest_tasks_at_least_if_that_is_more_than_its_share():
    # One of two workers serves two of three tasks, if only the two shortest.
    found = bound([line("s", 2)], {"s": seconds(4.0, 4.0, 5.0)})
    assert found[WORKERS, "s"] == 8.0


def test_a_stage_waits_for_its_first_task_and_is_followed_by_the_rest_of_its_last():
    stages = [line("a", 9), line("b", 1, "a"), line("c", 9, "b")]
    loads = {"a": seconds(3.0, 2.0), "b": seconds(10.0, 10.0), "c": seconds(0.5, 0.25)}
    found = bound(stages, loads)
    assert found[WORKERS, "b"] == 2.0 + 20.0 + 0.25
    # Of nine workers one serves the shorter task at least.
    assert found[WORKERS, "a"] == 2.0 + min(10.5, 10.25)
    assert found[WORKERS, "c"] == min(13.0, 12.0) + 0.25


def test_a_diamond_is_filled_and_drained_by_the_slower_of_its_sides():
    stages = [line("a"), line("b", 1, "a"), line("c", 1, "a"), line("d", 1, "b", "c")]
    loads = {"a": seconds(1.0), "b": seconds(2.0), "c": seconds(5.0), "d": seconds(3.0)}
    found = bound(stages, loads)
    assert found[PATH, ""] == 1.0 + 5.0 + 3.0
    assert found[WORKERS, "a"] == 1.0 + 8.0
    assert found[WORKERS, "b"] == 1.0 + 2.0 + 3.0
    assert found[WORKERS, "c"] == 1.0 + 5.0 + 3.0
    assert found[WORKERS, "d"] == 6.0 + 3.0


def test_two_ends_and_two_starts_do_not_add_up():
    stages = [line("a"), line("b"), line("c", 1, "a")]
    loads = {"a": seconds(1.0, 1.0), "b": seconds(2.5, 2.5), "c": seconds(1.0, 1.0)}
    found = bound(stages, loads)
    assert found[WORKERS, "a"] == 2.0 + 1.0
    assert found[WORKERS, "b"] == 5.0
    assert found[PATH, ""] == 2.5


def test_a_stage_that_no_task_came_to_has_no_floor():
    assert bound([line("a"), line("b", 1, "a")], {"a": [ASLEEP]})[WORKERS, "b"] == 0.0


# What all stages share.


def test_cores_share_the_cpu_time_of_all_stages():
    stages = [line("a", 9), line("b", 9, "a")]
    found = bound(stages, {"a": [COMPUTES] * 3, "b": [HOLDS] * 4}, machine=Machine(2, True, None))
    assert found[CORES, ""] == 3.5


def test_cores_that_are_not_known_have_no_floor():
    assert (CORES, "") not in bound([line("a")], {"a": [HOLDS]}, machine=Machine(0, True, None))


def test_the_gil_is_held_by_one_at_a_time_however_many_cores_there_are():
    stages = [line("a", 9), line("b", 9, "a")]
    loads = {"a": [Load(2.0, 1.0, 0.75)] * 3, "b": [COMPUTES] * 3}
    found = bound(stages, loads, machine=Machine(64, True, None))
    assert found[GIL, ""] == 2.25


def test_the_floor_of_the_gil_is_by_the_least_that_handlers_hold_it():
    known = Calibrated(1.0, 0.0, held_s=0.75, asks=0.0, wakes=0.0, held_least_s=0.5)
    stage = stage_run("s", [served(0, 0.0, 2.0, cpu_s=2.0)], calibrated=known)
    assert Floor(GIL, "", 1.0) in find_floors(measured_run(stage))


@pytest.mark.parametrize(
    ("executor", "has_gil", "cpu_s", "may_be"),
    [
        ("thread", True, 1.0, True),
        ("thread", True, 0.8, False),
        ("thread", False, 1.0, False),
        ("process", True, 1.0, False),
    ],
)
def test_threads_that_are_not_calibrated_may_hold_the_gil_while_they_compute(
    executor, has_gil, cpu_s, may_be
):
    tasks = [served(n, n + 0.0, n + 1.0, cpu_s=cpu_s) for n in range(2)]
    run = measured_run(stage_run("s", tasks, executor=executor), has_gil=has_gil)
    assert may_be_gil(run) is may_be


def test_of_calibrated_stages_it_is_known_whether_the_gil_is_full():
    known = Calibrated(1.0, 0.0, held_s=1.0, asks=0.0, wakes=0.0, held_least_s=1.0)
    tasks = [served(0, 0.0, 1.0, cpu_s=1.0)]
    assert not may_be_gil(measured_run(stage_run("s", tasks, calibrated=known)))


def test_bounds_that_are_far_apart_leave_open_whether_the_gil_is_full():
    wide = Calibrated(1.0, 0.0, held_s=0.6, asks=0.0, wakes=0.0, held_least_s=0.25)
    tasks = [served(0, 0.0, 1.0, cpu_s=1.0)]
    assert may_be_gil(measured_run(stage_run("s", tasks, calibrated=wide)))
    little = wide._replace(held_s=0.3)
    assert not may_be_gil(measured_run(stage_run("s", tasks, calibrated=little)))


def test_without_a_gil_it_has_no_floor():
    assert (GIL, "") not in bound([line("a")], {"a": [HOLDS]}, machine=Machine(2, False, None))


def test_a_task_that_arrives_late_still_has_to_pass_all_stages():
    stages = [line("a", 9), line("b", 9, "a")]
    loads = {"a": seconds(1.0, 4.0, 1.0), "b": seconds(1.0, 1.0, 1.0)}
    found = bound(stages, loads, due={0: 0.0, 1: 2.0, 2: 4.5})
    assert found[ARRIVALS, ""] == 2.0 + 5.0
    assert found[PATH, ""] == 5.0


def test_tasks_that_are_all_there_at_the_start_have_no_floor_of_arrivals():
    assert (ARRIVALS, "") not in bound([line("a")], {"a": [ASLEEP] * 3})


def test_tasks_in_flight_take_turns():
    stages = [line("a", 9), line("b", 9, "a")]
    loads = {"a": seconds(1.0, 2.0, 3.0), "b": seconds(0.5, 0.5, 0.5)}
    found = bound(stages, loads, machine=Machine(2, True, 2))
    assert found[IN_FLIGHT, ""] == 7.5 / 2
    assert (IN_FLIGHT, "") not in bound(stages, loads)


def test_the_longest_task_is_the_one_whose_way_is_longest():
    stages = [line("a", 9), line("b", 9, "a")]
    loads = {"a": seconds(1.0, 3.0), "b": seconds(4.0, 1.0)}
    assert bound(stages, loads)[PATH, ""] == 5.0


def test_equal_floors_are_in_the_order_of_the_resources():
    loads = {(0, "a"): Load(2.0, 2.0, 2.0)}
    found = bound_makespan([line("a")], loads, {0: 0.0}, Machine(1, True, 1))
    assert {floor.floor_s for floor in found} == {2.0}
    assert [floor.resource for floor in found] == [
        each for each in RESOURCES if each not in (ARRIVALS, *OF_NODES)
    ]


def test_a_run_without_tasks_has_floors_of_nothing():
    assert {floor.floor_s for floor in bound_makespan([line("a")], {}, {}, MACHINE)} == {0.0}


# Runs.


def test_a_run_is_bounded_by_what_its_handlers_take_alone():
    # Two threads hold the GIL in turn: each task took two seconds, one of which it waited.
    tasks = [
        served(number, 2.0 * (number // 2), 2.0 * (number // 2) + 2.0, cpu_s=1.0, worker=number % 2)
        for number in range(4)
    ]
    known = Calibrated(0.5, 0.0, held_s=0.5, asks=0.0, wakes=0.0, held_least_s=0.5)
    run = measured_run(stage_run("s", tasks, workers=2, calibrated=known))
    assert find_floors(run) == [
        Floor(GIL, "", 4.0),
        Floor(WORKERS, "s", 2.0),
        Floor(CORES, "", 2.0),
        Floor(PATH, "", 1.0),
    ]


def test_without_a_calibration_a_task_took_its_service_and_nothing_is_known_of_the_gil():
    tasks = [served(0, 0.0, 2.0, cpu_s=1.0)]
    found = find_floors(measured_run(stage_run("s", tasks)))
    assert {floor.resource: floor.floor_s for floor in found} == {
        WORKERS: 2.0,
        PATH: 2.0,
        CORES: 0.5,
        GIL: 0.0,
    }


def test_processes_do_not_share_the_gil():
    known = Calibrated(cpu_s=1.0, away_s=0.0, held_s=1.0, asks=0.0, wakes=0.0)
    tasks = [served(0, 0.0, 1.0, cpu_s=1.0)]
    stage = stage_run("s", tasks, executor="process", start_method="fork", calibrated=known)
    assert Floor(GIL, "", 0.0) in find_floors(measured_run(stage))


def test_cpu_time_that_a_clock_counts_beyond_the_service_is_not_counted():
    stage = stage_run("s", [served(0, 0.0, 1.0, cpu_s=1.25)])
    assert Floor(CORES, "", 0.5) in find_floors(measured_run(stage))


# What limits.


def test_a_resource_is_full_up_to_15_percent_above_its_floor():
    floors = [Floor(WORKERS, "s", 1.0), Floor(PATH, "", 0.95)]
    assert find_limit(floors, 1.15) == floors[0]
    assert find_limit(floors, 1.1501) is None


def test_the_highest_floor_limits_in_whatever_order_they_are():
    floors = [Floor(PATH, "", 0.95), Floor(WORKERS, "s", 1.0)]
    assert find_limit(floors, 1.0) == floors[1]


def test_nothing_limits_without_floors_or_work():
    assert find_limit([], 1.0) is None
    assert find_limit([Floor(WORKERS, "s", 0.0)], 1.0) is None


def test_workers_that_are_busy_all_the_time_limit_a_run():
    run = even_run(workers=2, tasks=8)
    assert find_limit(find_floors(run), run.makespan_s) == Floor(WORKERS, "work", 4.0)


@pytest.mark.parametrize("block", range(10))
def test_no_replay_of_a_random_workflow_is_below_a_floor(block):
    for seed in range(60 * block, 60 * (block + 1)):
        run = random_run(seed)
        for floor in find_floors(run):
            assert floor.floor_s <= run.makespan_s * (1 + 1e-9), (seed, floor)


def test_replays_of_random_workflows_reach_a_floor_of_every_resource():
    runs = [random_run(seed) for seed in range(600)]
    limits = [find_limit(find_floors(run), run.makespan_s) for run in runs]
    assert {limit.resource for limit in limits if limit} == {*RESOURCES} - {*OF_NODES}
    assert sum(limit is None for limit in limits) > 100
