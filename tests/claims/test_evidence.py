from __future__ import annotations

import math
from dataclasses import replace

import pytest

from stagebench.analyse.intervals import mean_interval, ratio_interval, unpaired_ratio_interval
from stagebench.claims.evidence import Run, measure_test
from stagebench.claims.model import ClaimTest, Measure


def run(block, campaign="first", **numbers):
    return Run(block=block, campaign=campaign, numbers={"": numbers})


def runs_of(*values, campaign="first", quantity="makespan_s"):
    return [run(n, campaign, **{quantity: v}) for n, v in enumerate(values, 1)]


def one_test(quantity="makespan_s", to="", by="", **parts):
    measure = Measure(quantity=quantity, unit="s", **parts)
    return ClaimTest(
        experiment="e", treatment="a", to=to, by=by, measure=measure, unit="s", allowed=None
    )


def limits(measured):
    return measured.estimate, measured.low, measured.high, measured.n


def test_a_value_has_the_interval_of_its_mean():
    measured = measure_test(one_test(), {"a": runs_of(1, 2, 4)})
    assert limits(measured) == mean_interval([1, 2, 4])


def test_a_ratio_is_paired_by_block_and_campaign():
    a = [*runs_of(2, 6, 12), *runs_of(50, campaign="later")]
    measured = measure_test(one_test(to="b", by="ratio"), {"a": a, "b": runs_of(1, 2, 4)})
    assert limits(measured) == ratio_interval([2, 3, 3])
    assert measured.pairing == "blocks"


def test_a_difference_is_paired_too():
    runs = {"a": runs_of(2, 6, 12), "b": runs_of(1, 2, 4)}
    assert limits(measure_test(one_test(to="b", by="difference"), runs)) == mean_interval([1, 4, 8])


def test_runs_of_a_later_campaign_are_compared_unpaired_and_so_labelled():
    runs = {"a": runs_of(2, 3, 4, campaign="later"), "b": runs_of(1, 2, 4)}
    measured = measure_test(one_test(to="b", by="ratio"), runs)
    assert measured.pairing == "other campaign"
    assert limits(measured) == unpaired_ratio_interval([2, 3, 4], [1, 2, 4])


def test_unpaired_runs_of_the_same_campaign_come_before_those_of_another():
    b = [run(n, "first", makespan_s=n) for n in (7, 8, 9)] + runs_of(100, campaign="later")
    measured = measure_test(one_test(to="b", by="difference"), {"a": runs_of(1, 2, 3), "b": b})
    assert measured.pairing == "unpaired"
    assert measured.estimate == -6
    assert measured.low < -6 < measured.high < 0


def test_runs_of_a_campaign_that_the_other_treatment_lacks_are_left_out_of_an_unpaired_comparison():
    a = [*runs_of(1, 2, 3, campaign="later"), *runs_of(100, 200, campaign="first")]
    b = [run(n, "later", makespan_s=n) for n in (7, 8, 9)]
    measured = measure_test(one_test(to="b", by="difference"), {"a": a, "b": b})
    assert (measured.pairing, measured.estimate) == ("unpaired", -6)


def test_another_quantity_of_its_run_can_be_subtracted():
    runs = [run(n, main_end_bytes=10 + n, main_base_bytes=5) for n in (1, 2, 3)]
    measured = measure_test(one_test("main_end_bytes", minus="main_base_bytes"), {"a": runs})
    assert limits(measured) == mean_interval([6, 7, 8])


def test_it_can_be_divided_by_another_quantity_of_its_run():
    runs = [run(n, cpu_s=2 * n, makespan_s=n) for n in (1, 2, 3)]
    assert limits(measure_test(one_test("cpu_s", over="makespan_s"), {"a": runs})) == (2, 2, 2, 3)


def peaks(*ends):
    return [run(n, tree_peak_bytes=a, tree_peak_upper_bytes=b) for n, (a, b) in enumerate(ends, 1)]


