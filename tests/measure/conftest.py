"""Real traces for the tests: the command line, in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

TRACE = (sys.executable, "-m", "stagebench", "trace")


def default_signals():
    """Where tests run in the background, SIGINT may be ignored, and that is inherited."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def wait_for(condition):
    """Wait until something holds; what never holds fails the test, however slow the machine."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("waited for a minute")


@pytest.fixture
def trace(tmp_path):
    """Trace a command to its end in an empty folder; gives the completed process."""

    def make(*command, options=("--no-figure",), **settings):
        given = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120}
        given |= {"preexec_fn": default_signals, "check": False}
        return subprocess.run([*TRACE, *options, "--", *command], **given | settings)  # noqa: PLW1510

    return make


@pytest.fixture
def start(tmp_path):
    """Start to trace a command into the folder `out`; it is ended with the test."""
    started = []

    def make(*command, options=("--no-figure",), **settings):
        given = {"cwd": tmp_path, "text": True, "stdin": subprocess.PIPE}
        given |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        given |= {"preexec_fn": default_signals}
        command = [*TRACE, "--out", "out", *options, "--", *command]
        process = subprocess.Popen(command, **given | settings)
        started.append(process)
        return process

    yield make
    for process in started:
        process.kill()
        process.communicate()


def state_of(pid):
    """State letter and tracer of a process; None when it is no more."""
    try:
        with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
            fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    except FileNotFoundError:
        return None
    return fields["State"][0], int(fields["TracerPid"])


def end(pid):
    """Kill a process that is none of our children, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: (state_of(pid) or "Z")[0] == "Z")
