import math

import numpy as np
import pandas as pd
import pytest

from stagebench.analyse.comparisons import (
    CONTRAST_QUANTITIES,
    RUN_QUANTITIES,
    STAGE_QUANTITIES,
    Contrast,
    compare_treatments,
    contrast_treatments,
    find_contrasts,
    name_level,
)
from stagebench.analyse.intervals import ratio_interval
from stagebench.tables.decisions import decide, name_outcome
from stagebench.tables.io import make_table

PLAN = {"precision": {"makespan_s": 0.1}, "margin": 0.05}


def run(treatment, block, makespan, **more):
    """Make a row of `runs` whose compared quantities all equal the makespan."""
    sizes = {name: makespan for name in RUN_QUANTITIES if not name.endswith("_bytes")}
    sizes |= {name: round(1000 * makespan) for name in RUN_QUANTITIES if name.endswith("_bytes")}
    sizes["tree_peak_upper_bytes"] = sizes["tree_peak_bytes"]
    facts = {"experiment": "x", "campaign": "a", "status": "ok", "baseline": treatment == "base"}
    return {"treatment": treatment, "replicate": block, "block": block, **facts, **sizes, **more}


def tables(rows):
    stages = [
        {name: row[name] for name in ("experiment", "treatment", "replicate")}
        | {"stage": "work", **dict.fromkeys(STAGE_QUANTITIES, row["makespan_s"])}
        for row in rows
    ]
    return {"runs": make_table("runs", rows), "stages": make_table("stages", stages)}


def compare(**makespans):
    """Compare treatments with these makespans, one per block, to a baseline of 1 second."""
    blocks = len(next(iter(makespans.values())))
    rows = [run("base", block + 1, 1.0) for block in range(blocks)]
    rows += [
        run(t, n + 1, value) for t, values in makespans.items() for n, value in enumerate(values)
    ]
    return compare_treatments(tables(rows), PLAN)


def of(found, quantity="makespan_s", stage=""):
    rows = found["comparisons"]
    rows = rows[(rows["quantity"] == quantity) & (rows["stage"] == stage)]
    return rows.set_index("treatment")


def test_every_treatment_but_the_baseline_has_a_row_a_quantity_in_the_order_of_the_plan():
    rows = compare(b=[1, 2, 3], a=[1, 2, 3])["comparisons"]
    quantities = [*RUN_QUANTITIES, *STAGE_QUANTITIES]
    assert list(rows["treatment"]) == ["b"] * len(quantities) + ["a"] * len(quantities)
    assert list(rows["quantity"]) == 2 * quantities
    assert set(rows["stage"][rows["quantity"].isin(STAGE_QUANTITIES)]) == {"work"}


def test_a_ratio_is_that_of_the_pairs_with_their_interval():
    row = of(compare(a=[1.5, 2.0, 1.8])).loc["a"]
    assert tuple(row[["ratio", "low", "high", "n"]]) == pytest.approx(ratio_interval([1.5, 2, 1.8]))
    assert tuple(row[["median", "baseline_median", "pairing"]]) == (1.8, 1.0, "blocks")
    assert row["half_width"] == pytest.approx(row["high"] / row["ratio"] - 1)


@pytest.mark.parametrize(
    ("quantity", "stage", "words"),
    [
        ("makespan_s", "", ("faster", "slower")),
        ("throughput_per_s", "", ("slower", "faster")),
        ("tree_peak_bytes", "", ("lower", "higher")),
        ("turnaround_p95_s", "", ("lower", "higher")),
        ("stage_efficiency", "work", ("lower", "higher")),
    ],
)
def test_the_word_follows_the_meaning_of_the_quantity(quantity, stage, words):
    found = of(compare(less=[0.5, 0.501, 0.502], more=[2, 2.01, 2.02]), quantity, stage)
    assert (found["word"]["less"], found["word"]["more"]) == words


def test_a_small_and_certain_difference_is_equivalent_in_practice():
    row = of(compare(a=[1.02, 1.021, 1.022])).loc["a"]
    assert row["p_difference_adjusted"] < 0.05
    assert row["word"] == "equivalent"


