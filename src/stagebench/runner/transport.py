"""How a result leaves the process that made it: in a pipe, in shared memory, or in a file.

    worker process                      main                        worker process, or main
    result --pack--> segment "…_7"      Delivery(Packed "…_7")      --unpack--> the same value
              +----> Packed "…_7" ----> (hands it on as it is) ---->     when all that take it have:
                                                                         main discards "…_7"

Only the small `Packed` goes through pipes; main looks inside only where a thread takes the result.
Main issues every name before anything is made under it, so that what a killed worker left behind
is found and removed.

Results on their way: who still takes them, and the names that large ones lie under.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.shared_memory import SharedMemory

    from stagebench.runner.worker import Served


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


_PREFIX = "stagebench"


class Delivery:
    """One result until all stages that take it are done with it.

    A result that a process made and packed stays packed in main; one that a thread made may be
    there both ways, for threads and for processes.
    """

    __slots__ = ("packed", "takers", "value")

    def __init__(self, value: object, packed: Packed | None, takers: int) -> None:
        self.value = value
        self.packed = packed
        self.takers = takers

    def for_process(self) -> object:
        """Give what is sent to a process."""
        return self.value if self.packed is None else self.packed

    def take(self) -> Any:
        """Give the value itself, for a thread."""
        return unpack(self.value)


NOTHING = Delivery(None, None, 0)
"""What a stage delivers that nobody takes: that it is done."""


class Parcels:
    """Names for packed results, and what was laid down under them and not yet removed."""

    _numbers = count()

    def __init__(self) -> None:
        self._live: dict[str, str] = {}
        self._folder: str | None = None
        self._is_open = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Let names be issued until `close`."""
        self._is_open = True

    def issue(self, transport: str) -> str:
        """Give a new name to lay a result down under: of a segment, or of a file.

        Raises OSError after the end: a thread that was given up may come so late.
        """
        with self._lock:
            if not self._is_open:
                raise OSError("the workflow has ended")
            number = next(self._numbers)
            if transport == "path":
                name = os.path.join(self._open_folder(), str(number))  # os.path, as in transport
            else:
                name = f"{_PREFIX}_{os.getpid()}_{number}"
            self._live[name] = transport
        return name

    def wrap(
        self, served: Served, parcel: str | None, transport: str | None, takers: int
    ) -> tuple[Served, Delivery | None]:
        """Turn a result into a delivery; one that cannot be packed turns into a failure.

        `parcel` is the name issued to the worker process, `transport` packs a result made in main
        (None: leave it as it is).
        """
        result = served.result
        packed = result if isinstance(result, Packed) else None
        if parcel is not None and packed is None and served.status in ("ok", "failed"):
            self._forget(parcel)
        if served.status != "ok":
            return served, None
        if transport is not None:
            try:
                packed = self._pack(result, transport)
            except Exception as error:  # recorded: a full disk, or a value's own pickling
                text = f"the result cannot be laid down: {type(error).__name__}: {error}"
                return served._replace(status="failed", result=None, error=text), None
        if takers:
            return served, Delivery(result, packed, takers)
        if packed is not None:
            self.remove(Delivery(None, packed, 0))
        return served, NOTHING

    def _pack(self, result: object, transport: str) -> Packed | None:
        name = self.issue(transport)
        try:
            packed = pack(result, transport, name)
        except BaseException:
            self._forget(name)
            raise
        if isinstance(packed, Packed):
            return packed
        self._forget(name)
        return None

    def _forget(self, name: str) -> None:
        """Take a name back that nothing was laid down under."""
        self._live.pop(name, None)

    def release(self, delivery: Delivery) -> None:
        """Count one taker of a result as done, and remove it after the last."""
        delivery.takers -= 1
        if delivery.takers <= 0:
            self.remove(delivery)

    def remove(self, delivery: Delivery) -> None:
        """Drop a result that nobody takes any more."""
        packed, delivery.value, delivery.packed = delivery.packed, None, None
        if packed is not None:
            self._live.pop(packed.name, None)
            discard(packed.transport, packed.name)

    def close(self) -> None:
        """Remove all that is left, such as what killed workers had laid down."""
        with self._lock:
            self._is_open = False
            live, self._live = self._live, {}
            for name, transport in live.items():
                discard(transport, name)
            if self._folder is not None:
                # With what a thread lays down at this very moment, which nobody takes any more.
                _remove_folder(self._folder)
                self._folder = None

    def _open_folder(self) -> str:
        if self._folder is None:
            # Imported where it is asked for: it is memory of the measured process.
            import tempfile

            self._folder = tempfile.mkdtemp(prefix=f"{_PREFIX}-{os.getpid()}-")
        return self._folder


def _remove_folder(folder: str) -> None:
    # Imported where it is asked for: tempfile has it, too.
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
