"""Helpers for the tests of traces: waiting, and the state of processes."""

import os
import signal
import sys
import time

TRACE = (sys.executable, "-m", "stagebench", "trace")
PYTHON = (sys.executable, "-c")


def wait_for(condition):
    """Wait until a condition holds and return its value; fail after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("waited for a minute")


def state_of(pid):
    """Return the state letter and the tracer of a process; ("Z", 0) if it no longer exists.

    If a process is reaped after its file was opened, reading that file fails with ESRCH.
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return fields["State"][0], int(fields["TracerPid"])


def end(pid):
    """Kill a process that is not our child, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: state_of(pid)[0] == "Z")
