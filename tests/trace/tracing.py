"""Helpers for the tests of traces: waiting, and the state of processes."""

import ctypes
import os
import platform
import resource
import signal
import struct
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


CALLS = {
    "x86_64": {"clone": 56, "ptrace": 101, "kcmp": 312, "pidfd_open": 434, "clone3": 435},
    "aarch64": {"clone": 220, "ptrace": 117, "kcmp": 272, "pidfd_open": 434, "clone3": 435},
}.get(platform.machine(), {})
"""The numbers of some system calls; empty on machines where they are not known here."""


def refuse(names, error):
    """Make system calls fail in this process and its children, as a sandbox does, by seccomp(2)."""
    load, equal, give, allowed, refused = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
    lines = [(load, 0, 0, 0)]
    for name in names:
        lines += [(equal, 0, 1, CALLS[name]), (give, 0, 0, refused | error)]
    lines.append((give, 0, 0, allowed))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code))
    )
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def go_on_without_descriptors(tracer, main):
    """Let a command go on to where its tracer has failed for want of descriptors."""
    few, most = resource.prlimit(tracer.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(tracer.pid, resource.RLIMIT_NOFILE, (3, most))
    tracer.stdin.write("go\n")
    tracer.stdin.flush()
    wait_for(lambda: state_of(main) == ("S", 0))
    resource.prlimit(tracer.pid, resource.RLIMIT_NOFILE, (few, most))
