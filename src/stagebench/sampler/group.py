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
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stagebench.sampler.places import (
    INNER,
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

PATIENCE_S = 0.2

RESET = b"0"
"""Written to a peak to set it back; the kernel ignores what is written."""

MEMCG_CHARGE_BATCH = 64
"""In pages; from linux/memcontrol.h."""

STAT_BYTES = 8192
"""More than a memory.stat has: about 1,500 in version 1 and 2,000 in version 2."""


class GroupFiles(NamedTuple):
    """The files in which one version reports memory.

    `needed` are lines of memory.stat for a group and all groups below it: anonymous memory, shared
    memory, page cache with shared memory. `optional` are those for kernel memory and swap, None if
    this version has none; not every kernel has them.
    """

    version: int
    peak: str
    kernel_peak: str | None
    swap_peak: str | None
    needed: tuple[str, str, str]
    optional: tuple[str | None, str | None]


V1 = GroupFiles(
    version=1,
    peak="memory.max_usage_in_bytes",
    kernel_peak="memory.kmem.max_usage_in_bytes",
    swap_peak=None,
    needed=("total_rss", "total_shmem", "total_cache"),
    optional=(None, "total_swap"),
)
V2 = GroupFiles(
    version=2,
    peak="memory.peak",
    kernel_peak=None,
    swap_peak="memory.swap.peak",
    needed=("anon", "shmem", "file"),
    optional=("kernel", None),
)


class GroupReading(NamedTuple):
    """What a group and all groups below it are charged for.

    `shmem_bytes` are pages of tmpfs and of shared segments, mapped or not; `cache_bytes` is the
    page cache without them. `kernel_bytes` is None if it would take a second read (version 1).

    `peak_bytes` is the largest charge of all kinds since `peak_since_ns`: the previous reading, or
    the making of the reader if the peak cannot be set back. Two peaks take turns, so that no charge
    falls between them.
    `kernel_peak_bytes` is the largest kernel memory in the same time, None if it is not reported.
    """

    anon_bytes: int
    shmem_bytes: int
    cache_bytes: int
    kernel_bytes: int | None
    peak_bytes: int
    peak_since_ns: int
    kernel_peak_bytes: int | None


class GroupReader:
    """Reads a group often: it keeps the files open, and a reading is a few system calls.

    `resets_peak`: version 1, and version 2 from Linux 6.12 on, where a peak that was set back
    through a descriptor is read through the same one. `drift_bytes` is how far memory.stat may lag
    behind, see `stat_drift_bytes`; a peak does not, as the kernel charges a group for a batch of
    pages before it hands out the first.
    """

    def __init__(self, folder: Path, files: GroupFiles) -> None:
        self.drift_bytes = stat_drift_bytes(os.sysconf("SC_NPROCESSORS_ONLN"), os.uname().release)
        self.largest_bytes = 0
        self.largest_kernel_bytes: int | None = None
        self.largest_swap_bytes: int | None = None
        self._open: list[int] = []
        self._kernel_peaks: list[int] = []
        try:
            # Not of the outer folder: once the kernel knows that enough changes wait in the inner
            # one, it stops counting those of the outer one, and may keep them back for seconds.
            self._stat = self._open_file(folder / INNER / "memory.stat")
            self._peak = self._next = self._open_file(folder / files.peak)
            self._find_lines(files)
            self.resets_peak = self._take_turns(folder, files)
        except OSError:
            self.close()
            raise
        self._since_ns = time.monotonic_ns()

    def _open_file(self, path: Path, flags: int = os.O_RDONLY) -> int:
        self._open.append(os.open(path, flags | os.O_CLOEXEC))
        return self._open[-1]

    def _find_lines(self, files: GroupFiles) -> None:
        """Find out at which words of memory.stat the numbers are: the kernel keeps their order.

        They are counted from the first line that is needed. None: this kernel has no such line.
        """
        words = os.pread(self._stat, STAT_BYTES, 0).split()
        names = [name.encode() for name in files.needed]
        if missing := [name.decode() for name in names if name not in words]:
            raise OSError(errno.ENODATA, f"no line {missing[0]}", "memory.stat")
        first = min(map(words.index, names))
        self._first = words[first] + b" "
        self._anon, self._shmem, self._page_cache = (
            words.index(name) + 1 - first for name in names
        )
        self._kernel, self._swap = (
            words.index(name.encode()) + 1 - first if name and name.encode() in words else None
            for name in files.optional
        )
        places = (self._anon, self._shmem, self._page_cache, self._kernel, self._swap)
        self._words = max(place for place in places if place is not None) + 1

    def _take_turns(self, folder: Path, files: GroupFiles) -> bool:
        """Set the peaks back, if that is possible, to read them in turns from now on."""
        self.largest_bytes = int(os.pread(self._peak, 32, 0))
        self.largest_kernel_bytes = _read_if_there(folder, files.kernel_peak)
        try:
            self._peak, self._next = self._open_pair(folder, files.peak)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EINVAL):  # those mean: before Linux 6.12
                raise
            return False
        if files.kernel_peak is not None and self.largest_kernel_bytes is not None:
            self._kernel_peaks = self._open_pair(folder, files.kernel_peak)
        return True

    def _open_pair(self, folder: Path, name: str) -> list[int]:
        """Open a file of both folders that is set back by writing, and set it back."""
        pair = [self._open_file(path / name, os.O_RDWR) for path in (folder, folder / INNER)]
        for peak in pair:
            os.pwrite(peak, RESET, 0)
        return pair

    def read(self) -> GroupReading:
        """Read what the group is charged for; raises OSError if it was removed."""
        text = os.pread(self._stat, STAT_BYTES, 0)
        words = text[text.index(self._first) :].split(None, self._words)
        since_ns = self._since_ns
        if self.resets_peak:
            if self._kernel_peaks:  # first, and read last: it covers all of the other one's time
                os.pwrite(self._kernel_peaks[1], RESET, 0)
            os.pwrite(self._next, RESET, 0)
            self._since_ns = time.monotonic_ns()
        # The next peak counts from before this moment on, and this one until after it.
        peak_bytes = int(os.pread(self._peak, 32, 0))
        self._peak, self._next = self._next, self._peak
        self.largest_bytes = max(self.largest_bytes, peak_bytes)
        kernel_peak_bytes = None
        if self._kernel_peaks:
            kernel_peak_bytes = int(os.pread(self._kernel_peaks[0], 32, 0))
            self._kernel_peaks.reverse()
            self.largest_kernel_bytes = max(self.largest_kernel_bytes or 0, kernel_peak_bytes)
        if self._swap is not None:
            self.largest_swap_bytes = max(self.largest_swap_bytes or 0, int(words[self._swap]))
        shmem_bytes = int(words[self._shmem])
        return GroupReading(
            int(words[self._anon]),
            shmem_bytes,
            max(0, int(words[self._page_cache]) - shmem_bytes),  # either may lag behind
            None if self._kernel is None else int(words[self._kernel]),
            peak_bytes,
            since_ns,
            kernel_peak_bytes,
        )

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.pop())


