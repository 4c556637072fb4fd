"""Simulated studies on several nodes, in small, and that the benchmark judges as the analysis."""

import numpy as np
import pytest
from benchmarks.families import weigh_baseline
from benchmarks.nodes import (
    OWN,
    RULES,
    Summary,
    add_nodes,
    estimate_by_blocks,
    estimate_by_nodes,
    estimate_family_by_nodes,
    summarise,
)

from stagebench.analyse.families import estimate_family, join
from stagebench.analyse.intervals import mean_interval
from stagebench.analyse.pairs import Measured, match
from stagebench.units import ALPHA

STUDIES = 1500
WEIGHTS = weigh_baseline(5)[:, :6]
LAYOUTS = [(5, 5), (2, 10), (2, 3, 10), (5, 5, 5, 5), (2, 3, 4, 5, 6, 7, 8, 10)]
SLACK = 3 * np.sqrt(ALPHA * (1 - ALPHA) / STUDIES)

WAYS = {
    "each": np.eye(6),
    "groups": (np.arange(6)[:, None] % 2 == np.arange(2)).astype(float),
    "degrees": np.arange(6)[:, None] / 5,
    "baseline": (np.arange(6) == 0)[:, None].astype(float),
}


def simulate(nodes, ratio, causes, seed=8):
    """Return logarithms of equal treatments, of which nodes differ `ratio` times as much."""
    draw = np.random.default_rng(seed)
    runs = 0.05 * draw.standard_normal((STUDIES, 6, sum(nodes)))
    of_nodes = draw.standard_normal((STUDIES, causes.shape[-1], len(nodes)))
    return add_nodes(runs, causes, nodes, ratio * 2 * 0.05**2, of_nodes)


def share_outside(found):
    return (np.abs(found.mean) > found.reach).mean()


@pytest.mark.parametrize("nodes", LAYOUTS)
@pytest.mark.parametrize("ratio", [0, 0.5, 1, 4])
def test_an_interval_over_nodes_covers_however_much_nodes_differ(nodes, ratio):
    values = simulate(nodes, ratio, WAYS["each"])
    assert share_outside(estimate_by_nodes(summarise(values[:, 1] - values[:, 0], nodes))) < (
        ALPHA + SLACK
    )


@pytest.mark.parametrize("nodes", LAYOUTS)
def test_blocks_of_a_few_nodes_are_not_independent(nodes):
    values = simulate(nodes, 4, WAYS["each"])
    assert share_outside(estimate_by_blocks(summarise(values[:, 1] - values[:, 0], nodes))) > 0.3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ratio", [0, 1, 4])
@pytest.mark.parametrize("nodes", LAYOUTS)
def test_a_family_finds_no_more_than_5_percent_however_nodes_differ(nodes, ratio, way):
    values = simulate(nodes, ratio, WAYS[way])
    found = estimate_family_by_nodes(values, WEIGHTS, nodes)
    assert (np.abs(found.mean) > found.reach).any(axis=-1).mean() < ALPHA + SLACK


def test_the_variance_between_nodes_is_what_was_asked_for():
    draw = np.random.default_rng(1)
    for causes in WAYS.values():
        of_nodes = draw.standard_normal((20_000, causes.shape[-1], 2))
        values = add_nodes(np.zeros((20_000, 6, 5)), causes, (2, 3), 0.7, of_nodes)
        ratios = values[:, 1:] - values[:, :1]
        assert ratios.var(axis=0).mean() == pytest.approx(0.7, rel=0.05)
        assert (ratios[..., 0] == ratios[..., 1]).all()


def test_single_intervals_are_those_of_the_analysis():
    values, nodes = [1.0, 3.0, 5.0, 2.0, 4.0], (2, 1, 2)
    named = ["a", "a", "b", "c", "c"]
    expected = {OWN: mean_interval(values, named), "blocks": mean_interval(values)}
    for rule, (estimate, low, high, _) in expected.items():
        found = RULES[rule](summarise(np.array([values]), nodes))
        assert found.mean[0] == pytest.approx(estimate)
        assert found.reach[0] == pytest.approx((high - low) / 2)


def test_families_are_those_of_the_analysis():
    nodes = (2, 3, 1)
    values = simulate(nodes, 1, WAYS["each"])[:5]
    order = [1, 0, 2, 3, 4, 5]  # as a family meets its treatments
    found = estimate_family_by_nodes(values[:, order], WEIGHTS[:, order], nodes)
    names = np.repeat(["x", "y", "z"], nodes)

    def measured(own):
        return [
            Measured(block, "", "ok", float(np.exp(value)), node=str(node))
            for block, (value, node) in enumerate(zip(own, names, strict=True))
        ]

    for study, (base, *others) in enumerate(values):
        members = [
            join(f"t{n}", "base", match(measured(own), measured(base)))
            for n, own in enumerate(others)
        ]
        for place, one in enumerate(estimate_family(members)):
            mean, reach = found.mean[study, place], found.reach[study, place]
            assert one.low == pytest.approx(np.exp(mean - reach))
            assert one.high == pytest.approx(np.exp(mean + reach))


def test_a_summary_has_mean_and_squares_of_each_node():
    found = summarise(np.array([[1.0, 3.0, 5.0]]), (2, 1))
    assert isinstance(found, Summary)
    assert (found.means.tolist(), found.within.tolist()) == ([[2.0, 5.0]], [2.0])
