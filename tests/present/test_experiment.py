from __future__ import annotations

import json

import pandas as pd

from stagebench.present.experiment import choose_treatments, find_design, leading_factor
from stagebench.tables.io import make_table


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


def with_factors(experiment, *factors):
    """Return an experiment whose treatments have these factors."""
    runs = experiment.tables["runs"].copy()
    given = dict(zip(experiment.treatments, factors, strict=True))
    runs["factors"] = [json.dumps(given[one]) for one in runs["treatment"]]
    return type(experiment)(name=experiment.name, tables={**experiment.tables, "runs": runs})


def test_a_factor_that_only_some_levels_of_another_have_is_one_with_it(pipe):
    found = with_factors(
        pipe,
        {"executor": "thread"},
        {"executor": "process", "start_method": "fork"},
        {"executor": "process", "start_method": "spawn"},
    )
    levels = ["thread", "process fork", "process spawn"]
    assert find_design(found) == {"executor": dict(zip(pipe.treatments, levels, strict=True))}


def test_factors_that_do_not_differ_or_change_together_are_one(pipe):
    factors = [
        {"size": 1, "logic": "a", "same": 7, "workers": None},
        {"size": 2, "logic": "b", "same": 7, "workers": None},
        {"size": 2, "logic": "b", "same": 7, "workers": [1, "x"]},
    ]
    design = find_design(with_factors(pipe, *factors))
    assert {name: list(levels.values()) for name, levels in design.items()} == {
        "logic": ["a", "b", "b"],
        "workers": ["unset", "unset", "1, x"],
    }


def test_treatments_that_factors_do_not_tell_apart_are_their_own_levels(pipe):
    names = {one: one for one in pipe.treatments}
    assert find_design(with_factors(pipe, {}, {}, {})) == {"treatment": names}
    assert find_design(with_factors(pipe, {"n": 1}, {"n": 1}, {"n": 2})) == {"treatment": names}


def test_the_leading_factor_has_the_largest_effect_that_is_decided(pipe):
    row = {"experiment": "pipe", "quantity": "makespan_s", "kind": "effect", "shown": True}
    effects = make_table(
        "factor_effects",
        [
            row | {"factor": "n", "ratio": 0.5, "word": "faster"},
            row | {"factor": "logic", "ratio": 4.0, "word": "slower"},
            row | {"factor": "wild", "ratio": 99.0, "word": "not decided"},
        ],
    )
    found = type(pipe)(name="pipe", tables={**pipe.tables, "factor_effects": effects})
    design = {name: {"t": "1"} for name in ("wild", "n", "logic")}
    assert leading_factor(found, design) == "logic"
    assert leading_factor(pipe, {"a": {}, "b": {}}) == "a"


def test_medians_are_in_order_and_unknown_ones_last(pipe):
    assert list(pipe.medians) == ["p2-fork", "p1-fork", "p5-fork"]


def test_of_many_treatments_the_ends_and_the_baseline_are_chosen(present, known_run):
    runs = [
        known_run(treatment=f"t{n}", baseline=n == 3, start=200 * n).stretched(1 + n / 10)
        for n in range(9)
    ]
    experiment = present(*runs)
    chosen = choose_treatments(experiment, 4)
    assert len(chosen) == 4
    assert {"t0", "t3", "t8"} <= set(chosen)
    assert choose_treatments(experiment, 9) == [f"t{n}" for n in range(9)]
