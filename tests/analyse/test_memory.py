from __future__ import annotations

from dataclasses import replace

import pytest

from stagebench.analyse.memory import summarise_memory, summarise_sweeps, total_sweeps
from stagebench.units import MIB

CHILD = 200


def mib(row, *names):
    return [row[name] / MIB for name in names]


@pytest.mark.parametrize(
    ("part", "expected", "time"),
    [
        ("main", [20, 12, 30, 26, 10, 14], 5),
        ("children", [0, 0, 20, 0, 20, 12], 3.25),
        ("tree", [20, 20, 36, 26, 16, 16], 3.25),
    ],
)
def test_a_part_is_told_by_base_trough_peak_end_growth_and_step(trace, part, expected, time):
    row = summarise_memory(trace())
    names = ("base", "trough", "peak", "end", "growth", "largest_step")
    assert mib(row, *(f"{part}_{name}_bytes" for name in names)) == expected
    assert row[f"{part}_time_to_peak_s"] == time


def test_main_and_children_at_the_peak_are_of_one_sweep(trace):
    row = summarise_memory(trace())
    assert mib(row, "at_peak_main_bytes", "at_peak_children_bytes") == [16, 20]


def test_uss_and_anonymous_peaks_are_of_the_whole_tree(trace):
    row = summarise_memory(trace())
    assert mib(row, "tree_uss_peak_bytes", "tree_anon_peak_bytes") == [18, 9]


def test_sweeps_and_children_are_counted(trace):
    row = summarise_memory(trace())
    assert (row["sweeps"], row["sweeps_with_children"], row["most_children"]) == (6, 3, 2)
    assert row["sweeps_with_workers"] == 3
    assert row["sampled_s"] == 8.25


def test_helpers_of_a_pool_are_children_and_no_workers(trace, known_run, make_sweep):
    run = known_run(sweeps=(make_sweep(0, 11, 20, [5]),), roles={CHILD: "resource_tracker"})
    row = summarise_memory(trace(run))
    assert row["children_peak_bytes"] == 5 * MIB
    assert (row["sweeps_with_children"], row["sweeps_with_workers"]) == (1, 0)


def test_base_is_missing_when_no_sweep_ended_before_the_start(trace, known_run):
    run = known_run()
    row = summarise_memory(trace(replace(run, sweeps=run.sweeps[2:])))
    assert row["tree_base_bytes"] is None
    assert row["tree_growth_bytes"] is None
    assert row["tree_peak_bytes"] == 36 * MIB


def test_the_last_of_several_sweeps_before_the_start_is_the_base(trace, known_run, make_sweep):
    sweeps = (make_sweep(0, 9.25, 15), make_sweep(1, 9.75, 20), make_sweep(2, 11, 30))
    assert mib(summarise_memory(trace(known_run(sweeps=sweeps))), "main_base_bytes") == [20]


def test_a_sweep_of_an_interpreter_that_is_still_importing_is_no_base(trace, known_run):
    run = known_run()
    row = summarise_memory(trace(replace(run, sweeps=(run.sweeps[0], *run.sweeps[2:]))))
    assert row["tree_base_bytes"] is None


def test_a_sweep_across_the_start_counts_for_the_peak_and_not_for_the_base(
    trace, known_run, make_sweep
):
    sweeps = (make_sweep(0, 9.5, 20), make_sweep(1, 10, 50), make_sweep(2, 11, 30))
    row = summarise_memory(trace(known_run(sweeps=sweeps)))
    assert mib(row, "main_base_bytes", "main_peak_bytes") == [20, 50]
    assert row["main_time_to_peak_s"] == 0


def test_sweeps_of_an_interpreter_that_ends_are_left_out(trace, known_run, make_sweep):
    run = known_run()
    row = summarise_memory(trace(replace(run, sweeps=(*run.sweeps, make_sweep(6, 17.25, 2)))))
    assert mib(row, "main_trough_bytes", "main_end_bytes") == [12, 26]
    assert row["sweeps"] == 7


def test_no_peak_is_known_without_the_workflows_start(trace, known_run):
    row = summarise_memory(trace(known_run(events={}, status="crashed")))
    assert "tree_peak_bytes" not in row
    assert row["sweeps"] == 6


def test_without_a_sweep_nothing_is_known(trace, known_run):
    row = summarise_memory(trace(known_run(sweeps=())))
    assert row == {
        "sweeps": 0,
        "sweeps_with_children": 0,
        "sweeps_with_workers": 0,
        "most_children": None,
        "sampled_s": None,
    }


def test_a_tree_that_never_rose_has_a_step_of_0(trace, known_run, make_sweep):
    falling = known_run(sweeps=(make_sweep(0, 9.5, 20), make_sweep(1, 11, 15)))
    assert summarise_memory(trace(falling))["main_largest_step_bytes"] == 0


def test_a_lone_sweep_has_no_step(trace, known_run, make_sweep):
    row = summarise_memory(trace(known_run(sweeps=(make_sweep(0, 11, 15),))))
    assert row["main_largest_step_bytes"] is None


def test_threads_have_no_moment_of_the_childrens_peak(trace, known_run, make_sweep):
    run = known_run(sweeps=(make_sweep(0, 9.5, 20), make_sweep(1, 11, 25)))
    row = summarise_memory(trace(run))
    assert row["children_peak_bytes"] == 0
    assert row["children_time_to_peak_s"] is None


def test_a_sweep_that_missed_main_is_no_total(trace, known_run, make_sweep):
    record, samples = make_sweep(0, 11, 25, [5])
    run = known_run(sweeps=((record, samples[1:]), make_sweep(1, 12, 20)))
    assert [total.sweep for total in total_sweeps(trace(run))] == [1]


def test_sweep_rows_stand_at_their_end_relative_to_the_start(trace):
    row = summarise_sweeps(trace())[3]
    assert row["time_s"] == 3.25
    names = ("main_pss_bytes", "children_pss_bytes", "tree_pss_bytes", "tree_uss_bytes")
    assert mib(row, *names) == [16, 20, 36, 18]
    assert mib(row, "main_uss_bytes", "main_anon_bytes", "main_rss_bytes") == [8, 4, 32]
    assert (row["processes"], row["vanished"]) == (3, 1)
