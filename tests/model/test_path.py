"""The critical path: each of its parts by hand, and that the parts add up to the makespan."""

import pytest
from tests.made_runs import measured_run, random_run, served, stage_run

from stagebench.model.measured import Calibrated
from stagebench.model.path import (
    ARRIVAL,
    AWAY,
    CPU,
    FIRST,
    HAND_OVER,
    HELD_BACK,
    OTHER,
    PARTS,
    START,
    WAITING,
    Segment,
    add_segments,
    follow_path,
)

KNOWN = Calibrated(cpu_s=1.0, away_s=1.0, held_s=1.0, asks=0.0, wakes=0.0)


def parts_of(*stages, **others):
    """Return the parts of a run's path by stage and part; they must add up to its makespan."""
    run = measured_run(*stages, **others)
    parts = add_segments(follow_path(run))
    assert sum(parts.values()) == pytest.approx(run.makespan_s)
    return dict(parts)


@pytest.mark.parametrize("block", range(10))
def test_parts_add_up_to_the_makespan(block):
    for seed in range(60 * block, 60 * (block + 1)):
        run = random_run(seed)
        path = follow_path(run)
        assert sum(each.seconds for each in path) == pytest.approx(run.makespan_s), seed
        assert {each.part for each in path} <= set(PARTS)
        assert all(each.seconds > -1e-6 for each in path), seed


def test_a_task_alone_is_on_a_cpu_or_asleep():
    stage = stage_run("s", [served(0, 0.0, 5.0, cpu_s=2.0)])
    assert parts_of(stage) == {("s", CPU): 2.0, ("s", AWAY): 3.0}


def test_cpu_time_that_is_not_known_counts_as_away():
    stage = stage_run("s", [served(0, 0.0, 5.0, cpu_s=None)], calibrated=KNOWN)
    assert parts_of(stage) == {("s", AWAY): 5.0}


def test_time_away_beyond_what_a_handler_is_away_alone_is_waiting():
    stage = stage_run("s", [served(0, 0.0, 5.0, cpu_s=2.0)], calibrated=KNOWN)
    assert parts_of(stage) == {("s", CPU): 2.0, ("s", AWAY): 1.0, ("s", WAITING): 2.0}


def test_hand_over_goes_both_ways():
    stage = stage_run(
        "s", [served(0, 0.5, 1.5, due_s=0.0, submitted_s=0.0, send_s=0.5, received_s=1.75)]
    )
    assert parts_of(stage) == {("s", AWAY): 1.0, ("s", HAND_OVER): 0.75}


def test_a_first_task_takes_what_is_beyond_the_median_of_later_ones():
    tasks = [
        served(0, 0.0, 3.0, cpu_s=2.5, is_first=True),
        served(1, 3.0, 4.0, cpu_s=1.0, due_s=0.0, submitted_s=0.0, queue_s=3.0),
    ]
    assert parts_of(stage_run("s", tasks)) == {
        ("s", FIRST): 2.0,
        ("s", CPU): 1.0 + 0.5,
        ("s", AWAY): 0.5,
    }


def test_a_stage_of_first_tasks_alone_has_none_that_took_longer_than_their_median():
    stage = stage_run("s", [served(0, 0.0, 3.0, cpu_s=2.5, is_first=True)])
    assert parts_of(stage) == {("s", CPU): 2.5, ("s", AWAY): 0.5}


def test_the_start_of_a_worker_is_a_part_of_its_own():
    task = served(0, 0.75, 1.75, is_first=True, due_s=0.0, submitted_s=0.0, start_s=0.75)
    assert parts_of(stage_run("s", [task])) == {("s", START): 0.75, ("s", AWAY): 1.0}


def test_a_task_that_waited_leads_to_the_one_that_its_worker_served_before():
    tasks = [
        served(0, 0.0, 2.0, worker=0),
        served(1, 0.0, 1.0, worker=1),
        served(2, 1.0, 5.0, worker=1, due_s=0.0, submitted_s=0.0, queue_s=1.0),
    ]
    run = measured_run(stage_run("s", tasks, workers=2))
    assert follow_path(run) == [Segment("s", AWAY, 4.0), Segment("s", AWAY, 1.0)]


def test_a_task_that_did_not_wait_leads_to_the_last_of_the_stages_before():
    quick = stage_run("quick", [served(0, 0.0, 1.0)])
    slow = stage_run("slow", [served(0, 0.0, 3.0)])
    join = stage_run("join", [served(0, 3.0, 4.0)], after=(0, 1))
    assert parts_of(quick, slow, join) == {("slow", AWAY): 3.0, ("join", AWAY): 1.0}


def test_the_path_follows_the_queue_and_then_the_stage_before():
    first = stage_run(
        "first",
        [served(0, 0.0, 1.0), served(1, 1.0, 2.0, due_s=0.0, submitted_s=0.0, queue_s=1.0)],
    )
    second = stage_run(
        "second",
        [served(0, 1.0, 4.0), served(1, 4.0, 7.0, due_s=2.0, submitted_s=2.0, queue_s=2.0)],
        after=(0,),
    )
    # The second task waited for the worker that served the first, which came from the stage before.
    assert parts_of(first, second) == {("first", AWAY): 1.0, ("second", AWAY): 6.0}


def test_the_path_begins_with_the_task_that_was_received_last_in_any_stage():
    long = stage_run("long", [served(0, 0.0, 9.0), served(1, 0.0, 1.0, worker=1)], workers=2)
    short = stage_run("short", [served(1, 1.0, 2.0)], after=(0,))
    assert parts_of(long, short) == {("long", AWAY): 9.0}


def test_time_from_due_to_submission_was_held_back():
    tasks = [served(0, 2.0, 3.0, due_s=1.0), served(1, 0.0, 1.0)]
    assert parts_of(stage_run("s", tasks)) == {
        ("s", AWAY): 1.0,
        ("s", HELD_BACK): 1.0,
        ("s", ARRIVAL): 1.0,
    }


def test_time_until_a_task_was_due_is_its_arrival():
    tasks = [served(0, 0.0, 1.0), served(1, 5.0, 6.0)]
    parts = parts_of(stage_run("s", tasks), due_s={0: 0.0, 1: 5.0})
    assert parts == {("s", AWAY): 1.0, ("s", ARRIVAL): 5.0}


def test_the_time_in_which_main_passes_a_task_on_is_other():
    first = stage_run("first", [served(0, 0.0, 1.0)])
    second = stage_run("second", [served(0, 1.25, 2.0)], after=(0,))
    assert parts_of(first, second) == {
        ("first", AWAY): 1.0,
        ("second", AWAY): 0.75,
        ("second", OTHER): 0.25,
    }


def test_a_wait_for_a_worker_of_which_no_earlier_task_is_known_is_other():
    task = served(0, 2.0, 3.0, due_s=0.0, submitted_s=0.0, queue_s=2.0)
    assert parts_of(stage_run("s", [task])) == {("s", AWAY): 1.0, ("s", OTHER): 2.0}


def test_segments_of_one_stage_and_part_are_added_up():
    segments = [Segment("a", CPU, 1.0), Segment("b", CPU, 2.0), Segment("a", CPU, 0.5)]
    assert add_segments(segments) == {("a", CPU): 1.5, ("b", CPU): 2.0}
