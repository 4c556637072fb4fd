"""Two samples of runs: intervals that hold, and pairs only where there are any."""

import math

import numpy as np
import pytest

from stagebench.analyse.intervals import unpaired_ratio_interval
from stagebench.analyse.pairs import Measured
from stagebench.compare.samples import LEAST_CAMPAIGNS, compare_samples, weigh
from stagebench.tables.schema import IN_BLOCKS, OTHER_CAMPAIGN, UNPAIRED

RNG = np.random.default_rng(3)
FIRST, SECOND = RNG.lognormal(0, 0.1, (2, 6)).tolist()


def sample(values, campaign="a", reach=1.0, weights=None):
    """Make a side: treatment → values, one a block."""
    runs = {
        name: [
            Measured(block, campaign, "ok", value, reach)
            for block, value in enumerate(own, start=1)
            if value is not None
        ]
        for name, own in values.items()
    }
    return weigh(runs, weights or [{name: 1.0} for name in values])


def join(*sides):
    """Make a side of several campaigns: treatment → values, for each campaign."""
    runs = {}
    for number, values in enumerate(sides):
        for name, own in values.items():
            runs.setdefault(name, []).extend(
                Measured(block, f"{id(sides)} {number}", "ok", value)
                for block, value in enumerate(own, start=1)
            )
    return weigh(runs, [{name: 1.0} for name in runs])


def test_blocks_of_the_same_number_in_other_campaigns_are_no_pairs():
    (found,) = compare_samples(sample({"t1": FIRST}, "b"), sample({"t1": SECOND}))
    expected = unpaired_ratio_interval(FIRST, SECOND)
    assert found.pairing == UNPAIRED
    assert (found.ratio, found.low, found.high) == pytest.approx(expected[:3])


def test_blocks_of_one_campaign_are_pairs():
    of = sample({"x": [value * 1.2 for value in FIRST]})
    (found,) = compare_samples(of, sample({"y": FIRST}))
    assert found.pairing == IN_BLOCKS
    assert (found.low, found.ratio, found.high) == pytest.approx((1.2, 1.2, 1.2))


def test_a_study_compared_with_itself_is_equal():
    side = sample({"t1": FIRST, "t2": SECOND})
    assert all(one.low == one.ratio == one.high == 1 for one in compare_samples(side, side))


def test_a_family_is_judged_more_strictly_than_a_single_treatment():
    alone = compare_samples(sample({"t1": FIRST}, "b"), sample({"t1": SECOND}))[0]
    both = {"t1": FIRST, **{f"t{n}": RNG.lognormal(0, 0.1, 6).tolist() for n in range(2, 20)}}
    other = {"t1": SECOND, **{f"t{n}": RNG.lognormal(0, 0.1, 6).tolist() for n in range(2, 20)}}
    among = compare_samples(sample(both, "b"), sample(other))[0]
    assert among.low < alone.low
    assert alone.high < among.high


@pytest.mark.parametrize("runs", [1, 2])
def test_fewer_than_three_runs_have_a_ratio_and_no_interval(runs):
    (found,) = compare_samples(sample({"t1": FIRST[:runs]}, "b"), sample({"t1": SECOND}))
    assert found.low is found.high is None
    assert found.counts == (runs, 6)


def test_a_treatment_without_runs_is_not_compared():
    sides = {"t1": FIRST, "t2": []}, {"t1": SECOND, "t2": SECOND}
    assert compare_samples(sample(sides[0], "b"), sample(sides[1]))[1] is None


def test_brackets_widen_the_interval_to_both_sides():
    exact = compare_samples(sample({"t1": FIRST}, "b"), sample({"t1": SECOND}))[0]
    of, to = sample({"t1": FIRST}, "b", 1.5), sample({"t1": SECOND}, "a", 1.5)
    (found,) = compare_samples(of, to)
    assert found.low == pytest.approx(exact.low / 1.5)
    assert found.high == pytest.approx(exact.high * 1.5)
    assert not found.is_exact


def test_an_unknown_upper_end_leaves_the_ratio_without_a_bound():
    of, to = sample({"t1": FIRST}, "b", math.inf), sample({"t1": SECOND})
    (found,) = compare_samples(of, to)
    assert found.upper == found.high == math.inf
    assert 0 < found.low < math.inf


def test_a_contrast_has_only_places_with_all_of_its_treatments():
    weights = [{"t1": 1.0, "t2": -1.0}]
    of = sample({"t1": FIRST, "t2": [None, *SECOND[1:]]}, weights=weights)
    assert of.counts.tolist() == [5]


def test_of_several_campaigns_the_means_are_compared():
    history = [{"t1": [1.0, 1.01]}, {"t1": [1.1, 1.11]}, {"t1": [0.9, 0.91]}]
    base, new = join(*history), sample({"t1": [1.0, 1.0, 1.0]}, "new")
    (found,) = compare_samples(new, base)
    assert found.pairing == OTHER_CAMPAIGN
    assert found.counts == (1, 3)
    # One new campaign among campaigns that differ by 10 % shows little, however alike its runs are.
    assert found.low < 0.9
    assert found.high > 1.1


