from pathlib import Path

import pytest

from stagebench.design.config import check_config, load_config
from stagebench.design.grid import (
    MOST_TREATMENTS,
    combine_levels,
    count_combinations,
    expand_treatments,
)
from stagebench.design.study import Factor
from stagebench.store import canonical_json

CONFIGS = Path(__file__).parents[2] / "config"
RUNTIME = "experiments.0"

POOLS = ["t1", "t2", "t5", *(f"p{n}-{m}" for m in ("fork", "spawn") for n in (1, 2, 5))]


def ids(study, experiment=None):
    return [t.id for t in expand_treatments(study) if experiment in (None, t.experiment)]


def texts(study):
    return {t.id: canonical_json(t.specification) for t in expand_treatments(study)}


@pytest.mark.parametrize("name", ["config.yaml", "published.yaml"])
def test_the_published_studies_have_exactly_the_published_tags(name):
    study = check_config(load_config(CONFIGS / name))

    assert sorted(ids(study, "runtime")) == sorted([*POOLS, *(f"{p}-numpy" for p in POOLS)])
    assert sorted(ids(study, "memory")) == sorted([*POOLS, *(f"{p}-retain" for p in POOLS)])


def test_a_factor_is_absent_where_it_does_not_apply(make_study):
    first = expand_treatments(make_study())[0]

    assert first.id == "t1"
    assert first.factors == {"workers": 1, "executor": "thread", "logic": "native"}
    assert "start_method" not in first.specification["stages"][1]


def test_factors_keep_their_declared_order_when_a_condition_is_declared_later(make_config):
    config = make_config()
    factors = config["experiments"][0]["factors"]
    config["experiments"][0]["factors"] = dict(reversed(factors.items()))

    treatments = expand_treatments(check_config(config))

    assert list(treatments[-1].factors) == ["logic", "start_method", "executor", "workers"]
    assert sorted(t.id for t in treatments) == sorted(
        t.id for t in expand_treatments(check_config(make_config()))
    )


@pytest.mark.parametrize(
    "changes",
    [
        {f"{RUNTIME}.factors.workers": [7, 1, 2]},
        {f"{RUNTIME}.factors.start_method.levels": ["forkserver", "fork", "spawn"]},
        {f"{RUNTIME}.include": [{"workers": 9, "executor": "thread", "logic": "numpy"}]},
        {"replicates": 9, "seed": 1, "time_limit_s": 99, "study": "other"},
    ],
    ids=["a level", "a level under a condition", "a treatment", "the study's own keys"],
)
def test_what_is_added_leaves_all_other_ids_and_specifications_as_they_were(make_study, changes):
    before, after = texts(make_study()), texts(make_study(changes))

    assert before.items() <= after.items()


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

    assert [t.id for t in expand_treatments(study) if t.baseline] == ["t64"]


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


def test_expansion_is_pure(make_study):
    study = make_study()
    first = expand_treatments(study)
    first[0].specification["stages"].clear()

    assert expand_treatments(study)[0].specification["stages"]
