"""Mock download: the waiting, the bytes and the CPU work of a download, without a network.

Steps and defaults are those of the published study (docs/method.md). Which of them hold the GIL is
the point: the receives, fsync, and on chunks of 64 KiB zlib and SHA-256 release it; the MD5 loop
holds it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import time
import zlib
from typing import TYPE_CHECKING, Annotated, NamedTuple

from stagebench.handlers.bounds import Bounds, MemoryNeed

if TYPE_CHECKING:
    from typing import IO

MEGA = 1024 * 1024
"""Bytes of a MB and bits of a Mbit, binary as in the published study."""

SHORTEST_BUSY_S = 0.001
"""The busy loop is left out where it would last no longer than this, as in the published study."""


class Download(NamedTuple):
    """What a download gives: the bytes read back, and their SHA-256 (None when not asked for)."""

    data: bytes
    sha256: str | None


def download(
    *,
    file_size_mb: Annotated[float, Bounds(above=0)] = 1.0,
    bandwidth_mbps: Annotated[float, Bounds(above=0)] = 10.0,
    latency_ms: Annotated[float, Bounds(at_least=0)] = 50.0,
    chunk_bytes: Annotated[int, Bounds(at_least=1)] = 64 * 1024,
    cpu_overhead: Annotated[float, Bounds(at_least=0, at_most=1)] = 0.05,
    compression: bool = True,
    checksum: bool = True,
) -> Download:
    """Spend the time and do the work of a download.

    file_size_mb: size in MB (2^20 bytes). bandwidth_mbps: Mbit/s (2^20 bits). latency_ms: wait
    before the first chunk. chunk_bytes: bytes a receive. cpu_overhead: share of a chunk's transfer
    time spent in a loop that holds the GIL. compression: deflate and inflate each chunk.
    checksum: SHA-256 of all chunks.
    """
    size = int(file_size_mb * MEGA)
    bytes_per_s = bandwidth_mbps * MEGA / 8
    digest = hashlib.sha256() if checksum else None
    _wait_on_socket(latency_ms / 1000)
    with tempfile.NamedTemporaryFile(buffering=0) as file:
        for start in range(0, size, chunk_bytes):
            # A last, short chunk waits a full chunk's delay, as in the published study.
            _wait_on_socket(chunk_bytes / bytes_per_s)
            chunk = os.urandom(min(chunk_bytes, size - start))
            if compression:
                chunk = zlib.decompress(zlib.compress(chunk, level=1))
            if digest is not None:
                digest.update(chunk)
            _write_through(file, chunk)
            _keep_busy(len(chunk) / bytes_per_s * cpu_overhead)
        file.seek(0)
        data = file.read()
    return Download(data, digest.hexdigest() if digest is not None else None)


def memory_need(*, file_size_mb: float = 1.0, **_others: object) -> MemoryNeed:
    """Estimate: the file once, read back."""
    size = int(file_size_mb * MEGA)
    return MemoryNeed(working_bytes=size, result_bytes=size)


def _wait_on_socket(duration_s: float) -> None:
    """Block in a receive that nothing answers, as a real transfer does; releases the GIL."""
    if duration_s <= 0:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(duration_s)
        try:
            receiver.recv(1)
        except TimeoutError:
            return
        raise OSError("the mock download's socket received data that nobody sent")


def _write_through(file: IO[bytes], chunk: bytes) -> None:
    file.write(chunk)
    os.fsync(file.fileno())


def _keep_busy(duration_s: float) -> None:
    """Hash in a Python loop, which holds the GIL, for `duration_s`."""
    if duration_s <= SHORTEST_BUSY_S:
        return
    end = time.perf_counter() + duration_s
    value = b"0"
    while time.perf_counter() < end:
        value = hashlib.md5(value, usedforsecurity=False).digest()
