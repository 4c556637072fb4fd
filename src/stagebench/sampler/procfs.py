"""Reading and parsing the files of /proc that sampler and census need."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stagebench.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Callable

KIB = 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Vanished = (FileNotFoundError, ProcessLookupError)
"""The errors that a read from /proc raises if the process has ended."""


def check_proc() -> None:
    """Raise MeasureError unless /proc shows the processes of this process's own PID namespace.

    In that of another namespace our process ids belong to other programs.
    """
    try:
        own, status = os.readlink("/proc/self"), _read("/proc/self/status")
    except OSError as error:
        raise MeasureError(
            f"/proc: does not show this process ({error.strerror}), so no memory can be read; mount"
            " the one of this PID namespace (mount -t proc proc /proc)"
        ) from error
    _, found, line = status.partition(b"\nNSpid:")
    ids = line.split(b"\n", 1)[0].split() if found else []
    if own != str(os.getpid()) or len(ids) > 1:
        raise MeasureError(
            f"/proc: belongs to another PID namespace (this process is {own} there and"
            f" {os.getpid()} here), so memory of other programs would be read; mount the one of"
            " this namespace (unshare --mount-proc, or mount -t proc proc /proc)"
        )


class Memory(NamedTuple):
    """Memory of a process at one moment (see `records.MemorySample`); None is unknown."""

    pss_bytes: int | None
    anon_bytes: int | None
    file_bytes: int | None
    shmem_bytes: int | None
    uss_bytes: int | None
    rss_bytes: int
    swap_bytes: int | None
    rss_anon_bytes: int


class Status(NamedTuple):
    """The part of /proc/PID/status that is used: the process of a thread, and its memory."""

    process: int
    rss_bytes: int
    rss_anon_bytes: int
    high_water_bytes: int
    rss_shmem_bytes: int


class Sizes(NamedTuple):
    """A process's RSS in two parts: anonymous pages, and those of files and shared memory."""

    anon_bytes: int
    shared_bytes: int


class Counters(NamedTuple):
    """A process's counters in the kernel, which are cheap to read whatever its size.

    `high_water_bytes` is the largest RSS since the mark was reset. `faults` counts all page faults
    of the process, including those of threads that have ended.
    """

    rss_bytes: int
    rss_anon_bytes: int
    high_water_bytes: int
    faults: int
    rss_shmem_bytes: int = 0


