"""`stagebench trace --pid` follows a process that runs already, and leaves it alone."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from tests.trace.tracing import PYTHON, TRACE, end, state_of, wait_for

from stagebench import store
from stagebench.errors import OptionError
from stagebench.records import CpuRecord, ProcessRecord, SweepRecord
from stagebench.trace.attach import AttachedCensus, EndWatch, check_target

SWEEPING = ("--no-figure", "--cpu-budget", "1")


@pytest.fixture
def run():
    """Start a program that waits for lines, as the leader of a session of its own."""
    started = []

    def make(*command):
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        started.append(process)
        return process

    yield make
    for process in started:
        process.kill()
        process.communicate()


def used_ns(pid):
    """Return the CPU time of a process with one thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


@pytest.fixture
def attach(tmp_path):
    """Trace a process into the folder `out`; returns the tracer once it has swept."""
    started = []

    def make(pid, *options):
        command = [*TRACE, "--out", "out", *SWEEPING, *options, "--pid", str(pid)]
        tracer = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        started.append(tracer)
        wait_for(lambda: tracer.poll() is not None or list_sweeps(tmp_path))
        return tracer

    yield make
    for tracer in started:
        tracer.kill()
        tracer.communicate()


def list_sweeps(folder):
    return store.read_records(folder / "out" / store.SWEEPS_FILE, SweepRecord, cut_off=True)


def refused(pid):
    """Return the reason for which a process cannot be traced."""
    with pytest.raises(OptionError) as caught:
        check_target(pid)
    assert caught.value.exit_code == 2
    return str(caught.value)


def answer(process, line):
    """Write a line to a program, and return the line that it answers."""
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


PARENT = """
import subprocess, sys
children = []
for line in sys.stdin:
    if line == "fork\\n":
        nothing = subprocess.DEVNULL
        children.append(subprocess.Popen(["sleep", "600"], stdin=nothing, stdout=nothing))
        print(children[-1].pid, flush=True)
    if line == "end\\n":
        for child in children:
            child.kill()
        break
"""


