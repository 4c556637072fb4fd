import math

import pytest
from scipy import stats

from stagebench.analyse.intervals import paired_effect, unpaired_effect
from stagebench.analyse.pairs import (
    LARGEST,
    SMALLEST,
    Measured,
    collect_measured,
    describe_gaps,
    find_median,
    find_upper_median,
    match,
)
from stagebench.tables.io import make_table


def runs(*values, campaign="a", status="ok", first=1):
    return [Measured(first + n, campaign, status, value) for n, value in enumerate(values)]


BASE = runs(2.0, 4.0, 5.0)


def test_runs_of_one_block_and_campaign_are_pairs():
    found = match(runs(1.0, 3.0, 5.0), BASE)
    assert found.pairing == "blocks"
    assert found.ratios() == [(1, 0.5), (2, 0.75), (3, 1.0)]
    assert found.effect() == paired_effect([0.5, 0.75, 1.0])


def test_a_block_that_lacks_one_of_both_is_no_pair_and_is_named():
    own = [*runs(1.0), *runs(None, status="timed_out", first=2), *runs(5.0, first=3)]
    base = [*runs(2.0, 4.0), *runs(None, status="crashed", first=3)]
    assert match(own, base).ratios() == [(1, 0.5)]
    assert describe_gaps(own, base) == ["block 2: timed_out", "block 3: baseline crashed"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "unknown"), (0.0, "0, which has no ratio"), (-1.5, "-1.5, which has no ratio")],
)
def test_values_that_have_no_ratio_are_left_out_and_named(value, reason):
    own = runs(1.0, value, value)
    assert match(own, BASE).ratios() == [(1, 0.5)]
    assert describe_gaps(own, BASE) == [f"blocks 2, 3: {reason}"]
    assert describe_gaps(BASE, own) == [f"blocks 2, 3: baseline {reason}"]


def test_a_run_of_a_later_campaign_has_no_pair_in_the_earlier_one():
    own = [*runs(1.0, 3.0), *runs(50.0, campaign="b", first=3)]
    assert match(own, BASE).ratios() == [(1, 0.5), (2, 0.75)]
    assert describe_gaps(own, BASE) == ["block 3: baseline of another campaign"]


def test_without_a_pair_runs_of_the_own_campaign_are_compared():
    base = [*BASE, *runs(20.0, 10.0, 40.0, campaign="b", first=4)]
    own = runs(10.0, 10.0, 20.0, campaign="b")
    found = match(own, base)
    assert found.pairing == "unpaired"
    assert found.effect() == unpaired_effect([10.0, 10.0, 20.0], [20.0, 10.0, 40.0])


def test_without_a_run_of_the_own_campaign_all_of_the_baseline_are_compared():
    found = match(runs(10.0, 10.0, campaign="b"), BASE)
    assert found.pairing == "other campaign"
    assert found.effect() == unpaired_effect([10.0, 10.0], [2.0, 4.0, 5.0])
    ratio = pytest.approx(10 / stats.gmean([2.0, 4.0, 5.0]))
    assert found.ratios() == [(1, ratio), (2, ratio)]


@pytest.mark.parametrize(
    ("own", "base", "note"),
    [
        (
            BASE,
            runs(None, None, status="crashed"),
            "the baseline failed in every block (crashed × 2)",
        ),
        (runs(None, None, status="timed_out"), BASE, "no ok run (timed_out × 2)"),
        (BASE, [], "the baseline has no such stage"),
    ],
)
def test_where_one_side_never_succeeded_nothing_is_compared_and_the_note_says_so(own, base, note):
    found = match(own, base)
    assert (found.pairing, found.ratios()) == ("", [])
    assert describe_gaps(own, base) == [note]


def runs_of_measured(*values, status="ok"):
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
    expected = [Measured(1, "a", "ok", 8.0, math.inf), Measured(2, "a", "crashed", None)]
    assert found == {"x": {"t1": expected}}


def test_a_median_is_of_ok_runs_whose_value_is_known():
    assert (
        find_median([*runs_of_measured(1.0, 5.0, None), *runs_of_measured(9.0, status="timed_out")])
        == 3
    )
    assert find_median(runs_of_measured(None)) is None


def measured(value, reach, block):
    return Measured(block, "a", "ok", value, reach)


def test_brackets_leave_room_for_a_smallest_and_a_largest_ratio():
    own = [measured(2.0, 1.5, n) for n in (1, 2, 3)]
    base = [measured(1.0, 4.0, n) for n in (1, 2, 3)]
    found = match(own, base)
    assert not found.is_exact
    assert found.ratios(SMALLEST) == [(n, 0.5) for n in (1, 2, 3)]
    assert found.ratios(LARGEST) == [(n, 3.0) for n in (1, 2, 3)]
    assert math.exp(found.effect(SMALLEST).estimate) == pytest.approx(0.5)
    assert math.exp(found.effect(LARGEST).estimate) == pytest.approx(3.0)


