import json
import os
import shutil

import pandas as pd
import pytest
from tests.commands import analyse_study

from stagebench.analyse.study import (
    LARGEST_PART,
    divide,
    map_parts,
    summarise_study,
    summarise_treatments,
)
from stagebench.errors import StoreError
from stagebench.replication.emulation import EMULATION
from stagebench.tables.io import make_table, read_table, read_tables, write_table, write_tables
from stagebench.tables.quantities import RUN_QUANTITIES
from stagebench.tables.schema import CLAIM_TABLES, TABLES
from stagebench.units import MIB

REFERENCE = """experiment,treatment,stage,quantity,unit,stated,logged,place
pipe,p1-fork,,makespan_s,s,5,,text
"""


@pytest.fixture
def files(write_runs, known_run, tmp_path):
    plan, raw = write_runs(known_run())
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    return path, raw


def test_every_table_is_written(files, tmp_path):
    (tmp_path / "reference.csv").write_text(REFERENCE)
    analyse_study(*files, tmp_path / "reference.csv", tmp_path / "tables")
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == set(TABLES) - set(
        CLAIM_TABLES
    )


def test_the_same_runs_give_the_same_bytes(write_runs, known_run, tmp_path):
    runs = [known_run(replicate=n + 1, start=20 * n).stretched(1 + n / 7) for n in range(3)]
    others = [
        known_run(treatment="t2", baseline=False, replicate=n + 1, start=60 + 20 * n)
        for n in range(3)
    ]
    plan, raw = write_runs(*runs, *others)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    for name in ("one", "two"):
        analyse_study(tmp_path / "plan.json", raw, None, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    write_tables(read_tables(tmp_path / "one"), tmp_path / "two")
    for path in (tmp_path / "one").glob("[!p]*.csv"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_without_a_reference_there_is_no_table_of_published_values(files, tmp_path):
    analyse_study(*files, None, tmp_path / "tables")
    assert not (tmp_path / "tables/published.csv").exists()


def test_tables_of_an_earlier_analysis_do_not_stay(files, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/old.csv").write_text("x")
    analyse_study(*files, None, tmp_path / "tables")
    assert not (tmp_path / "tables/old.csv").exists()


def test_an_analysis_that_fails_leaves_the_earlier_tables(files, tmp_path):
    analyse_study(*files, None, tmp_path / "tables")
    with pytest.raises(StoreError, match=r"missing\.csv"):
        analyse_study(*files, tmp_path / "missing.csv", tmp_path / "tables")
    assert (tmp_path / "tables/runs.csv").exists()


def runs(*makespans, status="ok"):
    return make_table(
        "runs",
        [
            {
                "experiment": "e",
                "treatment": "t",
                "replicate": replicate,
                "status": status,
                "makespan_s": makespan,
            }
            for replicate, makespan in enumerate(makespans, 1)
        ],
    )


def makespan(table):
    return table[table["quantity"] == "makespan_s"].iloc[0]


def test_an_even_number_of_runs_has_the_mean_of_the_middle_two_as_median():
    assert makespan(summarise_treatments(runs(1, 2, 4, 9)))["median"] == 3


def test_a_value_that_is_missing_in_a_run_is_left_out_and_not_counted():
    row = makespan(summarise_treatments(runs(1, None, 3)))
    assert (row["median"], row["min"], row["max"], row["n"]) == (2, 1, 3, 2)


def test_every_quantity_has_a_row_in_a_fixed_order():
    assert tuple(summarise_treatments(runs(1))["quantity"]) == RUN_QUANTITIES


def test_runs_that_failed_do_not_count():
    row = makespan(summarise_treatments(runs(1, 2, status="tasks_failed")))
    assert (row["n"], pd.isna(row["max"])) == (0, True)


def process_of(part):
    return os.getpid(), list(part)


@pytest.mark.parametrize(
    ("items", "processes", "sizes"),
    [
        (5, 1, [5]),
        (5, 2, [3, 2]),
        (2, 4, [1, 1]),
        (2 * LARGEST_PART + 1, 2, [LARGEST_PART, LARGEST_PART, 1]),
        (0, 2, []),
    ],
)
def test_every_process_has_a_part_and_no_part_is_too_large(items, processes, sizes):
    parts = divide(range(items), processes)
    assert [len(part) for part in parts] == sizes
    assert [item for part in parts for item in part] == list(range(items))


def test_what_one_process_can_do_is_done_in_this_one():
    assert map_parts(process_of, [1, 2, 3], processes=1) == [(os.getpid(), [1, 2, 3])]
    assert map_parts(process_of, [1], processes=4) == [(os.getpid(), [1])]


@pytest.fixture
def tables(write_runs, known_run):
    """Three baseline runs, stretched 1, 2 and 4 times, and a treatment that never succeeded."""
    runs = [known_run(replicate=n + 1, start=20 * n).stretched(2**n) for n in range(3)]
    plan, raw = write_runs(
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
    made_of_tables |= {"factor_effects", "parts", "floors", "paths", "limits", "replays"}
    made_of_tables |= {"predictions", "advice"}
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


def test_a_run_has_its_preloaded_modules_and_a_stage_the_size_of_its_results(tables):
    assert tables["runs"]["preload"].iloc[0] == ""
    assert list(tables["stages"]["result_bytes"].iloc[:2]) == [2.5 * MIB, pd.NA]


def test_a_failed_run_keeps_its_row_with_status_and_without_a_makespan(tables):
    run = tables["runs"].iloc[3]
    assert (run["status"], run["detail"], run["shown"]) == ("timed_out", "limit", False)
    assert pd.isna(run["makespan_s"])
    assert pd.isna(run["throughput_per_s"])


def test_cpu_time_is_missing_when_a_part_of_it_is(write_runs, known_run):
    plan, raw = write_runs(known_run(run={"cpu_system_s": None}))
    assert pd.isna(summarise_study(plan, raw)["runs"]["cpu_s"].iloc[0])


def test_overhead_is_missing_when_the_process_never_started(write_runs, known_run):
    plan, raw = write_runs(known_run(status="crashed", run={"exec_ns": None, "exited_ns": None}))
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


def test_tables_do_not_depend_on_the_number_of_processes(write_runs, known_run, tmp_path):
    runs = [known_run(replicate=n + 1, start=20 * n).stretched(n + 1) for n in range(3)]
    plan, raw = write_runs(*runs, known_run(treatment="t2", baseline=False, start=90))
    for processes in (1, 2):
        write_tables(summarise_study(plan, raw, processes, EMULATION), tmp_path / str(processes))
    files = [sorted((tmp_path / name).iterdir()) for name in ("1", "2")]
    for one, other in zip(*files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_the_wait_for_a_quiet_machine_is_no_overhead(write_runs, known_run):
    waited = {"quiet": {"waited_s": 0.75, "idle_share": 1.0, "quiet": True}}
    run = summarise_study(*write_runs(known_run(run=waited)))["runs"].iloc[0]
    assert (run["quiet_wait_s"], run["supervisor_overhead_s"]) == (0.75, 0.5)


def test_a_run_has_its_campaign(write_runs, known_run):
    run = summarise_study(*write_runs(known_run()))["runs"].iloc[0]
    assert run["campaign"] == "2026-11-23T07:00:00+00:00"


def test_reading_tables_loses_nothing(tables, tmp_path):
    for name, table in tables.items():
        write_table(table, tmp_path / f"{name}.csv")
        first = (tmp_path / f"{name}.csv").read_bytes()
        write_table(read_table(tmp_path / f"{name}.csv"), tmp_path / f"{name}.csv")
        assert first == (tmp_path / f"{name}.csv").read_bytes()
        assert first.count(b"\n") == len(table) + 1


def test_a_warm_up_is_in_its_own_table_and_in_no_other(write_runs, known_run):
    warm_up = known_run(warm_up=True, status="crashed", detail="exit code 1").stretched(9)
    tables = summarise_study(*write_runs(warm_up, known_run(start=20)))
    row = tables["warm_ups"].iloc[0]
    assert (row["replicate"], row["status"], row["detail"]) == (1, "crashed", "exit code 1")
    without = summarise_study(*write_runs(known_run(start=20)))
    for name in sorted(set(tables) - {"warm_ups"}):
        places = ["rank", "position"] if name == "runs" else []
        assert tables[name].drop(columns=places).equals(without[name].drop(columns=places)), name


def test_a_warm_up_that_was_not_measured_is_named(write_runs, known_run):
    plan, raw = write_runs(known_run(warm_up=True), known_run(start=20))
    shutil.rmtree(raw / "pipe/p1-fork/w1")
    with pytest.raises(StoreError, match="pipe/p1-fork/w1: this run of the plan has not been"):
        summarise_study(plan, raw)


def test_a_warm_up_in_the_folder_of_a_run_is_an_error(write_runs, known_run):
    plan, raw = write_runs(known_run(warm_up=True), known_run(start=20))
    shutil.rmtree(raw / "pipe/p1-fork/r1")
    (raw / "pipe/p1-fork/w1").rename(raw / "pipe/p1-fork/r1")
    with pytest.raises(StoreError, match=r"r1/run.json: warm_up is True, the plan has False"):
        summarise_study(plan, raw)
