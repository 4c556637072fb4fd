"""What is counted as a false claim of a made study's tables."""

import pandas as pd
from benchmarks.analysis import find_false_losers, find_missed

from stagebench.tables.decisions import LEAST, MOST
from stagebench.tables.io import make_table

TRUTH = pd.Series({"a": 1.0, "b": 1.0, "c": 2.0})


def winner(treatment, end, alike):
    row = {"experiment": "x", "quantity": "makespan_s", "end": end, "treatment": treatment}
    return row | {"alike": alike}


def test_a_treatment_that_truly_ties_for_the_first_place_is_no_loser():
    rows = [winner(name, LEAST, alike) for name, alike in (("a", True), ("b", False), ("c", False))]
    assert find_false_losers(make_table("winners", rows), TRUTH) == ["b"]


def test_what_is_not_known_is_no_claim():
    rows = [winner(name, MOST, None) for name in TRUTH.index]
    assert find_false_losers(make_table("winners", rows), TRUTH, MOST) == []


def test_an_interval_misses_the_truth_if_the_true_ratio_is_outside():
    rows = [
        {"treatment": name, "quantity": "makespan_s", "baseline": "a", "low": 0.9, "high": 1.1}
        for name in ("b", "c")
    ]
    unknown = {"treatment": "c", "quantity": "makespan_s", "baseline": "a"}
    assert find_missed(make_table("comparisons", [*rows, unknown]), TRUTH) == ["c"]
