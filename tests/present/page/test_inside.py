"""What the page draws of a run is what its tables say."""

import math
from dataclasses import replace

import pytest
from tests.present.page.test_packed import unpack

from stagebench.present.page.inside import describe_shown_runs


def test_the_tasks_of_the_shown_run_have_their_moments(pipe):
    run = describe_shown_runs(pipe)["p2-fork"]
    rows = pipe.shown("tasks", "p2-fork").sort_values(["stage", "submitted_s", "task"])
    assert [one["name"] for one in run["stages"]] == ["work", "save"]
    assert unpack(run["tasks"]["task"]) == [int(task) for task in rows["task"]]
    for moment in ("submitted", "started", "finished", "received"):
        found = [ticks * run["tick"] for ticks in unpack(run["tasks"][moment])]
        assert found == pytest.approx(list(rows[f"{moment}_s"]), abs=run["tick"])


def test_a_moment_that_is_unknown_stays_unknown(present, known_run, make_task):
    lost = make_task(0, "work", (10, 10, None, 11), status="lost", error="worker 7 ended")
    run = describe_shown_runs(present(known_run(attempts=(lost,))))["p1-fork"]
    assert unpack(run["tasks"]["finished"]).count(None) == 1
    assert "lost: worker 7 ended" in run["tasks"]["ends"]
    assert run["tasks"]["retried"]


def test_bounds_of_memory_are_rounded_outwards(present_bounded, known_run, make_read):
    reads = tuple(make_read(10 + 0.01 * n, 5 + 0.0001 * n) for n in range(20))
    experiment = present_bounded(known_run(reads=reads))
    rows = experiment.shown("memory", "p1-fork")
    packed = describe_shown_runs(experiment)["p1-fork"]["memory"]
    assert len(rows) > 10
    for lower, upper, (_, row) in zip(
        unpack(packed["lower"]), unpack(packed["upper"]), rows.iterrows(), strict=True
    ):
        assert 1024 * lower <= row["tree_reached_bytes"]
        if not math.isnan(row["tree_upper_bytes"]):
            assert row["tree_upper_bytes"] <= 1024 * upper < row["tree_upper_bytes"] + 1024


def test_a_treatment_without_an_ok_run_has_none_to_show(pipe):
    assert list(describe_shown_runs(pipe)) == ["p1-fork", "p2-fork"]


def test_errors_beyond_those_told_apart_are_still_errors(present, known_run, make_task):
    attempts = tuple(
        replace(
            make_task(0, "work", (10, 10, None, 11), status="lost", error=f"worker {n} ended"),
            attempt=n,
        )
        for n in range(1, 301)
    )
    run = describe_shown_runs(present(known_run(attempts=attempts)))["p1-fork"]
    ends = run["tasks"]["ends"]
    texts = [ends[place] for place in unpack(run["tasks"]["end"])]
    assert len(ends) == 201
    assert sum(text != "" for text in texts) == 300
    assert ends[-1] == "not ok: its error is in tables/tasks.csv"
