"""Intervals of many studies at once equal those of the analysis."""

import numpy as np
import pytest
from benchmarks.many_intervals import (
    bootstrap_limits,
    difference_limits,
    mean_limits,
    ratio_limits,
    unpaired_ratio_limits,
)

from stagebench.analyse import intervals

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