def test_what_spreads_is_not_decided():
    assert of(compare(a=[0.7, 1.1, 1.3])).loc["a", "word"] == "not decided"


def test_words_are_of_intervals_that_hold_together_for_the_family():
    values = [1.3, 1.42, 1.5]
    assert of(compare(a=values)).loc["a", "word"] == "slower"
    rest = {f"t{n}": [0.8, 1.2, 1.0] for n in range(9)}
    row = of(compare(a=values, **rest)).loc["a"]
    assert row["p_difference"] < 0.05 < row["p_difference_adjusted"]
    assert row["low"] < 1 < row["high"]
    assert row["word"] == "not decided"


def test_the_word_is_what_the_limits_beside_it_say():
    draw = np.random.default_rng(8)
    found = []
    for spread in (0.002, 0.02, 0.2):
        many = {f"t{n}": draw.lognormal(n / 20, spread, 4) for n in range(7)}
        found += compare(**many)["comparisons"].to_dict("records")
    words = {row["word"] for row in found}
    assert {"equivalent", "faster", "slower", "lower", "higher", "not decided"} >= words
    for row in found:
        outcome = decide(row["low"], row["high"], row["margin"])
        assert row["word"] == name_outcome(outcome, row["quantity"])
        if row["ratio_upper"] != math.inf and row["low"] != row["high"]:
            excludes = not row["low"] <= 1 <= row["high"]
            assert excludes == (row["p_difference_adjusted"] < 0.05)


def brackets(*rows):
    """Compare a treatment with the baseline by peaks of (lower end, upper end) in each block."""
    found = [
        run(name, block, 1.0, tree_peak_bytes=low, tree_peak_upper_bytes=high)
        for name, ends in (("base", [pair[0] for pair in rows]), ("a", [pair[1] for pair in rows]))
        for block, (low, high) in enumerate(ends, 1)
    ]
    return of(compare_treatments(tables(found), PLAN), "tree_peak_bytes").loc["a"]


@pytest.mark.parametrize(
    ("base", "own", "word"),
    [
        ((100, 110), (50, 60), "lower"),
        ((100, 110), (200, 220), "higher"),
        ((100, 101), (101, 102), "equivalent"),
        ((100, 110), (100, 110), "not decided"),
        ((100, 200), (150, 160), "not decided"),
        ((100, 200), (200, 300), "not decided"),
        ((100, 300), (90, 290), "not decided"),
        ((100, None), (50, 60), "lower"),
        ((100, 110), (200, None), "higher"),
        ((100, None), (200, 220), "not decided"),
        ((100, 110), (50, None), "not decided"),
        ((100, None), (100, None), "not decided"),
    ],
)
def test_a_bracket_is_lower_or_higher_only_by_its_farther_end(base, own, word):
    row = brackets(*[(base, own)] * 3)
    assert row["word"] == word
    assert (row["low"], row["high"]) == pytest.approx(
        (own[0] / (base[1] or math.inf), (own[1] or math.inf) / base[0])
    )
    assert (row["ratio"], row["ratio_upper"]) == pytest.approx((row["low"], row["high"]))


def test_one_run_with_a_wide_bracket_or_without_an_upper_end_leaves_it_undecided():
    narrow = ((100, 101), (150, 151))
    assert brackets(*[narrow] * 4)["word"] == "higher"
    assert brackets(*[narrow] * 3, ((100, 9000), (150, 151)))["word"] == "not decided"
    assert brackets(*[narrow] * 3, ((100, None), (150, 151)))["word"] == "not decided"


def test_a_quantity_that_is_known_by_its_lower_end_only_has_no_word_of_order():
    row = of(compare(a=[5.0, 5.0, 5.0]), "tree_memory_time_byte_s").loc["a"]
    assert (row["ratio"], row["ratio_upper"], row["word"]) == (0, math.inf, "not decided")
    assert row["note"] == "no upper end is known in some runs"


def test_other_experiments_and_quantities_are_other_families():
    row = of(compare(a=[1.3, 1.42, 1.5])).loc["a"]
    assert row["p_difference_adjusted"] == pytest.approx(row["p_difference"])


