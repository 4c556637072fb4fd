"""Reads and parses the files of /proc that a sweep needs; parsing is apart from reading."""

from __future__ import annotations

import os
from typing import NamedTuple

KIB = 1024

Vanished = (FileNotFoundError, ProcessLookupError)
"""What reading from /proc raises when the process has ended."""


class Memory(NamedTuple):
    """Memory of one process at one moment, in bytes (see `records.MemorySample`)."""

    pss_bytes: int
    uss_bytes: int
    rss_bytes: int
    anon_bytes: int


def parse_smaps_rollup(text: bytes) -> Memory:
    """Read PSS, USS, RSS and anonymous PSS from the text of /proc/PID/smaps_rollup.

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
        uss_bytes=uss_kib * KIB,
        rss_bytes=kib[b"Rss:"] * KIB,
        anon_bytes=kib[b"Pss_Anon:"] * KIB,
    )


def read_memory(pid: int) -> Memory:
    """Read one process's memory; raises one of `Vanished` when it has ended."""
    return parse_smaps_rollup(_read(f"/proc/{pid}/smaps_rollup"))


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
        return (
            _read(f"/proc/{pid}/cmdline")
            .rstrip(b"\0")
            .replace(b"\0", b" ")
            .decode(errors="replace")
        )
    except Vanished:
        return ""


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
