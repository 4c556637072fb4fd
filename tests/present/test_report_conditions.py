from __future__ import annotations

import pytest

from stagebench.present import report_conditions
from stagebench.tables import read_tables


@pytest.fixture
def tables_of(analyse):
    return lambda *runs: read_tables(analyse(*runs) / "tables")


def test_without_warm_ups_nothing_is_said(tables_of, known_run):
    warm_ups = tables_of(known_run())["warm_ups"]
    assert report_conditions.warm_ups_text(warm_ups) == ""
    assert report_conditions.failed_warm_ups_table(warm_ups) == ""


def test_warm_ups_are_counted_and_a_failed_one_is_told(tables_of, known_run):
    failed = known_run(warm_up=True, replicate=2, status="crashed", detail="no module")
    warm_ups = tables_of(known_run(warm_up=True), failed, known_run(start=20))["warm_ups"]
    text = report_conditions.warm_ups_text(warm_ups)
    assert text.startswith("2 runs to warm up came before the first block")
    assert "**1 of them did not succeed**" in text
    (row,) = report_conditions.failed_warm_ups_table(warm_ups).splitlines()[2:]
    assert "crashed" in row
    assert "no module" in row


def test_one_campaign_is_the_rule_and_several_are_told_with_their_runs(tables_of, known_run):
    later = known_run(replicate=2, start=20, run={"campaign": "2026-11-24T07:00:00+00:00"})
    assert report_conditions.campaigns_text(tables_of(known_run())["runs"]) == ""
    text = report_conditions.campaigns_text(tables_of(known_run(), later)["runs"])
    assert "2 campaigns" in text
    assert "2026-11-24T07:00:00+00:00 (1 run)" in text


def quiet(waited_s, share):
    is_quiet = None if share is None else share >= 0.9
    return {"quiet": {"waited_s": waited_s, "idle_share": share, "quiet": is_quiet}}


def test_the_wait_for_a_quiet_machine_is_told(tables_of, known_run):
    runs = [
        known_run(run=quiet(0.25, 1.0)),
        known_run(replicate=2, start=20, run=quiet(2.0, 0.5)),
        known_run(replicate=3, start=40, run=quiet(0.0, None)),
    ]
    text = report_conditions.quiet_text(tables_of(*runs)["runs"])
    assert text.startswith("The machine was quiet before 1 of 2 runs, unknown for 1; a run waited")
    assert text.endswith("2.00 s at most.")
    assert report_conditions.quiet_text(tables_of(runs[2])["runs"]).startswith("No run waited")


def test_noisy_runs_are_counted_and_listed_with_their_reasons(tables_of, known_run):
    noisy = known_run(replicate=2, start=20, run=quiet(2.0, 0.5))
    runs = tables_of(known_run(), noisy)["runs"]
    text = report_conditions.noisy_text(runs)
    assert text.startswith("**1 of 2 runs (50 %) flagged as noisy**, 1 of them of pipe/p1-fork.")
    (finding,) = report_conditions.noise_findings(runs)
    assert finding.startswith("**1 of 2 runs were disturbed**")
    (row,) = report_conditions.noisy_table(runs).splitlines()[2:]
    assert "not quiet before (50 % idle)" in row


def test_without_noise_no_run_is_listed(tables_of, known_run):
    runs = tables_of(known_run())["runs"]
    assert report_conditions.noisy_text(runs) == "None of 1 run is flagged as noisy."
    assert report_conditions.noisy_table(runs) == ""
    assert report_conditions.noise_findings(runs) == []
