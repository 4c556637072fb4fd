from dataclasses import replace

import pytest

from stagebench.analyse.memory import (
    memory_time,
    summarise_memory,
    summarise_memory_causes,
    summarise_phases,
    summarise_ready_workers,
    summarise_roles,
    summarise_sweeps,
    total_sweeps,
)
from stagebench.tables.quantities import unit_of
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
def test_a_part_has_base_trough_peak_end_growth_and_step(run_trace, part, expected, time):
    row = summarise_memory(run_trace())
    names = ("base", "trough", "peak", "end", "growth", "largest_step")
    assert mib(row, *(f"{part}_{name}_bytes" for name in names)) == expected
    assert row[f"{part}_time_to_peak_s"] == time


def test_main_and_children_at_the_peak_are_of_one_sweep(run_trace):
    row = summarise_memory(run_trace())
    assert mib(row, "at_peak_main_bytes", "at_peak_children_bytes") == [16, 20]


def test_uss_and_anonymous_peaks_are_of_the_whole_tree(run_trace):
    row = summarise_memory(run_trace())
    assert mib(row, "tree_uss_peak_bytes", "tree_anon_peak_bytes") == [18, 9]


def test_sweeps_and_children_are_counted(run_trace):
    row = summarise_memory(run_trace())
    assert (row["sweeps"], row["sweeps_with_children"], row["most_children"]) == (6, 3, 2)
    assert row["sweeps_with_workers"] == 3
    assert row["sampled_s"] == 8.25


def test_helpers_of_a_pool_are_children_and_no_workers(run_trace, known_run, make_sweep):
    run = known_run(sweeps=(make_sweep(0, 11, 20, [5]),), roles={CHILD: "resource_tracker"})
    row = summarise_memory(run_trace(run))
    assert row["children_peak_bytes"] == 5 * MIB
    assert (row["sweeps_with_children"], row["sweeps_with_workers"]) == (1, 0)


def test_base_is_missing_when_no_sweep_ended_before_the_start(run_trace, known_run):
    run = known_run()
    row = summarise_memory(run_trace(replace(run, sweeps=run.sweeps[2:])))
    assert row["tree_base_bytes"] is None
    assert row["tree_growth_bytes"] is None
    assert row["tree_peak_bytes"] == 36 * MIB


def test_the_last_of_several_sweeps_before_the_start_is_the_base(run_trace, known_run, make_sweep):
    sweeps = (make_sweep(0, 9.25, 15), make_sweep(1, 9.75, 20), make_sweep(2, 11, 30))
    assert mib(summarise_memory(run_trace(known_run(sweeps=sweeps))), "main_base_bytes") == [20]


def test_a_sweep_of_an_interpreter_that_is_still_importing_is_no_base(run_trace, known_run):
    run = known_run()
    row = summarise_memory(run_trace(replace(run, sweeps=(run.sweeps[0], *run.sweeps[2:]))))
    assert row["tree_base_bytes"] is None


def test_a_sweep_across_the_start_counts_for_the_peak_and_not_for_the_base(
    run_trace, known_run, make_sweep
):
    sweeps = (make_sweep(0, 9.5, 20), make_sweep(1, 10, 50), make_sweep(2, 11, 30))
    row = summarise_memory(run_trace(known_run(sweeps=sweeps)))
    assert mib(row, "main_base_bytes", "main_peak_bytes") == [20, 50]
    assert row["main_time_to_peak_s"] == 0


def test_sweeps_of_an_interpreter_that_ends_are_left_out(run_trace, known_run, make_sweep):
    run = known_run()
    row = summarise_memory(run_trace(replace(run, sweeps=(*run.sweeps, make_sweep(6, 17.25, 2)))))
    assert mib(row, "main_trough_bytes", "main_end_bytes") == [12, 26]
    assert row["sweeps"] == 7


def test_no_peak_is_known_without_the_workflows_start(run_trace, known_run):
    row = summarise_memory(run_trace(known_run(events={}, status="crashed")))
    assert "tree_peak_bytes" not in row
    assert row["sweeps"] == 6


def test_without_a_sweep_nothing_is_known(run_trace, known_run):
    row = summarise_memory(run_trace(known_run(sweeps=())))
    assert row == {
        "sweeps": 0,
        "sweeps_with_children": 0,
        "sweeps_with_workers": 0,
        "most_children": None,
        "sampled_s": None,
    }


def test_a_tree_that_never_rose_has_a_step_of_0(run_trace, known_run, make_sweep):
    falling = known_run(sweeps=(make_sweep(0, 9.5, 20), make_sweep(1, 11, 15)))
    assert summarise_memory(run_trace(falling))["main_largest_step_bytes"] == 0


