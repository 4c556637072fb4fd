"""What holds of every engine and executor, whichever library serves the stages.

Each scenario runs in a process of its own, with a temporary directory of its own.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from tests.engines.scenario import TASKS

from stagebench.engines.support import ENGINES, find_missing
from stagebench.records import RULES, TaskRecord

ROOT = Path(__file__).parents[2]
KINDS = [
    (engine, executor, method)
    for engine, ability in ENGINES.items()
    if not find_missing(engine)
    for executor, method in [
        ("thread", "none"),
        *(("process", method) for method in ability.start_methods),
    ]
]
MARK = "STAGEBENCH_TEST_OF_ENGINES"


@pytest.fixture(params=KINDS, ids="-".join)
def kind(request):
    return request.param


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_that_is_installed_is_tested(engine):
    if missing := find_missing(engine):
        pytest.skip(f"{missing} is not installed (stagebench[{engine}])")
    assert {kind[1] for kind in KINDS if kind[0] == engine} == {"thread", "process"}


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    """Run a scenario once for all tests; return what it printed, and its temporary directory."""

    @cache
    def run(kind, name):
        # Short, because Ray's sockets lie below it.
        folder = tmp_path_factory.mktemp("e")
        environment = os.environ | {"TMPDIR": str(folder), MARK: str(folder)}
        done = subprocess.run(
            [sys.executable, "-m", "tests.engines.scenario", *kind, name],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1]), folder

    return run


def processes_of(folder):
    """Return the command lines of all processes that were started below a scenario."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if f"{MARK}={folder}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except (OSError, ValueError):
            continue
    return found


def test_results_are_those_of_the_handlers_in_the_order_of_tasks(kind, scenario):
    printed, _ = scenario(kind, "chain")
    served = [0, 1, 2, 4, 5]
    assert printed["results"]["number"] == {str(task): task for task in served}
    assert printed["results"]["double"] == {str(task): 2 * task for task in served}
    assert list(printed["results"]["text"].items()) == [(str(n), str(2 * n)) for n in served]


def test_large_arrays_arrive_as_they_were_made(kind, scenario):
    printed, _ = scenario(kind, "arrays")
    served = [0, 1, 2, 4, 5]
    assert printed["results"]["total"] == {str(n): n * 4.0 * (1 << 17) for n in served}


def test_every_task_has_one_record_in_every_stage_and_its_moments_are_in_order(kind, scenario):
    printed, _ = scenario(kind, "chain")
    records = printed["tasks"]
    assert Counter((one["task"], one["stage"]) for one in records) == {
        (task, stage): 1 for task in range(TASKS) for stage in ("number", "double", "text")
    }
    for record in records:
        moments = [record[name] for name in RULES[TaskRecord].ordered]
        known = [moment for moment in moments if moment is not None]
        assert known == sorted(known), record
        assert (record["status"] == "skipped") == (not known)
        if record["status"] == "ok":
            assert len(known) == len(moments)
            assert record["cpu_ns"] <= record["finished_ns"] - record["started_ns"] + 1_000_000


def test_a_stage_starts_after_the_one_before_has_been_received(kind, scenario):
    printed, _ = scenario(kind, "chain")
    by_key = {(one["task"], one["stage"]): one for one in printed["tasks"]}
    for task in (0, 1, 2, 4, 5):
        for before, after in (("number", "double"), ("double", "text")):
            received = by_key[task, before]["received_ns"]
            assert by_key[task, after]["due_ns"] == received


def test_a_handlers_error_is_recorded_with_its_text_and_what_follows_is_skipped(kind, scenario):
    printed, _ = scenario(kind, "chain")
    statuses = {one["stage"]: one for one in printed["tasks"] if one["task"] == 3}
    assert [statuses[name]["status"] for name in ("number", "double", "text")] == [
        "failed",
        "skipped",
        "skipped",
    ]
    assert statuses["number"]["error"].endswith("ValueError: three is not served\n")


