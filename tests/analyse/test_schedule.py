from __future__ import annotations

import pytest

from stagebench.analyse.schedule import (
    choose_shown,
    count_overlaps,
    makespan_ratios,
    started_ranks,
)
from stagebench.analyse.stages import makespan_s


def ok_makespans(traces):
    return [makespan_s(trace) if trace.is_ok else None for trace in traces]


def shown(traces):
    return choose_shown(traces, ok_makespans(traces))


def ratios(traces):
    return makespan_ratios(traces, ok_makespans(traces))


def replicates(known_run, *factors, **values):
    return [
        known_run(replicate=index + 1, start=20 * index, **values).stretched(factor)
        for index, factor in enumerate(factors)
    ]


def test_the_run_of_median_makespan_is_shown(traces, known_run):
    assert shown(traces(*replicates(known_run, 3, 1, 2))) == [False, False, True]


def test_of_two_runs_the_faster_is_shown(traces, known_run):
    assert shown(traces(*replicates(known_run, 2, 1))) == [False, True]


def test_a_failed_run_is_never_shown(traces, known_run):
    runs = [
        known_run(replicate=1, status="timed_out"),
        known_run(replicate=2).stretched(4),
        known_run(replicate=3, status="tasks_failed"),
    ]
    assert shown(traces(*runs)) == [False, True, False]


def test_a_makespan_is_divided_by_the_baselines_in_the_same_block(traces, known_run):
    base = replicates(known_run, 1, 2)
    other = replicates(known_run, 3, 3, treatment="t2", baseline=False)
    assert ratios(traces(*base, *other)) == pytest.approx([1, 1, 3, 1.5])


def test_a_block_whose_baseline_failed_has_no_ratio(traces, known_run):
    runs = [
        known_run(status="timed_out"),
        known_run(treatment="t2", baseline=False),
    ]
    assert ratios(traces(*runs)) == [None, None]


def test_an_experiment_without_a_baseline_has_no_ratio(traces, known_run):
    assert ratios(traces(known_run(baseline=False))) == [None]


def test_baselines_of_other_experiments_do_not_count(traces, known_run):
    runs = [known_run(), known_run(experiment="other", treatment="t2", baseline=False)]
    assert ratios(traces(*runs)) == [1, None]


def test_started_ranks_number_the_starts(traces, known_run):
    starts = (40, 0, 20)
    runs = [known_run(replicate=n + 1, start=start) for n, start in enumerate(starts)]
    assert started_ranks(traces(*runs)) == [2, 0, 1]


def test_runs_that_lived_at_once_overlap(traces, known_run):
    starts = (0, 5, 20)
    runs = [known_run(replicate=n + 1, start=start) for n, start in enumerate(starts)]
    assert count_overlaps(traces(*runs)) == [1, 1, 0]


def test_runs_before_and_after_a_boot_do_not_overlap(traces, known_run):
    later = {"started_at": "2026-11-24T07:00:00+00:00"}
    assert count_overlaps(traces(known_run(), known_run(replicate=2, run=later))) == [0, 0]


def test_a_clock_that_was_set_back_makes_no_overlap(traces, known_run):
    back = {"started_at": "2026-11-23T07:00:00+00:00"}
    assert count_overlaps(traces(known_run(), known_run(replicate=2, start=60, run=back))) == [0, 0]


def test_overlap_is_unknown_for_a_run_that_never_started_its_process(traces, known_run):
    runs = [known_run(), known_run(replicate=2, run={"exec_ns": None}, status="crashed")]
    assert count_overlaps(traces(*runs)) == [0, None]
