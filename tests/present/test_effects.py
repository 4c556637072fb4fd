"""Sentences and tables on comparisons, drift and precision."""

import math

import pandas as pd
import pytest

from stagebench.present.effects import (
    baseline_failure,
    describe_ratio,
    drift_findings,
    drift_table,
    drift_text,
    effects_table,
    gap_notes,
    precision_table,
    precision_text,
)
from stagebench.tables.io import make_table


def replicates(known_run, *factors, **values):
    return [
        known_run(replicate=n + 1, start=20 * n, **values).stretched(factor)
        for n, factor in enumerate(factors)
    ]


def row_of(table, treatment):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {treatment} ")]
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_a_treatment_has_median_ratio_and_word_beside_the_baseline(pipe):
    table = effects_table(pipe)
    assert row_of(table, "p1-fork")[:5] == ["p1-fork", "12.6", "", "1", "baseline"]
    assert row_of(table, "p2-fork")[:5] == ["p2-fork", "6.00", "3", "0.477 [0.423–0.536]", "faster"]


def test_a_treatment_that_never_succeeded_is_noted_once(pipe):
    notes = [note for note in gap_notes(pipe) if "p5-fork" in note]
    assert notes == ["`p5-fork` (everything): no ok run (timed_out × 1)"]


def test_a_reason_of_all_treatments_does_not_name_them_all(present, known_run):
    base = replicates(known_run, 1, 1)
    others = [
        run
        for name in ("t2", "t5")
        for run in replicates(known_run, 1, 2, treatment=name, baseline=False)
    ]
    notes = [note for note in gap_notes(present(*base, *others)) if "memory" not in note]
    assert all(note.startswith("every treatment (") for note in notes)


def test_an_experiment_of_one_treatment_compares_nothing(alone):
    assert (effects_table(alone), baseline_failure(alone)) == ("", "")


def test_a_baseline_that_failed_in_every_block_is_named(present, known_run):
    base = replicates(known_run, 1, 1, status="crashed")
    others = replicates(known_run, 1, 2, treatment="t2", baseline=False)
    found = present(*base, *others)
    assert baseline_failure(found) == (
        "**The baseline `p1-fork` of `pipe` failed in every block, so nothing is compared with"
        " it.**"
    )
    assert gap_notes(found) == [
        "`t2` (everything): the baseline failed in every block (crashed × 2)"
    ]


@pytest.mark.parametrize(
    ("campaigns", "label"),
    [(("a", "a", "a"), "other campaign"), (("b", "b", "b"), "[")],
)
def test_what_is_not_paired_within_blocks_is_labelled(present, known_run, campaigns, label):
    base = replicates(known_run, 1, 1.1, 1.2, run={"campaign": "b"})
    others = [
        known_run(treatment="t2", baseline=False, replicate=n + 1, run={"campaign": campaign})
        for n, campaign in enumerate(campaigns)
    ]
    found = present(*base, *others)
    cell = row_of(effects_table(found), "t2")[3]
    assert label in cell
    assert ("campaign" in cell) == (label == "other campaign")


@pytest.mark.parametrize(
    ("ratio", "low", "high", "pairing", "text"),
    [
        (0.5, 0.4, 0.8, "blocks", "2.00 [1.25–2.50] × faster than t1"),
        (2.0, 1.25, 2.5, "blocks", "2.00 [1.25–2.50] × slower than t1"),
        (0.5, 0.2, 1.0, "blocks", "no difference from t1 found (0.500 [0.200–1.00] ×)"),
        (0.5, None, None, "blocks", "not decided against t1 (0.500 ×, no interval)"),
        (1.0, None, None, "blocks", "not decided against t1 (1.00 ×, no interval)"),
        (1.01, 1.001, 1.02, "blocks", "equivalent to t1 (1.01 [1.001–1.02] ×)"),
        (1.04, 1.001, 1.08, "blocks", "1.04 [1.001–1.08] × slower than t1"),
        (4.0, 3.0, 5.0, "unpaired", "4.00 [3.00–5.00] × slower than t1, unpaired"),
    ],
)
def test_a_sentence_says_faster_or_slower_only_where_the_whole_interval_does(
    ratio, low, high, pairing, text
):
    row = pd.Series({"ratio": ratio, "ratio_upper": None, "low": low, "high": high, "margin": 0.05})
    found = pd.concat([row.astype("float64"), pd.Series({"pairing": pairing})])
    assert describe_ratio(found, lower="faster", higher="slower", to="t1") == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.4, 0.8, 0.3, 0.9), "1.25 – 2.50 [1.11–3.33] × less than t1"),
        ((1.2, math.inf, 1.1, math.inf), "≥ 1.20 [1.10–∞] × more than t1"),
        ((0.0, 0.8, 0.0, 0.9), "≥ 1.25 [1.11–∞] × less than t1"),
        ((0.8, 1.2, 0.7, 1.3), "not decided against t1 (0.800 – 1.20 [0.700–1.30] ×)"),
        ((0.0, 1.2, 0.0, 1.3), "not decided against t1 (≤ 1.20 [0–1.30] ×)"),
        ((0.0, math.inf, 0.0, math.inf), "not decided against t1 (no bound is known)"),
    ],
)
def test_a_bracket_shows_what_it_leaves_open_and_its_nearer_end_decides(numbers, text):
    names = ("ratio", "ratio_upper", "low", "high")
    row = pd.Series(dict(zip(names, numbers, strict=True)) | {"margin": 0.05, "pairing": "blocks"})
    assert describe_ratio(row, lower="less", higher="more", to="t1") == text


