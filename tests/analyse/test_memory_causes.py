"""Sweeps end at 8.5, 9.5, 11.5, 13.25, 15 and 16.75 s; PSS, half of RSS, four times anonymous."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stagebench.analyse.memory_causes import summarise_memory_causes
from stagebench.units import MIB


@pytest.fixture
def mib(trace, known_run):
    """Give columns of a run in MiB; sweeps may be given."""

    def tell(*names, sweeps=None, **more):
        run = known_run(**more) if sweeps is None else known_run(sweeps=sweeps, **more)
        row = summarise_memory_causes(trace(run))
        return [None if row[name] is None else row[name] / MIB for name in names]

    return tell


def test_base_and_trough_tell_main_by_pss_rss_and_anonymous_memory(mib):
    assert mib("main_base_rss_bytes", "main_base_anon_bytes") == [40, 5]
    trough = ("at_trough_main_bytes", "at_trough_main_rss_bytes", "at_trough_main_anon_bytes")
    assert mib(*trough) == [12, 24, 3]


def test_main_is_idle_in_the_last_sweep_between_the_last_task_and_the_pools_closing(
    mib, make_sweep
):
    sweeps = [make_sweep(n, at, 30 + n) for n, at in enumerate((15.9, 16.1, 16.2, 16.3))]
    assert mib("main_idle_bytes", sweeps=tuple(sweeps)) == [32]
    assert mib("main_idle_bytes") == [None]


def test_a_rise_is_counted_within_a_tenth_of_a_second(mib, make_sweep):
    sizes = {11: 20, 11.04: 25, 11.08: 30, 11.2: 31, 11.25: 38}
    sweeps = tuple(make_sweep(n, at, size) for n, (at, size) in enumerate(sizes.items()))
    assert mib("tree_largest_rise_bytes", sweeps=sweeps) == [10]


def test_sweeps_further_apart_are_compared_with_the_one_before(mib):
    assert mib("tree_largest_rise_bytes") == [16]


def test_a_torn_sweep_makes_no_rise(mib, make_sweep):
    record, samples = make_sweep(1, 12, 90)
    sweeps = (make_sweep(0, 11, 20), (replace(record, torn=1), samples), make_sweep(2, 13, 25))
    assert mib("tree_largest_rise_bytes", sweeps=sweeps) == [5]


def test_a_tree_that_only_fell_has_no_rise_and_a_lone_sweep_tells_none(mib, make_sweep):
    falling = (make_sweep(0, 11, 20), make_sweep(1, 12, 15))
    assert mib("tree_largest_rise_bytes", sweeps=falling) == [0]
    assert mib("tree_largest_rise_bytes", sweeps=falling[:1]) == [None]


def test_children_spread_while_all_workers_live(mib, make_sweep):
    sizes = [[8], [14, 6], [10, 5], [4]]
    sweeps = tuple(make_sweep(n, 11 + n, 20, found) for n, found in enumerate(sizes))
    assert mib("children_spread_bytes", sweeps=sweeps) == [5]
    assert mib("children_spread_bytes", sweeps=(make_sweep(0, 11, 20),)) == [None]


def test_mains_high_water_mark_is_the_censuss(trace, known_run):
    run = trace(known_run())
    marked = [
        replace(process, high_water_bytes=99 if process.role == "main" else 500)
        for process in run.processes
    ]
    row = summarise_memory_causes(replace(run, processes=tuple(marked)))
    assert row["main_high_water_bytes"] == 99
    assert summarise_memory_causes(run)["main_high_water_bytes"] is None


def test_without_the_workflows_start_nothing_is_told(mib):
    names = ("at_trough_main_bytes", "main_base_rss_bytes", "tree_largest_rise_bytes")
    assert mib(*names, events={}, status="crashed") == [None, None, None]
