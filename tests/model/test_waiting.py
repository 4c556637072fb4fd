"""The parts of waiting times, by hand."""

import random

from stagebench.model.waiting import Turn, Waited, split_waiting


def turn(submitted, started, received, *, worker=0, ready=None):
    return Turn(worker, ready, submitted, started, received)


def test_no_turns_have_no_parts():
    assert split_waiting([]) == []


def test_a_first_task_waits_for_its_worker_and_then_for_the_hand_over():
    assert split_waiting([turn(10, 25, 40, ready=18)]) == [Waited(0, 8, 7)]


def test_a_worker_that_was_ready_before_has_only_the_hand_over():
    assert split_waiting([turn(10, 25, 40, ready=5)]) == [Waited(0, 0, 15)]


def test_a_start_that_is_not_known_is_no_wait():
    assert split_waiting([turn(10, 25, 40)]) == [Waited(0, 0, 15)]


def test_a_later_task_waits_in_the_queue_until_the_result_before_was_received():
    turns = [turn(0, 0, 40, ready=0), turn(10, 43, 60)]
    assert split_waiting(turns) == [Waited(0, 0, 0), Waited(30, 0, 3)]


def test_a_later_task_that_comes_to_a_free_worker_does_not_queue():
    turns = [turn(0, 0, 40, ready=0), turn(50, 51, 60)]
    assert split_waiting(turns)[1] == Waited(0, 0, 1)


def test_workers_are_told_apart_by_whatever_names_them():
    turns = [
        turn(0, 5, 40, worker=("a", 1), ready=5),
        turn(0, 9, 12, worker=("a", 2), ready=8),
        turn(0, 14, 20, worker=("a", 2)),
    ]
    assert split_waiting(turns) == [Waited(0, 5, 0), Waited(0, 8, 1), Waited(12, 0, 2)]


def test_turns_are_in_any_order():
    turns = [turn(10, 43, 60), turn(0, 0, 40, ready=0)]
    assert split_waiting(turns) == [Waited(30, 0, 3), Waited(0, 0, 0)]


def test_a_task_that_starts_before_the_result_before_was_received_has_no_hand_over():
    # Tasks that are handed over together: the results come back together.
    turns = [turn(0, 1, 50, ready=0), turn(0, 20, 50)]
    assert split_waiting(turns) == [Waited(0, 0, 1), Waited(20, 0, 0)]


def test_parts_are_never_negative_and_add_up_to_the_waiting_time():
    rng = random.Random(1)
    for _ in range(300):
        turns = []
        for _ in range(rng.randint(1, 8)):
            moments = sorted(rng.randrange(100) for _ in range(3))
            ready = rng.choice([None, rng.randrange(1, 100)])
            turns.append(turn(*moments, worker=rng.randrange(3), ready=ready))
        for one, parts in zip(turns, split_waiting(turns), strict=True):
            assert min(parts) >= 0
            assert sum(parts) == one.started_ns - one.submitted_ns