def test_a_peak_is_judged_from_its_lowest_to_its_highest_limit():
    measured = measure_test(one_test("tree_peak_bytes"), {"a": peaks((10, 12), (11, 14), (12, 13))})
    assert (measured.estimate, measured.upper) == (11, 13)
    assert measured.low == mean_interval([10, 11, 12]).low
    assert measured.high == mean_interval([12, 14, 13]).high


def test_a_ratio_of_peaks_spans_what_both_brackets_allow():
    runs = {"a": peaks(*[(10, 20)] * 3), "b": peaks(*[(5, 10)] * 3)}
    measured = measure_test(one_test("tree_peak_bytes", to="b", by="ratio"), runs)
    assert (measured.low, measured.high) == (1, 4)


def test_what_sweeps_find_without_an_upper_bound_has_no_upper_limit():
    rises = runs_of(10, 11, 12, quantity="tree_largest_rise_bytes")
    measured = measure_test(one_test("tree_largest_rise_bytes"), {"a": rises})
    assert (measured.estimate, measured.upper, measured.high) == (11, math.inf, math.inf)
    assert measured.low == mean_interval([10, 11, 12]).low
    both = {"a": rises, "b": rises}
    ratio = measure_test(one_test("tree_largest_rise_bytes", to="b", by="ratio"), both)
    assert (ratio.low, ratio.high) == (0, math.inf)
    difference = measure_test(one_test("tree_largest_rise_bytes", to="b", by="difference"), both)
    assert (difference.low, difference.high) == (-math.inf, math.inf)


def test_the_moment_at_which_a_sweep_saw_a_peak_has_no_limits():
    runs = runs_of(1.0, 1.1, 1.2, quantity="tree_time_to_peak_s")
    measured = measure_test(one_test("tree_time_to_peak_s"), {"a": runs})
    assert (measured.low, measured.high) == (None, None)
    assert measured.why == "a sweep saw tree_time_to_peak_s, which bounds it from neither side"


def test_a_count_that_is_the_same_in_all_blocks_is_known_exactly():
    measured = measure_test(
        one_test("processes_created"), {"a": runs_of(3, 3, 3, quantity="processes_created")}
    )
    assert limits(measured) == (3, 3, 3, 3)


def test_there_were_no_more_children_than_the_census_saw():
    def children(created):
        runs = [run(n, most_children=3, processes_created=created) for n in (1, 2, 3)]
        return measure_test(one_test("most_children"), {"a": runs})

    assert limits(children(4)) == (3, 3, 3, 3)
    assert limits(children(6)) == (3, 3, 5, 3)


def test_what_sweeps_know_by_a_lower_end_has_no_upper_limit():
    runs = runs_of(1, 2, 3, quantity="tree_largest_rise_bytes")
    measured = measure_test(one_test("tree_largest_rise_bytes"), {"a": runs})
    assert (measured.estimate, measured.upper, measured.high) == (2, math.inf, math.inf)
    assert measured.low == mean_interval([1, 2, 3]).low


@pytest.mark.parametrize("campaign", ["first", "later"])
@pytest.mark.parametrize(
    ("by", "seen", "least"), [("ratio", ratio_interval([2, 2, 2])[0], 0), ("difference", 2, None)]
)
def test_two_lower_ends_say_nothing_of_their_order(by, seen, least, campaign):
    quantity = "tree_largest_rise_bytes"
    a = runs_of(2, 4, 6, quantity=quantity, campaign=campaign)
    runs = {"a": a, "b": runs_of(1, 2, 3, quantity=quantity)}
    measured = measure_test(one_test(quantity, to="b", by=by), runs)
    assert (measured.low, measured.high) == (-math.inf if least is None else least, math.inf)
    # What was seen is shown.
    assert measured.estimate == pytest.approx(seen)


def test_a_lower_end_has_a_lower_limit_beside_what_is_known():
    a = [run(n, children_spread_bytes=4, main_idle_bytes=2) for n in (1, 2, 3)]
    test = one_test("children_spread_bytes", over="main_idle_bytes")
    assert measure_test(test, {"a": a})[:4] == (2, math.inf, 2, math.inf)