def test_fewer_campaigns_are_runs():
    history = [{"t1": FIRST}] * (LEAST_CAMPAIGNS - 1)
    (found,) = compare_samples(sample({"t1": SECOND}, "new"), join(*history))
    assert found.pairing == UNPAIRED
    assert found.counts == (6, 12)


def test_studies_that_share_some_runs_are_compared_by_all_of_them():
    first, shared, last = ({"t1": RNG.lognormal(0, 0.1, 4).tolist()} for _ in range(3))
    sides = [
        weigh(
            {
                "t1": [
                    Measured(block, name, "ok", value)
                    for name, own in parts
                    for block, value in own
                ]
            },
            [{"t1": 1.0}],
        )
        for parts in (
            [("a", enumerate(first["t1"])), ("b", enumerate(shared["t1"]))],
            [("b", enumerate(shared["t1"])), ("c", enumerate(last["t1"]))],
        )
    ]
    (found,) = compare_samples(*sides)
    assert found.pairing == UNPAIRED
    assert found.counts == (8, 8)


def on_nodes(values, nodes, campaign="a"):
    """Make a side of one treatment: its values, each of a block on a node."""
    runs = [
        Measured(block, campaign, "ok", value, node=node)
        for block, (value, node) in enumerate(zip(values, nodes, strict=True), start=1)
    ]
    return weigh({"t1": runs}, [{"t1": 1.0}])


def test_of_several_nodes_the_means_are_compared_though_there_be_two():
    base = on_nodes([1.0, 1.01, 1.1, 1.11], "xxyy")
    (found,) = compare_samples(on_nodes([1.0, 1.0, 1.0], "zzz", "b"), base)
    assert found.pairing == OTHER_CAMPAIGN
    assert found.counts == (1, 2)
    assert found.low < 0.6
    (one_node,) = compare_samples(on_nodes([1.0, 1.0, 1.0], "zzz", "b"), on_nodes(FIRST, "x" * 6))
    assert one_node.pairing == UNPAIRED


def test_levels_of_one_study_are_paired_within_blocks_over_nodes():
    nodes = list("xxxyyy")
    of = on_nodes([value * 1.2 for value in FIRST], nodes)
    (exact,) = compare_samples(of, on_nodes(FIRST, nodes))
    assert exact.pairing == IN_BLOCKS
    assert (exact.low, exact.high) == pytest.approx((1.2, 1.2))
    noisy = (
        compare_samples(on_nodes(SECOND, own), on_nodes(FIRST, own))[0] for own in (nodes, "x" * 6)
    )
    several, one = noisy
    assert several.high / several.low > one.high / one.low


def test_single_campaigns_have_an_allowance_for_how_campaigns_differ():
    of, to = sample({"t1": [1.0, 1.01, 0.99]}, "b"), sample({"t1": [1.05, 1.04, 1.06]})
    (plain,) = compare_samples(of, to)
    (found,) = compare_samples(of, to, campaigns_differ=0.03)
    assert plain.high < 1
    # Two campaigns: 1.96 × √2 × 3 % for themselves, a little more for their runs.
    assert found.ratio == plain.ratio
    assert 0.083 < math.log(found.high / found.ratio) < 0.1
    assert found.high > 1


def test_runs_that_are_always_the_same_have_the_allowance_alone():
    of, to = sample({"t1": [1.0] * 3}, "b"), sample({"t1": [1.0] * 3})
    (found,) = compare_samples(of, to, campaigns_differ=0.01)
    assert math.log(found.high) == pytest.approx(1.96 * 0.01 * math.sqrt(2), rel=1e-3)


def test_two_campaigns_of_a_side_count_for_more_than_one():
    one, two = (
        compare_samples(sample({"t1": FIRST}, "new"), join(*own), campaigns_differ=1.0)[0]
        for own in ([{"t1": [1.0] * 4}], [{"t1": [1.0] * 2}] * 2)
    )
    width = [math.log(found.high / found.low) for found in (one, two)]
    assert width[1] / width[0] == pytest.approx(math.sqrt(1.5 / 2), rel=0.02)


def test_what_campaigns_have_in_common_cancels_in_an_effect():
    weights = [{"t1": 1.0, "t2": -1.0}]
    runs = {"t1": FIRST, "t2": SECOND}
    found = [
        compare_samples(
            sample(runs, "b", weights=weights),
            sample({"t1": SECOND, "t2": FIRST}, weights=weights),
            campaigns_differ=spread,
        )
        for spread in (0.0, 0.5)
    ]
    assert found[0] == found[1]


def test_three_campaigns_show_how_they_differ_and_need_no_allowance():
    history = join(*({"t1": [1.0, 1.01]}, {"t1": [1.1, 1.11]}, {"t1": [0.9, 0.91]}))
    new = sample({"t1": [1.0, 1.0, 1.0]}, "new")
    assert compare_samples(new, history) == compare_samples(new, history, campaigns_differ=0.5)


def test_levels_of_one_study_are_pairs_and_need_no_allowance():
    of, to = sample({"x": SECOND}), sample({"y": FIRST})
    assert compare_samples(of, to) == compare_samples(of, to, campaigns_differ=0.5)