def parse_smaps_rollup(text: bytes) -> Memory:
    """Parse the text of /proc/PID/smaps_rollup.

    Raises ProcessLookupError if the text is empty: the process has no memory any more (a zombie).
    Source: Linux, Documentation/filesystems/proc.rst.
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
    """Parse the text of /proc/PID/status; None for a zombie, which has no memory any more."""
    process = _number(text, b"\nTgid:")
    if b"\nVmRSS:" not in text:
        return None
    rss = _number(text, b"\nVmRSS:") * KIB
    anon = _number(text, b"\nRssAnon:") * KIB
    shmem = _number(text, b"\nRssShmem:") * KIB
    return Status(process, rss, anon, _number(text, b"\nVmHWM:") * KIB, shmem)


def _number(text: bytes, name: bytes) -> int:
    start = text.index(name) + len(name)
    return int(text[start : start + 32].split(maxsplit=1)[0])


def _count(status: Status, faults: int) -> Counters:
    _process, rss, anon, mark, shmem = status
    return Counters(rss, anon, mark, faults, shmem)


def parse_faults(text: bytes) -> int:
    """Return the sum of minor and major page faults in /proc/PID/stat (fields 10 and 12)."""
    fields = text[text.rindex(b")") :].split(maxsplit=11)
    return int(fields[8]) + int(fields[10])


def parse_statm(text: bytes) -> tuple[int, int]:
    """Return RSS and its shared part in /proc/PID/statm, in pages (fields 2 and 3)."""
    fields = text.split(b" ", 3)
    return int(fields[1]), int(fields[2])


SPARE_DESCRIPTORS = 64
"""So many of the allowed descriptors are left to the rest of the program."""


class MemoryFiles:
    """Reads memory through descriptors that stay open, which saves the cost of opening them.

    A descriptor refers to the memory that the process had when it was opened: call `forget` after
    an exec. Where there are too many processes for the limit of open files, the files of the rest
    are opened for each reading.
    """

    metric = "pss"
    counts_faults = True

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], int] = {}
        self._most_open = allowed_descriptors() - SPARE_DESCRIPTORS
        self._folders: dict[int, str] = {}
        self._buffer_bytes = 4096

    def read_memory(self, pid: int) -> Memory:
        """Read one process's memory; raises one of `Vanished` if it has ended."""
        try:
            return parse_smaps_rollup(self._read(pid, "smaps_rollup"))
        except Vanished:
            self._find_living_thread(pid)
            return parse_smaps_rollup(self._read(pid, "smaps_rollup"))

    def read_counters(self, pid: int) -> Counters:
        """Read one process's counters, faults last; raises like `read_memory`."""
        try:
            status = parse_status(self._read(pid, "status"))
        except Vanished:
            status = None
        if status is None:
            self._find_living_thread(pid)
            status = parse_status(self._read(pid, "status"))
        if status is None:
            raise ProcessLookupError("no memory: the process has ended")
        return _count(status, self.read_faults(pid))

    def read_faults(self, pid: int) -> int:
        """Read the page faults of one process; raises like `read_memory`."""
        return parse_faults(self._read(pid, "stat"))

    def read_sizes(self, pid: int) -> Sizes:
        """Read the sizes of one process: the cheapest of its files; raises like `read_memory`.

        Source: Linux, fs/proc/array.c (proc_pid_statm).
        """
        try:
            rss, shared = parse_statm(self._read(pid, "statm"))
        except Vanished:
            rss = shared = 0
        if not rss:
            self._find_living_thread(pid)
            rss, shared = parse_statm(self._read(pid, "statm"))
        return Sizes((rss - shared) * PAGE_BYTES, shared * PAGE_BYTES)

    def reset_mark(self, pid: int) -> bool:
        """Reset the high-water mark to the RSS; False if that is not permitted.

        This resets the program's own ru_maxrss, too. Source: Linux,
        Documentation/filesystems/proc.rst, clear_refs.
        """
        try:
            descriptor = self._descriptor(pid, "clear_refs", os.O_WRONLY)
        except PermissionError:
            return False
        try:
            os.pwrite(descriptor, b"5", 0)
        finally:
            self._release(descriptor, pid, "clear_refs")
        return True

    def forget(self, pid: int) -> None:
        """Close the descriptors of a process that has called exec or ended: pids are reused."""
        self._folders.pop(pid, None)
        for name in ("statm", "status", "stat", "smaps_rollup", "clear_refs"):
            descriptor = self._open.pop((pid, name), None)
            if descriptor is not None:
                os.close(descriptor)

    def _find_living_thread(self, pid: int) -> None:
        """Read another thread's files from now on: the first may have ended before the others."""
        self.forget(pid)
        self._folders[pid] = find_living_thread(pid)

    def _read(self, pid: int, name: str) -> bytes:
        descriptor = self._descriptor(pid, name, os.O_RDONLY)
        try:
            text = os.pread(descriptor, self._buffer_bytes, 0)
            while len(text) == self._buffer_bytes:  # `status` lists up to 65,536 groups
                self._buffer_bytes *= 4
                text = os.pread(descriptor, self._buffer_bytes, 0)
        finally:
            self._release(descriptor, pid, name)
        return text

    def _descriptor(self, pid: int, name: str, mode: int) -> int:
        descriptor = self._open.get((pid, name))
        if descriptor is None:
            # Page faults of the whole process are listed under the process alone.
            folder = f"/proc/{pid}" if name == "stat" else self._folders.get(pid, f"/proc/{pid}")
            descriptor = os.open(f"{folder}/{name}", mode | os.O_CLOEXEC)
            if len(self._open) < self._most_open:
                self._open[pid, name] = descriptor
        return descriptor

    def _release(self, descriptor: int, pid: int, name: str) -> None:
        if (pid, name) not in self._open:
            os.close(descriptor)


def allowed_descriptors() -> int:
    """Return how many descriptors this process may have open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def find_living_thread(pid: int) -> str:
    """Return the folder of a thread that has the process's memory; raises one of `Vanished`."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{thread}"
        with contextlib.suppress(*Vanished):
            if parse_status(_read(f"{folder}/status")) is not None:
                return folder
    raise ProcessLookupError("no memory: the process has ended")


def read_children(pid: int) -> list[int]:
    """List the children of every thread of a process; empty if it has ended.

    /proc lists a child under the thread that forked it, not under the process's first thread.
    """
    children: list[int] = []
    complete = True
    with contextlib.suppress(*Vanished):
        for thread in os.listdir(f"/proc/{pid}/task"):  # half the time of Path
            try:
                children += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
            except Vanished:
                complete = False
    return children if complete or has_children_files() else list_children().get(pid, [])


