from __future__ import annotations

import pytest
from tests.known_runs import FACTS

from stagebench.present import report_machine
from stagebench.tables import read_tables


@pytest.fixture
def environment_of(analyse):
    return lambda *runs: read_tables(analyse(*runs) / "tables")["environment"]


def test_the_machine_is_told_with_its_settings(environment_of, known_run):
    table = report_machine.machine_table(environment_of(known_run()))
    for label, value in (
        ("frequency governor", "performance"),
        ("CPUs that the control group allows", "no limit"),
        ("memory that the control group allows", "8 GiB"),
    ):
        assert any(label in row and value in row for row in table.splitlines())


def test_runs_of_one_place_are_no_finding(environment_of, known_run):
    environment = environment_of(known_run(), known_run(replicate=2, start=20))
    assert report_machine.mixture_findings(environment) == []
    assert report_machine.mixtures_table(environment) == ""


def test_mixed_places_are_a_finding_and_listed_by_where_they_were(environment_of, known_run):
    other = FACTS["run"]["environment"] | {"kernel": "7.0", "packages": {"numpy": "3.0"}}
    second = known_run(experiment="second", start=20, run={"environment": other})
    environment = environment_of(known_run(), second)
    (finding,) = report_machine.mixture_findings(environment)
    assert "kernel (2 values), numpy (2 values)" in finding
    rows = report_machine.mixtures_table(environment).splitlines()[2:]
    assert [[cell.strip() for cell in row.split("|")[1:5]] for row in rows] == [
        ["kernel", "6.18", "pipe", "1"],
        ["kernel", "7.0", "second", "1"],
        ["numpy", "2.4.6", "pipe", "1"],
        ["numpy", "3.0", "second", "1"],
    ]
