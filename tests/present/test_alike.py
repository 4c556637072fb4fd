"""Treatments that share a row, and the words for what they share."""

import json
import random

import pytest

from stagebench.present.alike import (
    CLOSE,
    WIDER,
    clean_name,
    find_medians,
    group_alike,
    name_levels,
    split_work,
)
from stagebench.present.experiment import Experiment
from stagebench.present.why import full_resources
from stagebench.tables.io import list_rows, make_table

RESOURCES = ("workers", "cores", "GIL")


def lay_out(treatments, limits=None):
    """Make the tables of treatments given as factors and makespan; without one, no run was ok."""
    names = list(treatments)
    resources = limits or {}
    rows = {
        "runs": [
            {
                "treatment": name,
                "factors": json.dumps(factors),
                "status": "ok" if time else "crashed",
            }
            for name, (factors, time) in treatments.items()
        ],
        "treatments": [
            {"treatment": name, "quantity": "makespan_s", "median": time}
            for name, (_, time) in treatments.items()
        ],
        "limits": [
            {"treatment": name, "resource": resources.get(name, "workers"), "is_full": True}
            for name in names
            if treatments[name][1]
        ],
    }
    tables = {name: make_table(name, own) for name, own in rows.items()}
    return Experiment(name="e", tables=tables)


def words(treatments):
    return name_levels(lay_out({name: (factors, 6) for name, factors in treatments.items()}))


GRID = {
    f"{executor[0]}{workers}{f'-{start}' * bool(start)}{f'-{logic}' * (logic != 'native')}": {
        "workers": workers,
        "executor": executor,
        **({"start_method": start} if start else {}),
        "logic": logic,
    }
    for logic in ("native", "numpy")
    for workers in (1, 2, 5)
    for executor, start in (("thread", ""), ("process", "fork"), ("process", "spawn"))
}


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["t1"], "native, 1 thread"),
        (["t1", "t2", "t5"], "native, 1/2/5 threads"),
        (["p5-fork"], "native, 5 processes (fork)"),
        (["p2-fork", "p2-spawn", "p5-fork", "p5-spawn"], "native, 2/5 processes"),
        (["t2-numpy", "p2-fork-numpy"], "numpy, 2 threads/processes (fork)"),
        (["t1-numpy", "p1-fork-numpy"], "numpy, 1 thread/process (fork)"),
        ([name for name in GRID if name.endswith("numpy")], "numpy"),
        (["t2", "p2-fork", "p2-spawn"], "native, 2 workers"),
        (list(GRID), ""),
    ],
)
def test_a_label_has_the_levels_that_treatments_share(names, label):
    assert words(GRID).describe(names) == label


def test_what_all_around_share_is_left_out():
    native = [name for name in GRID if not name.endswith("numpy")]
    assert words(GRID).describe(["t1"], native) == "1 thread"
    assert words(GRID).shared(native) == "native"


@pytest.mark.parametrize(
    ("factors", "labels"),
    [
        ([{"retain": True}, {"retain": False}], ["results kept", "results dropped"]),
        ([{"size_mib": 1}, {"size_mib": 10}], ["size_mib 1", "size_mib 10"]),
        ([{"limit": None}, {"limit": 65536}], ["limit unset", "limit 65536"]),
        ([{"preload": []}, {"preload": ["json", "csv"]}], ["preload none", "preload json, csv"]),
        ([{"cache": True}, {"cache": False}], ["cache true", "cache false"]),
        # A word that two factors have does not say which of them is meant.
        ([{"a": "fast", "b": "slow"}, {"a": "slow", "b": "slow"}], ["fast", "slow"]),
        (
            [{"a": "x", "b": "y"}, {"a": "y", "b": "y"}, {"a": "x", "b": "x"}],
            ["a x, b y", "a y, b y", "a x, b x"],
        ),
        # Of factors that always change together, one that has words is named.
        ([{"items": 10, "kind": "big"}, {"items": 20, "kind": "small"}], ["big", "small"]),
        ([{"workers": 1}, {"workers": 4}], ["1 worker", "4 workers"]),
        ([{"nodes": 1}, {"nodes": 2}], ["1 node", "2 nodes"]),
        ([{"nodes": "one"}, {"nodes": "two"}], ["one", "two"]),
        ([{"executor": "asyncio"}, {"executor": "thread"}], ["coroutines", "threads"]),
    ],
)
def test_levels_have_words(factors, labels):
    names = [f"t{n}" for n in range(len(factors))]
    found = words(dict(zip(names, factors, strict=True)))
    assert [found.describe([name]) for name in names] == labels


