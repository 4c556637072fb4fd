"""Real control groups for tests: held programs, and a group with a limit below our own."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from stagebench.sampler.group import INNER, Group
from stagebench.sampler.places import NoPlaceError, find_group, write

MIB = 1024 * 1024


def hold(program):
    """Start a Python program that waits for a line before its interpreter starts."""
    gate = ["sh", "-c", 'read _ && exec "$@"', "sh", sys.executable, "-c", program]
    return subprocess.Popen(gate, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def holds(group, pid):
    """Return whether a process is in a group, or in one that it made below; False if gone."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
    inner = f"/{group.folder.name}/{INNER}/"
    return any(inner in f"{line}/" for line in groups.splitlines())


def tell(process):
    """Send a line to a process, and wait for its answer."""
    process.stdin.write(b"\n")
    process.stdin.flush()
    return process.stdout.readline()


@dataclass
class LimitedGroup:
    """A group with a limit of memory; `proc` shows a process that is in it."""

    folder: Path
    limit: Path
    proc: Path


@contextlib.contextmanager
def limited_group(size_bytes):
    """Make a group of version 1 below this process's own; skips the test where it cannot."""
    try:
        version, root, path = find_group("memory", Path("/proc/self"))
        folder = root / path.removeprefix("/") / f"limited-{os.getpid()}"
        if version == 2:
            pytest.skip("in version 2, this process is in the way")
        folder.mkdir()
    except (NoPlaceError, OSError) as error:
        pytest.skip(str(error))
    limit = folder / "memory.limit_in_bytes"
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        write(limit, str(size_bytes))
        write(folder / "cgroup.procs", str(sleeper.pid))
        yield LimitedGroup(folder, limit, Path(f"/proc/{sleeper.pid}"))
    finally:
        sleeper.kill()
        sleeper.wait()
        Group(folder).remove()
