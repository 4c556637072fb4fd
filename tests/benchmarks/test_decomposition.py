"""How what was measured of tasks is compared with what their handler knows."""

import pytest
from benchmarks.decomposition import (
    CASES,
    Call,
    compare,
    find_within,
    format_row,
    make_call,
    request_for,
    specify,
)

from stagebench.model.parts import Beside, Calibration, ServiceParts, Spent
from stagebench.records import DiagnosisRecord, TaskRecord

MS = 1_000_000
SPINS = Calibration(away_s=0.0, wakes=0.0, held_share=1.0)


def task(started_ms, finished_ms, cpu_ms=10):
    return TaskRecord(
        task=0,
        stage="work",
        attempt=1,
        status="ok",
        due_ns=0,
        submitted_ns=0,
        started_ns=started_ms * MS,
        finished_ns=finished_ms * MS,
        received_ns=finished_ms * MS,
        cpu_ns=cpu_ms * MS,
        pid=1,
        thread_id=1,
        error=None,
    )


def diagnosis(started_ms, finished_ms):
    return DiagnosisRecord(
        pid=1,
        thread_id=1,
        started_ns=started_ms * MS,
        finished_ns=finished_ms * MS,
        core_wait_ns=10 * MS,
        voluntary_switches=9,
        other_switches=0,
        spinner_ns=50 * MS,
        spinner_wait_ns=5 * MS,
    )


def call(service_s, known, started_ns=0, cpu_s=0.1, wakes=99):
    spent = Spent(service_s, cpu_s, known.core_wait_s, wakes)
    beside = Beside(*spent[:3], 0.0, 0.0)
    return Call(spent, beside, known, started_ns, started_ns + int(service_s * 1e9))


def test_a_call_belongs_to_the_task_in_whose_service_it_begins():
    records = [diagnosis(5, 9), diagnosis(11, 19), diagnosis(21, 29)]
    assert find_within(records, task(10, 20), lambda each: each.started_ns) is records[1]


def test_what_the_handler_does_not_know_is_a_wait_for_the_gil():
    note = {"held_s": 0.02, "computing_s": 0.01, "blocked_s": 0.03}
    made = make_call(task(0, 120, cpu_ms=30), diagnosis(10, 110), note)
    assert made.spent == pytest.approx((0.1, 0.03, 0.01, 9))
    assert made.beside == pytest.approx((0.1, 0.03, 0.01, 0.05, 0.005))
    assert made.known == pytest.approx((0.02, 0.01, 0.03, 0.01, 0.03))


def test_in_threads_a_task_waits_while_others_have_the_gil():
    known = ServiceParts(0.1, 0.0, 0.1, 0.0, 0.0)
    found, shares = compare([call(0.2, known), call(0.2, known)], SPINS, "thread", 0.0)
    assert found == pytest.approx((0.5, 0.0, 0.5, 0.0, 0.0))
    assert shares == pytest.approx((0.5, 0.0, 0.5, 0.0, 0.0))


def test_in_processes_what_is_left_is_blocked():
    known = ServiceParts(0.1, 0.0, 0.1, 0.0, 0.0)
    found, shares = compare([call(0.2, known), call(0.2, known)], SPINS, "fork", 0.0)
    assert found == pytest.approx((0.5, 0.0, 0.0, 0.0, 0.5))
    assert shares == pytest.approx((0.5, 0.0, 0.0, 0.0, 0.5))


def test_a_stage_beside_holds_the_gil_for_its_part():
    known = ServiceParts(0.1, 0.0, 0.1, 0.0, 0.0)
    assert compare([call(0.2, known)], SPINS, "thread", 0.0)[0].gil_wait_s == 0.0
    assert compare([call(0.2, known)], SPINS, "thread", 1.0)[0].gil_wait_s == pytest.approx(0.5)


def test_a_row_has_each_part_beside_what_is_true():
    found, known = ServiceParts(0.5, 0, 0.25, 0.25, 0), ServiceParts(0.5, 0, 0.2, 0.2, 0.1)
    assert format_row(CASES[0], "thread", 2, found, known, 0.1) == [
        "spin",
        "2 thread",
        "50 (50)",
        "0 (0)",
        "25 (20)",
        "25 (20)",
        "0 (10)",
        "10.0",
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_a_specification_that_diagnoses(case, tmp_path):
    specification = specify(case, case.kinds[-1], 3, tmp_path / "truth", spinner=False)
    assert specification["diagnose"] == {"spinner": False}
    assert specification["tasks"] == 3
    assert len(specification["stages"]) == 1 + (case.beside is not None)
    assert request_for(specification).program == "stagebench.measure.diagnose"
