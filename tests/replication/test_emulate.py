"""The published way of sampling, in real processes: it misses what it is expected to miss."""

import os
import subprocess
import sys
from dataclasses import replace
from multiprocessing import forkserver, resource_tracker

import pytest

from stagebench import store
from stagebench.records import EmulatedRecord, EventRecord, ProcessRecord
from stagebench.replication import emulate
from stagebench.replication.emulate import Discovery, Emulation, compose, discover, read_pss, repeat

HOLDER = "held = bytearray(b'x' * (32 << 20)); print(flush=True); input()"
MIB = 1 << 20


def start_child(program=HOLDER):
    """Start a child that holds 32 MiB until `end_child`; return once it holds them."""
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    return child


def end_child(child):
    child.communicate(b"\n")


@pytest.fixture(autouse=True)
def no_helpers():
    """Stop the fork server and resource tracker that pools of other tests left as children."""
    forkserver._forkserver._stop()  # there is no public way
    resource_tracker._resource_tracker._stop()


@pytest.fixture
def child():
    process = start_child()
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def sampled(tmp_path):
    """An emulation that samples this process only when a test asks, and what it wrote."""
    writer = store.RecordWriter(tmp_path / store.EMULATED_FILE, EmulatedRecord)
    # With pauses of an hour its own threads never sample.
    with Emulation(3600, 3600, writer) as running:
        yield running, lambda: store.read_records(tmp_path / store.EMULATED_FILE, EmulatedRecord)


def test_the_first_discovery_is_made_at_the_start(sampled):
    (first,) = sampled[1]()
    assert first.children == 0
    assert first.discovered_ns <= first.time_ns
    assert first.main_pss_bytes > MIB


def test_a_child_between_two_discoveries_is_not_seen(sampled):
    running, records = sampled
    child = start_child()
    running.read()
    end_child(child)
    running.discover()
    running.read()
    assert [(r.children, r.children_pss_bytes) for r in records()] == [(0, 0)] * 3


def test_the_sum_of_a_child_that_is_gone_stays_until_the_next_discovery(sampled, child):
    running, records = sampled
    running.discover()
    end_child(child)
    running.read()
    running.read()
    running.discover()
    running.read()
    _, kept, kept_again, after = records()
    assert kept.children == 1
    assert 32 * MIB <= kept.children_pss_bytes <= 64 * MIB
    old = {"time_ns": kept.time_ns, "main_pss_bytes": kept.main_pss_bytes}
    assert replace(kept_again, **old) == kept
    assert (after.children, after.children_pss_bytes) == (0, 0)
    assert after.discovered_ns > kept_again.time_ns


def test_main_is_read_anew_each_time(sampled):
    running, records = sampled
    ballast = bytearray(b"x" * (32 * MIB))
    running.read()
    first, second = records()
    assert second.main_pss_bytes - first.main_pss_bytes >= 0.9 * len(ballast)


def test_children_of_children_are_found():
    program = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {HOLDER!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(flush=True); input()\n"
    )
    above = start_child(program)
    found = discover(os.getpid())
    end_child(above)
    assert found.children == 2
    assert found.pss_bytes >= 32 * MIB + 2 * MIB


def test_a_child_that_has_ended_is_no_child():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie until it is waited for
    assert discover(os.getpid())[:2] == (0, 0)
    child.wait()


def test_pss_is_what_the_kernel_says(child):
    with open(f"/proc/{child.pid}/smaps_rollup") as file:
        expected = next(line for line in file if line.startswith("Pss:"))
    # The share of library pages depends on the other processes running now.
    assert read_pss(child.pid) == pytest.approx(int(expected.split()[1]) * 1024, rel=0.05)


def test_a_record_is_main_now_and_the_children_of_the_last_discovery():
    known = Discovery(3, 7 * MIB, 123)
    record = compose(5 * MIB, known)
    assert (record.main_pss_bytes, record.children_pss_bytes) == (5 * MIB, 7 * MIB)
    assert (record.children, record.discovered_ns) == (3, 123)


def test_steps_are_taken_after_each_pause_until_it_is_over():
    pauses, steps = [], []

    def wait(pause_s):
        pauses.append(pause_s)
        return len(pauses) > 3

    repeat(lambda: steps.append(len(pauses)), 0.5, wait)
    assert pauses == [0.5] * 4
    assert steps == [1, 2, 3]


