from __future__ import annotations

from stagebench.analyse.environment import summarise_environment


def rows_of(traces, *runs):
    rows = summarise_environment(traces(*runs))
    return [(row["property"], row["value"], row["runs"]) for row in rows]


def test_a_property_that_all_runs_share_has_one_row(traces, known_run):
    rows = rows_of(traces, known_run(), known_run(replicate=2))
    assert ("kernel", "6.18", 2) in rows
    assert ("packages.numpy", "2.4.6", 2) in rows


def test_a_property_that_changed_has_a_row_a_value(traces, known_run):
    rows = rows_of(traces, known_run(), known_run(replicate=2, run={"environment": {"os": "BSD"}}))
    assert [row for row in rows if row[0] == "os"] == [("os", "Linux", 1), ("os", "BSD", 1)]


def test_an_unknown_property_has_no_row(traces, known_run):
    assert all(name != "commit" for name, _, _ in rows_of(traces, known_run()))
