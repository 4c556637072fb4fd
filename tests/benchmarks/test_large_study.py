"""A made study is one that can be measured, and what is known of it holds in its tables."""

import re
from itertools import pairwise

import pandas as pd
import pytest
from benchmarks.analysis import find_false_losers
from benchmarks.large_study import Shape, make_study, pool_of
from benchmarks.page import LARGEST_BYTES
from tests.commands import analyse_study, render_report

from stagebench.present.experiment import MOST_LISTED
from stagebench.store import read_run
from stagebench.tables.io import read_tables

SHAPE = Shape(workers=(1,), chunks=5, widths=6, replicates=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of 360 runs of 120 treatments, with its plan, tables and report."""
    folder = tmp_path_factory.mktemp("made") / "study"
    plan = make_study(folder, SHAPE)
    plan_file, tables = folder / "plan.json", folder / "tables"
    analyse_study(plan_file, folder / "raw", None, tables)
    (folder / "figures").mkdir()
    render_report(tables, plan_file, folder / "figures", folder)
    return folder, plan


def test_every_planned_run_is_there_one_after_another(made):
    folder, plan = made
    assert len(plan["treatments"]) == 120
    runs = sorted(
        (
            read_run(folder / "raw" / run["experiment"] / run["treatment"] / f"r{run['replicate']}")
            for run in plan["runs"]
        ),
        key=lambda run: run["rank"],
    )
    assert len(runs) == 360
    for one, later in pairwise(runs):
        assert one["supervisor_ended_ns"] < later["supervisor_started_ns"]
        assert one["started_at"] < later["started_at"]


def test_makespans_are_the_true_ones_but_for_noise(made):
    folder, _ = made
    truth = pd.read_csv(folder / "truth.csv").set_index("treatment")["makespan_s"]
    runs = read_tables(folder / "tables")["runs"]
    errors = runs["makespan_s"] / runs["treatment"].map(truth)
    assert errors.between(0.75, 1.33).all()
    assert abs(errors.median() - 1) < 0.1
    assert not runs["overlaps"].any()


def test_the_truly_fastest_is_not_said_to_be_beaten(made):
    folder, _ = made
    truth = pd.read_csv(folder / "truth.csv").set_index("treatment")["makespan_s"]
    assert find_false_losers(read_tables(folder / "tables")["winners"], truth) == []


def test_pools_decide_which_run_is_the_template(made):
    folder, plan = made
    pools = {pool_of(one) for one in plan["treatments"].values()}
    assert pools == {path.name for path in (folder / "templates").iterdir()}
    assert pools == {"1-thread", "1-process-fork", "1-process-spawn", "1-process-forkserver"}


def test_the_report_of_many_treatments_is_bounded_and_says_where_all_are(made):
    folder, _ = made
    page = (folder / "report/tuning.md").read_text()
    assert f"have {MOST_LISTED} of 120 treatments" in page
    part = page.partition("## Treatments")[2].partition("##")[0]
    rows = re.findall(r"^\| (\S+-b\d) +\|", part, re.MULTILINE)
    assert len(rows) == MOST_LISTED
    for text in re.findall(r"`(tables/\S+\.csv)`", page):
        assert (folder / text).is_file()
    advice = read_tables(folder / "tables")["advice"].iloc[0]
    named = {advice["treatment"], *advice["tied"].split(", "), *advice["front"].split(", ")}
    assert named - {""} <= set(rows)
    assert (folder / "report.html").stat().st_size < LARGEST_BYTES["1,000 runs"]
