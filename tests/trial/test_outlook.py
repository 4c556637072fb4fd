"""Estimates from one task: exact for known times, by what bounds a run."""

import os

import pytest

from stagebench.peak.bracket import Bracket
from stagebench.trial.observed import Observed, StageUse, Times
from stagebench.trial.outlook import TimeRange, estimate_makespan, estimate_run, guess_memory
from stagebench.units import GIB, KIB, MIB

CPUS = [0, 1]


def stage(name="work", *, executor="thread", workers=1, retain=False):
    return {"name": name, "executor": executor, "workers": workers, "retain": retain}


def specification(*stages, tasks=10, **others):
    return {"stages": list(stages), "tasks": tasks, "process": {"cpus": CPUS}, **others}


def times(makespan_s, *, around_s=0.0, touched_bytes=0, fresh_page_s=None, **stages):
    uses = {name: StageUse(*use) for name, use in stages.items()}
    return Times(makespan_s, around_s, uses, touched_bytes, fresh_page_s)


def test_the_slowest_stage_decides_with_the_rounds_of_its_workers():
    given = specification(stage("load", workers=5), stage("work", workers=2))
    one = times(1.5, load=(1.0, 0.0, None), work=(0.5, 0.0, None))

    assert estimate_makespan(given, one) == TimeRange(1.5 + 4 * 0.5, 1.5 + 4 * 0.5)


def test_processes_are_bounded_by_the_cores():
    given = specification(stage(executor="process", workers=10))

    assert estimate_makespan(given, times(1.0, work=(1.0, 1.0, None))) == TimeRange(5.0, 5.0)


def test_threads_on_cpu_may_hold_the_gil_or_not():
    given = specification(stage(workers=10))

    assert estimate_makespan(given, times(1.0, work=(1.0, 1.0, None))) == TimeRange(5.0, 10.0)


def test_cpu_time_that_is_not_known_bounds_nothing():
    given = specification(stage(executor="asyncio", workers=10))

    assert estimate_makespan(given, times(1.0, work=(1.0, None, None))) == TimeRange(1.0, 1.0)


@pytest.mark.parametrize(
    ("setting", "expected_s"),
    [
        ({"in_flight": 2}, 5.0),
        ({"in_flight": 50}, 1.0),
        ({"arrival": {"kind": "fixed_rate", "rate_per_s": 3}}, 4.0),
    ],
)
def test_limits_and_arrivals_bound_a_run(setting, expected_s):
    given = specification(stage(workers=10), **setting)

    assert estimate_makespan(given, times(1.0, work=(1.0, 0.0, None))).low_s == expected_s


def test_all_cores_of_this_process_count_if_none_are_named():
    given = specification(stage(executor="process", workers=1000), tasks=1000)
    given["process"]["cpus"] = None

    estimate = estimate_makespan(given, times(0.0, work=(1.0, 1.0, None)))

    assert estimate.low_s == 1000 / len(os.sched_getaffinity(0))


def test_a_run_also_waits_touches_memory_and_ends_at_its_time_limit():
    treatment = {
        "specification": specification(stage(executor="process")),
        "estimated_memory_bytes": 8 * GIB,
    }
    one = times(1.0, around_s=0.5, touched_bytes=1 * GIB, fresh_page_s=1e-6, work=(1.0, 0.0, None))

    waits = estimate_run(treatment, one, 2.0, 1 * GIB, 100)
    touches = estimate_run(treatment, one, 0.0, 2 * GIB, 100)
    limited = estimate_run(treatment, one, 0.0, 0, 4)

    assert waits == pytest.approx((10.0 + 0.5 + 0.2, 10.0 + 0.5 + 2.0))
    assert touches == pytest.approx((10.5, 10.5 + 1e-6 * GIB / (4 * KIB)))
    assert limited == TimeRange(4.5, 4.5)


def observed(upper_bytes, one):
    return Observed("ok", "", peak=Bracket(0, 0, upper_bytes), times=one)


def test_every_further_worker_may_grow_as_the_first():
    given = specification(stage("load", workers=5), stage("work", workers=20), tasks=10)
    one = times(1.0, load=(0.5, 0.0, 10 * MIB), work=(0.5, 0.0, 1 * MIB))

    assert guess_memory(given, observed(100 * MIB, one)) == (100 + 4 * 10 + 9) * MIB


def test_results_that_are_kept_grow_with_the_tasks():
    given = specification(stage(retain=True), tasks=10)
    one = times(1.0, work=(1.0, 0.0, 10 * MIB))

    assert guess_memory(given, observed(100 * MIB, one)) == 190 * MIB


def test_memory_that_is_not_known_is_not_guessed():
    given = specification(stage(workers=2))

    assert guess_memory(given, observed(None, times(1.0, work=(1.0, 0.0, 5)))) is None
    assert guess_memory(given, observed(7, times(1.0, work=(1.0, 0.0, None)))) == 7
