"""Reads and parses the files of /proc that a sweep needs; parsing is apart from reading."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

KIB = 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Vanished = (FileNotFoundError, ProcessLookupError)
"""What reading from /proc raises when the process has ended."""


class Memory(NamedTuple):
    """Memory of a process at one moment, in bytes (see `records.MemorySample`); None: not told."""

    pss_bytes: int | None
    anon_bytes: int | None
    file_bytes: int | None
    shmem_bytes: int | None
    uss_bytes: int | None
    rss_bytes: int
    swap_bytes: int | None
    rss_anon_bytes: int


class Status(NamedTuple):
    """What /proc/PID/status tells: the process of a thread, and its memory if it has any left."""

    process: int
    rss_bytes: int
    rss_anon_bytes: int
    high_water_bytes: int


class Counters(NamedTuple):
    """What the kernel counts of a process, cheap to read whatever its size.

    `high_water_bytes` is the largest RSS since the mark was set back; `faults` counts the page
    faults of its life, threads that have ended included.
    """

    rss_bytes: int
    rss_anon_bytes: int
    high_water_bytes: int
    faults: int


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
        rss_anon_bytes=kib[b"Anonymous:"] * KIB,
    )


def parse_status(text: bytes) -> Status | None:
    """Read the text of /proc/PID/status; None for a zombie, which has no memory any more."""
    process = _number(text, b"\nTgid:")
    if b"\nVmRSS:" not in text:
        return None
    rss = _number(text, b"\nVmRSS:") * KIB
    anon = _number(text, b"\nRssAnon:") * KIB
    return Status(process, rss, anon, _number(text, b"\nVmHWM:") * KIB)


def _number(text: bytes, name: bytes) -> int:
    start = text.index(name) + len(name)
    return int(text[start : start + 32].split(maxsplit=1)[0])


def parse_faults(text: bytes) -> int:
    """Add up minor and major page faults in the text of /proc/PID/stat (fields 10 and 12)."""
    fields = text[text.rindex(b")") :].split(maxsplit=11)
    return int(fields[8]) + int(fields[10])


class MemoryFiles:
    """Reads memory through descriptors that stay open, which saves the price of opening.

    A descriptor stands for the memory that the process had when it was opened: after an exec it has
    to be forgotten.
    """

    metric = "pss"
    counts_faults = True

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], int] = {}

    def read_memory(self, pid: int) -> Memory:
        """Read one process's memory; raises one of `Vanished` when it has ended."""
        return parse_smaps_rollup(self._read(pid, "smaps_rollup"))

    def read_counters(self, pid: int) -> Counters:
        """Read one process's counters, faults last; raises as `read_memory`."""
        status = parse_status(self._read(pid, "status"))
        if status is None:
            raise ProcessLookupError("no memory: the process has ended")
        faults = parse_faults(self._read(pid, "stat"))
        return Counters(status.rss_bytes, status.rss_anon_bytes, status.high_water_bytes, faults)

    def reset_mark(self, pid: int) -> bool:
        """Set the high-water mark back to the RSS; False where that is not permitted.

        Source: Linux, Documentation/filesystems/proc.rst, clear_refs. The program's own
        ru_maxrss is set back with it.
        """
        try:
            os.pwrite(self._descriptor(pid, "clear_refs", os.O_WRONLY), b"5", 0)
        except PermissionError:
            return False
        return True

    def forget(self, pid: int) -> None:
        """Close what is open of a process that has ended: its number may be given out again."""
        for key in [key for key in self._open if key[0] == pid]:
            os.close(self._open.pop(key))

    def _read(self, pid: int, name: str) -> bytes:
        return os.pread(self._descriptor(pid, name, os.O_RDONLY), 4096, 0)

    def _descriptor(self, pid: int, name: str, mode: int) -> int:
        key = (pid, name)
        if key not in self._open:
            self._open[key] = os.open(f"/proc/{pid}/{name}", mode | os.O_CLOEXEC)
        return self._open[key]


def read_children(pid: int) -> list[int]:
    """List the children of every thread of a process; empty when it has ended.

    A child that a thread forked is listed under that thread, not under the process's first one.
    """
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # half the time of Path
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


def read_process(thread: int) -> int:
    """Tell the process of a thread; raises one of `Vanished` when it has ended."""
    return _number(_read(f"/proc/{thread}/status"), b"\nTgid:")


def read_counters(thread: int) -> Counters | None:
    """Read the counters of a thread's process; None when it has none, raises when it has ended."""
    status = parse_status(_read(f"/proc/{thread}/status"))
    if status is None:
        return None
    # By the thread: the first one may have ended before the others. Its process's faults stand
    # under the process.
    faults = parse_faults(_read(f"/proc/{status.process}/stat"))
    return Counters(status.rss_bytes, status.rss_anon_bytes, status.high_water_bytes, faults)


_HUGE = (b"\nthp_fault_alloc ", b"\nthp_collapse_alloc ", b"\nthp_file_mapped ")


def read_huge_faults() -> int | None:
    """Count the huge pages that the machine was given since its start; None where none is told."""
    text = _read("/proc/vmstat")
    counts = [_number(text, name) for name in _HUGE if name in text]
    return sum(counts) if counts else None


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


def read_anonymous_fault_bytes() -> int:
    """Give how much anonymous memory one fault can bring, huge pages apart: a page, or a folio.

    Source: Linux, Documentation/admin-guide/mm/transhuge.rst (`hugepages-<size>kB/enabled`).
    """
    root = Path("/sys/kernel/mm/transparent_hugepage")
    sizes = [PAGE_BYTES]
    try:
        huge = int((root / "hpage_pmd_size").read_text())
        for folder in root.glob("hugepages-*kB"):
            size = int(folder.name.removeprefix("hugepages-").removesuffix("kB")) * KIB
            if size != huge and "[never]" not in (folder / "enabled").read_text():
                sizes.append(size)
    except OSError:
        return PAGE_BYTES
    return max(sizes)
