from __future__ import annotations

from stagebench.analyse.environment import summarise_environment
from stagebench.analyse.traces import read_traces


def rows_of(study, *runs):
    plan, raw = study(*runs)
    rows = summarise_environment(read_traces(plan, raw))
    return [(row["property"], row["value"], row["runs"]) for row in rows]


def test_a_property_that_all_runs_share_has_one_row(study, known_run):
    rows = rows_of(study, known_run(), known_run(replicate=2))
    assert ("kernel", "6.18", 2) in rows
    assert ("packages.numpy", "2.4.6", 2) in rows


def test_a_property_that_changed_has_a_row_a_value(study, known_run):
    rows = rows_of(study, known_run(), known_run(replicate=2, run={"environment": {"os": "BSD"}}))
    assert [row for row in rows if row[0] == "os"] == [("os", "Linux", 1), ("os", "BSD", 1)]


def test_an_unknown_property_has_no_row(study, known_run):
    assert all(name != "commit" for name, _, _ in rows_of(study, known_run()))


def places_of(study, *runs):
    plan, raw = study(*runs)
    rows = summarise_environment(read_traces(plan, raw))
    return [row["where"] for row in rows if row["property"] == "os"]


BSD = {"environment": {"os": "BSD"}}


def test_the_settings_of_the_machine_are_properties(study, known_run):
    rows = rows_of(study, known_run())
    assert ("governor", "performance", 1) in rows
    assert ("cgroup_memory_limit", "8589934592", 1) in rows


def test_a_property_that_all_runs_share_has_no_place(study, known_run):
    assert places_of(study, known_run(), known_run(replicate=2)) == [""]


def test_a_property_of_one_experiment_alone_is_placed_there(study, known_run):
    runs = [known_run(), known_run(replicate=2), known_run(experiment="second", run=BSD)]
    assert places_of(study, *runs) == ["pipe", "second"]


def test_a_property_of_some_treatments_or_replicates_is_placed_there(study, known_run):
    other = {"treatment": "t2", "baseline": False, "run": BSD}
    assert places_of(study, known_run(), known_run(**other)) == ["pipe/p1-fork", "pipe/t2"]
    runs = [known_run(), known_run(replicate=2, run=BSD)]
    assert places_of(study, *runs) == ["pipe/p1-fork (1 of 2 runs)", "pipe/p1-fork (1 of 2 runs)"]


def test_of_many_treatments_the_runs_are_counted(study, known_run):
    runs = [
        known_run(treatment=f"t{n}", baseline=n == 0, replicate=r) for n in range(5) for r in (1, 2)
    ]
    changed = [
        known_run(treatment=f"t{n}", baseline=n == 0, replicate=3, run=BSD) for n in range(5)
    ]
    assert places_of(study, *runs, *changed) == ["pipe (10 of 15 runs)", "pipe (5 of 15 runs)"]
