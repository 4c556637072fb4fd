"""Simulated studies are served like measured ones, and their truth is known."""

import numpy as np
import pytest
from benchmarks.nested_data import EQUAL, SCENARIOS, Scenario, pass_stage, simulate


def test_tasks_are_served_first_come_first_served_by_the_worker_that_is_free_first():
    waiting, completed = pass_stage(
        np.array([0.0, 0.0, 0.0, 6.0]), np.array([4.0, 1.0, 2.0, 1.0]), 2, np.full(4, 0.5)
    )
    assert waiting.tolist() == [0.5, 0.5, 2.0, 0.5]
    assert completed.tolist() == [4.5, 1.5, 4.0, 7.5]


def test_without_spread_every_run_of_a_treatment_is_like_the_next(monkeypatch):
    monkeypatch.setattr("benchmarks.nested_data.HAND_OVER_S", 0.0)
    still = Scenario(name="still", run_spread=(0.0, 0.0), task_spread=0.0, block_spread=0.0)
    runs = simulate(np.random.default_rng(1), still, EQUAL[:2], 2, 3)
    # The first download, 20 services by the one worker, and the last upload.
    assert runs.makespan_s == pytest.approx(np.full((2, 2, 3), 0.14 + 20 * 0.6 + 0.14))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_same_seed_gives_the_same_studies(scenario):
    one, other = (
        simulate(np.random.default_rng(3), scenario, EQUAL[:3], 2, 3).makespan_s for _ in range(2)
    )
    assert (one == other).all()
    assert one.shape == (2, 3, 3)


def test_an_outlier_is_slowed_down_and_nothing_else_is():
    outliers = next(scenario for scenario in SCENARIOS if scenario.slowed > 1)
    slowed, undisturbed = (
        simulate(np.random.default_rng(3), scenario, EQUAL[:1], 100, 3).makespan_s
        for scenario in (outliers, outliers.undisturbed)
    )
    assert (slowed >= undisturbed * 0.999).all()
    assert 0.05 < (slowed > undisturbed * 1.1).mean() < 0.2
