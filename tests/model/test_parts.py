"""The parts of a service, from numbers whose make-up is known."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagebench.model.parts import (
    Beside,
    Calibration,
    ServiceParts,
    Spent,
    bound_held_share,
    find_others_held,
    split_service,
)

SPINS = Calibration(away_s=0.0, wakes=0.0, held_share=1.0)
RELEASES = Calibration(away_s=0.0, wakes=0.0, held_share=0.0)
SLEEPS = Calibration(away_s=0.2, wakes=1.0, held_share=0.0)


def split(spent, alone, others_held_s=math.inf, **settings):
    return split_service(Spent(*spent), alone, others_held_s=others_held_s, **settings)


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 5])
def test_threads_that_spin_wait_for_the_gil_while_the_others_have_it(threads):
    service_s = 0.1 * threads
    # Each time that it has given up the GIL, and once in every switch interval until it is back.
    wakes = (20 + 20 * (threads - 1)) * (threads > 1)
    parts = split((service_s, 0.1, 0.0, wakes), SPINS, service_s - 0.1)
    assert parts == pytest.approx(ServiceParts(0.1, 0.0, 0.1 * (threads - 1), 0.0, 0.0))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_that_compute_without_the_gil_wait_for_cores_only(threads):
    service_s = 0.1 * max(1, threads / 2)
    parts = split((service_s, 0.1, service_s - 0.1, 0), RELEASES, 0.0)
    assert parts == pytest.approx(ServiceParts(0.0, 0.1, 0.0, service_s - 0.1, 0.0))


def test_what_a_task_is_away_alone_is_blocked():
    assert split((0.2, 0.0, 0.0, 1), SLEEPS) == ServiceParts(0.0, 0.0, 0.0, 0.0, 0.2)


def test_a_longer_sleep_than_alone_is_blocked_if_it_has_no_more_wakes():
    assert split((0.9, 0.0, 0.0, 1), SLEEPS) == ServiceParts(0.0, 0.0, 0.0, 0.0, 0.9)


def test_a_reader_that_gets_the_gil_back_late_waits_for_it():
    reads = Calibration(away_s=0.1, wakes=20.0, held_share=1.0)
    # Beside a thread that computes, each of twenty reads takes a switch interval longer.
    parts = split((0.21, 0.01, 0.0, 40), reads, 0.2)
    assert parts == pytest.approx(ServiceParts(0.01, 0.0, 0.1, 0.0, 0.1))


def test_a_long_wait_with_few_wakes_is_a_lock():
    # Another thread spins, with the GIL, while it holds the lock: one wake, at its release.
    parts = split((0.3, 0.1, 0.0, 1), SPINS, 0.2)
    assert parts == pytest.approx(ServiceParts(0.1, 0.0, 0.0, 0.0, 0.2))


def test_of_the_wakes_of_a_long_wait_one_at_least_is_no_wait_for_the_gil():
    assert split((0.3, 0.1, 0.0, 4), RELEASES, 0.2).gil_wait_s == pytest.approx(0.015)
    assert split((0.12, 0.1, 0.0, 4), RELEASES, 0.2).gil_wait_s == pytest.approx(0.02)


def test_half_of_the_wakes_of_a_thread_with_the_gil_may_be_those_at_which_it_gave_it_up():
    assert split((0.3, 0.1, 0.0, 10), SPINS, 0.2).gil_wait_s == pytest.approx(0.02)
    # It computes for two switch intervals, and gives up the GIL no more often than that.
    assert split((0.3, 0.01, 0.0, 10), SPINS, 0.2).gil_wait_s == pytest.approx(0.035)


def test_nobody_waits_for_a_gil_that_nobody_holds():
    # Sixty short waits for a lock whose holder sleeps.
    parts = split((0.3, 0.0, 0.0, 60), Calibration(0.1, 20.0, 0.0), 0.002)
    assert parts == pytest.approx(ServiceParts(0.0, 0.0, 0.002, 0.0, 0.298))


def test_a_process_with_one_thread_never_waits_for_the_gil():
    assert split((0.3, 0.1, 0.05, 99), SPINS, 0.0) == pytest.approx(
        ServiceParts(0.1, 0.0, 0.0, 0.05, 0.15)
    )


def test_the_switch_interval_bounds_what_a_wake_can_stand_for():
    assert split((0.3, 0.1, 0.0, 11), RELEASES, 0.2, switch_s=0.001).gil_wait_s == pytest.approx(
        0.01
    )


def test_cpu_time_is_split_by_the_share_with_the_gil():
    parts = split((1.0, 0.8, 0.2, 0), Calibration(0.0, 0.0, 0.25))
    assert parts == pytest.approx(ServiceParts(0.2, 0.6, 0.0, 0.2, 0.0))


SECONDS = st.floats(0.0, 10.0)


@settings(derandomize=True, database=None, deadline=None)
@given(
    st.builds(Spent, SECONDS, SECONDS, SECONDS, st.integers(0, 1000)),
    st.builds(Calibration, SECONDS, st.floats(0, 1000), st.floats(0.0, 1.0)),
    SECONDS,
)
def test_the_parts_add_up_to_the_service_and_none_is_negative(spent, alone, others_held_s):
    parts = split_service(spent, alone, others_held_s=others_held_s)
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(spent.service_s)


@pytest.mark.parametrize(
    ("tasks", "bounds"),
    [
        ([], (0.0, 1.0)),
        ([(0.2, 0.1, 0.0, 0.1, 0.0)], (1.0, 1.0)),  # turns
        ([(0.1, 0.1, 0.0, 0.1, 0.0)], (0.0, 0.0)),  # each on a core of its own
        ([(0.2, 0.1, 0.0, 0.16, 0.0)], (0.4, 0.4)),
        ([(0.2, 0.0, 0.0, 0.2, 0.0)], (0.0, 1.0)),  # asleep: there is nothing to share
        # Others use the cores: either may have had the GIL while one of them waited.
        ([(0.4, 0.1, 0.02, 0.34, 0.01)], (0.3, 0.6)),
        ([(0.4, 0.1, 0.2, 0.1, 0.1)], (0.0, 1.0)),
        # Each task narrows it down.
        ([(0.4, 0.1, 0.02, 0.34, 0.01), (0.4, 0.1, 0.03, 0.35, 0.0)], (0.3, 0.5)),
        # Of tasks that differ, both count.
        ([(0.2, 0.1, 0.0, 0.14, 0.0), (0.2, 0.1, 0.0, 0.16, 0.0)], (0.4, 0.6)),
        ([(0.2, 0.1, 0.0, 0.3, 0.0)], (0.0, 0.0)),  # never outside of 0 to 1
        ([(0.2, 0.1, 0.0, 0.0, 0.0)], (1.0, 1.0)),
    ],
)
def test_the_share_with_the_gil_is_bounded_by_what_the_spinner_got(tasks, bounds):
    assert bound_held_share([Beside(*task) for task in tasks]) == pytest.approx(bounds)


def test_others_hold_the_gil_evenly_over_their_service():
    spans = [(0.0, 4.0, 2.0), (2.0, 6.0, 1.0), (5.0, 5.5, 0.5), (8.0, 9.0, 1.0), (8.0, 8.0, 0.0)]
    # Common: 2 s of the first two, and 0.5 s of the second and third.
    assert find_others_held(spans) == pytest.approx([0.5, 1.5, 0.125, 0.0, 0.0])


def test_tasks_that_follow_one_another_have_nothing_in_common():
    assert find_others_held([(1.0, 2.0, 1.0), (0.0, 1.0, 1.0), (2.0, 3.0, 1.0)]) == [0.0] * 3


def test_no_tasks_hold_nothing():
    assert find_others_held([]) == []
