"""The benchmark of brackets, on outcomes made up."""

from collections import Counter

import pytest
from benchmarks.bracket import (
    LARGE_BYTES,
    Outcome,
    draw_runs,
    share_children,
    tabulate_children,
    tabulate_outcomes,
)
from tests.oracles.creation import POOL_SIZE, WAYS
from tests.oracles.observe import KINDS


def outcome(**changes):
    values = {"kind": "steady", "seed": 1, "place": "inside", "width": 0.02, "sweeps": 10}
    return Outcome(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "is_good"),
    [
        ({}, True),
        ({"place": "below lower"}, False),
        ({"place": "unbounded", "width": None}, False),
        ({"missed": 1}, False),
        ({"missed": -1}, False),
        ({"width": 0.3}, True),
        ({"width": 0.3, "anonymous_bytes": LARGE_BYTES}, False),
        ({"width": 0.05, "anonymous_bytes": LARGE_BYTES}, True),
    ],
)
def test_a_run_is_good_when_all_said_of_it_is_true_and_narrow_if_it_is_large(changes, is_good):
    assert outcome(**changes).is_good is is_good


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


def test_a_row_counts_places_and_tells_the_widths_apart():
    table = tabulate_outcomes(
        [
            outcome(width=0.1, torn=1),
            outcome(width=0.3, torn=2),
            outcome(width=0.04, anonymous_bytes=LARGE_BYTES),
            outcome(place="above upper", missed=2),
        ]
    )
    row = table.splitlines()[2]
    expected = "steady | 4 | 3 | 0 | 1 | 0 | 0 | 7.0 % | 30.0 % | 1 | 4.0 % | 2 | 7.5 %"
    assert row == f"| {expected} |"
    assert table.splitlines()[-1] == row.replace("steady", "all")


def test_what_nothing_is_known_of_is_a_dash():
    table = tabulate_outcomes([Outcome("churn", 1, "failed")])
    assert "| churn | 1 | 0 | 0 | 0 | 0 | 1 | – | – | 0 | – | 0 | – |" in table


def test_children_are_summed():
    table = tabulate_children([("fork", 20, 0, 0), ("pool_spawn", 20, 1, 3)])
    assert table.endswith("| all | 40 | 1 | 3 |\n")