def has_children_files() -> bool:
    """Return whether the kernel lists children by thread (CONFIG_PROC_CHILDREN)."""
    return os.path.exists("/proc/thread-self/children")  # one stat


def list_children() -> dict[int, list[int]]:
    """List the children of every process, by the parent that each process names."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(*Vanished):
                text = _read(f"/proc/{name}/stat")
                parent = int(text[text.rindex(b")") :].split(maxsplit=3)[2])
                children.setdefault(parent, []).append(int(name))
    return children


def children_reader() -> Callable[[int], list[int]]:
    """Return a reader of children for one walk of a tree, which lists all processes only once."""
    if has_children_files():
        return read_children
    children = list_children()
    return lambda pid: children.get(pid, [])


def read_command(pid: int) -> str:
    """Read the command line, joined by spaces; empty if the process has ended."""
    try:
        text = _read(f"/proc/{pid}/cmdline") or _read(f"{find_living_thread(pid)}/cmdline")
    except Vanished:
        return ""
    return b" ".join(text.rstrip(b"\0").split(b"\0")).decode(errors="replace")


def read_sizes(pid: int) -> bytes:
    """Read the sizes of a process's memory; raises one of `Vanished` if it has ended."""
    return _read(f"/proc/{pid}/statm")


def read_process(thread: int) -> int:
    """Return the process of a thread; raises one of `Vanished` if the thread has ended."""
    return _number(_read(f"/proc/{thread}/status"), b"\nTgid:")


def read_counters(thread: int) -> Counters | None:
    """Read the counters of a thread's process; None if it has no memory, raises if it has ended."""
    status = parse_status(_read(f"/proc/{thread}/status"))
    if status is None:
        return None
    # The status is read by thread, because the process's first thread may have ended before the
    # others. Page faults of the whole process are listed under the process alone.
    faults = parse_faults(_read(f"/proc/{status.process}/stat"))
    return _count(status, faults)


_HUGE = (b"\nthp_fault_alloc ", b"\nthp_collapse_alloc ", b"\nthp_file_mapped ")


def read_huge_faults() -> int | None:
    """Count the huge pages that the machine has handed out since boot; None if it has no count."""
    try:
        return _count_huge(_read("/proc/vmstat"))
    except OSError:
        return None


def _count_huge(text: bytes) -> int | None:
    counts = [_number(text, name) for name in _HUGE if name in text]
    return sum(counts) if counts else None


def _read(path: str) -> bytes:
    # os.open and os.read take a third of the time of open().read(), and run many times per sweep.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        text = os.read(descriptor, 65536)
        while block := os.read(descriptor, 65536):
            text += block
    finally:
        os.close(descriptor)
    return text


class MachineCounts:
    """Reads what the machine has counted since boot, through a descriptor that stays open.

    Source: Linux, mm/page-writeback.c (`nr_dirtied` counts a page when it is first written to) and
    mm/vmstat.c (`pgpgin` is in KiB).
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def read_paged(self) -> int | None:
        """Return the bytes written to and read into the page cache; None if nobody counts them."""
        text = self._read()
        if b"\nnr_dirtied " not in text or b"\npgpgin " not in text:
            return None
        return _number(text, b"\nnr_dirtied ") * PAGE_BYTES + _number(text, b"\npgpgin ") * KIB

    def read_huge_faults(self) -> int | None:
        """Count the huge pages that were handed out; None if nobody counts them."""
        return _count_huge(self._read())

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> bytes:
        try:
            if self._descriptor is None:
                self._descriptor = os.open("/proc/vmstat", os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._descriptor, 1 << 16, 0)
        except OSError:
            return b""


def read_anonymous_fault_bytes() -> int:
    """Return how much anonymous memory one page fault can map, huge pages apart: a page or a folio.

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


def counter_drift_bytes(cpus: int) -> int:
    """Return how far the kernel's high-water mark of a process may lag behind its true RSS.

    The kernel computes the mark from three counters (anonymous, file and shared memory). Each has a
    part per CPU, which is added to the total only when it reaches a batch. Source: Linux,
    `update_hiwater_rss` in linux/mm.h and `compute_batch_value` in lib/percpu_counter.c.
    """
    batch = max(32, 2 * cpus)
    return 3 * cpus * (batch - 1) * PAGE_BYTES
