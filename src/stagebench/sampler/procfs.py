"""Reads and parses the files of /proc that a sweep needs; parsing is apart from reading."""

from __future__ import annotations

import os
from typing import NamedTuple

KIB = 1024
PAGE = os.sysconf("SC_PAGE_SIZE")

Vanished = (FileNotFoundError, ProcessLookupError)
"""What reading from /proc raises when the process has ended."""


class Memory(NamedTuple):
    """Memory of one process at one moment, in bytes (see `records.MemorySample`)."""

    pss_bytes: int
    anon_bytes: int
    file_bytes: int
    shmem_bytes: int
    uss_bytes: int
    rss_bytes: int
    swap_bytes: int


class Status(NamedTuple):
    """What /proc/PID/status tells: the process of a thread, and its RSS high-water mark."""

    process: int
    high_water_bytes: int | None


def parse_smaps_rollup(text: bytes) -> Memory:
    """Read a process's memory from the text of /proc/PID/smaps_rollup.

    An empty text is that of a process without memory of its own (a zombie): raises
    ProcessLookupError, as it has ended. Source: Linux, Documentation/filesystems/proc.rst.
    """
    if not text:
        raise ProcessLookupError("no memory map: the process has ended")
    kib = {}
    for line in text.splitlines()[1:]:  # the first line names the address range
        name, value, _unit = line.split()
        kib[name] = int(value)
    uss_kib = kib[b"Private_Clean:"] + kib[b"Private_Dirty:"] + kib.get(b"Private_Hugetlb:", 0)
    return Memory(
        pss_bytes=kib[b"Pss:"] * KIB,
        anon_bytes=kib[b"Pss_Anon:"] * KIB,
        file_bytes=kib[b"Pss_File:"] * KIB,
        shmem_bytes=kib[b"Pss_Shmem:"] * KIB,
        uss_bytes=uss_kib * KIB,
        rss_bytes=kib[b"Rss:"] * KIB,
        swap_bytes=kib[b"Swap:"] * KIB,
    )


def parse_status(text: bytes) -> Status:
    """Read the text of /proc/PID/status; a zombie and a kernel thread have no high-water mark."""
    process, mark = 0, None
    for line in text.splitlines():
        if line.startswith(b"Tgid:"):
            process = int(line.split()[1])
        elif line.startswith(b"VmHWM:"):
            mark = int(line.split()[1]) * KIB
            break
    return Status(process, mark)


class MemoryFiles:
    """Reads memory through descriptors that stay open, which saves the price of opening.

    A descriptor stands for the memory that the process had when it was opened: after an exec it has
    to be forgotten.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], int] = {}

    def read_memory(self, pid: int) -> Memory:
        """Read one process's memory; raises one of `Vanished` when it has ended."""
        return parse_smaps_rollup(self._read(pid, "smaps_rollup"))

    def read_rss(self, pid: int) -> int:
        """Read one process's RSS in bytes: cheap, whatever its size; raises as `read_memory`."""
        return int(self._read(pid, "statm").split()[1]) * PAGE

    def forget(self, pid: int) -> None:
        """Close what is open of a process that has ended: its number may be given out again."""
        for key in [key for key in self._open if key[0] == pid]:
            os.close(self._open.pop(key))

    def _read(self, pid: int, name: str) -> bytes:
        key = (pid, name)
        if key not in self._open:
            self._open[key] = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._open[key], 4096, 0)


def read_children(pid: int) -> list[int]:
    """List the children of every thread of a process; empty when it has ended.

    A child that a thread forked is listed under that thread, not under the process's first one.
    """
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - half the time of Path
            children += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    except Vanished:
        return children
    return children


def read_command(pid: int) -> str:
    """Read the command line, arguments joined by spaces; empty for a process that has ended."""
    try:
        words = _read(f"/proc/{pid}/cmdline").rstrip(b"\0").split(b"\0")
    except Vanished:
        return ""
    return b" ".join(words).decode(errors="replace")


def read_status(thread: int) -> Status:
    """Read a thread's status file; raises one of `Vanished` when it has ended."""
    return parse_status(_read(f"/proc/{thread}/status"))


def _read(path: str) -> bytes:
    # os.open and os.read: a third of the time of open().read(), many times a sweep.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        text = os.read(descriptor, 65536)
        while block := os.read(descriptor, 65536):
            text += block
    finally:
        os.close(descriptor)
    return text
