"""Specifications of treatments, and their need of memory."""

import os
from dataclasses import replace

import pytest

from stagebench.design.grid import check_cpus, check_memory, usable_cpus
from stagebench.design.specification import (
    EMULATE,
    complete_emulation,
    estimate_memory,
    find_emulation_problems,
)
from stagebench.errors import ConfigError
from stagebench.handlers.source import source_hash
from stagebench.store import PROTOCOL, canonical_json
from stagebench.units import GIB, MIB

RUNTIME = "experiments.0"


@pytest.fixture
def specify(make_study):
    """Return the specification of one treatment of the small study with changes."""

    def make(changes=None, treatment="p2-fork"):
        treatments = make_study(changes).treatments
        return next(t.specification for t in treatments if t.id == treatment)

    return make


def test_a_specification_has_all_keys_of_the_contract(specify):
    assert specify() == {
        "protocol": PROTOCOL,
        "experiment": "runtime",
        "treatment": "p2-fork",
        "factors": {
            "workers": 2,
            "executor": "process",
            "start_method": "fork",
            "logic": "native",
        },
        "stages": [
            {
                "name": "download",
                "handler": "download",
                "source": source_hash("download"),
                "executor": "thread",
                "workers": 5,
                "retain": False,
                "parameters": {
                    "file_size_mb": 1.0,
                    "bandwidth_mbps": 10.0,
                    "latency_ms": 0.5,
                    "chunk_bytes": 65536,
                    "cpu_overhead": 0.05,
                    "compression": True,
                    "checksum": True,
                },
                "after": [],
            },
            {
                "name": "cpu_bound",
                "handler": "sum_squares_native",
                "source": source_hash("sum_squares_native"),
                "executor": "process",
                "start_method": "fork",
                "workers": 2,
                "retain": False,
                "parameters": {"elements": 1000},
                "after": ["download"],
            },
        ],
        "tasks": 4,
        "sampler": {"interval_s": 0.01, "cpu_budget": 0.005, "census": "auto"},
        "linger": {"before_start_s": 0.0, "before_close_s": 0.0, "after_close_s": 0.0},
        "process": {"environment": {}, "preload": [], "cpus": None, "blas_threads": 1},
    }


@pytest.mark.parametrize(
    "changes",
    [
        {f"{RUNTIME}.sampler": {"interval_s": 0.01, "census": "auto"}},
        {f"{RUNTIME}.sampler": {}},
        {f"{RUNTIME}.sampler": {"emulate": None}},
        {f"{RUNTIME}.linger": {"before_start_s": 0}},
        {f"{RUNTIME}.process": {"cpus": None, "blas_threads": 1}},
        {f"{RUNTIME}.process": {"switch_interval_s": None}},
        {"workflows.0.stages.0.retain": False},
        {"workflows.0.stages.0.after": []},
        {"workflows.0.stages.0.parameters.file_size_mb": 1.0},
        {"workflows.0.stages.0.parameters.compression": True},
    ],
    ids=str,
)
def test_a_default_that_is_written_out_changes_nothing(specify, changes):
    assert canonical_json(specify(changes)) == canonical_json(specify())


def test_a_handlers_own_default_is_the_published_one(specify):
    parameters = specify()["stages"][0]["parameters"]

    assert parameters["chunk_bytes"] == 64 * 1024


def test_the_order_of_cpus_changes_nothing(specify):
    def with_cpus(cpus):
        return canonical_json(specify({f"{RUNTIME}.process": {"cpus": cpus}}))

    assert with_cpus([1, 0]) == with_cpus([0, 1])


def test_numbers_in_the_environment_become_text_and_null_stays(specify):
    environment = {"A": 65536, "B": None, "C": "x", "D": 0.5}

    process = specify({f"{RUNTIME}.process": {"environment": environment}})["process"]

    assert process["environment"] == {"A": "65536", "B": None, "C": "x", "D": "0.5"}


def test_parameters_of_single_tasks_are_kept_without_defaults(specify):
    tasks = [{"download": {"file_size_mb": 2}}, {}, {"cpu_bound": {"elements": 5}}]

    assert specify({f"{RUNTIME}.tasks": tasks})["tasks"] == [
        {"download": {"file_size_mb": 2.0}},
        {},
        {"cpu_bound": {"elements": 5}},
    ]


