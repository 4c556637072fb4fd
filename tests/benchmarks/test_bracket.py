"""The benchmark of brackets, on made-up outcomes."""

from collections import Counter

import pytest
from benchmarks.bracket import (
    LARGE_BYTES,
    Outcome,
    draw_runs,
    gap,
    share_children,
    tabulate_children,
    tabulate_outcomes,
)
from tests.oracles.creation import POOL_SIZE, WAYS
from tests.oracles.observe import KINDS


def outcome(**changes):
    values = {"kind": "steady", "seed": 1, "place": "inside", "sweeps": 10}
    values |= {"lower_gap": 0.01, "upper_gap": 0.01}
    return Outcome(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [{"place": "below lower"}, {"place": "unbounded"}, {"missed": 1}, {"missed": -1}],
)
def test_a_run_is_true_if_it_is_inside_and_every_process_was_counted_once(changes):
    assert outcome().is_true
    assert not outcome(**changes).is_true


def test_only_a_large_run_can_be_too_wide():
    assert not outcome(lower_gap=0.5).is_too_wide
    assert outcome(lower_gap=0.5, anonymous_bytes=LARGE_BYTES).is_too_wide
    assert not outcome(anonymous_bytes=LARGE_BYTES).is_too_wide
    assert not outcome(upper_gap=None, anonymous_bytes=LARGE_BYTES).is_too_wide


def test_gaps_are_positive_on_the_right_side_of_the_truth():
    truth = {"tree_peak_pss_bytes": 200}
    assert gap(truth, 150, -1) == pytest.approx(0.25)
    assert gap(truth, 210, 1) == pytest.approx(0.05)
    assert gap(truth, 190, 1) == pytest.approx(-0.05)
    assert gap(truth, None, 1) is None


def test_every_block_holds_every_kind_once():
    runs = list(draw_runs(3 * len(KINDS) + 2, seed=5))
    for start in range(0, 3 * len(KINDS), len(KINDS)):
        assert sorted(kind for kind, _, _ in runs[start : start + len(KINDS)]) == sorted(KINDS)
    assert len({seed for _, seed, _ in runs}) == len(runs)
    assert runs == list(draw_runs(len(runs), seed=5))


def test_every_kind_is_large_in_a_quarter_of_its_runs():
    large = Counter(kind for kind, _, is_large in draw_runs(8 * len(KINDS), seed=1) if is_large)
    assert large == dict.fromkeys(KINDS, 2)


def test_children_are_shared_out_among_all_ways_in_whole_pools():
    shares = share_children(10_000)
    assert sum(shares.values()) == 10_000
    assert shares.keys() == WAYS.keys()
    assert all(number % POOL_SIZE == 0 for number in share_children(90).values())


def test_a_row_counts_places_and_separates_the_gaps():
    table = tabulate_outcomes(
        [
            outcome(lower_gap=0.1, torn=1),
            outcome(upper_gap=0.3, torn=2),
            outcome(lower_gap=0.06, anonymous_bytes=LARGE_BYTES),
            outcome(place="above upper", upper_gap=-0.01, missed=2),
        ]
    )
    row = table.splitlines()[2]
    gaps = "3.5 % | 10.0 % | 1.0 % | 30.0 %"
    assert row == f"| steady | 4 | 3 | 0 | 1 | 0 | 0 | {gaps} | 1 | 1 | 7.0 % | 2 | 7.5 % |"
    assert table.splitlines()[-1] == row.replace("steady", "all")


def test_an_unknown_value_is_a_dash():
    table = tabulate_outcomes([Outcome("churn", 1, "failed")])
    assert "| churn | 1 | 0 | 0 | 0 | 0 | 1 | – | – | – | – | 0 | 0 | – | 0 | – |" in table


def test_children_are_summed():
    table = tabulate_children([("fork", 20, 0, 0), ("pool_spawn", 20, 1, 3)])
    assert table.endswith("| all | 40 | 1 | 3 |\n")
