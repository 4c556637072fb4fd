"""Grids, ids of treatments, and the order of runs."""

from collections import Counter
from pathlib import Path

import pytest

from stagebench.design.config import check_config, load_config
from stagebench.design.grid import (
    MOST_TREATMENTS,
    Factor,
    combine_levels,
    count_combinations,
    is_valid_id,
    order_runs,
    order_warm_ups,
    treatment_id,
)
from stagebench.store import canonical_json

CONFIGS = Path(__file__).parents[2] / "config"
RUNTIME = "experiments.0"

POOLS = ["t1", "t2", "t5", *(f"p{n}-{m}" for m in ("fork", "spawn") for n in (1, 2, 5))]


def ids(study, experiment=None):
    return [t.id for t in study.treatments if experiment in (None, t.experiment)]


def texts(study):
    return {t.id: canonical_json(t.specification) for t in study.treatments}


@pytest.mark.parametrize("name", ["config.yaml", "published.yaml"])
def test_the_published_studies_have_exactly_the_published_tags(name):
    study = check_config(load_config(CONFIGS / name))

    assert sorted(ids(study, "runtime")) == sorted([*POOLS, *(f"{p}-numpy" for p in POOLS)])
    assert sorted(ids(study, "memory")) == sorted([*POOLS, *(f"{p}-retain" for p in POOLS)])


def test_a_factor_is_absent_where_it_does_not_apply(make_study):
    first = make_study().treatments[0]

    assert first.id == "t1"
    assert first.factors == {"workers": 1, "executor": "thread", "logic": "native"}
    assert "start_method" not in first.specification["stages"][1]


def test_factors_keep_their_declared_order_when_a_condition_is_declared_later(make_config):
    config = make_config()
    factors = config["experiments"][0]["factors"]
    config["experiments"][0]["factors"] = dict(reversed(factors.items()))

    treatments = check_config(config).treatments

    assert list(treatments[-1].factors) == ["logic", "start_method", "executor", "workers"]
    assert sorted(t.id for t in treatments) == sorted(
        t.id for t in check_config(make_config()).treatments
    )


@pytest.mark.parametrize(
    "changes",
    [
        {f"{RUNTIME}.factors.workers": [7, 1, 2]},
        {f"{RUNTIME}.factors.start_method.levels": ["forkserver", "fork", "spawn"]},
        {f"{RUNTIME}.include": [{"workers": 9, "executor": "thread", "logic": "numpy"}]},
        {"replicates": 9, "seed": 1, "time_limit_s": 99, "study": "other", "warm_memory": False},
    ],
    ids=["a level", "a level under a condition", "a treatment", "the study's own keys"],
)
def test_what_is_added_leaves_all_other_ids_and_specifications_as_they_were(make_study, changes):
    before, after = texts(make_study()), texts(make_study(changes))

    assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("changes", "size"),
    [({}, 2**31), ({"warm_memory": "0.5 GiB"}, 2**29), ({"warm_memory": False}, 0)],
)
def test_two_gibibytes_are_touched_at_most_unless_the_study_says_otherwise(
    make_study, changes, size
):
    assert make_study(changes).warm_memory_bytes == size


def test_an_added_factor_whose_first_level_is_silent_keeps_the_ids(make_study):
    study = make_study(
        {
            f"{RUNTIME}.factors.allocator": {
                "levels": [None, 65536],
                "tags": {"null": "", "65536": "mmap"},
            },
            f"{RUNTIME}.process": {"environment": {"MALLOC_MMAP_THRESHOLD_": "{allocator}"}},
            f"{RUNTIME}.baseline.allocator": None,
        }
    )

    assert set(ids(make_study())) < set(ids(study))
    assert "t1-mmap" in ids(study)


def test_excluded_treatments_are_left_out_and_included_ones_come_last(make_study):
    study = make_study(
        {
            f"{RUNTIME}.exclude": [{"executor": "process", "workers": [1, 2]}, {"logic": "numpy"}],
            f"{RUNTIME}.include": [{"logic": "native", "executor": "thread", "workers": 64}],
        }
    )

    assert ids(study) == ["t1", "t2", "t64"]


def test_an_included_treatment_may_be_the_baseline(make_study):
    study = make_study(
        {
            f"{RUNTIME}.include": [{"logic": "native", "executor": "thread", "workers": 64}],
            f"{RUNTIME}.baseline.workers": 64,
        }
    )

    assert [t.id for t in study.treatments if t.baseline] == ["t64"]


def test_an_experiment_without_factors_has_one_treatment(make_study):
    study = make_study(
        {
            f"{RUNTIME}.factors": {},
            f"{RUNTIME}.baseline": {},
            "workflows.0.stages.1": {
                "name": "work",
                "handler": "payload",
                "executor": "thread",
                "workers": 1,
            },
        }
    )

    assert ids(study) == ["only"]