FOUND = {"experiment": "x", "low": 1.002, "high": 1.0221, "n": 12, "p": 0.001, "p_adjusted": 0.012}


def drift(*rows):
    return make_table("drift", [FOUND | row for row in rows])


@pytest.mark.parametrize(
    ("quantity", "effect", "ratio", "words"),
    [
        (
            "makespan_s",
            "position",
            1.012,
            "the last run of a block takes 1.2 % longer than the first",
        ),
        (
            "makespan_s",
            "time",
            0.8,
            "the last run of the study takes 20 % less time than the first",
        ),
        (
            "tree_peak_bytes",
            "first block",
            1.03,
            "a run of the first block has a peak 3.0 % higher than those of the others",
        ),
    ],
)
def test_an_effect_is_described_by_what_it_means(quantity, effect, ratio, words):
    row = {"quantity": quantity, "effect": effect, "ratio": ratio}
    (sentence,) = drift_findings(drift(row))
    assert sentence.startswith(f"x: {words}")
    assert "[1.002–1.02], adjusted p 0.0120" in sentence


def test_what_the_adjusted_test_does_not_find_is_no_finding():
    row = {"quantity": "makespan_s", "effect": "time", "ratio": 1.012, "p_adjusted": 0.05}
    found = drift(row | {"low": 0.999})
    assert drift_findings(found) == []
    assert drift_text(found).startswith("None of 1 test found an effect")


def test_a_bracket_drifts_by_what_its_nearer_end_shows():
    row = {"quantity": "tree_peak_bytes", "effect": "time", "ratio": 1.03, "ratio_upper": 1.2}
    (sentence,) = drift_findings(drift(row | {"low": 1.01, "high": 1.3}))
    assert "has a peak at least 3.0 % higher than the first" in sentence
    assert drift_findings(drift(row | {"ratio": 0.9, "low": 0.8, "high": 1.3})) == []


def test_effects_that_were_found_are_counted():
    found = drift({"quantity": "makespan_s", "effect": "time", "ratio": 1.012})
    assert drift_text(found) == ("1 of 1 test found an effect of a run's place in the study.")


def test_too_few_runs_are_reported():
    names = {"experiment": "x", "quantity": "makespan_s", "effect": "time", "n": 2}
    found = make_table("drift", [names | {"note": "too few runs"}])
    assert drift_text(found) == "There are too few runs to test for drift."
    assert "too few runs" in drift_table(found)


BLOCK_S = 600
ASKED = {"precision": {"makespan_s": 0.1}, "replicates": 3}
UNASKED = {"precision": {}, "replicates": 3}


def comparisons(*pairs, wanted=0.1, quantity="makespan_s"):
    """Return one row per pair of a half-width reached and of blocks still needed."""
    return make_table(
        "comparisons",
        [
            {
                "experiment": "x",
                "treatment": f"t{n}",
                "quantity": quantity,
                "half_width": width,
                "half_width_wanted": wanted,
                "more_blocks": more,
            }
            for n, (width, more) in enumerate(pairs)
        ],
    )


def test_the_widest_interval_decides_how_many_blocks_are_still_needed():
    text = precision_text(comparisons((0.05, 0), (0.3, 12), (0.2, 4)), ASKED, BLOCK_S)
    assert "1 of 3 intervals are narrow enough." in text
    assert "after 12 more blocks, which take about 2.0 h, if runs vary as much as now" in text
    assert "`replicates: 15`" in text


def test_what_is_reached_needs_no_more_blocks():
    text = precision_text(comparisons((0.05, 0), (0.1, 0)), ASKED, BLOCK_S)
    assert text.endswith("All 2 intervals are narrow enough.")


def test_comparisons_without_an_interval_are_counted_apart():
    assert "1 comparison had no interval" in precision_text(
        comparisons((0.05, 0), (None, None)), ASKED, BLOCK_S
    )
    assert "one needs three blocks" in precision_text(comparisons((None, None)), ASKED, BLOCK_S)


def test_the_table_has_the_spread_of_half_widths():
    line = precision_table(
        comparisons((0.05, 0), (0.3, 12), (0.2, 4)), ASKED, BLOCK_S
    ).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    assert cells == ["x", "makespan_s", "± 10 %", "5.0 %", "20 %", "30 %", "1 of 3", "12", "2.0 h"]


@pytest.mark.parametrize(("plan", "word"), [(ASKED, "is the `precision`"), (UNASKED, "its margin")])
def test_the_target_is_named(plan, word):
    assert word in precision_text(comparisons((0.05, 0)), plan, BLOCK_S)


def test_quantities_that_were_not_asked_for_are_left_out():
    found = comparisons((0.05, 0), quantity="throughput_per_s")
    assert precision_table(found, ASKED, BLOCK_S) == ""
    assert precision_text(found, ASKED, BLOCK_S) == "Nothing was compared."


def test_more_blocks_are_on_further_nodes_if_there_are_several():
    found = comparisons((0.05, 0), (0.3, 12))
    assert "after 12 more blocks, all on further nodes, which take about" in precision_text(
        found, ASKED, BLOCK_S, 2
    )
    assert "nodes" not in precision_text(found, ASKED, BLOCK_S)
