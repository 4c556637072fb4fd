"""The CPU time of every process of a trace: a value if its end was seen, or else a bound."""

import json
import resource
import textwrap

import pytest
from tests.trace.tracing import PYTHON, end

from stagebench import store
from stagebench.records import CpuRecord

SPIN = """
import os, signal, subprocess, sys, time
def spin(seconds):
    while time.process_time() < seconds: pass
    return time.process_time_ns()
"""


def read_cpu(folder):
    """Return the records of CPU time by process id, and the summary's part about it."""
    records = store.read_records(folder / store.CPU_FILE, CpuRecord)
    return {record.pid: record for record in records}, store.read_json(folder / "summary.json")[
        "cpu"
    ]


def traced(trace, folder, body, *options):
    """Trace a Python program that prints JSON; returns that, the records and the summary."""
    options = ("--no-figure", "--out", folder, *options)
    done = trace(*PYTHON, SPIN + textwrap.dedent(body), options=options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), *read_cpu(folder)


@pytest.mark.parametrize("census", ["ptrace", "poll"])
def test_the_cpu_time_of_main_is_known_to_its_end(trace, tmp_path, census):
    body = """
    import threading
    thread = threading.Thread(target=spin, args=(0.1,))
    thread.start(); thread.join()  # its time counts, too
    print(spin(0.2))
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_ns, records, summary = traced(trace, tmp_path / "out", body, "--census", census)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (record,) = records.values()
    assert record.is_final
    most_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used_ns <= record.cpu_ns <= most_s * 1e9
    assert summary["tree"] == {"cpu_s": record.cpu_ns / 1e9, "is_whole": True}


KILLED = """
import json
pid = os.fork()
if pid == 0:
    spin(0.05)
    os.write(1, json.dumps([os.getpid(), spin(0.06)]).encode())
    os.kill(os.getpid(), signal.SIGKILL)
spin(0.02)
os.waitpid(pid, 0)
"""


def test_with_ptrace_a_child_that_is_killed_has_all_of_its_cpu_time_and_no_other(trace, tmp_path):
    (child, used_ns), records, summary = traced(trace, tmp_path / "out", KILLED)
    assert records[child].is_final
    assert records[child].cpu_ns >= used_ns
    assert summary["tree"]["is_whole"]
    assert summary["busiest"][0]["pid"] == child
    # Main has waited for its child, but the child's time is not main's.
    (main,) = set(records) - {child}
    assert records[main].cpu_ns + records[child].cpu_ns == round(summary["tree"]["cpu_s"] * 1e9)


def test_polling_bounds_the_cpu_time_of_a_child_that_its_parent_reaped(trace, tmp_path):
    options = ("--census", "poll", "--cpu-budget", "1")
    (child, _), records, summary = traced(trace, tmp_path / "out", KILLED, *options)
    assert records[child].cpu_ns > 0
    assert not records[child].is_final
    assert not summary["tree"]["is_whole"]


def test_the_cpu_time_of_a_process_that_lives_on_is_a_bound(trace, tmp_path):
    body = """
    closed = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(["sleep", "600"], **closed)
    print(child.pid)
    """
    child, records, summary = traced(trace, tmp_path / "out", body)
    end(child)
    assert records[child].cpu_ns > 0
    assert not records[child].is_final
    assert summary["roles"]["main"]["is_whole"]
    assert not summary["roles"]["other"]["is_whole"]