def test_one_level_is_named_in_place_of_another():
    found = words(GRID)
    assert found.contrast("executor", "process", "thread") == "processes instead of threads"
    assert found.contrast("workers", "5", "1") == "5 workers instead of 1"
    assert found.contrast("logic", "numpy", "native") == "numpy instead of native"
    assert found.name_factor("workers") == "1, 2 and 5 workers"
    assert found.name_factor("start_method") == "fork and spawn"
    nodes = words({"one": {"nodes": 1}, "two": {"nodes": 2}})
    assert nodes.name_factor("nodes") == "1 and 2 nodes"
    assert nodes.contrast("nodes", "2", "1") == "2 nodes instead of 1"


@pytest.mark.parametrize("seed", range(12))
def test_groups_are_close_in_time_limited_by_the_same_and_named_for_nothing_else(seed):
    rng = random.Random(seed)
    slow = {level: rng.choice([1, 1.05, 2]) for level in ("native", "numpy", "fork", "spawn", "")}
    treatments = {
        name: (
            factors,
            slow[factors["logic"]]
            * slow[factors.get("start_method", "")]
            / rng.choice([1, 1, factors["workers"]]),
        )
        for name, factors in GRID.items()
    }
    experiment = lay_out(treatments, {name: rng.choice(RESOURCES) for name in GRID})
    words = name_levels(experiment)
    groups = group_alike(experiment, experiment.treatments, words, most=len(GRID))
    members = [name for group in groups for name in group.treatments]
    assert sorted(members) == sorted(experiment.treatments)
    medians = find_medians(experiment, "makespan_s")
    limits = {row["treatment"]: row for row in list_rows(experiment.tables["limits"])}
    for group in groups:
        times = [medians[name] for name in group.treatments]
        assert max(times) <= CLOSE * min(times)
        assert group.limits
        assert all(group.limits <= {*full_resources(limits[name])} for name in group.treatments)
        # Whoever has only levels of the label is in the row.
        assert words.are_all(group.treatments, experiment.treatments)
    labels = [group.label for group in groups]
    assert len(labels) == len(set(labels))


def test_what_is_alike_shares_a_row():
    seconds = {"thread": 20, "process": 6}
    experiment = lay_out(
        {
            name: (factors, seconds[factors["executor"]] * (1 + factors["workers"] / 100))
            for name, factors in GRID.items()
        }
    )
    groups = group_alike(experiment, experiment.treatments, name_levels(experiment), most=7)
    assert sorted(group.label for group in groups) == ["1/2/5 processes", "1/2/5 threads"]


def test_many_rows_are_made_few_by_a_wider_range():
    experiment = lay_out({f"w{n}": ({"workers": n}, 6 * 1.17**n) for n in range(1, 13)})
    words = name_levels(experiment)
    groups = group_alike(experiment, experiment.treatments, words, most=7)
    assert len(groups) <= 7
    medians = find_medians(experiment, "makespan_s")
    for group in groups:
        times = [medians[name] for name in group.treatments]
        assert max(times) <= WIDER[-1] * min(times)


def test_what_failed_is_in_no_row_with_what_succeeded():
    treatments = {"t1": ({"workers": 1}, 6), "t2": ({"workers": 2}, None)}
    experiment = lay_out(treatments)
    groups = group_alike(experiment, experiment.treatments, name_levels(experiment), most=1)
    assert [group.treatments for group in groups] == [("t1",), ("t2",)]


def test_hundreds_of_treatments_are_grouped():
    treatments = {
        f"{a}-{b}": ({"a": a, "b": b}, 1 + (a + b) / 1000) for a in range(20) for b in range(20)
    }
    experiment = lay_out(treatments)
    groups = group_alike(experiment, experiment.treatments, name_levels(experiment), most=7)
    assert [len(group.treatments) for group in groups] == [400]


def test_different_work_is_apart(present, known_run):
    work, save = known_run().stages
    runs = [
        known_run(
            treatment=f"t{n}",
            baseline=not n,
            factors={"size": n // 2, "workers": n % 2},
            stages=(work | {"parameters": {"size_mib": n // 2}}, save),
            start=20 * n,
        )
        for n in range(4)
    ]
    assert split_work(present(*runs)) == [["t0", "t1"], ["t2", "t3"]]


def test_treatments_that_differ_in_no_factor_have_their_names():
    experiment = lay_out({"a": ({}, 6), "b": ({}, 60)})
    groups = group_alike(experiment, experiment.treatments, name_levels(experiment), most=7)
    assert [group.label for group in groups] == ["a", "b"]


@pytest.mark.parametrize("text", ["a`b`", "x" * 10**7, "esc \x1b[31m", "half \ud800", "two\nlines"])
def test_a_name_is_one_short_line_that_ends_no_code(text):
    name = clean_name(text)
    assert len(name) <= 40
    assert name.isprintable()
    assert "`" not in name
