"""Engines in measured runs: outcome, records and roles, as the analysis reads them."""

import pytest

from stagebench import store
from stagebench.engines.support import find_missing
from stagebench.records import ProcessRecord, TaskRecord

SPAWN = {"executor": "process", "start_method": "spawn", "workers": 2}


def roles(folder):
    records = store.read_records(folder / store.PROCESSES_FILE, ProcessRecord)
    return {record.role for record in records}, sum(one.role == "worker" for one in records)


def test_a_run_on_an_engine_is_ok_and_its_workers_are_workers(specify, measure):
    folder = measure(specify(engine="concurrent.futures", stage=SPAWN))
    run = store.read_run(folder)
    assert (run["status"], run["detail"], run["survivors"]) == ("ok", "", 0)
    tasks = store.read_records(folder / store.TASKS_FILE, TaskRecord)
    assert [task.status for task in tasks] == ["ok", "ok"]
    assert roles(folder)[1] >= 1


@pytest.mark.skipif(bool(find_missing("joblib")), reason="joblib is not installed")
def test_lokys_processes_have_the_roles_of_multiprocessings(specify, measure):
    folder = measure(specify(engine="joblib", stage=SPAWN))
    assert store.read_run(folder)["status"] == "ok"
    named, workers = roles(folder)
    assert (named, workers) == ({"main", "worker", "resource_tracker"}, 2)


@pytest.mark.skipif(bool(find_missing("ray")), reason="ray is not installed")
def test_rays_services_are_daemons_and_nothing_of_them_is_left(specify, measure):
    folder = measure(specify(engine="ray", stage=SPAWN))
    run = store.read_run(folder)
    assert (run["status"], run["detail"], run["survivors"]) == ("ok", "", 0)
    named, workers = roles(folder)
    assert {"main", "worker", "daemon"} <= named
    assert workers >= 1
    records = store.read_records(folder / store.PROCESSES_FILE, ProcessRecord)
    daemons = " ".join(one.command for one in records if one.role == "daemon")
    assert "raylet" in daemons
    assert "gcs_server" in daemons


def test_what_an_engine_cannot_do_is_an_outcome_with_its_reason(specify, measure):
    run = store.read_run(measure(specify(engine="concurrent.futures", in_flight=2)))
    assert (run["status"], run["detail"]) == (
        "unsupported",
        "concurrent.futures knows no limit of tasks in flight (here 2)",
    )


def test_hooks_of_a_handler_that_an_engine_does_not_call_are_unsupported(
    specify, measure, tmp_path
):
    (tmp_path / "hooked.py").write_text(
        "class Reader:\n"
        "    def begin_worker(self): ...\n"
        "    def __call__(self): return 1\n"
        "read = Reader()\n"
    )
    stage = {"handler": "hooked:read", "parameters": {}}
    run = store.read_run(
        measure(specify(engine="concurrent.futures", stage=stage), beside=tmp_path)
    )
    assert run["status"] == "unsupported"
    assert run["detail"] == "concurrent.futures calls no begin_worker of a handler (stage 'work')"


@pytest.mark.parametrize("more", [{}, {"diagnose": {"spinner": False}}], ids=["", "diagnosed"])
@pytest.mark.parametrize(
    ("settings", "status"), [("", "ok"), (", initializer=dict", "unsupported")]
)
def test_a_function_of_a_pipeline_runs_on_any_engine_unless_it_opens_something(
    specify, measure, tmp_path, settings, status, more
):
    (tmp_path / "piped.py").write_text(
        f"from stagebench import Pipeline\npipe = Pipeline().threads(abs{settings})\n"
    )
    stage = {"handler": "piped:pipe.abs", "parameters": {}}
    of = {"engine": "concurrent.futures", "tasks": [{"work": {"item": -3}}]}
    run = store.read_run(measure(specify(stage=stage, **of) | more, beside=tmp_path))
    assert run["status"] == status


def test_a_run_that_hangs_on_an_engine_is_ended_and_names_it(specify, measure):
    stage = {**SPAWN, "handler": "wait", "parameters": {"delay_s": 60}}
    run = store.read_run(
        measure(specify(engine="concurrent.futures", stage=stage), time_limit_s=3.0)
    )
    assert run["status"] == "timed_out"
    assert run["detail"] == (
        "still running after the time limit of 3 s, on the engine concurrent.futures"
    )
