"""Signals, endings and failures of a trace: the command runs on as it would without us."""

import csv
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from tests.trace.tracing import PYTHON, TRACE, end, go_on_without_descriptors, state_of, wait_for

from stagebench import store
from stagebench.records import ProcessRecord
from stagebench.sampler.procfs import read_children

COUNT_SIGNALS = """
import signal, sys, time
seen = []
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: seen.append(number))
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
sys.stdin.read()
sys.exit(10 + len(seen))
"""


@pytest.mark.parametrize("means", ["ptrace", "poll"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_sent_to_us_reaches_the_command(start, number, means):
    tracer = start(*PYTHON, COUNT_SIGNALS, options=("--no-figure", "--census", means))
    assert tracer.stdout.readline() == "ready\n"
    tracer.send_signal(number)
    tracer.communicate("")
    assert tracer.returncode == 11


@pytest.mark.parametrize("means", ["ptrace", "poll"])
def test_a_signal_that_is_sent_to_the_whole_group_reaches_the_command_once(start, means):
    options = ("--no-figure", "--census", means)
    tracer = start(*PYTHON, COUNT_SIGNALS, options=options, start_new_session=True)
    assert tracer.stdout.readline() == "ready\n"
    os.killpg(tracer.pid, signal.SIGTERM)
    tracer.communicate("")
    assert tracer.returncode == 11


OF_THE_TERMINAL = {"INT", "QUIT", "TSTP", "TTIN", "TTOU", "CONT"}
NEVER_CAUGHT = {"KILL", "STOP"}
HANDED_ON = signal.valid_signals() - {
    signal.Signals["SIG" + name] for name in OF_THE_TERMINAL | NEVER_CAUGHT | {"CHLD"}
}

LIST_SIGNALS = """
import os, signal, sys
for number in map(int, sys.argv[1:]):
    signal.signal(number, lambda number, frame: os.write(1, b"%d\\n" % number))
print("ready", flush=True)
sys.stdin.readline()
"""


def read_line(tracer):
    assert select.select([tracer.stdout], [], [], 20)[0], "no further line"
    return tracer.stdout.readline()


@pytest.mark.parametrize("means", ["ptrace", "poll"])
def test_every_signal_that_is_sent_to_us_or_to_the_group_reaches_the_command_once(start, means):
    options = ("--no-figure", "--census", means)
    numbers = [str(int(number)) for number in HANDED_ON]
    tracer = start(*PYTHON, LIST_SIGNALS, *numbers, options=options, start_new_session=True)
    assert tracer.stdout.readline() == "ready\n"
    for number in HANDED_ON:
        os.killpg(tracer.pid, number)
        assert read_line(tracer) == f"{int(number)}\n"
    time.sleep(0.2)  # signals in quick succession may count as one
    for number in HANDED_ON:
        tracer.send_signal(number)
        assert read_line(tracer) == f"{int(number)}\n"
    output, _ = tracer.communicate("\n")
    assert (tracer.returncode, output) == (0, "")


def test_a_signal_that_was_ignored_before_us_reaches_a_command_that_handles_it(start):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    tracer = start(
        *PYTHON, COUNT_SIGNALS.replace("not seen", "signal.SIGTERM not in seen"), preexec_fn=ignore
    )
    assert tracer.stdout.readline() == "ready\n"
    tracer.send_signal(signal.SIGHUP)
    tracer.send_signal(signal.SIGTERM)
    tracer.communicate("")
    assert tracer.returncode == 12


def test_a_polling_tracer_that_is_killed_leaves_no_process_of_ours(start):
    options = ("--no-figure", "--census", "poll")
    tracer = start("sh", "-c", "echo $$; read line", options=options, start_new_session=True)
    main = int(tracer.stdout.readline())
    ours = set(read_children(tracer.pid)) - {main}
    assert len(ours) == 1
    tracer.send_signal(signal.SIGKILL)
    tracer.wait()
    wait_for(lambda: state_of(*ours)[0] == "Z")
    # It goes on until it waits for its line.
    wait_for(lambda: state_of(main)[0] == "S")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_an_interrupt_sent_to_us_alone_does_not_reach_the_command(start, number):
    tracer = start("sh", "-c", "echo ready; read line; exit 3")
    assert tracer.stdout.readline() == "ready\n"
    tracer.send_signal(number)
    tracer.communicate("go\n")
    assert tracer.returncode == 3


def has_whole_walk(sweeps):
    """Return whether a peak was seen; the last line may not have been written to its end."""
    with sweeps.open(newline="") as file:
        return any((row["kind"], row["torn"]) == ("pss", "0") for row in csv.DictReader(file))


def test_a_command_goes_on_when_its_tracer_is_killed(start, tmp_path):
    program = textwrap.dedent("""
        import os, sys, threading
        block = bytearray(30 << 20)
        print(os.getpid(), flush=True)
        def fork_on():
            while True:
                if os.fork() == 0:
                    os._exit(0)
                os.wait()
        threading.Thread(target=fork_on, daemon=True).start()
        sys.stdin.readline()
        open("finished", "w").close()
    """)
    tracer = start(*PYTHON, program, options=("--no-figure", "--cpu-budget", "1"))
    main = int(tracer.stdout.readline())
    sweeps = tmp_path / "out" / "sweeps.csv"
    wait_for(lambda: len(sweeps.read_text().splitlines()) > 20 and has_whole_walk(sweeps))
    tracer.send_signal(signal.SIGKILL)
    assert tracer.wait() == -signal.SIGKILL
    wait_for(lambda: state_of(main) in {("S", 0), ("R", 0)})
    tracer.communicate("\n")
    wait_for((tmp_path / "finished").exists)
    run = store.read_run(tmp_path / "out")
    assert run["status"] == "running"
    command = [sys.executable, "-m", "stagebench", "show", "out", "--figure", "cut.png"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "CUT OFF" in shown.stdout
    assert "their total number was not recorded" in shown.stdout
    assert "at least" in shown.stdout
    assert (tmp_path / "cut.png").exists()


def test_a_daemon_that_stays_is_named_and_lives_on_untraced(trace, tmp_path):
    program = textwrap.dedent("""
        import os, signal, subprocess, sys, time
        fork_on = "import os\\nwhile True: os.fork() or os._exit(0); os.wait()"
        daemons = [
            subprocess.Popen([sys.executable, "-c", fork_on, "busy"], start_new_session=True),
            subprocess.Popen(["sleep", "600"], start_new_session=True),
            subprocess.Popen(["sleep", "601"], start_new_session=True),
        ]
        daemons[2].send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, daemons[2].pid, os.WSTOPPED)
        time.sleep(0.2)
        print(*(daemon.pid for daemon in daemons))
        os._exit(5)
    """)
    # The daemons keep the output open: a pipe would never end, but a file does. Nothing is drawn:
    # that takes long beside a daemon that forks without a pause.
    options = ("--out", "out", "--no-figure")
    with (tmp_path / "output").open("w+") as output:
        done = trace(*PYTHON, program, options=options, stdout=output, stderr=output)
        output.seek(0)
        text = output.read()
    pids = [int(word) for word in text.split("\n")[0].split()]
    try:
        assert done.returncode == 5
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        stayed = {each["pid"]: each["command"] for each in summary["stayed"]}
        assert set(pids) <= set(stayed)
        assert stayed[pids[1]] == "sleep 600"
        assert f"pid {pids[1]}  sleep 600" in text
        assert state_of(pids[0]) in {("S", 0), ("R", 0), ("D", 0)}  # it keeps forking
        assert state_of(pids[1]) == ("S", 0)
        assert state_of(pids[2]) == ("T", 0)
    finally:
        for pid in pids:
            end(pid)


def test_with_polling_a_daemon_that_stays_is_named_too(trace, tmp_path):
    program = "(sleep 600 & echo $! > pid) & sleep 0.3"
    with (tmp_path / "output").open("w+") as output:
        options = ("--out", "out", "--census", "poll", "--no-figure")
        trace("sh", "-c", program, options=options, stdout=output, stderr=output)
    pid = int((tmp_path / "pid").read_text())
    assert state_of(pid) == ("S", 0)
    end(pid)
    stayed = store.read_run(tmp_path / "out")["stayed"]
    assert stayed == [{"pid": pid, "command": "sleep 600"}]


@pytest.mark.parametrize("means", ["ptrace", "poll"])
def test_with_wait_all_what_outlives_main_is_traced_to_its_end(trace, tmp_path, means):
    program = "(setsid sh -c 'sleep 0.5; exit 7' &) ; exit 3"
    options = ("--out", "out", "--wait-all", "--census", means, "--no-figure")
    done = trace("sh", "-c", program, options=options)
    assert done.returncode == 3
    run = store.read_run(tmp_path / "out")
    assert run["stayed"] == []
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["duration_s"] >= 0.5
    processes = store.read_records(tmp_path / "out" / "processes.csv", ProcessRecord)
    assert 7 in {process.exit_status for process in processes}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_trace_that_waits_for_all_can_be_ended(start, tmp_path, number):
    program = "sleep 600 > /dev/null 2>&1 & echo $!; exit 3"
    tracer = start("sh", "-c", program, options=("--wait-all", "--no-figure"))
    daemon = int(tracer.stdout.readline())
    wait_for(lambda: not (set(read_children(tracer.pid)) - {daemon}))
    time.sleep(0.5)  # until it has noticed the end
    tracer.send_signal(number)
    tracer.communicate()
    assert (tracer.returncode, state_of(daemon)) == (3, ("S", 0))
    end(daemon)
    stayed = store.read_run(tmp_path / "out")["stayed"]
    assert stayed == [{"pid": daemon, "command": "sleep 600"}]


def test_a_file_that_cannot_grow_ends_the_recording_and_not_the_command(start, tmp_path):
    program = "head -c 100000 /dev/zero > large; echo ready; read line; exit 5"
    options = ("--interval", "0.001", "--cpu-budget", "1")
    tracer = start("sh", "-c", program, options=options)
    assert tracer.stdout.readline() == "ready\n"
    _, most = resource.prlimit(tracer.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(tracer.pid, resource.RLIMIT_FSIZE, (8192, most))
    files = [tmp_path / "out" / name for name in RECORDS]
    wait_for(lambda: any(path.stat().st_size == 8192 for path in files))
    _, errors = tracer.communicate("go\n")
    assert tracer.returncode == 5
    assert "Traceback" not in errors
    run = store.read_run(tmp_path / "out")
    assert (run["status"], run["exit_code"]) == ("truncated", 5)
    assert run["detail"] in {f"{name}: File too large" for name in RECORDS}
    assert "NOT WHOLE" in errors
    assert "csv: File too large; recorded up to" in " ".join(errors.split())
    assert "some files could not be written" in errors
    assert not (tmp_path / "out" / "trace.png").exists()
    command = [sys.executable, "-m", "stagebench", "show", "out"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "NOT WHOLE" in shown.stdout
    assert "with exit code 5" in shown.stdout
    assert "at least" in shown.stdout


@pytest.mark.parametrize("most", [60, 100])
def test_a_command_is_not_started_if_its_trace_cannot_be_written(trace, tmp_path, most):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    (tmp_path / "work").mkdir()
    done = trace("touch", "ran", cwd=tmp_path / "work", preexec_fn=limit)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert list((tmp_path / "work").iterdir()) == []


def test_a_tracer_that_fails_releases_the_command_and_says_so(start, tmp_path):
    program = "echo $$; read line; sleep 0.1; read line; exit 5"
    tracer = start("sh", "-c", program, options=("--no-figure", "--cpu-budget", "1"))
    main = int(tracer.stdout.readline())
    go_on_without_descriptors(tracer, main)
    _, errors = tracer.communicate("end\n")
    assert tracer.returncode == 5
    run = store.read_run(tmp_path / "out")
    assert (run["status"], run["exit_code"]) == ("truncated", 5)
    assert "the tracer failed: OSError(24" in " ".join(errors.split())


RECORDS = (store.SAMPLES_FILE, store.SWEEPS_FILE, store.TRANSITIONS_FILE, store.READS_FILE)
"""It is random which of them fails first."""

FULL_DISK = """
set -e
mount -t tmpfs -o size=64k none disk
set +e
"$@" || echo "code $?"
"""

FILL = """
sleep 0.2 # until the tree has been walked while it stood still
head -c 1000000 /dev/zero > disk/large 2>/dev/null
while sleep 0.01
do for name in reads samples sweeps transitions
do [ -e disk/out/$name.csv ] || continue # without a control group there are no reads
size=$(stat -c %s disk/out/$name.csv); [ $((size % 4096)) -ne 0 -o $size -eq 0 ] || exit 5
done; done
"""
"""Fills the disk, and ends when a record file is full: it still grows to the end of its page."""


def can_mount():
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") and subprocess.run(command, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="this user may not mount a small disk")
def test_a_full_disk_ends_the_recording_and_not_the_command(tmp_path):
    (tmp_path / "disk").mkdir()
    options = ["--interval", "0.001", "--cpu-budget", "1", "--out", "disk/out"]
    traced = [*TRACE, *options, "--", "sh", "-c", FILL]
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        FULL_DISK + f"{sys.executable} -m stagebench show disk/out",
    ]
    done = subprocess.run(
        [*command, "sh", *traced],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    code, shown = done.stdout.split("\n", 1)
    assert code == "code 5"
    assert "with exit code 5" in done.stderr
    assert "csv: No space left on device" in " ".join(done.stderr.split())
    assert "some files could not be written" in done.stderr
    assert "CUT OFF" in shown
    assert "at least" in shown


def drop_ptrace_capability():
    ctypes.CDLL(None).prctl(24, 19, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_SYS_PTRACE; 0 for other users


def test_a_process_that_may_not_be_read_is_counted_without_an_error(trace, tmp_path):
    program = textwrap.dedent("""
        import ctypes, os, time
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
            time.sleep(0.2)
            os._exit(0)
        os.wait()
    """)
    options = ("--out", "out", "--cpu-budget", "1", "--no-figure")
    done = trace(*PYTHON, program, options=options, preexec_fn=drop_ptrace_capability)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    run = store.read_run(tmp_path / "out")
    assert (run["status"], run["detail"]) == ("complete", "")
    assert run["census"]["created"] == 2
