"""How a result leaves the process that made it: in a pipe, in shared memory, or in a file.

    worker process                      main                        worker process, or main
    result --pack--> segment "…_7"      Delivery(Packed "…_7")      --unpack--> the same value
              +----> Packed "…_7" ----> (hands it on as it is) ---->     when all that take it have:
                                                                         main discards "…_7"

Only the small `Packed` goes through pipes; main looks inside only where a thread takes the result.
Main issues every name before anything is made under it, so that what a killed worker left behind
is found and removed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.shared_memory import SharedMemory

LARGE_BYTES = 64 * 1024
"""Results below this go through the pipe whatever the transport: nothing is gained for them."""

_PLAIN = {"bytes": bytes, "bytearray": bytearray}
"""Types whose memory is moved as it is: pickle would copy them once more."""


class Packed(NamedTuple):
    """Where a result lies: the pickle and its buffers, one after the other, of these sizes."""

    transport: str
    name: str
    kind: str
    sizes: tuple[int, ...]


def pack(value: object, transport: str, name: str) -> object:
    """Lay a large result down under `name` and give its `Packed`; give a small one as it is.

    Buffers that support it (pickle protocol 5: NumPy arrays and the like) are copied once, with no
    detour through a pickle.
    """
    kind = type(value).__name__ if type(value) in _PLAIN.values() else ""
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.PickleBuffer(value) if kind else value  # type: ignore[arg-type]
    head = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    sizes = tuple(part.nbytes for part in parts)
    if sum(sizes) < LARGE_BYTES:
        return value
    if transport == "shared_memory":
        _write_segment(name, parts, sum(sizes))
    else:
        _write_file(name, parts)
    return Packed(transport, name, kind, sizes)


def unpack(value: object) -> Any:
    """Give the value that was packed; anything else as it is.

    What NumPy and the like build on shared memory is read-only: others may be given the same.
    """
    if not isinstance(value, Packed):
        return value
    whole = _read(value)
    parts = list(_slices(whole, value.sizes))
    content = pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301 - written by our own workers
    return _PLAIN[value.kind](content) if value.kind else content


def discard(transport: str, name: str) -> None:
    """Remove what was laid down under a name, if anything was."""
    if transport == "path":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # pathlib is not imported by measured processes
        return
    # Imported only where it is used: it is memory of the measured process.
    from stagebench.runner.segment import remove_segment

    with contextlib.suppress(FileNotFoundError):
        remove_segment(name)


def _slices(whole: memoryview, sizes: Sequence[int]) -> Iterator[memoryview]:
    start = 0
    for size in sizes:
        yield whole[start : start + size]
        start += size


def _read(packed: Packed) -> memoryview:
    if packed.transport == "shared_memory":
        segment = _segment_type()(packed.name)
        # A view of its own, which outlives the segment's.
        return memoryview(segment.buf or b"").toreadonly()
    with open(packed.name, "rb", buffering=0) as file:
        return memoryview(file.read())


def _write_file(path: str, parts: Sequence[memoryview]) -> None:
    try:
        with open(path, "xb", buffering=0) as file:
            _write_all(file.fileno(), parts)
    except OSError:
        discard("path", path)
        raise


def _write_segment(name: str, parts: Sequence[memoryview], size: int) -> None:
    segment = _segment_type()(name, create=True, size=size)
    try:
        # As to a file: it takes half the time of a copy into the mapping, and a full /dev/shm is an
        # error instead of a SIGBUS.
        _write_all(segment._fd, parts)  # type: ignore[attr-defined] # noqa: SLF001 - no public name has it
    except OSError:
        discard("shared_memory", name)
        raise
    finally:
        segment.close()


def _write_all(descriptor: int, parts: Sequence[memoryview]) -> None:
    for part in parts:
        written = 0
        while written < part.nbytes:
            written += os.write(descriptor, part[written:])


def _segment_type() -> type[SharedMemory]:
    # Imported only where it is used, as above.
    from stagebench.runner.segment import Segment

    return Segment
