"""Judging a bracket, on made-up figures."""

import pytest
from tests.oracles.observe import judge_bracket

TRUTH = {"tree_peak_pss_bytes": 100_000, "processes_at_peak": 2}


def bracket(lower, upper):
    return {"lower_bytes": lower, "upper_bytes": upper}


@pytest.mark.parametrize(
    ("lower", "upper", "place"),
    [
        (90_000, 110_000, "inside"),
        (100_000, 100_000, "inside"),
        (102_048, 110_000, "inside"),
        (102_049, 110_000, "below lower"),
        (90_000, 99_999, "above upper"),
        (None, 110_000, "inside"),
        (90_000, None, "unbounded"),
        (110_000, None, "below lower"),
    ],
)
def test_only_rounding_may_put_the_truth_below_a_lower_bound(lower, upper, place):
    assert judge_bracket(TRUTH, bracket(lower, upper)) == place
