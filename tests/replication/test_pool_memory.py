from __future__ import annotations

from math import isnan

import pytest

from stagebench.present.experiment import split_experiments
from stagebench.replication.pool_memory import group_by_workers, list_pools
from stagebench.tables.io import read_tables
from stagebench.units import MIB


@pytest.fixture
def one_stage(known_run, make_task):
    """Return a run with a single stage, which forks unless changed."""

    def make(workers=1, **changes):
        stage = known_run().stages[0] | {"workers": workers}
        tasks = (make_task(0, "work", (10, 11, 12, 12), cpu=1),)
        factors = {"workers": workers, "executor": "process", "start_method": "fork"}
        facts = {"stages": (stage,), "tasks": tasks, "factors": factors, "tasks_planned": 1}
        return known_run(**facts | changes)

    return make


@pytest.fixture
def pools(analyse):
    def read(*runs):
        folder = analyse(*runs, reference=None)
        return list_pools(split_experiments(read_tables(folder / "tables"))[0])

    return read


def test_a_treatment_of_one_stage_is_a_pool(pools, one_stage):
    (pool,) = pools(one_stage())
    assert (pool.treatment, pool.kind, pool.workers, pool.retain) == ("p1-fork", "fork", 1, False)
    assert (pool.result, pool.tasks, pool.kept, pool.others) == (2.5 * MIB, 1, 0, "[]")
    assert [pool.main(phase, "pss") / MIB for phase in ("base", "trough", "end")] == [20, 12, 26]
    assert pool.growth("pss", "peak") == 4
    assert pool.is_closed_at_end


def test_values_are_medians_over_the_replicates(pools, one_stage, make_sweep):
    runs = [
        one_stage(replicate=n + 1, start=20 * n, sweeps=(make_sweep(0, 9.5, size), other))
        for n, (size, other) in enumerate((s, make_sweep(1, 11, 40, [5])) for s in (10, 30, 12))
    ]
    assert pools(*runs)[0].main("base", "pss") == 12 * MIB


def test_treatments_of_several_stages_are_none(pools, known_run):
    assert pools(known_run()) == []


def test_a_treatment_without_an_ok_run_or_without_a_base_is_none(pools, one_stage):
    failed = one_stage(status="timed_out")
    baseless = one_stage(sweeps=one_stage().sweeps[2:])
    assert pools(failed) == []
    assert pools(baseless) == []


def test_what_was_not_observed_is_missing(pools, one_stage):
    (pool,) = pools(one_stage())
    assert isnan(pool.high_water_growth)
    assert isnan(pool.role("forkserver", "created"))


def test_groups_differ_in_their_workers_alone(make_pool):
    few, many = make_pool(workers=1), make_pool(workers=5)
    retained, other = make_pool(workers=2, retain=True), make_pool(workers=2, others="[x]")
    assert group_by_workers([many, retained, few, other]) == [[few, many]]


def test_pools_that_differ_in_something_unknown_are_not_compared(make_pool):
    assert group_by_workers([make_pool(), make_pool(workers=5), make_pool(workers=5)]) == []


def test_factors_that_are_not_of_the_pool_are_kept_apart(pools, one_stage):
    factors = one_stage().factors | {"flag": True}
    runs = [one_stage(), one_stage(treatment="p1-fork-flag", baseline=False, factors=factors)]
    assert [pool.others for pool in pools(*runs)] == ["[]", "[('flag', 'true')]"]


def test_a_run_that_sampled_itself_is_none_because_its_threads_are_part_of_main(pools, one_stage):
    assert pools(one_stage(emulate={"interval_s": 0.1, "discovery_s": 1.0})) == []


def test_coroutines_are_left_out(present, known_run):
    work, _ = known_run().stages
    alone = work | {"executor": "asyncio", "start_method": None, "after": []}
    tasks = tuple(task for task in known_run().tasks if task.stage == "work")
    assert list_pools(present(known_run(stages=(alone,), tasks=tasks))) == []
