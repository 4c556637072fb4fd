"""The measured process: how it runs a specification, and how it ends."""

import csv
import os

import pytest

from stagebench import store
from stagebench.errors import WorkflowError
from stagebench.handlers.wait import wait
from stagebench.measure.main import list_tasks, make_stage
from stagebench.records import RETRIABLE_STATUSES, TaskRecord
from stagebench.task_list import hash_bytes

STAGE = {
    "name": "s",
    "handler": "wait",
    "executor": "thread",
    "workers": 1,
    "retain": False,
    "parameters": {"delay_s": 0.0},
    "after": [],
}
POOLS = {
    "thread": {"executor": "thread"},
    "fork": {"executor": "process", "start_method": "fork"},
    "forkserver": {"executor": "process", "start_method": "forkserver"},
    "spawn": {"executor": "process", "start_method": "spawn"},
}


def rows(folder, name):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_settings_that_a_specification_lacks_have_the_runners_defaults():
    stage = make_stage(STAGE)

    assert (stage.handler, stage.transport, stage.queue_size) == (wait, "pickle", None)
    assert stage.batch == 1
    assert (stage.timeout_s, stage.retries, stage.retry_on) == (None, 0, RETRIABLE_STATUSES)


def test_settings_of_a_specification_reach_the_runner():
    limits = {
        "transport": "path",
        "queue_size": 2,
        "batch": 4,
        "timeout_s": 1.5,
        "retries": 3,
        "retry_on": ["lost"],
    }

    stage = make_stage(STAGE | limits)

    assert (stage.transport, stage.queue_size, stage.timeout_s) == ("path", 2, 1.5)
    assert stage.batch == 4
    assert (stage.retries, stage.retry_on) == (3, ("lost",))
    assert make_stage(STAGE | {"prefetch": 2}).prefetch == 2


def test_a_number_of_tasks_stays_a_number():
    assert list_tasks(100_000) == 100_000


def test_tasks_of_a_file_need_the_folder_of_the_config():
    with pytest.raises(
        WorkflowError, match=r"x\.csv: lies beside the config, whose folder is unknown"
    ):
        list_tasks({"file": "x.csv"})


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_an_own_handler_and_its_helper_are_found_in_every_kind_of_worker(
    specify, measure, tmp_path, pool
):
    (tmp_path / "mine_main.py").write_text(
        "from mine_main_part import add\n\ndef add_one(number: int):\n    return add(number)\n"
    )
    (tmp_path / "mine_main_part.py").write_text("def add(number):\n    return number + 1\n")
    stage = {"handler": "mine_main:add_one", "parameters": {"number": 1}, **pool}

    folder = measure(specify(stage=stage), beside=tmp_path)

    assert store.read_run(folder)["status"] == "ok"
    assert len(store.read_records(folder / store.TASKS_FILE, TaskRecord)) == 2


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_handlers_run_in_the_folder_of_the_config_wherever_the_run_was_started(
    specify, measure, tmp_path, monkeypatch, pool
):
    (mine := tmp_path / "mine").mkdir()
    (mine / "read_main.py").write_text("def read(name: str):\n    return open(name).read()\n")
    (mine / "a.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    stage = {"handler": "read_main:read", **pool}

    found = measure(specify(stage=stage | {"parameters": {"name": "a.txt"}}), beside=mine)

    assert store.read_run(found)["status"] == "ok"


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_a_file_that_is_not_found_is_reported_with_the_working_directory(
    specify, measure, tmp_path, pool
):
    (tmp_path / "open_main.py").write_text("def read(name: str):\n    return open(name).read()\n")
    stage = {"handler": "open_main:read", "parameters": {"name": "data/a.txt"}, **pool}

    folder = measure(specify(stage=stage, tasks=1), beside=tmp_path)

    (record,) = store.read_records(folder / store.TASKS_FILE, TaskRecord)
    error, hint = record.error.splitlines()[-2:]
    assert error == "FileNotFoundError: [Errno 2] No such file or directory: 'data/a.txt'"
    assert hint.startswith(f"(the working directory is {tmp_path}, in a study the folder of the")


def test_a_relative_folder_of_the_callers_python_path_stays_what_it_is(
    specify, measure, tmp_path, monkeypatch
):
    for name in ("library", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "library/found_main.py").write_text("def f():\n    pass\n")
    monkeypatch.chdir(tmp_path)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["library", *paths]))
    stage = {"handler": "found_main:f", "parameters": {}}

    folder = measure(specify(stage=stage), beside=tmp_path / "mine")

    assert store.read_run(folder)["status"] == "ok"


