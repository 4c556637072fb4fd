"""Memory of known size: a mapping of its own, touched page by page and freed when closed."""

from __future__ import annotations

import mmap

PAGE = mmap.PAGESIZE
MIB = 1 << 20


def allocate(size: int, *, shared: bool = False) -> mmap.mmap:
    """Map and touch `size` bytes, a multiple of the page size, private or shared.

    malloc would not do, because it keeps freed memory. Huge pages are off, because they turn one
    touched byte into 2 MiB at a time that the kernel chooses.
    """
    kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
    block = mmap.mmap(-1, size, flags=kind | mmap.MAP_ANONYMOUS)
    block.madvise(mmap.MADV_NOHUGEPAGE)
    touch(block, 0, size)
    return block


def touch(block: mmap.mmap, start: int, stop: int) -> None:
    """Write a byte into every page from `start` to `stop`."""
    block[start:stop:PAGE] = b"\1" * ((stop - start) // PAGE)