@pytest.mark.parametrize("campaign", ["a", "b"])
def test_an_unknown_upper_end_leaves_the_ratio_that_needs_it_without_a_bound(campaign):
    open_ended = [measured(2.0, math.inf, n)._replace(campaign=campaign) for n in (1, 2, 3)]
    exact = [measured(1.0, 1.0, n) for n in (1, 2, 3)]
    above = match(open_ended, exact)
    assert above.effect(SMALLEST).estimate == pytest.approx(math.log(2))
    assert above.effect(LARGEST).estimate == math.inf
    below = match(exact, open_ended)
    assert below.effect(SMALLEST).estimate == -math.inf
    assert below.effect(LARGEST).estimate == pytest.approx(math.log(0.5))


@pytest.mark.parametrize(
    ("quantity", "columns", "reaches"),
    [
        ("makespan_s", {"makespan_s": [2.0, 2.0]}, [1, 1]),
        (
            "tree_peak_bytes",
            {"tree_peak_bytes": [10, 10], "tree_peak_upper_bytes": [15, None]},
            [1.5, math.inf],
        ),
        ("tree_largest_rise_bytes", {"tree_largest_rise_bytes": [10, 10]}, [math.inf] * 2),
    ],
)
def test_a_value_reaches_to_its_upper_end_if_it_is_a_lower_one(quantity, columns, reaches):
    facts = {"experiment": "x", "campaign": "a", "treatment": "t1", "status": "ok"}
    rows = [
        facts | {"block": n} | {name: values[n] for name, values in columns.items()} for n in (0, 1)
    ]
    found = collect_measured(make_table("runs", rows), quantity)["x"]["t1"]
    assert [one.reach for one in found] == reaches


def test_the_median_of_upper_ends_is_infinite_if_one_is_unknown():
    assert find_upper_median([measured(1.0, 2.0, 1), measured(1.0, 4.0, 2)]) == 3
    assert find_upper_median([measured(1.0, 2.0, 1), measured(1.0, math.inf, 2)]) == math.inf
    assert find_upper_median([Measured(1, "a", "crashed", 1.0)]) is None


def on(node, some):
    return [one._replace(node=node) for one in some]


def test_runs_of_one_block_on_two_nodes_are_no_pair_and_are_named():
    own = [*on("n1", runs(1.0, 2.0)), *on("n2", runs(5.0, first=3))]
    found = match(own, on("n1", BASE))
    assert found.pairing == "blocks"
    assert found.ratios() == [(1, 0.5), (2, 0.5)]
    assert describe_gaps(own, on("n1", BASE)) == ["block 3: baseline on node n1"]


def test_an_effect_over_nodes_has_each_nodes_mean():
    base = [*on("n1", runs(1.0, 1.0)), *on("n2", runs(1.0, 1.0, first=3))]
    own = [*on("n1", runs(2.0, 8.0)), *on("n2", runs(1.0, 4.0, first=3))]
    effect = match(own, base).effect()
    assert (effect.estimate, effect.nodes, effect.freedom, effect.n) == pytest.approx(
        (math.log(math.sqrt(8)), 2, 1, 4)
    )


def test_treatments_that_have_no_node_in_common_are_not_compared():
    found = match(on("n1", runs(1.0, 2.0, 3.0)), on("n2", runs(1.0, 2.0, 3.0)))
    assert (found.pairing, list(found.of), list(found.to)) == ("", [], [])


def test_unpaired_runs_are_of_the_nodes_that_both_have():
    own = [*on("n1", runs(4.0, 4.0, 4.0, first=9)), *on("n3", runs(7.0, first=12))]
    base = [*on("n1", runs(1.0, 1.0, 1.0)), *on("n2", runs(5.0, first=4))]
    found = match(own, base)
    assert found.pairing == "unpaired"
    assert [one.value for one in found.of] == [4.0] * 3
    assert found.ratios() == [(9, 4.0), (10, 4.0), (11, 4.0)]


def test_unpaired_runs_are_divided_by_the_baseline_of_their_node():
    own = [*on("n1", runs(4.0, 4.0, first=9)), *on("n2", runs(8.0, 8.0, first=11))]
    base = [*on("n1", runs(1.0, 1.0)), *on("n2", runs(4.0, 4.0, first=3))]
    assert [ratio for _, ratio in match(own, base).ratios()] == pytest.approx([4, 4, 2, 2])
