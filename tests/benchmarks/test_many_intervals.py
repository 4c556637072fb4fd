"""Intervals of many studies at once equal those of the analysis."""

import math

import numpy as np
import pytest
from benchmarks.many_intervals import (
    bootstrap_limits,
    difference_limits,
    holm,
    mean_limits,
    ratio_limits,
    unpaired_ratio_limits,
)

from stagebench.analyse import intervals
from stagebench.analyse.intervals import p_difference, paired_effect
from stagebench.units import ALPHA

RNG = np.random.default_rng(5)
OF, TO = RNG.lognormal(1, 0.3, (2, 4, 5))


def same(limits, of_study):
    for study in range(len(OF)):
        expected = of_study(study)
        assert (limits.low[study], limits.high[study]) == pytest.approx(expected[1:3])


def test_a_mean_and_a_difference_have_the_interval_of_plain_values():
    same(mean_limits(OF), lambda study: intervals.mean_interval(OF[study].tolist()))
    differences = OF - TO
    same(
        difference_limits(OF, TO),
        lambda study: intervals.mean_interval(differences[study].tolist()),
    )


def test_a_paired_ratio_has_the_interval_of_ratios():
    ratios = OF / TO
    same(ratio_limits(OF, TO), lambda study: intervals.ratio_interval(ratios[study].tolist()))


def test_an_unpaired_ratio_has_welchs_interval():
    same(
        unpaired_ratio_limits(OF, TO),
        lambda study: intervals.unpaired_ratio_interval(OF[study].tolist(), TO[study].tolist()),
    )


def test_a_bootstrap_of_three_blocks_never_leaves_their_range():
    limits = bootstrap_limits(np.random.default_rng(1), OF[:, :3])
    assert (limits.low >= OF[:, :3].min(axis=-1)).all()
    assert (limits.high <= OF[:, :3].max(axis=-1)).all()


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    assert holm([0.01, None, 0.04, 0.03]) == [0.03, None, 0.06, 0.06]
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([None]) == [None]


def test_a_family_without_any_effect_has_a_finding_in_one_of_twenty_at_most():
    draw = np.random.default_rng(11)

    def finds():
        effects = [paired_effect(draw.lognormal(0, 0.05, 3)) for _ in range(9)]
        return min(holm([p_difference(effect) for effect in effects])) < ALPHA

    # The limit is three standard errors above 5 %.
    assert sum(finds() for _ in range(400)) <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)