def test_settings_of_the_process_may_be_factors(specify):
    changes = {
        f"{RUNTIME}.factors.preload": [[], ["numpy"]],
        f"{RUNTIME}.factors.cpus": [None, [0]],
        f"{RUNTIME}.factors.blas": [1, 2],
        f"{RUNTIME}.process": {
            "preload": "{preload}",
            "cpus": "{cpus}",
            "blas_threads": "{blas}",
            "environment": {"X": "n={blas}"},
        },
        f"{RUNTIME}.baseline": {
            "workers": 1,
            "executor": "thread",
            "logic": "native",
            "preload": [["numpy"]],
            "cpus": None,
            "blas": 1,
        },
    }

    specification = specify(changes, "t1-preload-numpy-cpus-0-blas-2")

    assert specification["process"] == {
        "environment": {"X": "n=2"},
        "preload": ["numpy"],
        "cpus": [0],
        "blas_threads": 2,
    }


def test_the_switch_interval_may_be_a_factor_and_is_absent_where_it_is_null(specify):
    changes = {
        f"{RUNTIME}.factors.switch": {"levels": [None, 1], "tags": {"null": "", "1": "slow"}},
        f"{RUNTIME}.process": {"switch_interval_s": "{switch}"},
        f"{RUNTIME}.baseline.switch": None,
    }

    assert "switch_interval_s" not in specify(changes)["process"]
    assert specify(changes, "p2-fork-slow")["process"]["switch_interval_s"] == 1.0


def test_a_variable_of_the_environment_may_be_a_factor_with_a_level_that_removes_it(specify):
    changes = {
        f"{RUNTIME}.factors.mmap": {"levels": [None, 65536], "tags": {"null": "", "65536": "mmap"}},
        f"{RUNTIME}.process": {"environment": {"MALLOC_MMAP_THRESHOLD_": "{mmap}"}},
        f"{RUNTIME}.baseline.mmap": None,
    }

    def variable(treatment):
        return specify(changes, treatment)["process"]["environment"]["MALLOC_MMAP_THRESHOLD_"]

    assert (variable("p2-fork"), variable("p2-fork-mmap")) == (None, "65536")


SAMPLER = "experiments.0.sampler"


def specifications(study):
    return [treatment.specification for treatment in study.treatments]


def test_specifications_without_emulation_stay_as_they_were(make_study):
    off = specifications(make_study({SAMPLER: {"emulate": None}}))
    assert off[0]["sampler"] == {"interval_s": 0.01, "cpu_budget": 0.005, "census": "auto"}
    assert canonical_json(off) == canonical_json(specifications(make_study()))


@pytest.mark.parametrize("given", [{}, {"interval_s": 0.1}, {"discovery_s": 1}, dict(EMULATE)])
def test_the_published_pauses_are_the_defaults(make_study, given):
    (first, *_) = specifications(make_study({SAMPLER: {"emulate": given}}))
    assert canonical_json(first["sampler"]) == (
        '{"census":"auto","cpu_budget":0.005,"emulate":{"discovery_s":1.0,"interval_s":0.1},'
        '"interval_s":0.01}'
    )


def test_a_whole_number_of_seconds_has_the_same_form_as_the_float():
    assert str(complete_emulation({"discovery_s": 2})) == str(
        complete_emulation({"discovery_s": 2.0})
    )


@pytest.mark.parametrize(
    ("emulate", "expected"),
    [
        (
            {"interval_s": 2},
            "interval_s: 2 is not allowed; allowed: no more than discovery_s (1.0)",
        ),
        (
            {"interval_s": 0.5, "discovery_s": 0.2},
            "discovery_s: 0.2 is not allowed; allowed: no less than interval_s (0.5)",
        ),
    ],
)
def test_a_discovery_that_no_record_would_show_is_refused(find_problems, emulate, expected):
    problems = find_problems({SAMPLER: {"emulate": emulate}})
    assert problems == [f"experiments[0].sampler.emulate.{expected}"]


def test_problems_of_the_emulation_are_reported_with_all_others(find_problems):
    problems = find_problems(
        {
            "seed": -1,
            SAMPLER: {"emulate": {"interval_s": 2}, "interval": 1},
            "experiments.0.tasks": 0,
        }
    )
    assert [problem.split(":")[0] for problem in problems] == [
        "seed",
        "experiments[0].tasks",
        "experiments[0].sampler.emulate.interval_s",
        "experiments[0].sampler.interval",
    ]


def test_pauses_may_be_a_factor(make_study):
    changes = {
        "experiments.0.factors.discovery": [0.1, 1],
        "experiments.0.baseline.discovery": 1,
        SAMPLER: {"emulate": {"discovery_s": "{discovery}"}},
    }
    found = {s["sampler"]["emulate"]["discovery_s"] for s in specifications(make_study(changes))}
    assert found == {0.1, 1.0}


