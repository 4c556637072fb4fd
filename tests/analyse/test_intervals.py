from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stagebench.analyse.intervals import (
    effect_interval,
    half_width,
    mean_interval,
    more_blocks,
    p_difference,
    p_equivalence,
    paired_effect,
    ratio_interval,
    unpaired_effect,
    unpaired_mean_interval,
    unpaired_ratio_interval,
)
from stagebench.units import ALPHA

RATIOS = [1.21, 1.08, 1.3, 1.17, 1.12]
OF, TO = [2.1, 2.6, 2.2, 2.4], [1.9, 1.2, 1.6]


def logs(values):
    return [math.log(value) for value in values]


def test_a_paired_interval_is_students_on_the_logarithms():
    interval = ratio_interval(RATIOS)
    limits = stats.ttest_1samp(logs(RATIOS), 0).confidence_interval(0.95)
    assert interval.estimate == pytest.approx(stats.gmean(RATIOS))
    assert (interval.low, interval.high) == pytest.approx(
        (math.exp(limits[0]), math.exp(limits[1]))
    )
    assert interval.n == 5


def test_an_unpaired_interval_is_welchs_on_the_logarithms():
    interval = unpaired_ratio_interval(OF, TO)
    limits = stats.ttest_ind(logs(OF), logs(TO), equal_var=False).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx(
        (math.exp(limits[0]), math.exp(limits[1]))
    )
    assert interval.n == 3


def test_the_p_of_a_difference_is_that_of_the_t_test():
    paired = stats.ttest_1samp(logs(RATIOS), 0).pvalue
    unpaired = stats.ttest_ind(logs(OF), logs(TO), equal_var=False).pvalue
    assert p_difference(paired_effect(RATIOS)) == pytest.approx(paired)
    assert p_difference(unpaired_effect(OF, TO)) == pytest.approx(unpaired)


@pytest.mark.parametrize("ratios", [[1.01, 0.99, 1.02], [1.04, 1.02, 1.05, 1.03], RATIOS])
def test_the_p_of_equivalence_is_the_larger_of_two_one_sided_tests(ratios):
    limit = math.log(1.05)
    below = stats.ttest_1samp(logs(ratios), limit, alternative="less").pvalue
    above = stats.ttest_1samp(logs(ratios), -limit, alternative="greater").pvalue
    assert p_equivalence(paired_effect(ratios), 0.05) == pytest.approx(max(below, above))


def test_what_is_compared_with_what_does_not_change_a_test():
    inverse = [1 / ratio for ratio in RATIOS]
    for test in (p_difference, lambda effect: p_equivalence(effect, 0.05)):
        assert test(paired_effect(inverse)) == pytest.approx(test(paired_effect(RATIOS)))


@pytest.mark.parametrize("n", [1, 2])
def test_below_three_blocks_there_is_an_estimate_and_nothing_else(n):
    for effect in (paired_effect(RATIOS[:n]), unpaired_effect(OF, TO[:n])):
        interval = effect_interval(effect)
        assert interval.estimate > 1
        assert (interval.low, interval.high, interval.n) == (None, None, n)
        assert half_width(interval) is None
        assert p_difference(effect) is None
        assert p_equivalence(effect, 0.05) is None
        assert more_blocks(effect, 0.05) is None


@pytest.mark.parametrize(("ratio", "p", "equivalence"), [(1.0, 1, 0), (0.5, 0, 1), (1.02, 0, 0)])
def test_ratios_that_do_not_vary_are_their_own_interval(ratio, p, equivalence):
    for effect in (paired_effect([ratio] * 3), unpaired_effect([ratio] * 3, [1.0] * 4)):
        interval = effect_interval(effect)
        assert (interval.low, interval.high) == (interval.estimate, interval.estimate)
        assert p_difference(effect) == p
        assert p_equivalence(effect, 0.05) == equivalence
        assert more_blocks(effect, 0.01) == 0


