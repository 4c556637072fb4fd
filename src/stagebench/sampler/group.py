"""A control group around the processes of a run, and reading what it is charged for.

A group is charged for the memory that its processes touch first: anonymous memory, shared memory,
page cache and kernel memory (page tables, sockets). One read reports all of it, whatever the number
and the size of the processes.

A group is two folders, one in the other; the processes are in the inner one. The kernel keeps a
largest charge (peak) for each, and both can be set back. They take turns: a reading starts the peak
of one anew and only then reads that of the other. So no charge between two readings is lost.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.stat, memory.peak, memory.events)
and, for version 1, admin-guide/cgroup-v1/memory.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stagebench.sampler.places import (
    OWN,
    PREFIX,
    NoPlaceError,
    describe_error,
    find_group,
    find_place,
    write,
)
from stagebench.sampler.procfs import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INNER = "processes"
"""The name of the folder inside a group in which its processes are."""

PATIENCE_S = 0.2

RESET = b"0"
"""Written to a peak to set it back; the kernel ignores what is written."""

MEMCG_CHARGE_BATCH = 64
"""In pages; from linux/memcontrol.h."""

STAT_BYTES = 16384
"""More than a memory.stat has: about 1,500 in version 1 and 2,000 in version 2."""


class GroupFiles(NamedTuple):
    """The files in which one version reports memory.

    `needed` are lines of memory.stat for a group and all groups below it: anonymous memory, shared
    memory, page cache with shared memory. `optional` are those for kernel memory and swap, None if
    this version has none; not every kernel has them. `oom` counts the processes that were killed
    because memory ran out: in version 1 those of one folder, in version 2 those below it, too.
    """

    version: int
    peak: str
    kernel_peak: str | None
    swap_peak: str | None
    oom: str
    needed: tuple[str, str, str]
    optional: tuple[str | None, str | None]


V1 = GroupFiles(
    version=1,
    peak="memory.max_usage_in_bytes",
    kernel_peak="memory.kmem.max_usage_in_bytes",
    swap_peak=None,
    oom=f"{INNER}/memory.oom_control",
    needed=("total_rss", "total_shmem", "total_cache"),
    optional=(None, "total_swap"),
)
V2 = GroupFiles(
    version=2,
    peak="memory.peak",
    kernel_peak=None,
    swap_peak="memory.swap.peak",
    oom="memory.events",
    needed=("anon", "shmem", "file"),
    optional=("kernel", None),
)


class GroupReading(NamedTuple):
    """What a group and all groups below it are charged for.

    `shmem_bytes` are pages of tmpfs and of shared segments, mapped or not; `cache_bytes` is the
    page cache without them. `kernel_bytes` is None if it would take a second read (version 1).

    `peak_bytes` is the largest charge of all kinds since `peak_since_ns`: the previous reading, or
    the making of the reader if the peak cannot be set back. A charge that came and went while a
    peak was set back can be above it by `slack_bytes`. That is 0 as long as two peaks take turns.
    `kernel_peak_bytes` is the largest kernel memory in the same time, None if it is not reported.
    """

    anon_bytes: int
    shmem_bytes: int
    cache_bytes: int
    kernel_bytes: int | None
    peak_bytes: int
    peak_since_ns: int
    slack_bytes: int
    kernel_peak_bytes: int | None


class GroupReader:
    """Reads a group often: it keeps the files open, and a reading is three system calls.

    `resets_peak`: version 1, and version 2 from Linux 6.12 on, where a peak that was set back
    through a descriptor is read through the same one. `drift_bytes` is how far memory.stat may lag
    behind, see `stat_drift_bytes`; a peak does not, as the kernel charges a group for a batch of
    pages before it hands out the first.
    """

    def __init__(self, folder: Path, files: GroupFiles) -> None:
        self.drift_bytes = stat_drift_bytes(os.sysconf("SC_NPROCESSORS_ONLN"))
        self.largest_bytes = self.largest_swap_bytes = 0
        self._anon, self._shmem, self._page_cache = map(_line, files.needed)
        self._kernel, self._swap = map(_line, files.optional)
        self._open: list[int] = []
        self.largest_kernel_bytes: int | None = None
        self._kernel_peak = self._next_kernel = 0
        self._kernel_peak_name = files.kernel_peak
        try:
            # Not of the outer group: the kernel may keep back changes of that one for two seconds,
            # while it counts that enough of them are pending in the inner one.
            self._stat = self._open_file(folder / INNER / "memory.stat")
            self._oom = self._open_file(folder / files.oom)
            self._peak = self._next = self._open_file(folder / files.peak)
            self._check_lines()
            self.resets_peak = self._take_turns(folder, files.peak)
        except OSError:
            self.close()
            raise
        self._since_ns = time.monotonic_ns()

    def _open_file(self, path: Path, flags: int = os.O_RDONLY) -> int:
        self._open.append(os.open(path, flags | os.O_CLOEXEC))
        return self._open[-1]

    def _check_lines(self) -> None:
        """Raise OSError if a line is missing; do without those that not every kernel has."""
        text = b"\n" + os.pread(self._stat, STAT_BYTES, 0)
        for line in (self._anon, self._shmem, self._page_cache):
            if line not in text:
                name = line.decode().strip()
                raise OSError(errno.ENODATA, f"no line {name!r}", "memory.stat")
        self._kernel = self._kernel if self._kernel in text else b""
        self._swap = self._swap if self._swap in text else b""

    def _take_turns(self, folder: Path, name: str) -> bool:
        """Set both peaks back, if that is possible, to read them in turns from now on."""
        self.largest_bytes = int(os.pread(self._peak, 32, 0))
        try:
            peaks = [self._open_file(path / name, os.O_RDWR) for path in (folder, folder / INNER)]
            for peak in peaks:
                os.pwrite(peak, RESET, 0)
            self._open_kernel_peaks(folder)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EINVAL):  # those mean: before Linux 6.12
                raise
            return False
        self._peak, self._next = peaks
        return True

    def _open_kernel_peaks(self, folder: Path) -> None:
        """Take turns with the peaks of kernel memory, too, where they are files of their own."""
        name = self._kernel_peak_name
        if name is None or not (folder / name).exists():
            return
        kernel = [self._open_file(path / name, os.O_RDWR) for path in (folder, folder / INNER)]
        for peak in kernel:
            os.pwrite(peak, RESET, 0)
        self._kernel_peak, self._next_kernel = kernel

    def read(self) -> GroupReading:
        """Read what the group is charged for; raises OSError if it was removed."""
        text = b"\n" + os.pread(self._stat, STAT_BYTES, 0)
        shmem_bytes, since_ns = _number_after(text, self._shmem), self._since_ns
        if self.resets_peak:
            if self._kernel_peak:  # first, and read last: it covers all of the other one's time
                os.pwrite(self._next_kernel, RESET, 0)
            os.pwrite(self._next, RESET, 0)
            self._since_ns = time.monotonic_ns()
        # The next peak counts from before this moment on, and this one until after it.
        peak_bytes = int(os.pread(self._peak, 32, 0))
        self._peak, self._next = self._next, self._peak
        kernel_peak_bytes = None
        if self._kernel_peak:
            kernel_peak_bytes = int(os.pread(self._kernel_peak, 32, 0))
            self.largest_kernel_bytes = max(self.largest_kernel_bytes or 0, kernel_peak_bytes)
            self._kernel_peak, self._next_kernel = self._next_kernel, self._kernel_peak
        self.largest_bytes = max(self.largest_bytes, peak_bytes)
        if self._swap:
            swap_bytes = _number_after(text, self._swap)
            self.largest_swap_bytes = max(self.largest_swap_bytes, swap_bytes)
        return GroupReading(
            _number_after(text, self._anon),
            shmem_bytes,
            _number_after(text, self._page_cache) - shmem_bytes,
            _number_after(text, self._kernel) if self._kernel else None,
            peak_bytes,
            since_ns,
            0,
            kernel_peak_bytes,
        )

    def count_oom_kills(self) -> int:
        """Return how many processes of the group the kernel killed because memory ran out."""
        return _number_after(b"\n" + os.pread(self._oom, STAT_BYTES, 0), b"\noom_kill ")

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.pop())


def _line(name: str | None) -> bytes:
    """Return how a line begins, with the end of the line before it; empty if there is none."""
    return f"\n{name} ".encode() if name else b""


def _number_after(text: bytes, line: bytes) -> int:
    start = text.index(line) + len(line)
    return int(text[start : text.index(b"\n", start)])


def stat_drift_bytes(cpus: int) -> int:
    """Return how far a group's memory.stat may lag behind what the group holds.

    Every CPU collects changes. It reports them once it has seen a batch of changed pages, and a
    read sums up all CPUs only once more than a batch per CPU has been reported. So up to two
    batches per CPU are not in what is read. Source: Linux, `memcg_rstat_updated` and
    `memcg_vmstats_needs_flush` in mm/memcontrol.c.
    """
    return 2 * cpus * MEMCG_CHARGE_BATCH * PAGE_BYTES


class Charged(NamedTuple):
    """The memory that a group was charged for.

    `cache_bytes` is its page cache at the end, not at the peak. `kernel_peak_bytes` is None if the
    peak of kernel memory is not reported. `swap_bytes` is the most that was seen to be swapped out,
    None if this kernel does not report it. `oom_kills` counts the processes that the kernel killed
    because memory ran out.
    """

    version: int
    peak_bytes: int
    kernel_peak_bytes: int | None
    cache_bytes: int
    swap_bytes: int | None
    oom_kills: int


class Group:
    """A control group for the processes of a run, or the `reason` why there is none."""

    def __init__(self, folder: Path | None, files: GroupFiles, reason: str = "") -> None:
        self.folder = folder
        self.reason = reason
        self._files = files
        self._reader: GroupReader | None = None

    def add(self, pid: int) -> None:
        """Add a process, and with it all processes that it will create."""
        if self.folder is None:
            return
        try:
            write(self.folder / INNER / "cgroup.procs", str(pid))
        except OSError as error:
            self.remove()
            self.folder, self.reason = None, describe_error(error)

    def open_reader(self) -> GroupReader | None:
        """Open the group for being read often; None if there is no group."""
        if self.folder is None:
            return None
        try:
            self._reader = GroupReader(self.folder, self._files)
        except OSError as error:
            self.reason = describe_error(error)
        return self._reader

    def read(self) -> Charged | None:
        """Read what was charged so far; None if there is no group, or if it was removed."""
        if self.folder is None:
            return None
        try:
            return self._sum_up(self.folder)
        except OSError as error:
            self.reason = describe_error(error)
            return None

    def _sum_up(self, folder: Path) -> Charged:
        files, reader = self._files, self._reader or GroupReader(folder, self._files)
        try:
            last = reader.read()
            swap_bytes = reader.largest_swap_bytes
            if files.swap_peak is not None and (folder / files.swap_peak).exists():
                swap_bytes = int((folder / files.swap_peak).read_text())
            return Charged(
                version=files.version,
                peak_bytes=reader.largest_bytes,
                kernel_peak_bytes=reader.largest_kernel_bytes,
                cache_bytes=last.cache_bytes + last.shmem_bytes,
                swap_bytes=swap_bytes,
                oom_kills=reader.count_oom_kills(),
            )
        finally:
            reader.close()
            self._reader = None

    def give_back(self, proc: Path = OWN) -> None:
        """Move the processes that still live to the group that this process is in."""
        if self.folder is None:
            return
        try:
            _, root, path = find_group("memory", proc)
            own = root / path.removeprefix("/") / "cgroup.procs"
            inner = self.folder / INNER / "cgroup.procs"
            deadline = time.monotonic() + PATIENCE_S
            # Those that are not moved yet may fork meanwhile.
            while (pids := inner.read_text().split()) and time.monotonic() < deadline:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        write(own, pid)
        except (OSError, LookupError) as error:
            self.reason = str(error)

    def remove(self) -> None:
        """Remove the group; retries because processes that have just ended may keep it busy."""
        deadline = time.monotonic() + PATIENCE_S
        while self.folder is not None and self.folder.exists():
            remove_folders(self.folder)
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)


def remove_folders(folder: Path) -> None:
    """Remove the two folders of a group if they have no processes."""
    for path in (folder / INNER, folder):
        with contextlib.suppress(OSError):
            path.rmdir()


@contextlib.contextmanager
def control_group(proc: Path = OWN, movable: Iterable[int] = ()) -> Iterator[Group]:
    """Create a group for a `with` block, if that is permitted; see `places` for where."""
    group = _make_group(proc, movable)
    try:
        yield group
    finally:
        group.remove()


@contextlib.contextmanager
def group_around(pid: int, proc: Path = OWN) -> Iterator[Group]:
    """Put a held child of this process in a group for a `with` block.

    At the end, the processes that still live are given back to the group that this process is in:
    they live on, and the group can be removed.
    """
    with control_group(proc, movable=(pid,)) as group:
        group.add(pid)
        try:
            yield group
        finally:
            group.give_back(proc)


def _make_group(proc: Path, movable: Iterable[int]) -> Group:
    files = V2
    try:
        version, place = find_place(proc, movable)
        files = V1 if version == 1 else V2
        _remove_abandoned(place)
        return Group(_make_folders(place, files), files)
    except OSError as error:
        needs = ": version 1 needs root, or a group that root gave to this user"
        denied = files is V1 and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        return Group(None, files, describe_error(error) + needs * denied)
    except NoPlaceError as error:
        return Group(None, files, describe_error(error))


def _make_folders(place: Path, files: GroupFiles) -> Path:
    """Make the two folders of a group; raises OSError or NoPlaceError if that is not possible."""
    folder = place / f"{PREFIX}{os.getpid()}"
    remove_folders(folder)  # of a killed supervisor that had this process id
    folder.mkdir()
    if not (folder / files.peak).exists():
        remove_folders(folder)
        raise NoPlaceError(f"{files.peak} does not exist in a new group")
    try:
        if files.version == 2:
            write(folder / "cgroup.subtree_control", "+memory")
        (folder / INNER).mkdir()
    except OSError:
        remove_folders(folder)
        raise
    return folder


def _remove_abandoned(own: Path) -> None:
    """Remove the groups of killed supervisors; the kernel keeps one that still has processes."""
    for folder in own.glob(f"{PREFIX}*"):
        if not Path(f"/proc/{folder.name.removeprefix(PREFIX)}").exists():
            remove_folders(folder)
