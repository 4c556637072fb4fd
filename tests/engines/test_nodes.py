"""Runs on two nodes: what happens where, what it takes there, and that nothing is left."""

import os
import time
from pathlib import Path

import pytest
from tests.measure.test_supervisor import alive, start_supervisor, wait_for_tree

from stagebench import store
from stagebench.analyse.run_nodes import find_numbers, summarise_nodes
from stagebench.analyse.traces import read_lone
from stagebench.engines.support import find_missing
from stagebench.network_nodes import why_none
from stagebench.records import ProcessRecord

MIB = 1 << 20
LINKED = {"count": 2, "link_mbit_s": 800.0}
SPAWN = {"executor": "process", "start_method": "spawn", "workers": 2}

HANDLERS = """
import os, signal, time

def hold(mib):
    held = b"x" * (mib << 20)
    time.sleep(0.7)
    return len(held)

def talk():
    print("x" * 100_000, flush=True)
    time.sleep(0.2)

def die(after):
    if after:
        time.sleep(1.0)
        return
    os.kill(os.getpid(), signal.SIGKILL)
"""

needs_nodes = pytest.mark.skipif(
    bool(find_missing("dask") or why_none(LINKED)),
    reason=f"{find_missing('dask') or why_none(LINKED)}",
)


@pytest.fixture
def on_nodes(specify, measure, tmp_path):
    """Measure a stage on Dask; return its trace."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "held.py").write_text(HANDLERS)

    def run(stage, nodes=LINKED, **others):
        specification = specify(stage=stage, engine="dask", nodes=nodes, **others)
        return read_lone(measure(specification, beside=tmp_path / "mine"))

    return run


def hold(*sizes):
    stage = {"handler": "held:hold", "parameters": {}}
    return stage, [{"work": {"mib": size}} for size in sizes]


@needs_nodes
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_workers_are_spread_evenly_and_each_process_belongs_to_a_node(on_nodes, method):
    stage = {**SPAWN, "start_method": method, "workers": 4, "parameters": {"size_mib": 0.1}}
    trace = on_nodes(stage, tasks=8)
    assert trace.run["status"] == "ok"
    if method == "spawn":  # on a busy machine, a forkserver may take longer to end than it gets
        assert trace.run["detail"] == ""
    numbers = dict(zip((one.pid for one in trace.processes), find_numbers(trace), strict=True))
    roles = {one.pid: one.role for one in trace.processes}
    for node in (1, 2):
        workers = [pid for pid, role in roles.items() if role == "worker" and numbers[pid] == node]
        assert len(workers) == 2
    (keeper,) = [one for one in trace.processes if one.role == "daemon"]
    assert numbers[keeper.pid] == 2
    assert numbers[trace.processes[0].pid] == 1
    assert [row["tasks_served"] for row in summarise_nodes(trace)] != [8, 0]


@needs_nodes
def test_each_nodes_memory_is_bounded_around_what_is_held_there(on_nodes):
    stage, tasks = hold(64, 64)
    rows = summarise_nodes(on_nodes({**stage, **SPAWN}, tasks=tasks))
    assert [row["tasks_served"] for row in rows] == [1, 1]
    for row in rows:
        assert 64 * MIB <= row["peak_bytes"] <= row["peak_upper_bytes"]
        assert row["processes"] > row["workers"] == 1


@needs_nodes
def test_memory_counts_for_the_node_where_it_is_held(on_nodes):
    stage, tasks = hold(600, 1)
    trace = on_nodes({**stage, **SPAWN}, tasks=tasks)
    large = next(task.pid for task in trace.tasks if task.task == 0)
    places = dict(zip((one.pid for one in trace.processes), find_numbers(trace), strict=True))
    rows = {row["node_number"]: row for row in summarise_nodes(trace)}
    assert rows[places[large]]["peak_bytes"] >= 600 * MIB
    assert rows[3 - places[large]]["peak_upper_bytes"] < 600 * MIB


@needs_nodes
def test_what_results_weigh_crosses_the_link_and_both_ends_agree(on_nodes):
    stage = {**SPAWN, "parameters": {"size_mib": 4, "delay_s": 0.2}}
    first, second = summarise_nodes(on_nodes(stage, tasks=6))
    arrived = second["tasks_served"] * 4 * MIB
    assert second["sent_bytes"] >= arrived > 0
    assert first["received_bytes"] == pytest.approx(second["sent_bytes"], rel=0.01)
    assert first["sent_bytes"] == pytest.approx(second["received_bytes"], rel=0.1)
    assert first["link_bytes_per_s"] == 1e8


@needs_nodes
def test_threads_of_a_stage_are_in_a_process_of_each_node(on_nodes):
    trace = on_nodes({"workers": 2, "parameters": {"size_mib": 0.1, "delay_s": 0.2}}, tasks=4)
    assert trace.run["status"] == "ok"
    assert {task.pid for task in trace.tasks} == {
        one.pid for one in trace.processes if one.role in {"main", "daemon"}
    }


@needs_nodes
def test_what_workers_print_is_kept_and_holds_nobody_up(specify, measure, tmp_path):
    (tmp_path / "held.py").write_text(HANDLERS)
    stage = {**SPAWN, "handler": "held:talk", "parameters": {}}
    folder = measure(specify(stage=stage, engine="dask", nodes=LINKED, tasks=6), beside=tmp_path)
    assert store.read_run(folder)["status"] == "ok"
    printed = (folder / store.OUTPUT_FILE).read_text().split()
    assert sum(map(len, printed)) >= 6 * 100_000


@needs_nodes
def test_a_worker_that_is_killed_on_either_node_loses_its_task_alone(on_nodes):
    stage = {**SPAWN, "handler": "held:die", "parameters": {}}
    trace = on_nodes(stage, tasks=[{"work": {"after": number % 2}} for number in range(2)])
    assert trace.run["status"] == "worker_lost"
    assert sorted(task.status for task in trace.tasks) == ["lost", "ok"]
    assert trace.run["survivors"] == 0


@needs_nodes
def test_nothing_is_left_of_a_run_whose_main_was_killed(specify, measure, tmp_path):
    (tmp_path / "held.py").write_text(HANDLERS)
    links = os.listdir("/sys/class/net")
    stage = {"handler": "held:die", "workers": 2, "parameters": {"after": 0}}
    folder = measure(specify(stage=stage, engine="dask", nodes=LINKED, tasks=2), beside=tmp_path)
    assert store.read_run(folder)["status"] in {"crashed", "worker_lost"}
    for one in store.read_records(folder / store.PROCESSES_FILE, ProcessRecord, cut_off=True):
        assert not Path(f"/proc/{one.pid}/exe").exists()
    assert list_held_networks() == []
    assert os.listdir("/sys/class/net") == links


@needs_nodes
def test_no_process_on_any_node_outlives_a_killed_supervisor(specify, tmp_path):
    stage = {**SPAWN, "parameters": {"delay_s": 60}}
    specification = specify(stage=stage, engine="dask", nodes=LINKED)
    supervisor = start_supervisor(specification, tmp_path / "raw" / "r1")
    pids = wait_for_tree(supervisor, 4)  # main, its worker and its tracker, and the other node
    supervisor.kill()
    supervisor.communicate()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(alive(pid) for pid in pids)


def list_held_networks():
    """Return the files of network namespaces that this process holds."""
    held = [path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [name for name in held if name.startswith("net:")]


@pytest.mark.skipif(bool(find_missing("dask")), reason="distributed is not installed")
def test_one_node_is_this_machine_with_the_memory_of_the_run(on_nodes):
    stage = {**SPAWN, "parameters": {"size_mib": 0.1}}
    (row,) = summarise_nodes(on_nodes(stage, nodes={"count": 1, "cores": 1}, tasks=2))
    assert (row["cores"], row["workers"], row["tasks_served"]) == (1, 2, 2)
    assert 0 < row["peak_bytes"] <= row["peak_upper_bytes"]
    assert "sent_bytes" not in row


def test_the_runner_on_one_node_has_its_cores_alone(specify, measure, tmp_path):
    (tmp_path / "cores.py").write_text(
        "import os\ndef check(): assert len(os.sched_getaffinity(0)) == 1\n"
    )
    stage = {"handler": "cores:check", "parameters": {}}
    specification = specify(stage=stage, nodes={"count": 1, "cores": 1})
    assert store.read_run(measure(specification, beside=tmp_path))["status"] == "ok"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "stagebench runs on one node, not on 2; dask runs on several"),
        (
            {"engine": "concurrent.futures"},
            "concurrent.futures runs on one node, not on 2; dask runs on several",
        ),
        (
            {"engine": "dask", "nodes": {"count": 2}},
            "dask cannot spread 1 worker over 2 nodes (stage 'work')",
        ),
    ],
)
def test_nodes_that_a_treatment_cannot_have_are_an_outcome_with_the_reason(
    specify, measure, changes, reason
):
    run = store.read_run(measure(specify(**({"nodes": LINKED} | changes))))
    assert run["status"] == "unsupported"
    assert run["detail"].startswith(reason)


def test_too_few_cores_are_an_outcome_with_the_numbers(specify, measure):
    run = store.read_run(measure(specify(nodes={"count": 1, "cores": 9999})))
    assert run["status"] == "unsupported"
    assert run["detail"].startswith(
        "stagebench needs 9999 cores (1 node of 9999), and this machine"
    )
