"""Intervals that hold together, and the spread that contrasts of a family share."""

import math

import numpy as np
import pytest
from scipy import special, stats

from stagebench.analyse.families import estimate_family, join, make_layout
from stagebench.analyse.intervals import effect_interval, paired_effect
from stagebench.analyse.pairs import Measured, match
from stagebench.analyse.simultaneous import (
    Layout,
    adjust,
    share_between_nodes,
    share_spread,
    single_level,
)
from stagebench.units import ALPHA


def dunnett(others, blocks, unpaired=0):
    weights = np.hstack([-np.ones((others, 1)), np.eye(others)])
    return Layout(weights, np.ones((others, blocks), dtype=bool), unpaired)


def runs(values, campaign="a"):
    return [Measured(block, campaign, "ok", value) for block, value in enumerate(values, 1)]


def family(base, *others, campaigns=()):
    """Estimate the ratios of treatments to a baseline; `campaigns` are those of the treatments."""
    named = dict(enumerate(others))
    return estimate_family(
        [
            join(
                f"t{n}",
                "base",
                match(runs(own, dict(enumerate(campaigns)).get(n, "a")), runs(base)),
            )
            for n, own in named.items()
        ]
    )


def test_a_single_interval_is_students():
    base, own = [1.0, 1.1, 0.9, 1.05], [2.0, 2.5, 1.9, 2.1]
    (found,) = family(base, own)
    expected = effect_interval(paired_effect([a / b for a, b in zip(own, base, strict=True)]))
    assert (found.ratio, found.low, found.high) == pytest.approx(expected[:3])
    assert found.upper == found.ratio


def test_the_level_lies_below_that_of_one_and_about_that_of_bonferroni_or_above():
    # Unequal treatments are allowed for, which takes a little.
    for others in (2, 5, 17):
        assert 0.75 * ALPHA / others < single_level(dunnett(others, 10)) < ALPHA
    assert single_level(dunnett(17, 60)) > ALPHA / 17
    assert single_level(dunnett(1, 5)) == ALPHA
    assert single_level(dunnett(0, 5)) == ALPHA


def test_with_many_blocks_the_level_is_that_of_dunnett():
    # With many blocks every variance is known well.
    draw = np.random.default_rng(2).standard_normal((200_000, 5))
    largest = np.abs(draw[:, 1:] - draw[:, :1]).max(axis=-1) / math.sqrt(2)
    expected = 2 * stats.norm.sf(np.quantile(largest, 0.95))
    assert single_level(dunnett(4, 60)) == pytest.approx(expected, rel=0.25)


def test_contrasts_without_pairs_take_a_share_of_the_level():
    assert single_level(dunnett(3, 5, unpaired=4)) < single_level(dunnett(3, 5))
    only = Layout(np.zeros((0, 0)), np.zeros((0, 0), dtype=bool), 3)
    assert single_level(only) == pytest.approx(1 - 0.95 ** (1 / 3))
    assert adjust(only, 0.01) == pytest.approx(1 - 0.99**3)


def test_an_adjusted_p_is_below_5_percent_where_a_single_one_is_below_the_level():
    layout = dunnett(6, 5)
    level = single_level(layout)
    assert adjust(layout, 0.9 * level) < ALPHA < adjust(layout, 1.2 * level)
    assert adjust(layout, 1.0) == 1
    assert adjust(dunnett(1, 5), 0.3) == 0.3


def test_spreads_that_differ_no_more_than_by_chance_are_shared_and_none_is_made_smaller():
    draw = np.random.default_rng(4)
    variance = 0.01 * draw.chisquare(4, 12) / 4
    found = share_spread(variance, np.full(12, 4.0), np.full(12, 2.0))
    assert (found.freedom > 8).all()
    assert (found.variance >= variance).all()
    assert found.variance.min() > variance.min()


def test_spreads_that_differ_by_more_than_chance_are_shared_less():
    variance = np.array([1e-6, 1e-4, 1e-2, 1.0, 1e-5, 1e-3])
    found = share_spread(variance, np.full(6, 4.0), np.full(6, 2.0))
    assert (found.freedom < 6).all()
    assert found.variance[0] < 100 * variance[0]


def test_the_degrees_of_freedom_that_are_lent_are_those_of_the_spread_beyond_chance():
    variance, freedom = np.array([0.01, 0.04, 0.2, 1.0, 0.3]), np.full(5, 4.0)
    lent = share_spread(variance, freedom, np.ones(5)).freedom - freedom
    beyond = np.log(variance).var(ddof=1) - special.polygamma(1, 4.0 / 2)
    assert special.polygamma(1, lent / 2) == pytest.approx(np.full(5, beyond), rel=1e-12)


def test_what_does_not_vary_is_known_exactly_and_lends_nothing_to_others():
    variance = np.array([0.0, 0.01, 0.02])
    found = share_spread(variance, np.full(3, 4.0), np.full(3, 2.0))
    assert found.variance[0] == 0
    alone = share_spread(variance[1:], np.full(2, 4.0), np.full(2, 2.0))
    assert found.variance[1:] == pytest.approx(alone.variance)


def test_a_family_of_noisy_and_of_exact_ratios_has_all_its_intervals():
    exact, noisy = family([1.0] * 4, [2.0] * 4, [1.0, 1.2, 0.9, 1.1])
    assert (exact.low, exact.high) == (2, 2)
    assert noisy.low < noisy.ratio < noisy.high