def test_a_stages_value_can_be_multiplied_and_divided_by_the_runs():
    runs = [
        Run(
            block=n,
            campaign="first",
            numbers={
                "": {"makespan_s": 10.0, "cpu_mean_s": 99.0},
                "work": {"cpu_mean_s": float(n), "tasks_ok": 5.0},
            },
        )
        for n in (1, 2, 3)
    ]
    test = one_test("cpu_mean_s", stage="work", times="tasks_ok", over="makespan_s")
    assert limits(measure_test(test, {"a": runs})) == mean_interval([0.5, 1, 1.5])
    # What the stage lacks is never taken from the run.
    for one in runs:
        del one.numbers["work"]["cpu_mean_s"]
    assert measure_test(test, {"a": runs}).why == "cpu_mean_s is unknown in all runs of a"


def test_one_value_apart_makes_it_a_median():
    measured = measure_test(one_test(), {"a": runs_of(11, 11.01, 26.4, 11, 11.02)})
    assert (measured.apart, measured.estimate) == (26.4, 11.01)
    assert (measured.low, measured.high) == (11, 26.4)
    assert measure_test(one_test(), {"a": runs_of(11, 12, 14, 10, 13)}).apart is None


def test_a_value_apart_at_one_end_of_brackets_makes_both_ends_medians():
    ends = [(10, 12), (10.1, 12.1), (10.2, 12.2), (10.3, 12.3), (10.4, 40)]
    measured = measure_test(one_test("tree_peak_bytes"), {"a": peaks(*ends)})
    assert measured[:4] == (10.2, 12.2, 10, 40)


@pytest.mark.parametrize(
    ("a", "why"),
    [
        (runs_of(1, 2), "needs 3 blocks, has 2"),
        ([], "no run of a succeeded"),
        ([run(1)], "makespan_s is unknown in all runs of a"),
        (runs_of(0, 1, 2), "a value of 0 or less has no ratio"),
    ],
)
def test_what_cannot_be_estimated_says_why(a, why):
    measured = measure_test(one_test(to="b", by="ratio"), {"a": a, "b": runs_of(1, 2, 4)})
    assert measured.why == why
    assert measured.low is None


def test_a_peak_without_an_upper_bound_is_not_known():
    runs = {"a": runs_of(1, 2, 3, quantity="tree_peak_bytes")}
    measured = measure_test(one_test("tree_peak_bytes"), runs)
    assert measured.why == "the upper bound of tree_peak_bytes is unknown in all runs of a"


def on_nodes(runs, nodes):
    return [replace(one, node=node) for one, node in zip(runs, nodes, strict=True)]


def test_on_several_nodes_the_interval_of_a_claim_is_over_their_means():
    a = on_nodes(runs_of(2, 6, 12, 9), "xxyy")
    b = on_nodes(runs_of(1, 2, 4, 3), "xxyy")
    measured = measure_test(one_test(to="b", by="ratio"), {"a": a, "b": b})
    assert limits(measured) == ratio_interval([2, 3, 3, 3], "xxyy")
    measured = measure_test(one_test(), {"a": a})
    assert limits(measured) == mean_interval([2, 6, 12, 9], "xxyy")


def test_a_value_apart_on_its_own_node_is_what_that_node_does():
    values = (1.0, 1.01, 1.02, 1.03, 1.04, 9.0)
    assert measure_test(one_test(), {"a": runs_of(*values)}).apart == 9
    measured = measure_test(one_test(), {"a": on_nodes(runs_of(*values), "xxxxxy")})
    assert measured.apart is None
    assert limits(measured) == mean_interval(values, "xxxxxy")


def test_sides_without_a_common_node_say_so():
    runs = {"a": on_nodes(runs_of(1, 2, 3), "xxx"), "b": on_nodes(runs_of(1, 2, 3), "yyy")}
    measured = measure_test(one_test(to="b", by="ratio"), runs)
    assert (measured.estimate, measured.why) == (None, "its two sides have no node in common")
