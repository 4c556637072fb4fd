from collections import Counter

import pytest

from stagebench.design.grid import expand_treatments
from stagebench.design.order import order_runs, order_warm_ups


@pytest.fixture
def plan_runs(make_study):
    def plan(**changes):
        study = make_study(changes)
        return order_runs(study, expand_treatments(study))

    return plan


def block(runs, number):
    return [run.treatment for run in runs if run.block == number]


def test_every_block_holds_every_treatment_once(plan_runs, make_study):
    runs = plan_runs(replicates=5)

    everything = Counter(t.id for t in expand_treatments(make_study()))
    assert [Counter(block(runs, k)) for k in range(1, 6)] == [everything] * 5


def test_blocks_span_all_experiments_of_a_study(make_config, make_study):
    second = {**make_config()["experiments"][0], "name": "second"}
    study = make_study({"experiments.1": second})

    first_block = order_runs(study, expand_treatments(study))[:24]

    assert Counter(run.experiment for run in first_block) == {"runtime": 12, "second": 12}
    # Mixed, not one after the other.
    assert len({run.experiment for run in first_block[:12]}) == 2


def test_ranks_and_positions_count_from_0_in_the_planned_order(plan_runs):
    runs = plan_runs(replicates=3)

    assert [run.rank for run in runs] == list(range(36))
    assert [run.position for run in runs] == list(range(12)) * 3
    assert all(run.replicate == run.block for run in runs)


def test_the_same_seed_gives_the_same_order(plan_runs):
    assert plan_runs(seed=3) == plan_runs(seed=3)


def test_another_seed_gives_another_order(plan_runs):
    assert block(plan_runs(seed=3), 1) != block(plan_runs(seed=4), 1)


def test_each_block_has_its_own_order(plan_runs):
    runs = plan_runs(replicates=4)

    assert len({tuple(block(runs, k)) for k in range(1, 5)}) == 4


def test_more_replicates_leave_earlier_blocks_as_they_are(plan_runs):
    few, many = plan_runs(replicates=2), plan_runs(replicates=6)

    assert many[: len(few)] == few


def test_the_order_does_not_depend_on_the_order_of_levels(plan_runs):
    turned = plan_runs(**{"experiments.0.factors.workers": [2, 1]})

    assert turned == plan_runs()


def test_every_treatment_comes_at_every_position_about_as_often(plan_runs):
    runs = plan_runs(replicates=1000)

    first = Counter(run.treatment for run in runs if run.position == 0)
    # 1000 blocks, 12 treatments: 83 expected, standard deviation 8.7; five of them either way.
    assert len(first) == 12
    assert all(40 < count < 127 for count in first.values())


@pytest.fixture
def plan_warm_ups(make_study):
    def plan(**changes):
        study = make_study(changes)
        return order_warm_ups(study, expand_treatments(study))

    return plan


def test_without_warm_ups_none_are_planned(plan_warm_ups):
    assert plan_warm_ups() == ()


def test_warm_ups_hold_every_treatment_once_a_round_in_an_order_of_its_own(plan_warm_ups):
    runs = plan_warm_ups(warm_ups=3)

    rounds = [tuple(run.treatment for run in runs if run.replicate == n) for n in (1, 2, 3)]
    assert len({frozenset(each) for each in rounds}) == 1
    assert len(set(rounds)) == 3
    assert all((run.warm_up, run.block) == (True, 0) for run in runs)


def test_warm_ups_have_the_first_ranks_and_leave_the_order_of_the_blocks(plan_warm_ups, plan_runs):
    warm_ups, runs, without = plan_warm_ups(warm_ups=2), plan_runs(warm_ups=2), plan_runs()

    assert [run.rank for run in (*warm_ups, *runs)] == list(range(len(warm_ups) + len(runs)))
    assert [(r.block, r.treatment) for r in runs] == [(r.block, r.treatment) for r in without]


def test_more_replicates_leave_the_warm_ups_as_they_are(plan_warm_ups):
    assert plan_warm_ups(warm_ups=2, replicates=2) == plan_warm_ups(warm_ups=2, replicates=9)
