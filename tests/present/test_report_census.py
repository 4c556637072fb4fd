from __future__ import annotations

from stagebench.present.experiment import Experiment
from stagebench.present.report_census import census_table, is_polled


def rows(table):
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
    return dict(zip((line[0] for line in lines), lines, strict=True))


def test_processes_are_told_by_role_and_by_the_means_of_the_census(pipe):
    row = rows(census_table(pipe))["p1-fork"]
    assert row[1:] == ["ptrace", "main 1, worker 2", "none", "3", "2", "1"]


def test_a_treatment_without_an_ok_run_has_its_reason_and_dashes(pipe):
    row = rows(census_table(pipe))["p5-fork"]
    assert row[1] == "no ok run (timed_out × 1)"
    assert set(row[2:]) == {"–"}


def test_processes_bounded_only_are_told_by_role(pipe):
    roles = pipe.tables["roles"].copy()
    late = (roles["treatment"] == "p1-fork") & (roles["role"] == "worker")
    roles.loc[late, "bounded_only"] = 1
    roles.loc[late & (roles["replicate"] == 1), "bounded_only"] = 0
    told = Experiment(name="pipe", tables={**pipe.tables, "roles": roles})
    assert rows(census_table(told))["p1-fork"][3] == "worker 0.667"


def test_a_polled_census_is_labelled(pipe):
    assert not is_polled(pipe)
    runs = pipe.tables["runs"].assign(census="poll")
    polled = Experiment(name="pipe", tables={**pipe.tables, "runs": runs})
    assert is_polled(polled)
    assert rows(census_table(polled))["p1-fork"][1] == "polled"
