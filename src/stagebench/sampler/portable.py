"""Memory where PSS is not to be had from `smaps_rollup`: the best that psutil tells, and its name.

Linux before 4.14 and some sandboxes lack that file; other systems have no PSS at all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stagebench.sampler.procfs import Counters, Memory, MemoryFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    import psutil

    from stagebench.sampler.sweep import Files

METRICS = ("pss", "uss", "rss")
"""From the best on: shares divided; only what is a process's own; all that it maps."""

Value = TypeVar("Value")


def open_files(rollup: Path = Path("/proc/self/smaps_rollup")) -> Files:
    """Give the memory files of this machine: those of /proc, or else psutil's."""
    try:
        rollup.read_bytes()
    except OSError:
        return PortableFiles()
    return MemoryFiles()


class PortableFiles:
    """Reads memory by psutil: by `metric`, the best of `METRICS` that this machine tells.

    What psutil does not tell stays missing; of faults and marks it knows nothing.
    """

    counts_faults = False

    def __init__(self) -> None:
        import psutil  # costs 30 ms, and is needed on few machines

        self._psutil = psutil
        self._open: dict[int, psutil.Process] = {}
        told = psutil.Process().memory_full_info()._fields
        self.metric = next(metric for metric in METRICS if metric in told)

    def read_memory(self, pid: int) -> Memory:
        """Read one process's memory; raises ProcessLookupError when it has ended."""
        told = self._ask(pid, lambda process: process.memory_full_info())
        return Memory(
            pss_bytes=getattr(told, "pss", None),
            anon_bytes=None,
            file_bytes=None,
            shmem_bytes=None,
            uss_bytes=getattr(told, "uss", None),
            rss_bytes=told.rss,
            swap_bytes=getattr(told, "swap", None),
            rss_anon_bytes=told.rss,
        )

    def read_counters(self, pid: int) -> Counters:
        """Read one process's RSS; raises as `read_memory`."""
        rss = self._ask(pid, lambda process: process.memory_info()).rss
        if not rss:
            raise ProcessLookupError(f"process {pid} has ended")
        return Counters(rss, rss, rss, 0)

    def reset_mark(self, pid: int) -> bool:  # noqa: ARG002 - there is no mark
        """Give False: psutil knows no mark."""
        return False

    def forget(self, pid: int) -> None:
        """Let go of a process that has ended: its number may be given out again."""
        self._open.pop(pid, None)

    def _ask(self, pid: int, question: Callable[[psutil.Process], Value]) -> Value:
        try:
            if pid not in self._open:
                self._open[pid] = self._psutil.Process(pid)
            return question(self._open[pid])
        except self._psutil.NoSuchProcess as error:
            raise ProcessLookupError(os.strerror(3)) from error
        except self._psutil.AccessDenied as error:
            raise PermissionError(os.strerror(13)) from error