def test_a_lone_sweep_has_no_step(run_trace, known_run, make_sweep):
    row = summarise_memory(run_trace(known_run(sweeps=(make_sweep(0, 11, 15),))))
    assert row["main_largest_step_bytes"] is None


def test_threads_have_no_moment_of_the_childrens_peak(run_trace, known_run, make_sweep):
    run = known_run(sweeps=(make_sweep(0, 9.5, 20), make_sweep(1, 11, 25)))
    row = summarise_memory(run_trace(run))
    assert row["children_peak_bytes"] == 0
    assert row["children_time_to_peak_s"] is None


def test_a_sweep_that_missed_main_is_no_total(run_trace, known_run, make_sweep):
    record, samples = make_sweep(0, 11, 25, [5])
    missed = replace(record, processes=1)
    run = known_run(sweeps=((missed, samples[1:]), make_sweep(1, 12, 20)))
    assert [total.sweep for total in total_sweeps(run_trace(run))] == [1]


def test_sweep_rows_stand_at_their_end_relative_to_the_start(run_trace):
    row = summarise_sweeps(run_trace())[3]
    assert row["time_s"] == 3.25
    names = ("main_pss_bytes", "children_pss_bytes", "tree_pss_bytes", "tree_uss_bytes")
    assert mib(row, *names) == [16, 20, 36, 18]
    assert mib(row, "main_uss_bytes", "main_anon_bytes", "main_rss_bytes") == [8, 4, 32]
    assert (row["processes"], row["vanished"]) == (3, 1)


@pytest.fixture
def mib_of_memory_causes(run_trace, known_run):
    """Return a function that summarises a known run and returns columns in MiB."""

    def columns(*names, sweeps=None, **more):
        run = known_run(**more) if sweeps is None else known_run(sweeps=sweeps, **more)
        row = summarise_memory_causes(run_trace(run))
        return [None if row[name] is None else row[name] / MIB for name in names]

    return columns


def test_base_and_trough_of_main_have_pss_rss_and_anonymous_memory(mib_of_memory_causes):
    assert mib_of_memory_causes("main_base_rss_bytes", "main_base_anon_bytes") == [40, 5]
    trough = ("at_trough_main_bytes", "at_trough_main_rss_bytes", "at_trough_main_anon_bytes")
    assert mib_of_memory_causes(*trough) == [12, 24, 3]


def test_main_is_idle_in_the_last_sweep_between_the_last_task_and_the_pools_closing(
    mib_of_memory_causes, make_sweep
):
    sweeps = [make_sweep(n, at, 30 + n) for n, at in enumerate((15.9, 16.1, 16.2, 16.3))]
    assert mib_of_memory_causes("main_idle_bytes", sweeps=tuple(sweeps)) == [32]
    assert mib_of_memory_causes("main_idle_bytes") == [None]


def test_a_rise_is_counted_within_a_tenth_of_a_second(mib_of_memory_causes, make_sweep):
    sizes = {11: 20, 11.04: 25, 11.08: 30, 11.2: 31, 11.25: 38}
    sweeps = tuple(make_sweep(n, at, size) for n, (at, size) in enumerate(sizes.items()))
    assert mib_of_memory_causes("tree_largest_rise_bytes", sweeps=sweeps) == [10]


def test_sweeps_further_apart_are_compared_with_the_one_before(mib_of_memory_causes):
    assert mib_of_memory_causes("tree_largest_rise_bytes") == [16]


def test_a_torn_sweep_makes_no_rise(mib_of_memory_causes, make_sweep):
    record, samples = make_sweep(1, 12, 90)
    sweeps = (make_sweep(0, 11, 20), (replace(record, torn=1), samples), make_sweep(2, 13, 25))
    assert mib_of_memory_causes("tree_largest_rise_bytes", sweeps=sweeps) == [5]


def test_a_tree_that_only_shrank_has_a_rise_of_0_and_a_lone_sweep_none(
    mib_of_memory_causes, make_sweep
):
    falling = (make_sweep(0, 11, 20), make_sweep(1, 12, 15))
    assert mib_of_memory_causes("tree_largest_rise_bytes", sweeps=falling) == [0]
    assert mib_of_memory_causes("tree_largest_rise_bytes", sweeps=falling[:1]) == [None]


def test_children_spread_while_all_workers_live(mib_of_memory_causes, make_sweep):
    sizes = [[8], [14, 6], [10, 5], [4]]
    sweeps = tuple(make_sweep(n, 11 + n, 20, found) for n, found in enumerate(sizes))
    assert mib_of_memory_causes("children_spread_bytes", sweeps=sweeps) == [5]
    assert mib_of_memory_causes("children_spread_bytes", sweeps=(make_sweep(0, 11, 20),)) == [None]