def test_two_blocks_have_a_ratio_and_points_but_no_word():
    found = compare(a=[1.5, 2.0])
    row = of(found).loc["a"]
    assert row["ratio"] == pytest.approx(3**0.5)
    assert row[["low", "high", "p_difference", "half_width", "more_blocks"]].isna().all()
    assert (row["word"], row["note"]) == ("", "an interval needs 3 blocks, there are 2")
    points = found["ratios"][found["ratios"]["quantity"] == "makespan_s"]
    assert list(zip(points["block"], points["ratio"], strict=True)) == [(1, 1.5), (2, 2.0)]


def test_a_baseline_that_never_succeeded_leaves_no_ratio_and_is_named():
    rows = [run("base", n, 1.0, status="crashed", makespan_s=None) for n in (1, 2, 3)]
    found = compare_treatments(tables(rows + [run("a", n, 2.0) for n in (1, 2, 3)]), PLAN)
    row = of(found).loc["a"]
    assert pd.isna(row["ratio"])
    assert (row["n"], row["word"], row["median"]) == (0, "", 2)
    assert row["note"] == "the baseline failed in every block (crashed × 3)"
    assert found["ratios"].empty


def test_an_incomplete_block_is_named_and_counts_for_nothing():
    rows = [run("base", n, 1.0) for n in (1, 2, 3, 4)]
    rows += [run("a", n, 2.0 + n / 9, status="ok" if n != 2 else "timed_out") for n in (1, 2, 3, 4)]
    row = of(compare_treatments(tables(rows), PLAN)).loc["a"]
    assert (row["n"], row["note"]) == (3, "block 2: timed_out")


def test_the_wanted_half_width_is_the_precision_of_the_study_or_else_its_margin():
    found = compare(a=[1.5, 2.0, 1.8])
    assert of(found).loc["a", "half_width_wanted"] == 0.1
    assert of(found, "throughput_per_s").loc["a", "half_width_wanted"] == 0.05
    assert of(found).loc["a", "more_blocks"] < of(found, "throughput_per_s").loc["a", "more_blocks"]


def test_the_same_treatment_under_other_names_is_rarely_found_different():
    draw = np.random.default_rng(3)
    words = []
    for _ in range(6):
        found = compare(**{f"t{n}": draw.lognormal(0, 0.1, 3) for n in range(6)})
        words += list(of(found)["word"])
    assert sum(word not in {"not decided", "equivalent"} for word in words) <= 2


def specification(*stages, factors=None, **settings):
    named = [{"name": f"s{n}"} | stage for n, stage in enumerate(stages)]
    return {"treatment": "any", "factors": factors or {}, "stages": named, **settings}


def plan(**specifications):
    return {
        "margin": 0.05,
        "treatments": {f"x/{name}": {"specification": one} for name, one in specifications.items()},
    }


QUEUES = plan(
    small=specification({"queue_size": 2}, factors={"q": 2}),
    free=specification({"queue_size": None}, factors={"q": None}),
    other=specification({"queue_size": 2, "workers": 5}, factors={"q": 2}),
)


def test_a_treatment_is_compared_with_the_one_that_differs_only_in_the_setting():
    assert list(find_contrasts(QUEUES)) == [
        Contrast("x", "queue_size", "small", "2", "free", "unbounded")
    ]


def test_a_setting_that_is_absent_is_off():
    planned = plan(small=specification({"queue_size": 2}), free=specification({}))
    assert [contrast.to for contrast in find_contrasts(planned)] == ["free"]


def test_if_no_treatment_has_the_setting_off_others_are_compared_with_the_first():
    planned = plan(
        four=specification({"transport": "path"}), two=specification({"transport": "shared_memory"})
    )
    found = list(find_contrasts(planned))
    assert found == [Contrast("x", "transport", "two", "shared_memory", "four", "path")]


def test_tasks_in_flight_are_a_setting_of_the_run():
    planned = plan(free=specification({}), few=specification({}, in_flight=3))
    found = list(find_contrasts(planned))
    assert found == [Contrast("x", "in_flight", "few", "3", "free", "unbounded")]


