"""Reading memory by psutil where /proc has no `smaps_rollup`.

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
"""Best first: shared memory divided among its users, private memory only, all that is mapped."""

Value = TypeVar("Value")


def open_files(rollup: Path = Path("/proc/self/smaps_rollup")) -> Files:
    """Return a reader of memory for this machine: by /proc, or else by psutil."""
    try:
        rollup.read_bytes()
    except OSError:
        return PortableFiles()
    return MemoryFiles()


class PortableFiles:
    """Reads memory by psutil; `metric` is the best of `METRICS` that this machine reports.

    What psutil does not report is missing; it knows neither page faults nor high-water marks.
    """

    counts_faults = False

    def __init__(self) -> None:
        import psutil  # takes 30 ms, and few machines need it

        self._psutil = psutil
        self._open: dict[int, psutil.Process] = {}
        fields = psutil.Process().memory_full_info()._fields
        self.metric = next(metric for metric in METRICS if metric in fields)

    def read_memory(self, pid: int) -> Memory:
        """Read one process's memory; raises ProcessLookupError if it has ended."""
        info = self._ask(pid, lambda process: process.memory_full_info())
        return Memory(
            pss_bytes=getattr(info, "pss", None),
            anon_bytes=None,
            file_bytes=None,
            shmem_bytes=None,
            uss_bytes=getattr(info, "uss", None),
            rss_bytes=info.rss,
            swap_bytes=getattr(info, "swap", None),
            rss_anon_bytes=info.rss,
        )

    def read_counters(self, pid: int) -> Counters:
        """Read one process's RSS; raises like `read_memory`."""
        rss = self._ask(pid, lambda process: process.memory_info()).rss
        if not rss:
            raise ProcessLookupError(f"process {pid} has ended")
        return Counters(rss, rss, rss, 0)

    def reset_mark(self, pid: int) -> bool:  # noqa: ARG002 - there is no mark
        """Return False: psutil cannot reset the mark."""
        return False

    def forget(self, pid: int) -> None:
        """Drop a process that has ended: its pid may be reused."""
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
