from __future__ import annotations

import pytest

from stagebench.analyse.contrasts import (
    QUANTITIES,
    Contrast,
    contrast_treatments,
    find_contrasts,
    name_level,
)
from stagebench.tables import make_table


def specification(*stages, factors=None, **settings):
    named = [{"name": f"s{n}"} | stage for n, stage in enumerate(stages)]
    return {"treatment": "any", "factors": factors or {}, "stages": named, **settings}


def plan(**specifications):
    return {
        "treatments": {f"x/{name}": {"specification": one} for name, one in specifications.items()}
    }


QUEUES = plan(
    small=specification({"queue_size": 2}, factors={"q": 2}),
    free=specification({"queue_size": None}, factors={"q": None}),
    other=specification({"queue_size": 2, "workers": 5}, factors={"q": 2}),
)


def test_a_treatment_is_held_against_the_one_that_differs_in_the_setting_alone():
    assert list(find_contrasts(QUEUES)) == [
        Contrast("x", "queue_size", "small", "2", "free", "unbounded")
    ]


def test_a_setting_that_is_absent_is_off():
    planned = plan(small=specification({"queue_size": 2}), free=specification({}))
    assert [contrast.to for contrast in find_contrasts(planned)] == ["free"]


def test_without_a_treatment_that_has_it_off_the_first_is_what_others_are_held_against():
    planned = plan(
        four=specification({"transport": "path"}), two=specification({"transport": "shared_memory"})
    )
    found = list(find_contrasts(planned))
    assert found == [Contrast("x", "transport", "two", "shared_memory", "four", "path")]


def test_tasks_in_flight_are_a_setting_of_the_run():
    planned = plan(free=specification({}), few=specification({}, in_flight=3))
    found = list(find_contrasts(planned))
    assert found == [Contrast("x", "in_flight", "few", "3", "free", "unbounded")]


def test_two_treatments_of_the_same_level_are_not_held_against_each_other():
    planned = plan(a=specification({}), b=specification({"queue_size": None}))
    assert list(find_contrasts(planned)) == []


@pytest.mark.parametrize(
    ("stages", "level"),
    [
        (({}, {}), "unbounded"),
        (({"queue_size": 4}, {"queue_size": 4}), "4"),
        (({"queue_size": 4}, {}), "s0 4"),
        (({"queue_size": 4}, {"queue_size": 8}), "s0 4, s1 8"),
    ],
)
def test_a_level_is_told_stage_by_stage_where_they_differ(stages, level):
    assert name_level(specification(*stages), "queue_size") == level


def test_a_contrast_has_medians_and_the_ratio_of_the_pairs():
    rows = [
        {
            "experiment": "x",
            "treatment": name,
            "block": block,
            "campaign": "a",
            "status": "ok",
            "makespan_s": block * factor,
            "tree_peak_bytes": 100 * block,
        }
        for name, factor in (("small", 3.0), ("free", 2.0), ("other", 1.0))
        for block in (1, 2, 3)
    ]
    found = contrast_treatments(make_table("runs", rows), QUEUES).set_index("quantity")
    assert list(found.index) == [q for q in QUANTITIES if q in ("makespan_s", "tree_peak_bytes")]
    row = found.loc["makespan_s"]
    assert (row["median"], row["to_median"], row["n"], row["pairing"]) == (6, 4, 3, "blocks")
    assert tuple(row[["ratio", "low", "high"]]) == pytest.approx((1.5, 1.5, 1.5))
    assert found.loc["tree_peak_bytes", "ratio"] == pytest.approx(1)


def test_a_study_that_varies_no_such_setting_has_no_contrast():
    planned = plan(a=specification({"workers": 1}), b=specification({"workers": 2}))
    assert contrast_treatments(make_table("runs", []), planned).empty