def test_each_worker_is_recorded_once_and_serves_the_tasks_of_its_stage(kind, scenario):
    printed, _ = scenario(kind, "chain")
    workers = Counter((one["stage"], one["pid"], one["thread_id"]) for one in printed["workers"])
    served = {
        (one["stage"], one["pid"], one["thread_id"])
        for one in printed["tasks"]
        if one["pid"] is not None
    }
    assert set(workers) == served
    assert set(workers.values()) == {1}


def test_no_more_tasks_of_a_stage_are_served_at_a_time_than_it_has_workers(kind, scenario):
    printed, _ = scenario(kind, "chain")
    for stage in ("number", "double", "text"):
        served = [one for one in printed["tasks"] if one["stage"] == stage and one["started_ns"]]
        for one in served:
            at = one["started_ns"]
            beside = [o for o in served if o["started_ns"] <= at < o["finished_ns"]]
            assert 1 <= len(beside) <= 2


def test_processes_are_not_main_and_threads_share_one_process(kind, scenario):
    engine, executor, _ = kind
    printed, _ = scenario(kind, "chain")
    pids = {one["stage"]: set() for one in printed["workers"]}
    for one in printed["workers"]:
        pids[one["stage"]].add(one["pid"])
    if executor == "process":
        assert pids["double"].isdisjoint(pids["number"])
    elif engine != "ray":  # whose threads live in a process for each stage
        assert len(set().union(*pids.values())) == 1


def test_results_of_several_stages_meet_in_one_if_the_engine_can_join_them(kind, scenario):
    if not ENGINES[kind[0]].joins:
        pytest.skip(f"{kind[0]} has no joins")
    printed, _ = scenario(kind, "diamond")
    assert printed["results"]["both"] == {
        str(task): [["double", 2 * task], ["text", str(task)]] for task in (0, 1, 2, 4, 5)
    }
    skipped = [one for one in printed["tasks"] if one["status"] == "skipped"]
    assert {(one["task"], one["stage"]) for one in skipped} == {
        (3, "double"),
        (3, "text"),
        (3, "both"),
    }
    assert len(printed["tasks"]) == 4 * TASKS


def test_a_worker_that_dies_loses_its_task_and_the_run_ends(kind, scenario):
    if kind[1] != "process":
        pytest.skip("a thread that kills its process kills main")
    printed, _ = scenario(kind, "deadly")
    by_task = {one["task"]: one for one in printed["tasks"]}
    assert sorted(by_task) == list(range(TASKS))
    assert by_task[1]["status"] == "lost"
    assert by_task[1]["error"]
    assert {one["status"] for one in by_task.values()} <= {"ok", "lost"}


def test_a_result_that_cannot_be_sent_is_a_failure_with_its_reason(kind, scenario):
    engine, executor, _ = kind
    if executor != "process":
        pytest.skip("threads send nothing")
    printed, _ = scenario(kind, "unsendable")
    by_task = {one["task"]: one for one in printed["tasks"]}
    assert sorted(by_task) == list(range(TASKS))
    if engine in {"concurrent.futures", "tadween"}:  # the others pickle functions by value
        assert by_task[1]["status"] == "failed"
        assert "pickle" in by_task[1]["error"]
        assert by_task[0]["status"] == by_task[5]["status"] == "ok"


def test_nothing_is_left_in_processes_threads_files_or_shared_memory(kind, scenario):
    names = ["chain", "arrays"] + ["deadly"] * (kind[1] == "process")
    for name in names:
        printed, folder = scenario(kind, name)
        assert printed["threads"] == []
        assert processes_of(folder) == []
        pids = {one["pid"] for one in printed["tasks"] if one["pid"]}
        shared = os.listdir("/dev/shm")
        assert [one for one in shared for pid in pids if f"_{pid}_" in one] == []
        if kind[0] != "ray":  # whose logs go with the run's temporary directory
            assert list(folder.iterdir()) == []
