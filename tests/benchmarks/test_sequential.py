"""Simulated studies that stop when they are precise enough, in small."""

import numpy as np
import pytest
from benchmarks.families import weigh_baseline
from benchmarks.many_intervals import family_limits, make_balanced
from benchmarks.sequential import LAST, add_up, list_looks, stop_when_narrow

from stagebench.analyse.simultaneous import single_level
from stagebench.blocks import LOOKED_ALPHA
from stagebench.units import ALPHA

WEIGHTS = weigh_baseline(2)[:, :3]
SIZE = (WEIGHTS**2).sum(axis=-1)
STUDIES = 1500


def simulate_equal(spread, seed=3):
    """Return ratios of equal treatments: studies × contrasts × blocks."""
    runs = spread * np.random.default_rng(seed).standard_normal((STUDIES, 3, LAST))
    return np.einsum("ct,stb->scb", WEIGHTS, runs)


@pytest.fixture(scope="module")
def levels():
    return {
        alpha: {n: single_level(make_balanced(WEIGHTS, n), alpha) for n in list_looks()}
        for alpha in (ALPHA, LOOKED_ALPHA)
    }


def share_false(values, levels, wanted):
    ended = stop_when_narrow(add_up(values), SIZE, levels, wanted)
    return (np.abs(ended.mean) > ended.reach).any(axis=-1).mean()


@pytest.mark.parametrize("wanted", [0.10, 0.20])
def test_stopping_when_narrow_finds_no_more_than_5_percent(levels, wanted):
    false = share_false(simulate_equal(0.1), levels[LOOKED_ALPHA], wanted)
    assert false < ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / STUDIES)


def test_with_the_usual_level_it_would_find_more(levels):
    assert share_false(simulate_equal(0.1), levels[ALPHA], 0.10) > 1.2 * ALPHA


def test_a_study_that_never_becomes_narrow_has_the_intervals_of_fixed_blocks(levels):
    values = simulate_equal(0.1)[:50]
    ended = stop_when_narrow(add_up(values), SIZE, levels[ALPHA], 1e-9)
    runs = np.concatenate([np.zeros((50, 1, LAST)), values], axis=1)
    limits = family_limits(runs, WEIGHTS)
    assert (ended.blocks == LAST).all()
    assert np.log(limits.high) == pytest.approx(ended.mean + ended.reach)


def test_calm_treatments_stop_earlier(levels):
    values = simulate_equal(0.1)
    values[:, 0] /= 5
    blocks = stop_when_narrow(add_up(values), SIZE, levels[LOOKED_ALPHA], 0.10).blocks
    assert blocks[:, 0].mean() < blocks[:, 1].mean()