def test_the_high_water_mark_of_main_is_that_of_the_census(run_trace, known_run):
    run = run_trace(known_run())
    marked = [
        replace(process, high_water_bytes=99 if process.role == "main" else 500)
        for process in run.processes
    ]
    row = summarise_memory_causes(replace(run, processes=tuple(marked)))
    assert row["main_high_water_bytes"] == 99
    assert summarise_memory_causes(run)["main_high_water_bytes"] is None


def test_without_the_workflows_start_nothing_is_known(mib_of_memory_causes):
    names = ("at_trough_main_bytes", "main_base_rss_bytes", "tree_largest_rise_bytes")
    assert mib_of_memory_causes(*names, events={}, status="crashed") == [None, None, None]


S = 1_000_000_000


class Swept:
    def __init__(self, at_s, tree, torn=0):
        self.ended_ns, self.tree, self.torn = round(at_s * S), tree, torn


def held(sweeps, start_s=10, end_s=20):
    return memory_time([Swept(*sweep) for sweep in sweeps], start_s * S, end_s * S)


def test_a_constant_size_is_held_for_the_whole_time():
    assert held([(n + 0.5, 7) for n in range(25)]) == pytest.approx(70)


def test_sweeps_are_joined_by_straight_lines():
    assert held([(n / 2, 3 * n / 2) for n in range(50)]) == pytest.approx(3 * 15 * 10)


def test_before_the_first_sweep_its_value_counts():
    assert held([(10.5 + n, 10.5 + n) for n in range(12)]) == pytest.approx(150 + 0.5**2 / 2)


def test_sweeps_outside_count_for_nothing():
    flat = [(n / 2, 7) for n in range(50)]
    outside = [(1.25, 10**9), (24.75, 10**9)]
    assert held(sorted([*flat, *outside])) == pytest.approx(70)


def test_torn_sweeps_count():
    assert held([(n / 2, 7, n % 2) for n in range(50)]) == pytest.approx(70)


@pytest.mark.parametrize("inside", [range(11, 20), [*range(10, 13), *range(19, 21)], []])
def test_too_few_sweeps_have_no_memory_time(inside):
    assert held([(n, 7) for n in inside]) is None


def test_sweeps_too_far_apart_have_no_memory_time():
    dense = [(10 + n / 10, 7) for n in range(1, 31)]
    assert held([*dense, (17.9, 7)]) == pytest.approx(70)
    assert held([*dense, (18.1, 7)]) is None


def test_a_workflow_without_an_end_has_none():
    assert memory_time([], 10 * S, None) is None


def test_its_unit_is_bytes_times_seconds():
    assert unit_of("tree_memory_time_byte_s") == "byte*s"


def test_a_run_has_it_where_it_was_swept_often_enough(run_trace, known_run, make_sweep):
    sweeps = tuple(make_sweep(n, 9 + n / 2, 20, [4]) for n in range(16))
    found = summarise_memory(run_trace(known_run(sweeps=sweeps)))["tree_memory_time_byte_s"]
    assert found == pytest.approx(24 * 2**20 * 6)
    assert summarise_memory(run_trace())["tree_memory_time_byte_s"] is None


def phases(trace):
    return {row["phase"]: row for row in summarise_phases(trace)}


def main_pss(found):
    return {phase: row["main_pss_bytes"] / MIB for phase, row in found.items()}


def test_a_run_has_base_trough_peak_and_end(run_trace):
    assert main_pss(phases(run_trace())) == {"base": 20, "trough": 12, "peak": 30, "end": 26}


def test_all_numbers_of_a_phase_are_of_one_sweep(run_trace):
    row = phases(run_trace())["trough"]
    names = ("main_pss_bytes", "main_anon_bytes", "main_uss_bytes", "main_rss_bytes")
    assert [row[name] / MIB for name in names] == [12, 3, 6, 24]
    assert (row["sweep"], row["time_s"], row["workers"]) == (2, 1.5, 1)


def test_the_trough_is_of_the_time_in_which_workers_live(run_trace, known_run, make_sweep):
    run = known_run(sweeps=(make_sweep(0, 11, 10), make_sweep(1, 12, 15, [5])))
    assert main_pss(phases(run_trace(run)))["trough"] == 15


def test_helpers_of_a_pool_make_no_trough(run_trace, known_run, make_sweep):
    sweeps = (make_sweep(0, 11, 10), make_sweep(1, 12, 15, [5]))
    run = known_run(sweeps=sweeps, roles={CHILD: "resource_tracker"})
    row = phases(run_trace(run))["trough"]
    assert (row["main_pss_bytes"], row["workers"]) == (10 * MIB, 0)


