from __future__ import annotations

import pytest

from stagebench.analyse.measured import collect_measured, estimate_ratio, find_median
from stagebench.analyse.pairs import Measured
from stagebench.tables import make_table


def runs(*values, status="ok"):
    return [Measured(block, "a", status, value) for block, value in enumerate(values, start=1)]


def test_every_run_is_found_by_experiment_and_treatment_with_its_block_and_status():
    facts = {"experiment": "x", "campaign": "a", "treatment": "t1"}
    table = make_table(
        "runs",
        [
            facts | {"block": 1, "status": "ok", "tree_peak_bytes": 8},
            facts | {"block": 2, "status": "crashed", "tree_peak_bytes": None},
        ],
    )
    found = collect_measured(table, "tree_peak_bytes")
    expected = [Measured(1, "a", "ok", 8.0), Measured(2, "a", "crashed", None)]
    assert found == {"x": {"t1": expected}}


def test_a_median_is_of_ok_runs_whose_value_is_known():
    assert find_median([*runs(1.0, 5.0, None), *runs(9.0, status="timed_out")]) == 3
    assert find_median(runs(None)) is None


def test_a_ratio_is_of_pairs_with_limits_from_three_blocks_on():
    found = estimate_ratio(runs(2.0, 4.0, 6.0), runs(1.0, 2.0, 3.0))
    assert found == {
        "ratio": pytest.approx(2),
        "low": pytest.approx(2),
        "high": pytest.approx(2),
        "n": 3,
        "pairing": "blocks",
    }
    assert estimate_ratio(runs(2.0, 4.0), runs(1.0, 2.0))["low"] is None


def test_nothing_is_compared_with_runs_that_all_failed():
    assert estimate_ratio(runs(2.0), runs(1.0, status="crashed")) == {"n": 0}
