"""Starting the measured process, and seeing to it that nothing of it stays."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from stagebench.sampler.procfs import read_children
from stagebench.sampler.sweep import walk_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stagebench.units import Seconds

BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "GOTO_NUM_THREADS",
)
"""Each library reads its own before it is imported; Snakemake sets some of them in every job."""

INHERITED_PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME")

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Options of prctl(2), from linux/prctl.h."""

GRACE_S = 0.5
"""After main's exit its helpers (resource tracker, forkserver) end by themselves within this."""

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> frozenset[int]:
    """Become the parent of every orphan below this process, so that all can be found and ended.

    Returns the strangers: children that this process has already, which are none of the run's.
    """
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return frozenset(read_children(os.getpid()))


def measured_environment(
    settings: Mapping[str, str | None], blas_threads: int, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Compose the measured process's environment variables; a setting of None removes one.

    Python's own variables are not inherited, but for those that say where modules are: an
    allocator or a bytecode setting of the caller's shell would silently become a part of the study.
    """
    environment = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("PYTHON") or name in INHERITED_PYTHON_VARIABLES
    }
    environment.update(dict.fromkeys(BLAS_VARIABLES, str(blas_threads)))
    for name, value in settings.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    return environment


def start_main(
    specification: str, folder: Path, output: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start the measured process by exec, in a session of its own; it dies with this process."""
    with output.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "stagebench.measure.main", str(folder)],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
        )
    if process.stdin is not None:
        try:
            process.stdin.write(specification.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before it read: its exit code and output tell why
    return process


def wait_readable(descriptor: int, timeout_s: Seconds) -> bool:
    """Wait until a pidfd reports its process's exit; False when the time is over first."""
    return bool(select.select([descriptor], [], [], max(0.0, timeout_s))[0])


def end_tree(strangers: frozenset[int]) -> int:
    """Kill and reap everything below this process that does not end by itself soon.

    Returns how many had to be killed.
    """
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline:
        if not reap(strangers):
            return 0
        time.sleep(0.001)
    return kill_tree(strangers)


def kill_tree(strangers: frozenset[int]) -> int:
    """Kill and reap everything below this process; returns how many processes were killed."""
    killed: set[int] = set()
    while reap(strangers):
        for pid, _parent in walk_tree(os.getpid(), read_children, strangers):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(0.001)
    return len(killed)


def reap(strangers: frozenset[int]) -> bool:
    """Collect every child of the run that has ended; tells whether any is left."""
    left = set(read_children(os.getpid())) - strangers
    return bool(left) and not all(os.waitpid(pid, os.WNOHANG)[0] for pid in left)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