def test_a_running_process_is_traced_with_its_children_until_it_ends(run, attach, tmp_path):
    process = run(*PYTHON, PARENT)
    old = int(answer(process, "fork"))
    tracer = attach(process.pid)
    new = int(answer(process, "fork"))
    before = len(list_sweeps(tmp_path))
    wait_for(lambda: len(list_sweeps(tmp_path)) > before + 2)
    answer(process, "end")
    errors = tracer.communicate(timeout=60)[1]
    process.wait()
    assert tracer.returncode == 0
    assert f"pid {process.pid}, after" in errors
    processes = store.read_records(tmp_path / "out" / store.PROCESSES_FILE, ProcessRecord)
    assert {each.pid: each.parent_pid for each in processes} == {
        process.pid: None,
        old: process.pid,
        new: process.pid,
    }
    summary = store.read_json(tmp_path / "out" / store.SUMMARY_FILE)
    assert (summary["status"], summary["exit_code"], summary["pid"]) == (
        "complete",
        None,
        process.pid,
    )
    assert summary["command"] == [*PYTHON, PARENT]
    assert summary["peak"]["main"]["lower_bytes"] > 1 << 20
    assert summary["roles"]["main"]["sampled"] == 1
    assert summary["stayed"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_ends_the_trace_and_does_not_touch_the_process(run, attach, tmp_path, number):
    spin = "print(flush=True)\nwhile True: pass"
    process = run(*PYTHON, spin)
    process.stdout.readline()
    before_ns = used_ns(process.pid)
    tracer = attach(process.pid)
    wait_for(lambda: len(list_sweeps(tmp_path)) > 3)
    tracer.send_signal(number)
    errors = tracer.communicate(timeout=60)[1]
    assert tracer.returncode == 0
    assert f"ended      not yet: pid {process.pid} goes on" in errors
    assert state_of(process.pid)[0] in {"R", "S"}
    assert process.poll() is None
    (cpu,) = store.read_records(tmp_path / "out" / store.CPU_FILE, CpuRecord)
    run_json = store.read_run(tmp_path / "out")
    assert not cpu.is_final
    # Not what the process had used before.
    assert 0 < cpu.cpu_ns <= used_ns(process.pid) - before_ns
    assert [each["pid"] for each in run_json["stayed"]] == [process.pid]


def test_the_end_is_noticed_however_rare_sweeps_are_and_who_outlives_it_is_told(run, attach):
    process = run(*PYTHON, PARENT)
    child = int(answer(process, "fork"))
    tracer = attach(process.pid, "--interval", "3600")
    process.kill()
    process.wait()
    errors = tracer.communicate(timeout=60)[1]
    assert tracer.returncode == 0
    assert state_of(child)[0] == "S"
    end(child)
    assert f"still live pid {child}  sleep 600" in errors


def test_with_wait_all_orphans_are_followed_until_they_have_ended(run, attach, tmp_path):
    process = run(*PYTHON, PARENT)
    child = int(answer(process, "fork"))
    tracer = attach(process.pid, "--wait-all")
    process.kill()
    process.wait()
    before = len(list_sweeps(tmp_path))
    wait_for(lambda: len(list_sweeps(tmp_path)) > before + 2)
    assert tracer.poll() is None
    end(child)
    tracer.communicate(timeout=60)
    assert tracer.returncode == 0
    summary = store.read_json(tmp_path / "out" / store.SUMMARY_FILE)
    assert summary["stayed"] == []
    assert summary["processes"]["created"] == 2


def test_a_process_that_cannot_be_traced_is_named_with_the_reason():
    unused = subprocess.Popen([*PYTHON, "pass"])
    unused.wait()
    assert refused(unused.pid) == f"--pid {unused.pid}: no such process"
    assert "stagebench itself" in refused(os.getpid())
    own_thread = threading.Thread(target=wait_for, args=(lambda: unused is None,), daemon=True)
    own_thread.start()
    assert "stagebench itself" in refused(own_thread.native_id)
    unused = None
    zombie = subprocess.Popen([*PYTHON, "pass"])
    wait_for(lambda: state_of(zombie.pid)[0] == "Z")
    assert f"parent {os.getpid()} has not waited" in refused(zombie.pid)
    zombie.wait()


def test_an_id_of_a_thread_is_refused_with_that_of_its_process(run):
    program = """
import threading, time
thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)
thread.start()
print(thread.native_id, flush=True)
time.sleep(600)
"""
    process = run(*PYTHON, program)
    thread = int(process.stdout.readline())
    assert (
        refused(thread)
        == f"--pid {thread}: not a process but a thread; its process is {process.pid}"
    )


def test_a_process_whose_first_thread_has_ended_is_traced_all_the_same(run):
    program = """
import ctypes, threading, time
def work():
    print("go", flush=True)
    time.sleep(600)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    process = run(*PYTHON, program)
    process.stdout.readline()
    wait_for(lambda: state_of(process.pid)[0] == "Z")
    check_target(process.pid)
    assert list(AttachedCensus(process.pid).alive) == [process.pid]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_a_process_of_another_user_is_refused(run):
    process = run("sleep", "600")
    program = f"""
import ctypes, os
from stagebench.trace.attach import check_target
os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: our own files in /proc are ours again
check_target({process.pid})
"""
    done = subprocess.run([*PYTHON, program], capture_output=True, text=True, check=False)
    assert f"--pid {process.pid}: not permitted" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pid", "0"], "'0' is not allowed"),
        (["--pid", "-1"], "--pid"),
        (["--pid", "1.5"], "'1.5' is not allowed"),
        (["--pid", "99999999999999999999"], "is not allowed"),
        (["--pid", "1", "--", "true"], "leave it out to trace a command"),
        (["--pid", "1", "true"], "leave it out to trace a command"),
        (["--pid", "1", "--census", "ptrace"], "always polls"),
        (["--pid", str(2**31 - 1)], "no such process"),
    ],
)
def test_a_bad_option_is_refused_and_nothing_is_written(tmp_path, arguments, words):
    done = subprocess.run(
        [*TRACE, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_tracer_that_is_below_the_process_does_not_count_itself(tmp_path):
    script = f"{' '.join(TRACE)} --out out {' '.join(SWEEPING)} --pid $$ & tracer=$!; "
    script += "while [ ! -s out/sweeps.csv ]; do sleep .05; done; kill $tracer; wait $tracer"
    done = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    processes = store.read_records(tmp_path / "out" / store.PROCESSES_FILE, ProcessRecord)
    assert processes[0].role == "main"
    assert not any("stagebench" in each.command for each in processes[1:])


def test_a_later_process_with_the_same_id_is_another_one(run):
    process = run("sleep", "600")
    census = AttachedCensus(process.pid)
    census._begun[process.pid] -= 1
    census.update()
    assert census.alive == {}


def test_signals_that_are_ignored_stay_ignored_and_handlers_are_restored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with EndWatch(os.getpid()) as watch:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not watch.wait(0)
            os.kill(os.getpid(), signal.SIGTERM)
            assert watch.wait(0)
            assert watch.is_told
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
