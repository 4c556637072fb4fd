from __future__ import annotations

import json
import shutil

import pytest

from stagebench import store
from stagebench.analyse.traces import read_traces, span_s
from stagebench.errors import StoreError


def test_traces_come_in_the_order_of_the_plan_whatever_the_order_of_the_runs(study, known_run):
    plan, raw = study(
        known_run(treatment="b", replicate=2),
        known_run(experiment="second", treatment="a"),
        known_run(treatment="b", replicate=1),
        known_run(treatment="a", baseline=False),
    )
    keys = [tuple(trace.key.values()) for trace in read_traces(plan, raw)]
    assert keys == [("pipe", "b", 1), ("pipe", "b", 2), ("pipe", "a", 1), ("second", "a", 1)]


def test_a_run_that_was_not_measured_is_named(study, known_run):
    plan, raw = study(known_run(), known_run(replicate=2))
    shutil.rmtree(raw / "pipe/p1-fork/r2")
    with pytest.raises(StoreError, match="pipe/p1-fork/r2: this run of the plan has not been"):
        read_traces(plan, raw)


def test_a_run_without_its_record_is_named(study, known_run):
    plan, raw = study(known_run())
    (raw / "pipe/p1-fork/r1" / store.RUN_FILE).unlink()
    with pytest.raises(StoreError, match=r"r1/run.json: cannot be read"):
        read_traces(plan, raw)


@pytest.mark.parametrize("name", [store.TASKS_FILE, store.EVENTS_FILE, store.SAMPLES_FILE])
def test_an_ok_run_that_lacks_a_file_is_an_error(study, known_run, name):
    plan, raw = study(known_run())
    (raw / "pipe/p1-fork/r1" / name).unlink()
    with pytest.raises(StoreError, match=name):
        read_traces(plan, raw)


def test_a_crashed_run_may_lack_files(study, known_run):
    plan, raw = study(known_run(status="crashed"))
    for name in (store.TASKS_FILE, store.WORKERS_FILE, store.EVENTS_FILE):
        (raw / "pipe/p1-fork/r1" / name).unlink()
    trace = read_traces(plan, raw)[0]
    assert (trace.tasks, trace.workers, trace.events) == ((), (), {})
    assert trace.origin_ns is None


def test_a_folder_with_another_run_in_it_is_an_error(study, known_run):
    plan, raw = study(known_run())
    path = raw / "pipe/p1-fork/r1" / store.RUN_FILE
    store.write_json(path, json.loads(path.read_text()) | {"treatment": "t9"})
    with pytest.raises(StoreError, match="treatment is 't9', the plan says 'p1-fork'"):
        read_traces(plan, raw)


def test_a_run_of_another_specification_than_the_plans_is_an_error(study, known_run):
    plan, raw = study(known_run())
    plan["treatments"]["pipe/p1-fork"]["specification"]["tasks"] = 3
    with pytest.raises(StoreError, match="was measured with another specification"):
        read_traces(plan, raw)


def test_a_task_of_a_stage_that_the_run_does_not_have_is_an_error(study, known_run, make_task):
    plan, raw = study(known_run(tasks=(make_task(0, "sort", (10, 11, 12, 13)),)))
    with pytest.raises(
        StoreError, match=r"tasks.csv: stages \['sort'\], the run has \['work', 'save'\]"
    ):
        read_traces(plan, raw)


def test_a_span_is_missing_when_either_end_is():
    assert span_s(None, 5) is None
    assert span_s(5, None) is None
    assert span_s(500_000_000, 2_000_000_000) == 1.5


def test_a_run_of_another_protocol_is_an_error_that_names_its_folder(study, known_run):
    plan, raw = study(known_run(), known_run(treatment="t1", baseline=False))
    plan["treatments"]["pipe/t1"]["specification"]["protocol"] = 4
    with pytest.raises(StoreError, match="pipe/t1/r1: was measured by protocol 1, the plan says 4"):
        read_traces(plan, raw)


def test_a_run_of_another_schema_is_an_error_that_names_its_folder(study, known_run):
    plan, raw = study(known_run(run={"schema_version": 3}))
    with pytest.raises(StoreError, match=r"pipe/p1-fork/r1/run\.json: schema_version is 3"):
        read_traces(plan, raw)
