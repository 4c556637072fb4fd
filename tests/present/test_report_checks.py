from __future__ import annotations

from dataclasses import replace

import pytest
from tests.known_runs import FACTS

from stagebench.present import report_checks
from stagebench.tables import read_tables


@pytest.fixture
def runs_of(analyse):
    return lambda *runs: read_tables(analyse(*runs) / "tables")["runs"]


def test_failed_runs_are_listed_with_status_and_reason(tables):
    lines = report_checks.failures_table(tables["runs"]).splitlines()
    assert len(lines) == 3
    assert "timed_out" in lines[2]
    assert "time limit \\| of <60 s>" in lines[2]


def test_without_failures_there_is_no_table(runs_of, known_run):
    assert report_checks.failures_table(runs_of(known_run())) == ""


def test_errors_of_tasks_are_counted(analyse, known_run, make_task):
    tasks = [
        make_task(n, "work", (10, 11, 12, 12), status="failed", error="ValueError: `x` | y")
        for n in range(2)
    ]
    found = read_tables(analyse(known_run(tasks=tuple(tasks), status="tasks_failed")) / "tables")
    assert report_checks.task_errors(found["tasks"]) == ["2 × `ValueError: x | y`"]


def test_the_planned_order_is_confirmed(tables):
    text = report_checks.order_text(tables["runs"])
    assert text == "All 8 runs started in the planned random order."


def test_runs_out_of_order_are_counted(runs_of, known_run):
    runs = runs_of(known_run(start=40), known_run(replicate=2), known_run(replicate=3, start=20))
    assert report_checks.order_text(runs).startswith("1 of 3 runs started after a run that was")


def test_disjoint_runs_are_confirmed(tables):
    text = report_checks.overlap_text(tables["runs"])
    assert text == "No two of 8 runs were measured at the same time."


def test_overlapping_runs_are_a_warning(runs_of, known_run):
    text = report_checks.overlap_text(runs_of(known_run(), known_run(replicate=2, start=3)))
    assert text.startswith("**2 runs overlapped another one")


def test_runs_of_unknown_times_are_told(runs_of, known_run):
    crashed = known_run(replicate=2, status="crashed", run={"exec_ns": None})
    text = report_checks.overlap_text(runs_of(known_run(), crashed))
    assert text == "No two of 1 run were measured at the same time; unknown for 1."


def test_processes_left_behind_are_told(runs_of, known_run):
    assert report_checks.survivors_text(runs_of(known_run())) == "No run left a process behind."
    left = report_checks.survivors_text(runs_of(known_run(run={"survivors": 2})))
    assert left == "1 run left processes behind, which were ended."


def test_the_supervisors_time_is_told_against_the_runs_own(runs_of, known_run):
    text = report_checks.totals_text(runs_of(known_run(), known_run(replicate=2, start=20)))
    assert text == "The runs' own times add up to 19 s; supervisors added 2.5 s (13 %)."


def test_totals_of_runs_that_never_started_are_unknown(runs_of, known_run):
    crashed = known_run(status="crashed", run={"exec_ns": None, "exited_ns": None})
    assert report_checks.totals_text(runs_of(crashed)) == "The runs' own times are not known."


def test_noise_overhead_and_sampler_are_told_by_experiment(tables):
    noise = report_checks.noise_table(tables["runs"]).splitlines()
    assert [cell.strip() for cell in noise[0].split("|")[2:-1]] == [
        "pipe median",
        "pipe maximum",
        "alone median",
        "alone maximum",
    ]
    assert "0.500" in report_checks.noise_table(tables["runs"])
    assert "1.25" in report_checks.overhead_table(tables["runs"])
    assert "0.750" in report_checks.sampler_table(tables["runs"])


def test_noise_that_was_not_read_is_a_dash(runs_of, known_run):
    unknown = dict.fromkeys(["load_before", "load_after", "steal_share", "others_cpu_share"])
    table = report_checks.noise_table(runs_of(known_run(run={"noise": unknown})))
    assert table.count("–") == 8 + 2  # pressure on the disk is not told, either


def test_processes_that_ended_under_a_sweep_are_counted(runs_of, known_run):
    text = report_checks.vanished_text(runs_of(known_run()))
    assert text == "In 6 sweeps, 1 times a process ended while it was read."


def test_a_metric_other_than_pss_is_a_warning(runs_of, known_run):
    assert report_checks.metric_text(runs_of(known_run())) == ""
    run = known_run()
    uss = sampled_by(run, "uss")
    text = report_checks.metric_text(runs_of(run, replace(uss, replicate=2)))
    assert "USS" in text
    assert "RSS" not in text


def sampled_by(run, metric):
    sampler = FACTS["run"]["sampler"] | {"metric": metric}
    return replace(run, run={"sampler": sampler})


def test_control_groups_that_were_charged_more_than_our_anonymous_memory_agree(tables):
    text = report_checks.cgroup_text(tables["runs"])
    assert text.startswith("In all of ")
    assert "times that in the median" in text


def test_a_control_group_that_was_charged_less_is_a_warning(runs_of, known_run):
    little = {"version": 2, "peak_bytes": 2**20, "kernel_peak_bytes": None, "cache_bytes": 0}
    text = report_checks.cgroup_text(runs_of(known_run(run={"cgroup": little})))
    assert text.startswith("**In 1 of 1 run a control group was charged with less")


def test_without_control_groups_there_is_no_cross_check(runs_of, known_run):
    text = report_checks.cgroup_text(runs_of(known_run(run={"cgroup": {"reason": "none"}})))
    assert text.startswith("No control group could be made")
