from __future__ import annotations

import pandas as pd


def test_experiments_come_with_their_own_rows(experiments):
    assert list(experiments) == ["pipe", "alone"]
    assert set(experiments["alone"].tables["stages"]["stage"]) == {"alone"}


def test_treatments_and_stages_keep_the_order_of_the_plan(pipe):
    assert pipe.treatments == ["p1-fork", "p2-fork", "p5-fork"]
    assert pipe.stages == ["work", "save"]


def test_the_baseline_is_known(pipe):
    assert pipe.baseline == "p1-fork"


def test_shown_rows_are_of_the_run_of_median_makespan(pipe):
    assert set(pipe.shown("tasks", "p1-fork")["replicate"]) == {2}
    assert pipe.shown("tasks", "p5-fork").empty


def test_a_summary_is_of_one_quantity(pipe):
    row = pipe.summary("p2-fork", "makespan_s")
    assert (row["median"], row["n"]) == (6, 3)
    assert pipe.summary("p2-fork", "utilisation", "work")["median"] == 0.5
    assert pd.isna(pipe.summary("p5-fork", "makespan_s")["median"])


def test_a_failure_note_counts_how_the_runs_ended(pipe):
    assert pipe.failure_note("p5-fork") == "no ok run (timed_out × 1)"


def test_a_stage_belongs_to_a_treatment_or_not(pipe):
    assert pipe.has_stage("p1-fork", "work")
    assert not pipe.has_stage("p1-fork", "alone")