def test_nothing_is_imported_from_the_working_directory(specify, measure, tmp_path, monkeypatch):
    (tmp_path / "mine_cwd.py").write_text("def f():\n    pass\n")
    monkeypatch.chdir(tmp_path)

    run = store.read_run(measure(specify(stage={"handler": "mine_cwd:f", "parameters": {}})))

    assert run["status"] == "crashed"
    assert "No module named 'mine_cwd'" in run["detail"]


def specify_file(specify, tmp_path, text):
    data = text.encode()
    (tmp_path / "tasks.csv").write_bytes(data)
    tasks = {
        "file": "tasks.csv",
        "sha256": hash_bytes(data),
        "number": 2,
        "columns": {"work.size_mib": ["float"]},
    }
    return specify(tasks=tasks)


def test_tasks_of_a_file_are_run_with_their_own_parameters(specify, measure, tmp_path):
    specification = specify_file(specify, tmp_path, "work.size_mib\n0.5\n-1\n")

    folder = measure(specification, beside=tmp_path)

    statuses = {row["task"]: row["status"] for row in rows(folder, store.TASKS_FILE)}
    assert statuses == {"0": "ok", "1": "failed"}  # no bytes of a negative number


def test_a_task_file_edited_since_is_refused_before_the_first_task(specify, measure, tmp_path):
    specification = specify_file(specify, tmp_path, "work.size_mib\n0.5\n1\n")
    (tmp_path / "tasks.csv").write_text("work.size_mib\n2\n1\n")

    folder = measure(specification, beside=tmp_path)

    run = store.read_run(folder)
    assert run["status"] == "crashed"
    assert "tasks.csv: edited after the study was started; start it again" in run["detail"]
    assert rows(folder, store.TASKS_FILE) == []


def test_every_attempt_is_in_the_trace(specify, measure):
    stage = {"handler": "flaky", "parameters": {"fail_every": 2}, "retries": 1}

    folder = measure(specify(stage=stage, tasks=4))

    assert store.read_run(folder)["status"] == "ok"
    attempts = store.read_records(folder / store.ATTEMPTS_FILE, TaskRecord)
    tasks = store.read_records(folder / store.TASKS_FILE, TaskRecord)
    assert {(record.status, record.attempt) for record in attempts} == {("failed", 1)}
    assert {record.attempt for record in tasks} == {1, 2}
    assert [record.attempt for record in tasks].count(2) == len(attempts)


@pytest.mark.parametrize("timeout_s", [None, 20.0])
def test_tasks_of_a_batch_are_in_the_trace_one_by_one(specify, measure, timeout_s):
    stage = {"handler": "wait", "parameters": {"delay_s": 0.1}, "workers": 1, "batch": 3}
    stage |= {"executor": "process", "start_method": "fork"}
    stage |= {} if timeout_s is None else {"timeout_s": timeout_s}

    folder = measure(specify(stage=stage, tasks=4))

    assert store.read_run(folder)["status"] == "ok"
    tasks = store.read_records(folder / store.TASKS_FILE, TaskRecord)
    first, *others = sorted(tasks, key=lambda record: record.started_ns)
    assert [record.task for record in (first, *others)] == [0, 1, 2, 3]
    waits = [record.received_ns - record.finished_ns > 90_000_000 for record in others]
    assert waits == ([True, True, False] if timeout_s is None else [False] * 3)


def test_tasks_arrive_as_the_specification_says(specify, measure):
    stage = {"handler": "wait", "parameters": {"delay_s": 0.0}}
    arrival = {"kind": "fixed_rate", "rate_per_s": 50.0}

    folder = measure(specify(stage=stage, tasks=3, arrival=arrival, in_flight=1))

    tasks = store.read_records(folder / store.TASKS_FILE, TaskRecord)
    due = sorted(record.due_ns for record in tasks)
    assert due[2] - due[0] >= 39_000_000


def test_an_interrupt_ends_the_run_with_a_record_of_every_task(specify, measure):
    program = (
        "import os, signal, threading\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
    )
    stage = {"handler": "wait", "parameters": {"delay_s": 30.0}}

    folder = measure(specify(stage=stage, program=program, tasks=3))

    run = store.read_run(folder)
    assert (run["status"], run["exit_code"]) == ("crashed", 130)
    assert "KeyboardInterrupt: the run was cancelled" in run["detail"]
    assert [row["status"] for row in rows(folder, store.TASKS_FILE)] == ["cancelled"] * 3