def test_two_treatments_of_the_same_level_are_not_compared():
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
def test_a_level_is_named_stage_by_stage_where_they_differ(stages, level):
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
            "tree_peak_upper_bytes": 100 * block,
        }
        for name, factor in (("small", 3.0), ("free", 2.0), ("other", 1.0))
        for block in (1, 2, 3)
    ]
    found = contrast_treatments(make_table("runs", rows), QUEUES).set_index("quantity")
    assert list(found.index) == [
        q for q in CONTRAST_QUANTITIES if q in ("makespan_s", "tree_peak_bytes")
    ]
    row = found.loc["makespan_s"]
    assert (row["median"], row["to_median"], row["n"], row["pairing"]) == (6, 4, 3, "blocks")
    assert tuple(row[["ratio", "low", "high"]]) == pytest.approx((1.5, 1.5, 1.5))
    assert found.loc["tree_peak_bytes", "ratio"] == pytest.approx(1)


def test_a_study_that_varies_no_such_setting_has_no_contrast():
    planned = plan(a=specification({"workers": 1}), b=specification({"workers": 2}))
    assert contrast_treatments(make_table("runs", []), planned).empty


@pytest.mark.parametrize("same_work", [True, False])
def test_quantities_in_tasks_compare_nothing_where_the_same_work_is_split_differently(same_work):
    rows = [
        run(name, block, makespan, tasks=tasks)
        for name, makespan, tasks in (("base", 4.0, 40), ("a", 2.0, 40), ("b", 1.0, 10))
        for block in (1, 2, 3)
    ]
    plan = PLAN | {"experiments": [{"name": "x", "same_work": same_work}]}
    found = compare_treatments(tables(rows), plan)
    for quantity in ("throughput_per_s", "turnaround_p95_s"):
        rows = of(found, quantity)
        assert rows.loc["a", "ratio"] == pytest.approx(0.5)
        ratios = found["ratios"]
        of_b = ratios[(ratios["quantity"] == quantity) & (ratios["treatment"] == "b")]
        if same_work:
            assert math.isnan(rows.loc["b", "ratio"])
            assert (rows.loc["b", "n"], rows.loc["b", "word"]) == (0, "")
            note = "the same work is 10 tasks here and 40 in the baseline"
            assert list(rows["note"]) == ["", note]
            assert of_b.empty
        else:
            assert rows.loc["b", "ratio"] == pytest.approx(0.25)
            assert len(of_b) == 3
    for quantity in ("makespan_s", "tree_peak_bytes"):
        assert of(found, quantity).loc["b", "ratio"] == pytest.approx(0.25)


def test_a_treatment_without_an_interval_over_nodes_says_why():
    nodes = {1: "n1", 2: "n1", 3: "n1", 4: "n2", 5: "n2"}
    rows = [run("base", block, 1.0, node=node) for block, node in nodes.items()]
    rows += [run("whole", block, 2 + block / 10, node=node) for block, node in nodes.items()]
    rows += [run("part", block, 2 + block / 10, node="n1") for block in (1, 2, 3)]
    found = of(compare_treatments(tables(rows), PLAN))
    note = "all its blocks are of one node, and the study is of several"
    assert found.loc["part", "note"] == note
    assert found.loc[["whole", "part"], "n"].tolist() == [5, 3]
    assert found["low"].isna().to_dict() == {"whole": False, "part": True}
    assert found["word"].to_dict() == {"whole": "slower", "part": ""}
    assert found["more_blocks"].isna().to_dict() == {"whole": False, "part": True}


def test_a_block_that_lies_on_two_nodes_gives_no_ratio_across_them():
    rows = [run("base", block, 1.0, node="n1") for block in range(1, 5)]
    rows += [run("a", block, 2 + block / 10, node="n1") for block in range(1, 4)]
    rows += [run("a", 4, 9.0, node="n2")]
    row = of(compare_treatments(tables(rows), PLAN)).loc["a"]
    assert tuple(row[["ratio", "low", "high", "n"]]) == pytest.approx(
        ratio_interval([2.1, 2.2, 2.3])
    )
    assert row["note"] == "block 4: baseline on node n1"
