from __future__ import annotations

import pytest

from stagebench.analyse.quickest import quickest_task_efficiency


@pytest.fixture
def efficiency(trace, known_run):
    return lambda *tasks: quickest_task_efficiency(trace(known_run(tasks=tasks)))


def test_it_is_the_lowest_efficiency_that_the_quickest_task_had_in_a_stage(efficiency, make_task):
    # The first is through in 4 s, 2 of 3 s at work; the other in 6 s, without waiting.
    quickest = (
        make_task(0, "work", (10, 11, 13, 13)),
        make_task(0, "save", (13, 13, 14, 14)),
    )
    slower = (make_task(1, "work", (10, 10, 15, 15)), make_task(1, "save", (15, 15, 16, 16)))
    assert efficiency(*quickest, *slower) == pytest.approx(2 / 3)


def test_a_task_that_never_waited_has_an_efficiency_of_1(efficiency, make_task):
    assert efficiency(make_task(0, "work", (10, 10, 12, 12.5))) == 1


def test_a_task_that_a_stage_did_not_serve_is_not_the_quickest(efficiency, make_task):
    whole = (make_task(0, "work", (10, 12, 14, 14)), make_task(0, "save", (14, 14, 15, 15)))
    failed = (
        make_task(1, "work", (10, 10, 11, 11), status="failed", error="E"),
        make_task(1, "save", (None,) * 4, status="skipped"),
    )
    assert efficiency(*whole, *failed) == 0.5


def test_without_a_task_that_was_served_throughout_there_is_none(efficiency, make_task):
    assert efficiency(make_task(0, "work", (10, None, None, None), status="cancelled")) is None
    assert efficiency() is None