def test_an_interval_excludes_1_where_and_only_where_the_difference_has_p_below_5_percent():
    draw = np.random.default_rng(7)
    for _ in range(200):
        effect = paired_effect(draw.lognormal(0.1, 0.1, 4))
        interval = effect_interval(effect)
        excludes = not interval.low <= 1 <= interval.high
        assert excludes == (p_difference(effect) < ALPHA)


def test_plain_values_have_a_mean_with_students_interval():
    low, high = stats.ttest_1samp(OF, 0).confidence_interval(0.95)
    interval = mean_interval(OF)
    assert interval[:3] == pytest.approx((sum(OF) / 4, low, high))


def test_plain_values_without_common_blocks_have_welchs_interval():
    low, high = stats.ttest_ind(OF, TO, equal_var=False).confidence_interval(0.95)
    interval = unpaired_mean_interval(OF, TO)
    assert interval[:3] == pytest.approx((sum(OF) / 4 - sum(TO) / 3, low, high))
    assert unpaired_mean_interval([2.0] * 3, [1.5] * 4) == (0.5, 0.5, 0.5, 3)
    assert unpaired_mean_interval(OF, TO[:2])[1:] == (None, None, 2)


def test_a_half_width_is_a_share_of_the_ratio():
    interval = ratio_interval(RATIOS)
    assert half_width(interval) == pytest.approx(interval.high / interval.estimate - 1)
    assert half_width(interval) == pytest.approx(interval.estimate / interval.low - 1)


@pytest.mark.parametrize("wanted", [0.2, 0.05, 0.02])
def test_so_many_more_blocks_of_the_same_spread_suffice_and_one_less_does_not(wanted):
    effect = paired_effect(RATIOS)
    more = more_blocks(effect, wanted)

    def reached(n):
        error = effect.error * math.sqrt(effect.n / n)
        return half_width(effect_interval(effect._replace(error=error, freedom=n - 1, n=n)))

    assert reached(5 + more) <= wanted
    assert more == 0 or reached(5 + more - 1) > wanted


def test_on_several_nodes_each_nodes_mean_is_one_value():
    values, nodes = [1.0, 3.0, 5.0, 2.0, 4.0], ["a", "a", "b", "c", "c"]
    low, high = stats.ttest_1samp([2, 5, 3], 0).confidence_interval(0.95)
    assert mean_interval(values, nodes)[:3] == pytest.approx((10 / 3, low, high))
    assert mean_interval(values, nodes).n == 5


def test_blocks_that_are_each_of_a_node_of_their_own_are_as_blocks_of_one():
    own = ratio_interval(RATIOS, list("abcde"))
    assert own == pytest.approx(ratio_interval(RATIOS))


@pytest.mark.parametrize("nodes", [["a"] * 5, [""] * 5, ["a", "", "a", "", "a"]])
def test_one_known_node_is_no_reason_to_think_of_several(nodes):
    assert ratio_interval(RATIOS, nodes) == ratio_interval(RATIOS)


def test_unpaired_runs_are_compared_within_each_node():
    of, to = [1.0, 1.1, 4.0, 4.4, 9.0], [2.0, 2.2, 8.0, 8.0]
    nodes = list("aabbc"), list("aabb")
    low, high = stats.ttest_1samp([1.05 - 2.1, 4.2 - 8], 0).confidence_interval(0.95)
    found = unpaired_mean_interval(of, to, nodes)
    assert found == pytest.approx(((1.05 - 2.1 + 4.2 - 8) / 2, low, high, 4))
    only = unpaired_mean_interval(of, to, (list("aabbb"), list("bbcc")))
    assert only == unpaired_mean_interval(of[2:], to[:2])


def test_more_blocks_are_of_further_nodes_with_as_many_each():
    effect = paired_effect([1.0, 1.02, 1.1, 1.12, 1.2, 1.21], list("aabbcc"))
    more = more_blocks(effect, 0.05)
    assert more % 2 == 0
    alone = more_blocks(paired_effect([1.01, 1.11, 1.205]), 0.05)
    assert more == pytest.approx(2 * alone, abs=2)