def test_the_end_knows_whether_the_pools_had_been_closed(run_trace, known_run):
    run = known_run()
    assert phases(run_trace(run))["end"]["pools_closed"] is True
    open_to_the_end = replace(run, sweeps=run.sweeps[:-1])
    assert phases(run_trace(open_to_the_end))["end"]["pools_closed"] is False


def test_without_a_base_there_are_the_other_phases(run_trace, known_run):
    run = known_run()
    found = phases(run_trace(replace(run, sweeps=run.sweeps[2:])))
    assert main_pss(found) == {"trough": 12, "peak": 30, "end": 26}


def test_without_the_workflows_start_there_is_no_phase(run_trace, known_run):
    assert summarise_phases(run_trace(known_run(events={}, status="crashed"))) == []
    assert summarise_phases(run_trace(known_run(sweeps=()))) == []


MAIN, CHILD, HELPER = 100, 200, 201


def roles(trace):
    return {row["role"]: row for row in summarise_roles(trace)}


@pytest.fixture
def helped(run_trace, known_run):
    """A run whose second child is a resource tracker."""
    return run_trace(known_run(roles={HELPER: "resource_tracker"}))


def test_processes_are_counted_by_role(helped):
    found = roles(helped)
    assert list(found) == ["main", "worker", "resource_tracker"]
    assert [row["created"] for row in found.values()] == [1, 1, 1]


def test_a_process_that_no_sweep_read_is_bounded_only(helped):
    processes = tuple(
        replace(process, samples=0) if process.pid == HELPER else process
        for process in helped.processes
    )
    found = roles(replace(helped, processes=processes))
    counts = [found["resource_tracker"][name] for name in ("created", "sampled", "bounded_only")]
    assert counts == [1, 0, 1]
    assert found["worker"]["bounded_only"] == 0


def test_roles_at_the_peak_add_up_to_it(helped):
    found = roles(helped)
    at_peak = [row["at_peak_pss_bytes"] / MIB for row in found.values()]
    assert at_peak == [16, 14, 6]
    assert [row["at_peak_processes"] for row in found.values()] == [1, 1, 1]


def test_the_largest_values_are_of_one_process(helped):
    row = roles(helped)["worker"]
    names = ("largest_pss_bytes", "largest_anon_bytes", "largest_file_bytes", "largest_uss_bytes")
    assert [row[name] / MIB for name in names] == [14, 3.5, 10.5, 7]


def test_a_worker_is_ready_in_the_first_sweep_begun_after_it_reported_ready(
    run_trace, known_run, make_sweep
):
    # The worker is ready at second 10.75; a sweep that ended at that moment began earlier.
    sweeps = (make_sweep(0, 10.75, 20, [3]), make_sweep(1, 11, 20, [5]), make_sweep(2, 12, 20, [9]))
    row = roles(run_trace(known_run(sweeps=sweeps)))["worker"]
    assert row["ready_pss_bytes"] == 5 * MIB
    assert row["ready_anon_bytes"] + row["ready_file_bytes"] == row["ready_pss_bytes"]


def test_a_worker_thread_is_not_listed_as_a_process(helped):
    # Threads of main served, too (see the workers of the known run).
    assert "ready_pss_bytes" not in roles(helped)["main"]


def test_a_high_water_mark_is_the_largest_known(helped):
    assert roles(helped)["worker"]["high_water_bytes"] is None
    processes = tuple(replace(one, high_water_bytes=one.pid * MIB) for one in helped.processes)
    processes = tuple(replace(p, role="worker") if p.pid != MAIN else p for p in processes)
    assert roles(replace(helped, processes=processes))["worker"]["high_water_bytes"] == HELPER * MIB


def test_sweeps_of_rss_alone_have_no_pss(helped):
    samples = tuple(
        replace(sample, pss_bytes=None, anon_bytes=None, file_bytes=None, uss_bytes=None)
        for sample in helped.samples
    )
    row = roles(replace(helped, samples=samples))["worker"]
    assert row["largest_pss_bytes"] is None
    assert "at_peak_pss_bytes" not in row


def test_a_run_without_records_has_no_role(run_trace, known_run):
    assert summarise_roles(run_trace(known_run(sweeps=(), events={}, status="crashed"))) == []


def test_a_run_has_the_memory_of_one_of_its_ready_workers(run_trace, known_run, make_sweep):
    sweeps = (make_sweep(0, 10.75, 20, [3]), make_sweep(1, 11, 20, [5]))
    row = summarise_ready_workers(run_trace(known_run(sweeps=sweeps)))
    assert [row[f"worker_ready_{name}_bytes"] / MIB for name in ("pss", "uss")] == [5, 2.5]


def test_a_run_of_threads_has_no_worker_process(run_trace, known_run):
    row = summarise_ready_workers(run_trace(known_run(workers=())))
    assert set(row.values()) == {None}
