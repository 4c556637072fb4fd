from __future__ import annotations

from dataclasses import replace

import pytest

from stagebench.analyse.roles import summarise_ready_workers, summarise_roles
from stagebench.units import MIB

MAIN, CHILD, HELPER = 100, 200, 201


def roles(trace):
    return {row["role"]: row for row in summarise_roles(trace)}


@pytest.fixture
def helped(trace, known_run):
    """A run whose second child is a resource tracker."""
    return trace(known_run(roles={HELPER: "resource_tracker"}))


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


def test_a_worker_is_ready_in_the_first_sweep_begun_after_it_said_so(trace, known_run, make_sweep):
    # The worker is ready at second 10.75; a sweep that ended just then began before.
    sweeps = (make_sweep(0, 10.75, 20, [3]), make_sweep(1, 11, 20, [5]), make_sweep(2, 12, 20, [9]))
    row = roles(trace(known_run(sweeps=sweeps)))["worker"]
    assert row["ready_pss_bytes"] == 5 * MIB
    assert row["ready_anon_bytes"] + row["ready_file_bytes"] == row["ready_pss_bytes"]


def test_a_worker_thread_is_not_told_as_a_process(helped):
    # Threads of main served, too: see the known run's workers.
    assert "ready_pss_bytes" not in roles(helped)["main"]


def test_a_high_water_mark_is_the_largest_known(helped):
    assert roles(helped)["worker"]["high_water_bytes"] is None
    processes = tuple(replace(one, high_water_bytes=one.pid * MIB) for one in helped.processes)
    processes = tuple(replace(p, role="worker") if p.pid != MAIN else p for p in processes)
    assert roles(replace(helped, processes=processes))["worker"]["high_water_bytes"] == HELPER * MIB


def test_sweeps_of_rss_alone_tell_nothing_of_pss(helped):
    samples = tuple(
        replace(sample, pss_bytes=None, anon_bytes=None, file_bytes=None, uss_bytes=None)
        for sample in helped.samples
    )
    row = roles(replace(helped, samples=samples))["worker"]
    assert row["largest_pss_bytes"] is None
    assert "at_peak_pss_bytes" not in row


def test_a_run_of_which_nothing_was_heard_has_no_role(trace, known_run):
    assert summarise_roles(trace(known_run(sweeps=(), events={}, status="crashed"))) == []


def test_a_run_tells_what_one_of_its_ready_workers_takes(trace, known_run, make_sweep):
    sweeps = (make_sweep(0, 10.75, 20, [3]), make_sweep(1, 11, 20, [5]))
    row = summarise_ready_workers(trace(known_run(sweeps=sweeps)))
    assert [row[f"worker_ready_{name}_bytes"] / MIB for name in ("pss", "uss")] == [5, 2.5]


def test_a_run_of_threads_has_no_worker_process(trace, known_run):
    row = summarise_ready_workers(trace(known_run(workers=())))
    assert set(row.values()) == {None}