def stat_drift_bytes(cpus: int, release: str) -> int:
    """Return how far a group's memory.stat may lag behind what the group holds.

    Every CPU collects changes. It reports them once it has seen a batch of changed pages, and a
    read sums up all CPUs only once more than a batch per CPU has been reported. So up to two
    batches per CPU are not in what is read. Before Linux 6.8, whole batches are reported, and of
    two that are not quite full only one counts: three batches. Source: Linux, `memcg_rstat_updated`
    and `memcg_vmstats_needs_flush` in mm/memcontrol.c.
    """
    version = re.match(r"(\d+)\.(\d+)", release)
    is_old = version is not None and (int(version[1]), int(version[2])) < (6, 8)
    return (3 if is_old else 2) * cpus * MEMCG_CHARGE_BATCH * PAGE_BYTES


class Charged(NamedTuple):
    """The memory that a group was charged for.

    `cache_bytes` is its page cache at the end, not at the peak. `kernel_peak_bytes` is None if the
    peak of kernel memory is not reported. `swap_bytes` is the most that was seen to be swapped out,
    None if this kernel does not report it.
    """

    version: int
    peak_bytes: int
    kernel_peak_bytes: int | None
    cache_bytes: int
    swap_bytes: int | None


class Group:
    """A control group for the processes of a run, or the `reason` why there is none."""

    def __init__(self, folder: Path | None, files: GroupFiles = V2, reason: str = "") -> None:
        self.folder = folder
        self.reason = reason
        self._files = files
        self._readers: list[GroupReader] = []

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
            self._readers.append(GroupReader(self.folder, self._files))
        except OSError as error:
            self.reason = describe_error(error)
            return None
        return self._readers[-1]

    def read(self) -> Charged | None:
        """Read what was charged so far; None if there is no group, or if it was removed."""
        if self.folder is None:
            return None
        try:
            return self._sum_up(self.folder)
        except OSError as error:
            self.reason = f"it was taken away during the run: {describe_error(error)}"
            return None

    def _sum_up(self, folder: Path) -> Charged:
        files = self._files
        # Its first look at the peak is at the one that has not been set back for longest.
        readers = [*self._readers, GroupReader(folder, files)]
        try:
            last = readers[-1].read()
        finally:
            readers[-1].close()
        swapped = [reader.largest_swap_bytes for reader in readers]
        return Charged(
            version=files.version,
            peak_bytes=max(reader.largest_bytes for reader in readers),
            kernel_peak_bytes=_largest(reader.largest_kernel_bytes for reader in readers),
            cache_bytes=last.cache_bytes + last.shmem_bytes,
            swap_bytes=_largest([*swapped, _read_if_there(folder, files.swap_peak)]),
        )

    def give_back(self, proc: Path = OWN) -> None:
        """Move the processes that still live to the group that this process is in."""
        if self.folder is None:
            return
        try:
            _, root, path = find_group("memory", proc)
            own = root / path.removeprefix("/") / "cgroup.procs"
            deadline = time.monotonic() + PATIENCE_S
            # Those that are not moved yet may fork meanwhile.
            while (pids := list_pids(self.folder)) and time.monotonic() < deadline:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        write(own, pid)
        except (OSError, NoPlaceError) as error:
            self.reason = describe_error(error)

    def remove(self) -> None:
        """Remove the group; retries because processes that have just ended may keep it busy."""
        for reader in self._readers:
            reader.close()
        deadline = time.monotonic() + PATIENCE_S
        while self.folder is not None and self.folder.exists():
            remove_folders(self.folder)
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)


def _largest(sizes: Iterable[int | None]) -> int | None:
    return max((size for size in sizes if size is not None), default=None)


def _read_if_there(folder: Path, name: str | None) -> int | None:
    path = folder / name if name else None
    return int(path.read_text()) if path is not None and path.exists() else None


def list_pids(folder: Path) -> list[str]:
    """List the processes of a group and of all groups below it."""
    files = [Path(path) / "cgroup.procs" for path, _, _ in os.walk(folder)]
    return [pid for file in files if file.exists() for pid in file.read_text().split()]


def remove_folders(folder: Path) -> None:
    """Remove a group and all groups below it, as far as they have no processes."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


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