def test_a_condition_may_depend_on_a_condition(make_study):
    study = make_study(
        {
            f"{RUNTIME}.factors.logic.when": {"start_method": "fork"},
            f"{RUNTIME}.factors.logic.levels": ["native", "numpy"],
            f"{RUNTIME}.baseline": {"workers": 1, "executor": "thread"},
            "workflows.0.stages.1.handler": "sum_squares_native",
            "workflows.0.stages.1.retain": False,
            f"{RUNTIME}.process": {"environment": {"LOGIC": "{logic}"}},
        }
    )

    assert ids(study) == [
        *("t1", "p1-fork", "p1-fork-numpy", "p1-spawn"),
        *("t2", "p2-fork", "p2-fork-numpy", "p2-spawn"),
    ]


def test_counting_stops_at_the_most_that_is_allowed():
    chain = [
        Factor(name=f"f{i}", levels=tuple(range(10)), when={f"f{i - 1}": (0, 1)}, tags={})
        for i in range(1, 50)
    ]
    first = Factor(name="f0", levels=tuple(range(10)), when={}, tags={})

    assert count_combinations([first, *chain]) > MOST_TREATMENTS


def test_a_count_is_that_of_the_combinations():
    factors = [
        Factor(name="executor", levels=("thread", "process"), when={}, tags={}),
        Factor(name="start", levels=("fork", "spawn"), when={"executor": ("process",)}, tags={}),
        Factor(name="workers", levels=(1, 2, 5), when={}, tags={}),
    ]

    assert count_combinations(factors) == len(list(combine_levels(factors))) == 9


def test_expansion_is_pure(make_config):
    config = make_config()
    first, second = check_config(config).treatments[:2]
    first.specification["stages"].clear()

    assert second.specification["stages"]
    assert check_config(config).treatments[0].specification["stages"]


def factor(name, levels, tags=None):
    return Factor(name=name, levels=tuple(levels), when={}, tags=tags or {})


DECLARED = [
    factor("logic", ["native", "numpy"], {"native": "", "numpy": "numpy"}),
    factor("size", [0.5, 2]),
    factor("retain", [True, False]),
    factor("workers", [1, 2, 5]),
    factor("executor", ["thread", "process"]),
    factor("start_method", ["fork", "spawn"]),
    factor("cpus", [None, [0, 1], []]),
]


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ({"workers": 1, "executor": "thread"}, "t1"),
        ({"workers": 2, "executor": "process", "start_method": "fork"}, "p2-fork"),
        (
            {"retain": True, "workers": 5, "executor": "process", "start_method": "spawn"},
            "p5-spawn-retain",
        ),
        ({"logic": "native", "retain": False, "workers": 2, "executor": "thread"}, "t2"),
        ({"logic": "numpy", "workers": 1, "executor": "thread"}, "t1-numpy"),
        (
            {"logic": "numpy", "workers": 5, "executor": "process", "start_method": "fork"},
            "p5-fork-numpy",
        ),
        ({"workers": 5}, "w5"),
        ({"executor": "thread"}, "thread"),
        ({"executor": "process", "start_method": "fork"}, "process-fork"),
        ({"size": 0.5}, "size-0_5"),
        ({"size": 2, "retain": True}, "size-2-retain"),
        ({"cpus": None}, "cpus-unset"),
        ({"cpus": [0, 1]}, "cpus-0-1"),
        ({"cpus": []}, "cpus-empty"),
        ({"retain": False}, "plain"),
        ({}, "only"),
    ],
)
def test_an_id_names_the_levels(factors, expected):
    ordered = {f.name: factors[f.name] for f in DECLARED if f.name in factors}

    assert treatment_id(ordered, DECLARED) == expected


def test_a_tag_on_the_number_of_workers_keeps_the_words_apart():
    declared = [factor("workers", [1, 64], {"64": "many"}), factor("executor", ["thread"])]

    assert treatment_id({"workers": 64, "executor": "thread"}, declared) == "thread-many"
    assert treatment_id({"workers": 1, "executor": "thread"}, declared) == "t1"


@pytest.mark.parametrize("name", ["", "-a", "a/b", "..", "A", "a" * 101, "a\n", "é"])
def test_what_is_no_folder_name_is_no_id(name):
    assert not is_valid_id(name)


@pytest.fixture
def plan_runs(make_study):
    def plan(**changes):
        study = make_study(changes)
        return order_runs(study, study.treatments)

    return plan


def block(runs, number):
    return [run.treatment for run in runs if run.block == number]


def test_every_block_holds_every_treatment_once(plan_runs, make_study):
    runs = plan_runs(replicates=5)

    everything = Counter(t.id for t in make_study().treatments)
    assert [Counter(block(runs, k)) for k in range(1, 6)] == [everything] * 5


def test_blocks_span_all_experiments_of_a_study(make_config, make_study):
    second = {**make_config()["experiments"][0], "name": "second"}
    study = make_study({"experiments.1": second})

    first_block = order_runs(study, study.treatments)[:24]

    assert Counter(run.experiment for run in first_block) == {"runtime": 12, "second": 12}
    # Mixed, not one experiment after the other.
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
    # 1000 blocks, 12 treatments: 83 expected; the limits are five standard deviations of 8.7 away.
    assert len(first) == 12
    assert all(40 < count < 127 for count in first.values())


@pytest.fixture
def plan_warm_ups(make_study):
    def plan(**changes):
        study = make_study(changes)
        return order_warm_ups(study, study.treatments)

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
