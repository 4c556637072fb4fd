"""Sweeps end at 8.5, 9.5, 11.5, 13.25, 15 and 16.75 s; the workflow starts at 10 s."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from stagebench.analyse import study
from stagebench.errors import StoreError
from stagebench.replication.emulation import EMULATION, list_emulated, summarise_emulation
from stagebench.store import EMULATED_FILE
from stagebench.units import MIB

EMULATE = {"interval_s": 0.5, "discovery_s": 5.0}


def summarise_study(plan, raw):
    return study.summarise_study(plan, raw, added=EMULATION)


LIVES = {200: (11, 14), 201: (13, 16)}
"""Start and end of the two workers of the sweep at 13.25 s."""


@pytest.fixture
def readings(make_reading):
    """Readings that keep 20 MiB of two workers, found at 13.25 s, after one, then both ended."""
    return (
        make_reading(9.75, 20),
        make_reading(11.5, 12),
        make_reading(13.5, 16, 20, 2, 13.25),
        make_reading(15, 30, 20, 2, 13.25),
        make_reading(16.75, 26, 20, 2, 13.25),
    )


@pytest.fixture
def summarise(run_trace, known_run):
    def make(*found, lives=None, **more):
        run = known_run(emulate=EMULATE, emulated=found, lives=lives or LIVES, **more)
        return summarise_emulation(run_trace(run))

    return make


def mib(row, *names):
    return [row[f"emulated_{name}_bytes"] / MIB for name in names]


def moments(row, *names):
    return [row[f"emulated_{name}_s"] for name in names]


def test_a_row_is_what_the_published_way_reported_on_the_runs_own_axis(
    run_trace, known_run, readings
):
    row = list_emulated(run_trace(known_run(emulate=EMULATE, emulated=readings)))[3]
    assert (row["experiment"], row["treatment"], row["replicate"]) == ("pipe", "p1-fork", 1)
    assert (row["time_s"], row["discovered_s"], row["children"]) == (5, 3.25, 2)
    parts = [row[f"{name}_pss_bytes"] / MIB for name in ("main", "children", "total")]
    assert parts == [30, 20, 50]


def test_a_run_has_the_peak_its_parts_and_what_was_discovered(summarise, readings):
    row = summarise(*readings)
    assert moments(row, "interval", "discovery") == [0.5, 5]
    assert mib(row, "peak", "peak_main", "peak_children") == [50, 30, 20]
    assert moments(row, "peak_time", "peak_age") == [5, 1.75]
    assert (row["emulated_most_children"], row["emulated_discoveries"]) == (2, 2)


def test_sums_of_children_are_counted_once_each_and_no_sum_over_none(summarise, make_reading):
    found = ((11, 0, 0), (12, 5, 1), (13, 5, 1), (14, 6, 1), (15, 0, 0))
    readings = [make_reading(time, 12, size, number, time) for time, size, number in found]
    assert summarise(*readings)["emulated_children_sums"] == 2
    assert summarise(make_reading(11, 12))["emulated_children_sums"] == 0


def test_the_false_peak_is_taken_apart(summarise, readings):
    row = summarise(*readings)
    assert mib(row, "false_peak", "false_peak_main", "false_peak_children") == [50, 30, 20]
    assert moments(row, "false_peak_time", "false_peak_age") == [5, 1.75]
    # At 15 s one of the two had ended, and the tree held 30 + 4 MiB.
    assert row["emulated_false_peak_ended"] == 1
    assert mib(row, "false_peak_tree") == [34]


def test_children_that_still_live_make_no_false_peak_whatever_they_hold(summarise, make_reading):
    row = summarise(make_reading(13.75, 16, 500, 2, 13.25))
    assert mib(row, "peak") == [516]
    assert "emulated_false_peak_bytes" not in row


def test_a_false_peak_need_not_be_the_highest(summarise, make_reading):
    row = summarise(make_reading(13.5, 70, 20, 2, 13.25), make_reading(16.75, 26, 20, 2, 13.25))
    assert mib(row, "peak", "false_peak", "false_peak_tree") == [90, 46, 26]
    assert row["emulated_false_peak_ended"] == 2


def test_children_that_were_not_discovered_make_no_false_peak(summarise, make_reading):
    # They were alive at the discovery, but as orphans, not children of main.
    row = summarise(make_reading(16.75, 16, discovered=13.25))
    assert row["emulated_most_children"] == 0
    assert "emulated_false_peak_bytes" not in row


def test_a_child_that_ended_before_the_discovery_is_not_in_it(summarise, make_reading):
    row = summarise(make_reading(15.5, 16, 5, 1, 14.5))
    assert "emulated_false_peak_bytes" not in row


def test_a_torn_sweep_is_not_used_if_there_is_another(summarise, known_run, make_reading):
    *before, (record, samples) = known_run().sweeps
    torn = (*before, (replace(record, torn=1), samples))
    row = summarise(make_reading(16.75, 26, 20, 2, 13.25), sweeps=torn)
    # The sweep at 15 s is the nearest one that is not torn.
    assert mib(row, "false_peak_tree") == [34]


def test_without_a_sweep_the_tree_is_not_known(summarise, readings):
    # The processes of a known run are those that a sweep read.
    row = summarise(*readings, sweeps=())
    assert mib(row, "peak") == [50]
    assert row.get("emulated_false_peak_tree_bytes") is None


def test_a_run_that_recorded_nothing_has_the_setting_alone(summarise):
    assert summarise() == {"emulated_interval_s": 0.5, "emulated_discovery_s": 5.0}


def test_a_run_without_the_emulation_has_no_rows_and_empty_columns(write_runs, known_run):
    plan, raw = write_runs(known_run())
    tables = summarise_study(plan, raw)
    assert tables["emulated"].empty
    columns = [name for name in tables["runs"] if name.startswith("emulated_")]
    assert len(columns) == 17
    assert tables["runs"][columns].isna().all(axis=None)


def test_the_published_way_is_summarised_over_the_runs(write_runs, known_run, readings):
    runs = [
        known_run(replicate=n, start=20 * n, emulate=EMULATE, emulated=found, lives=LIVES)
        for n, found in ((1, readings), (2, readings[:3]))
    ]
    found = summarise_study(*write_runs(*runs))["treatments"].set_index("quantity")
    assert tuple(found.loc["emulated_peak_bytes", ["min", "max", "n"]]) == (36 * MIB, 50 * MIB, 2)
    assert tuple(found.loc["emulated_false_peak_bytes", ["median", "n"]]) == (50 * MIB, 1)


def test_a_run_whose_records_are_missing_is_an_error_that_names_them(write_runs, known_run):
    plan, raw = write_runs(known_run(emulate=EMULATE))
    (raw / "pipe" / "p1-fork" / "r1" / EMULATED_FILE).unlink()
    with pytest.raises(StoreError, match=r"emulated\.csv: cannot be read"):
        summarise_study(plan, raw)


def test_a_run_that_crashed_before_its_first_record_is_no_error(write_runs, known_run):
    plan, raw = write_runs(known_run(emulate=EMULATE, status="crashed", events={}, tasks=()))
    (raw / "pipe" / "p1-fork" / "r1" / EMULATED_FILE).unlink()
    run = summarise_study(plan, raw)["runs"].iloc[0]
    assert run["emulated_interval_s"] == 0.5
    assert pd.isna(run["emulated_peak_bytes"])
