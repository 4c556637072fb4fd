"""The words of a family of tests."""

import numpy as np
from benchmarks.words import find_words

BASE = np.array([10.0, 11, 12, 10, 11])
NOISE = np.array([0.99, 1.01, 1.0, 1.02, 0.98])


def test_a_word_is_chosen_for_every_treatment_but_the_baseline():
    spread = np.array([0.8, 1.2, 1.0, 1.25, 0.9])
    values = np.array([BASE, 1.5 * BASE * NOISE, BASE * NOISE, BASE * spread])
    assert find_words(values, 0.05) == ["slower", "equivalent", "not decided"]