def test_a_level_that_does_not_suit_is_reported_with_its_treatments(find_problems):
    changes = {
        "experiments.0.factors.discovery": [0.05, 1],
        "experiments.0.baseline.discovery": 1,
        SAMPLER: {"emulate": {"discovery_s": "{discovery}"}},
    }
    (problem,) = find_problems(changes)
    assert problem.startswith(
        "experiments[0].sampler.emulate.discovery_s: 0.05 is not allowed; allowed: no less than"
        " interval_s (0.1) (in t1-discovery-0_05, "
    )


@pytest.mark.parametrize(
    "sampler",
    [None, [], "{unknown value}", {}, {"emulate": None}, {"emulate": {"interval_s": "x"}}],
)
def test_invalid_and_unknown_values_are_skipped(sampler):
    assert find_emulation_problems(sampler, ()) == []


def stage(**changes):
    return {
        "name": "work",
        "handler": "payload",
        "workers": 2,
        "retain": False,
        "parameters": {"size_mib": 10.0},
        "after": [],
    } | changes


def estimate(*stages, tasks=4):
    return estimate_memory({"stages": stages, "tasks": tasks})


def test_a_stage_needs_what_its_workers_need_at_once():
    assert estimate(stage(workers=3)) == 30 * MIB


def test_retained_results_are_counted_for_every_task():
    assert estimate(stage(workers=3, retain=True)) == (30 + 40) * MIB


def test_results_that_wait_for_the_end_of_a_batch_are_counted():
    assert estimate(stage(batch=2)) == (20 + 20) * MIB
    assert estimate(stage(batch=100)) == (20 + 40) * MIB


def test_stages_add_up():
    assert estimate(stage(), stage(name="other", workers=1)) == 30 * MIB


def test_no_more_workers_are_busy_than_there_are_tasks():
    assert estimate(stage(workers=100), tasks=4) == 40 * MIB


def test_of_tasks_that_differ_the_largest_counts():
    tasks = [{"work": {"size_mib": 1}}, {"work": {"size_mib": 50}}, {}]

    assert estimate(stage(), tasks=tasks) == 100 * MIB


def test_five_native_workers_of_the_published_study_need_8_gb():
    native = stage(handler="sum_squares_native", workers=5, parameters={"elements": 50_000_000})

    assert estimate(native, tasks=20) == 8_000_000_000


@pytest.fixture
def treatments(make_study):
    """Return two treatments: t1 needs 1 GiB, t2 needs 3 GiB."""
    first, second = make_study().treatments[:2]
    return (
        replace(first, id="t1", estimated_memory_bytes=GIB),
        replace(second, id="t2", estimated_memory_bytes=3 * GIB),
    )


def test_a_treatment_beyond_the_machine_is_refused_with_the_numbers(treatments):
    with pytest.raises(ConfigError) as caught:
        check_memory(treatments, 2 * GIB, allow=False)

    (problem,) = caught.value.problems
    assert problem.startswith(
        "runtime/t2: needs about 3 GiB of memory, this machine has 2 GiB; make it smaller,"
    )
    assert "allow_insufficient_memory: true" in problem


def test_every_treatment_beyond_the_machine_is_named(treatments):
    with pytest.raises(ConfigError) as caught:
        check_memory(treatments, GIB - 1, allow=False)

    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "runtime/t1",
        "runtime/t2",
    ]


def test_what_just_fits_is_not_refused(treatments):
    check_memory(treatments, 3 * GIB, allow=False)


def test_a_study_may_allow_it(treatments):
    check_memory(treatments, 1, allow=True)


def test_cpus_that_the_machine_does_not_have_are_told_with_their_treatments(make_study):
    levels = {"levels": [[0, 3], [1], [0], [7, 5]]}
    treatments = make_study(
        {
            "experiments.0.factors.cpus": levels,
            "experiments.0.process": {"cpus": "{cpus}"},
            "experiments.0.exclude": [{"executor": "process"}, {"workers": 2}, {"logic": "numpy"}],
            "experiments.0.baseline.cpus": [[1]],
        }
    ).treatments

    with pytest.raises(ConfigError) as caught:
        check_cpus(treatments, {0, 1, 2})

    text = "for process.cpus; allowed: 0, 1, 2"
    assert caught.value.problems == [
        f"runtime/t1-cpus-0-3: no CPU 3 {text}",
        f"runtime/t1-cpus-7-5: no CPU 5, 7 {text}",
    ]
    check_cpus(treatments, set(range(8)))


def test_asking_for_the_usable_cpus_leaves_the_affinity_as_it_is():
    before = os.sched_getaffinity(0)
    usable = usable_cpus()
    one = min(usable)
    try:
        os.sched_setaffinity(0, {one})
        assert usable_cpus() == usable >= before
        assert os.sched_getaffinity(0) == {one}
    finally:
        os.sched_setaffinity(0, before)
