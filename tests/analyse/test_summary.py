from __future__ import annotations

import pandas as pd
import pytest

from stagebench.analyse.emulation import EMULATION
from stagebench.analyse.summary import summarise_study
from stagebench.columns import CLAIM_TABLES, TABLES
from stagebench.tables import read_table, write_table, write_tables
from stagebench.units import MIB


@pytest.fixture
def tables(study, known_run):
    """Baseline thrice, at 1, 2 and 4 times its times; a treatment that never succeeded."""
    runs = [known_run(replicate=n + 1, start=20 * n).stretched(2**n) for n in range(3)]
    plan, raw = study(
        *runs,
        known_run(treatment="t2", baseline=False, start=60, status="timed_out", detail="limit"),
    )
    return summarise_study(plan, raw, added=EMULATION)


def quantity(table, treatment, name, stage=None):
    rows = table[(table["treatment"] == treatment) & (table["quantity"] == name)]
    rows = rows if stage is None else rows[rows["stage"] == stage]
    assert len(rows) == 1
    return rows.iloc[0]


def test_all_tables_but_those_made_of_tables_are_made(tables):
    made_of_tables = {"published", "comparisons", "ratios", "drift", "winners", "contrasts"}
    assert set(tables) == set(TABLES) - made_of_tables - set(CLAIM_TABLES)


def test_a_run_has_its_times(tables):
    run = tables["runs"].iloc[0]
    names = ("makespan_s", "own_time_s", "start_up_s", "supervisor_overhead_s", "lock_wait_s")
    assert [run[name] for name in names] == [6, 9.5, 1, 1.25, 0.25]
    assert run["throughput_per_s"] == pytest.approx(2 / 6)
    assert (run["cpu_user_s"], run["cpu_system_s"], run["cpu_s"]) == (1.5, 0.5, 2)


def test_a_run_has_its_place_and_its_noise(tables):
    run = tables["runs"].iloc[1]
    assert (run["block"], run["position"], run["rank"], run["started_rank"]) == (2, 1, 1, 1)
    assert (run["load_before"], run["load_after"], run["steal_share"]) == (0.125, 0.5, 0)
    assert run["others_cpu_share"] == 0.0078125
    assert (run["sampler_cpu_s"], run["sampler_longest_gap_s"]) == (0.0625, 0.75)
    assert run["factors"] == '{"executor":"process","workers":1}'


def test_what_was_imported_beforehand_and_what_a_result_weighs_are_told(tables):
    assert tables["runs"]["preload"].iloc[0] == ""
    assert list(tables["stages"]["result_bytes"].iloc[:2]) == [2.5 * MIB, pd.NA]


def test_a_failed_run_keeps_its_row_with_status_and_without_a_makespan(tables):
    run = tables["runs"].iloc[3]
    assert (run["status"], run["detail"], run["shown"]) == ("timed_out", "limit", False)
    assert pd.isna(run["makespan_s"])
    assert pd.isna(run["throughput_per_s"])


def test_cpu_time_is_missing_when_a_part_of_it_is(study, known_run):
    plan, raw = study(known_run(run={"cpu_system_s": None}))
    assert pd.isna(summarise_study(plan, raw)["runs"]["cpu_s"].iloc[0])


def test_overhead_is_missing_when_the_process_never_started(study, known_run):
    plan, raw = study(known_run(status="crashed", run={"exec_ns": None, "exited_ns": None}))
    run = summarise_study(plan, raw)["runs"].iloc[0]
    assert pd.isna(run["own_time_s"])
    assert pd.isna(run["supervisor_overhead_s"])


def test_a_treatment_is_the_median_and_the_spread_of_its_ok_runs(tables):
    row = quantity(tables["treatments"], "p1-fork", "makespan_s")
    assert (row["median"], row["min"], row["max"], row["n"]) == (12, 6, 24, 3)
    assert row["unit"] == "s"


def test_bytes_and_counts_are_summarised_too(tables):
    row = quantity(tables["treatments"], "p1-fork", "tree_peak_bytes")
    assert (row["median"], row["unit"]) == (36 * MIB, "bytes")
    assert quantity(tables["treatments"], "p1-fork", "most_children")["median"] == 2


def test_a_treatment_without_an_ok_run_has_rows_and_no_numbers(tables):
    row = quantity(tables["treatments"], "t2", "makespan_s")
    assert row["n"] == 0
    assert pd.isna(row["median"])


def test_a_stage_is_summarised_over_the_ok_runs(tables):
    row = quantity(tables["treatment_stages"], "p1-fork", "service_mean_s", "work")
    assert (row["median"], row["min"], row["max"], row["n"]) == (3, 1.5, 6, 3)
    assert quantity(tables["treatment_stages"], "t2", "stage_efficiency", "work")["n"] == 0


def test_queue_depth_is_of_the_shown_run_alone(tables):
    queues = tables["queue_depth"]
    assert set(zip(queues["treatment"], queues["replicate"], strict=True)) == {("p1-fork", 2)}


def test_tables_do_not_depend_on_the_number_of_processes(study, known_run, tmp_path):
    runs = [known_run(replicate=n + 1, start=20 * n).stretched(n + 1) for n in range(3)]
    plan, raw = study(*runs, known_run(treatment="t2", baseline=False, start=90))
    for processes in (1, 2):
        write_tables(summarise_study(plan, raw, processes, EMULATION), tmp_path / str(processes))
    files = [sorted((tmp_path / name).iterdir()) for name in ("1", "2")]
    for one, other in zip(*files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_the_wait_for_a_quiet_machine_is_no_overhead(study, known_run):
    waited = {"quiet": {"waited_s": 0.75, "idle_share": 1.0, "quiet": True}}
    run = summarise_study(*study(known_run(run=waited)))["runs"].iloc[0]
    assert (run["quiet_wait_s"], run["supervisor_overhead_s"]) == (0.75, 0.5)


def test_a_run_has_its_campaign(study, known_run):
    run = summarise_study(*study(known_run()))["runs"].iloc[0]
    assert run["campaign"] == "2026-11-23T07:00:00+00:00"


def test_reading_tables_loses_nothing(tables, tmp_path):
    for name, table in tables.items():
        write_table(table, tmp_path / f"{name}.csv")
        first = (tmp_path / f"{name}.csv").read_bytes()
        write_table(read_table(tmp_path / f"{name}.csv"), tmp_path / f"{name}.csv")
        assert first == (tmp_path / f"{name}.csv").read_bytes()
        assert first.count(b"\n") == len(table) + 1