SETTINGS = {"interval_s": 0.1, "discovery_s": 1.0}


def test_the_pauses_are_those_of_the_setting(tmp_path, monkeypatch):
    pauses = {}
    monkeypatch.setattr(
        emulate, "repeat", lambda step, pause_s, _wait: pauses.update({step.__name__: pause_s})
    )
    with emulate.prepare({"sampler": {"emulate": SETTINGS}}, tmp_path):
        pass
    assert pauses == {"read": 0.1, "discover": 1.0}


FORK = {"executor": "process", "start_method": "fork", "workers": 2, "retain": False}
SAMPLER = {"interval_s": 0.005, "cpu_budget": 1.0, "census": "auto"}
LINGER = {"before_start_s": 0.0, "before_close_s": 0.0, "after_close_s": 0.3}


def measure_emulated(specify, measure, emulate, **parameters):
    stage = {**FORK, "parameters": {"size_mib": 1, "delay_s": 0.1, **parameters}}
    sampler = SAMPLER if emulate is None else {**SAMPLER, "emulate": emulate}
    return measure(specify(stage=stage, tasks=2, sampler=sampler, linger=LINGER))


def read_emulated(folder):
    assert store.read_run(folder)["status"] == "ok"
    return store.read_records(folder / store.EMULATED_FILE, EmulatedRecord)


def test_workers_that_end_before_the_second_discovery_are_never_seen(specify, measure):
    folder = measure_emulated(specify, measure, {"interval_s": 0.02, "discovery_s": 30})
    records = read_emulated(folder)
    assert len(records) >= 5
    assert {(r.children, r.children_pss_bytes, r.discovered_ns) for r in records} == {
        (0, 0, records[0].discovered_ns)
    }
    # The census of the same run found them.
    processes = store.read_records(folder / store.PROCESSES_FILE, ProcessRecord)
    assert [p.role for p in processes].count("worker") == 2


def test_workers_that_a_discovery_met_stay_in_the_sum_when_they_are_gone(specify, measure):
    emulate = {"interval_s": 0.02, "discovery_s": 0.4}
    folder = measure_emulated(specify, measure, emulate, delay_s=0.6)
    records = read_emulated(folder)
    events = store.read_records(folder / store.EVENTS_FILE, EventRecord)
    closed = next(e.time_ns for e in events if e.event == "pools_closed")
    stale = [r for r in records if r.time_ns > closed > r.discovered_ns]
    assert stale
    assert {r.children for r in stale} == {2}
    assert min(r.children_pss_bytes for r in stale) > MIB


def test_it_samples_from_before_the_first_task_to_the_end(specify, measure):
    folder = measure_emulated(specify, measure, {"interval_s": 0.02, "discovery_s": 30})
    records = read_emulated(folder)
    events = {e.event: e.time_ns for e in store.read_records(folder / "events.csv", EventRecord)}
    assert events["ready"] <= records[0].time_ns <= events["workflow_started"]
    assert events["pools_closed"] < records[-1].time_ns <= events["finished"]
    # Its threads have ended by then; it starts no process and leaves none.
    assert store.read_run(folder)["survivors"] == 0


def test_without_the_setting_there_is_no_file(specify, measure):
    folder = measure_emulated(specify, measure, None)
    assert store.read_run(folder)["status"] == "ok"
    assert not (folder / store.EMULATED_FILE).exists()


def test_a_run_that_loses_a_worker_ends_with_its_emulation(specify, measure, tmp_path):
    (tmp_path / "mine_lost.py").write_text(
        "import os, time\n\ndef leave():\n    time.sleep(0.3)\n    os.kill(os.getpid(), 9)\n"
    )
    sampler = {**SAMPLER, "emulate": {"interval_s": 0.02, "discovery_s": 0.1}}
    stage = {**FORK, "handler": "mine_lost:leave", "parameters": {}}
    folder = measure(specify(stage=stage, sampler=sampler), beside=tmp_path)
    assert store.read_run(folder)["status"] == "worker_lost"
    assert store.read_records(folder / store.EMULATED_FILE, EmulatedRecord)
