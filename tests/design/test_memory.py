from dataclasses import replace

import pytest

from stagebench.design.grid import expand_treatments
from stagebench.design.memory import check_memory, estimate_memory
from stagebench.errors import ConfigError
from stagebench.units import GIB, MIB


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
    """Two treatments: t1 needs 1 GiB, t2 needs 3 GiB."""
    first, second = expand_treatments(make_study())[:2]
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
