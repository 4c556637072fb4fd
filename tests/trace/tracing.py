"""What the tests of traces share: waiting, and the state of processes."""

import os
import signal
import sys
import time

TRACE = (sys.executable, "-m", "stagebench", "trace")
PYTHON = (sys.executable, "-c")


def wait_for(condition):
    """Wait until something holds; what never holds fails the test, however slow the machine."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("waited for a minute")


def state_of(pid):
    """State letter and tracer of a process; ("Z", 0) when it is no more.

    A process that is reaped between the opening and the reading of its file is reported by the
    reading, as ESRCH.
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return fields["State"][0], int(fields["TracerPid"])


def end(pid):
    """Kill a process that is none of our children, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: state_of(pid)[0] == "Z")
