from __future__ import annotations

from dataclasses import replace

from stagebench.analyse.phases import summarise_phases
from stagebench.units import MIB

CHILD = 200


def phases(trace):
    return {row["phase"]: row for row in summarise_phases(trace)}


def main_pss(found):
    return {phase: row["main_pss_bytes"] / MIB for phase, row in found.items()}


def test_a_run_has_base_trough_peak_and_end(trace):
    assert main_pss(phases(trace())) == {"base": 20, "trough": 12, "peak": 30, "end": 26}


def test_all_numbers_of_a_phase_are_of_one_sweep(trace):
    row = phases(trace())["trough"]
    names = ("main_pss_bytes", "main_anon_bytes", "main_uss_bytes", "main_rss_bytes")
    assert [row[name] / MIB for name in names] == [12, 3, 6, 24]
    assert (row["sweep"], row["time_s"], row["workers"]) == (2, 1.5, 1)


def test_the_trough_is_of_the_time_in_which_workers_live(trace, known_run, make_sweep):
    run = known_run(sweeps=(make_sweep(0, 11, 10), make_sweep(1, 12, 15, [5])))
    assert main_pss(phases(trace(run)))["trough"] == 15


def test_helpers_of_a_pool_make_no_trough(trace, known_run, make_sweep):
    sweeps = (make_sweep(0, 11, 10), make_sweep(1, 12, 15, [5]))
    run = known_run(sweeps=sweeps, roles={CHILD: "resource_tracker"})
    row = phases(trace(run))["trough"]
    assert (row["main_pss_bytes"], row["workers"]) == (10 * MIB, 0)


def test_the_end_knows_whether_the_pools_had_been_closed(trace, known_run):
    run = known_run()
    assert phases(trace(run))["end"]["pools_closed"] is True
    open_to_the_end = replace(run, sweeps=run.sweeps[:-1])
    assert phases(trace(open_to_the_end))["end"]["pools_closed"] is False


def test_without_a_base_there_are_the_other_phases(trace, known_run):
    run = known_run()
    found = phases(trace(replace(run, sweeps=run.sweeps[2:])))
    assert main_pss(found) == {"trough": 12, "peak": 30, "end": 26}


def test_without_the_workflows_start_there_is_no_phase(trace, known_run):
    assert summarise_phases(trace(known_run(events={}, status="crashed"))) == []
    assert summarise_phases(trace(known_run(sweeps=()))) == []