def test_below_three_blocks_there_is_a_ratio_without_limits():
    short, missing, whole = family([1.0, 1.1, 1.2], [2.0, 2.2], [], [3.0, 3.1, 3.2])
    assert short.ratio == pytest.approx(2)
    assert (short.low, short.high, short.p_difference()) == (None, None, None)
    assert missing is None
    assert whole.low is not None


def test_a_treatment_of_another_campaign_is_compared_by_welch_at_the_level_of_its_family():
    base, own = [1.0, 1.1, 0.9, 1.05], [2.0, 2.5, 1.9, 2.1]
    paired, late = family(base, own, own, campaigns=["a", "b"])
    assert paired.level == late.level < ALPHA
    assert late.ends[0].freedom < 6 < paired.ends[0].freedom + 4


def test_a_layout_has_the_blocks_that_each_contrast_has():
    base = runs([1.0, 1.1, 1.2, 1.3])
    members = [
        join("a", "base", match(runs([2.0, 2.1, 2.2, 2.3]), base)),
        join("b", "base", match(runs([2.0, 2.1, 2.2]), base)),
    ]
    layout = make_layout(members)
    assert layout.blocks.sum(axis=1).tolist() == [4, 3]
    assert layout.weights.tolist() == [[1, -1, 0], [0, -1, 1]]
    assert 0 < single_level(layout) < ALPHA


def test_the_same_layout_has_the_same_level_every_time():
    assert single_level(dunnett(4, 5)) == single_level(dunnett(4, 5))


@pytest.mark.parametrize("blocks", [3, 5])
def test_all_intervals_of_a_family_hold_in_95_percent_of_studies(blocks):
    draw = np.random.default_rng(blocks)
    held = 0
    for _ in range(300):
        found = family(*np.exp(0.1 * draw.standard_normal((7, blocks))).tolist())
        held += all(one.low <= 1 <= one.high for one in found)
    # Three standard errors on either side of 95 %, and what unequal treatments are given.
    assert 0.91 < held / 300 <= 1


def on_nodes(values, nodes):
    return [one._replace(node=node) for one, node in zip(runs(values), nodes, strict=True)]


def family_on(nodes, base, *others):
    """Estimate the ratios of treatments to a baseline, all with blocks on the same nodes."""
    members = [
        join(f"t{n}", "base", match(on_nodes(own, nodes), on_nodes(base, nodes)))
        for n, own in enumerate(others)
    ]
    return estimate_family(members)


NODES = list("aaabbbccc")


def test_over_nodes_a_single_interval_is_students_over_their_means():
    draw = np.random.default_rng(5)
    base, own = draw.lognormal(0, 0.1, (2, 9)).tolist()
    (found,) = family_on(NODES, base, own)
    logs = np.log(np.array(own) / np.array(base)).reshape(3, 3).mean(axis=1)
    low, high = np.exp(stats.ttest_1samp(logs, 0).confidence_interval(0.95))
    assert (found.ratio, found.low, found.high) == pytest.approx((np.exp(logs.mean()), low, high))


def test_over_nodes_no_interval_of_a_family_is_narrower_than_by_itself():
    draw = np.random.default_rng(6)
    base, *others = draw.lognormal(0, 0.1, (5, 9)).tolist()
    together = family_on(NODES, base, *others)
    for found, own in zip(together, others, strict=True):
        (alone,) = family_on(NODES, base, own)
        assert found.low <= alone.low
        assert found.high >= alone.high


def test_a_common_spread_over_nodes_adds_no_degrees_of_freedom():
    variance = np.array([1.0, 4.0, 0.0])
    found = share_between_nodes(variance, np.full(3, 2.0), np.array([1.0, 2.0, 1.0]))
    assert found.variance.tolist() == [1.5, 4.0, 0.0]
    assert found.freedom.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("nodes", [2, 3, 8])
def test_a_family_over_nodes_is_judged_no_less_strictly_than_one_interval(nodes):
    layout = dunnett(17, nodes)._replace(by_node=True)
    level = single_level(layout)
    assert ALPHA / 17 < level <= ALPHA
    assert adjust(layout, level) >= 0.9 * ALPHA
    assert adjust(layout, 0.5) >= 0.5


def test_a_contrast_of_one_node_has_no_interval_beside_those_of_several():
    base = on_nodes([1.0] * 6, "aaabbb")
    whole = join("w", "base", match(on_nodes([2.0, 2.1, 2.2, 2.0, 2.1, 2.3], "aaabbb"), base))
    part = join("p", "base", match(on_nodes([2.0, 2.1, 2.2], "aaa"), base))
    found = dict(zip("wp", estimate_family([whole, part]), strict=True))
    assert found["w"].low < found["w"].ratio < found["w"].high
    assert (found["p"].low, found["p"].high, found["p"].p_difference()) == (None, None, None)
    assert found["p"].ratio == pytest.approx(math.exp(np.log([2.0, 2.1, 2.2]).mean()))
    alone = estimate_family([part])[0]
    assert alone.low < alone.ratio < alone.high


def test_a_layout_over_nodes_has_the_nodes_that_each_contrast_has():
    base = on_nodes([1.0] * 6, "aabbcc")
    members = [
        join("x", "base", match(on_nodes([2.0, 2.1, 2.2, 2.0, 2.1, 2.3], "aabbcc"), base)),
        join("y", "base", match(on_nodes([2.0, 2.1, 2.2, 2.0], "aabb"), base)),
    ]
    layout = make_layout(members)
    assert layout.by_node
    assert layout.blocks.tolist() == [[True, True, True], [True, True, False]]
