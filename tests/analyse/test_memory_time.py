from __future__ import annotations

import pytest

from stagebench.analyse.memory import summarise_memory
from stagebench.analyse.memory_time import memory_time
from stagebench.quantities import unit_of

S = 1_000_000_000


class Swept:
    def __init__(self, at_s, tree, torn=0):
        self.ended_ns, self.tree, self.torn = round(at_s * S), tree, torn


def held(sweeps, start_s=10, end_s=20):
    return memory_time([Swept(*sweep) for sweep in sweeps], start_s * S, end_s * S)


def test_a_constant_size_is_held_for_the_whole_time():
    assert held([(n + 0.5, 7) for n in range(25)]) == pytest.approx(70)


def test_sweeps_are_joined_by_straight_lines():
    assert held([(n / 2, 3 * n / 2) for n in range(50)]) == pytest.approx(3 * 15 * 10)


def test_before_the_first_sweep_its_value_counts():
    assert held([(10.5 + n, 10.5 + n) for n in range(12)]) == pytest.approx(150 + 0.5**2 / 2)


def test_sweeps_outside_count_for_nothing():
    flat = [(n / 2, 7) for n in range(50)]
    outside = [(1.25, 10**9), (24.75, 10**9)]
    assert held(sorted([*flat, *outside])) == pytest.approx(70)


def test_torn_sweeps_count():
    assert held([(n / 2, 7, n % 2) for n in range(50)]) == pytest.approx(70)


@pytest.mark.parametrize("inside", [range(11, 20), [*range(10, 13), *range(19, 21)], []])
def test_too_few_sweeps_tell_nothing(inside):
    assert held([(n, 7) for n in inside]) is None


def test_sweeps_too_far_apart_tell_nothing():
    dense = [(10 + n / 10, 7) for n in range(1, 31)]
    assert held([*dense, (17.9, 7)]) == pytest.approx(70)
    assert held([*dense, (18.1, 7)]) is None


def test_a_workflow_without_an_end_has_none():
    assert memory_time([], 10 * S, None) is None


def test_its_unit_is_bytes_times_seconds():
    assert unit_of("tree_memory_time_byte_s") == "byte*s"


def test_a_run_has_it_where_it_was_swept_often_enough(trace, known_run, make_sweep):
    sweeps = tuple(make_sweep(n, 9 + n / 2, 20, [4]) for n in range(16))
    found = summarise_memory(trace(known_run(sweeps=sweeps)))["tree_memory_time_byte_s"]
    assert found == pytest.approx(24 * 2**20 * 6)
    assert summarise_memory(trace())["tree_memory_time_byte_s"] is None
