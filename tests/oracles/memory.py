"""Memory of known size: mapped for itself, touched page by page, given back when it is closed."""

from __future__ import annotations

import mmap

PAGE = mmap.PAGESIZE
MIB = 1 << 20


def allocate(size: int, *, shared: bool = False) -> mmap.mmap:
    """Map and touch `size` bytes, a multiple of the page size, for this process or to be shared.

    Not through malloc, which keeps what it is given back; without huge pages, which would make of
    one touched byte 2 MiB, at a time that the kernel chooses.
    """
    kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
    block = mmap.mmap(-1, size, flags=kind | mmap.MAP_ANONYMOUS)
    block.madvise(mmap.MADV_NOHUGEPAGE)
    touch(block, 0, size)
    return block


def touch(block: mmap.mmap, start: int, stop: int) -> None:
    """Write a byte into every page from `start` to `stop`."""
    block[start:stop:PAGE] = b"\1" * ((stop - start) // PAGE)
