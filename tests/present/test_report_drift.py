from __future__ import annotations

import pytest

from stagebench.present.report_drift import drift_findings, drift_table, drift_text
from stagebench.tables import make_table

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
            "a run of the first block has a 3.0 % higher peak than those of the others",
        ),
    ],
)
def test_an_effect_is_told_by_what_it_means(quantity, effect, ratio, words):
    row = {"quantity": quantity, "effect": effect, "ratio": ratio}
    (sentence,) = drift_findings(drift(row))
    assert sentence.startswith(f"x: {words}")
    assert "1.00 to 1.02, adjusted p 0.0120" in sentence


def test_what_the_adjusted_test_does_not_find_is_no_finding():
    found = drift({"quantity": "makespan_s", "effect": "time", "ratio": 1.012, "p_adjusted": 0.05})
    assert drift_findings(found) == []
    assert drift_text(found).startswith("None of 1 test found an effect")


def test_effects_that_were_found_are_counted():
    found = drift({"quantity": "makespan_s", "effect": "time", "ratio": 1.012})
    assert drift_text(found) == "Of 1 test for effects of a run's place, 1 found one."


def test_too_few_runs_are_said_to_be_too_few():
    names = {"experiment": "x", "quantity": "makespan_s", "effect": "time", "n": 2}
    found = make_table("drift", [names | {"note": "too few runs"}])
    assert drift_text(found) == "There are too few runs to look for drift."
    assert "too few runs" in drift_table(found)
