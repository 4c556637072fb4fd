"""How results travel between processes: through a pipe, shared memory, or a file.

    worker process                      main                        worker process, or main
    result --pack--> segment "…_7"      Delivery(Packed "…_7")      --unpack--> the same value
              +----> Packed "…_7" ----> (passes it on unread) ---->      after the last taker:
                                                                         main discards "…_7"

Only the small `Packed` goes through pipes; main unpacks it only if a thread takes the result. Main
issues every name before anything is stored under it, so it can remove what a killed worker left.

`Delivery` is one result and the number of stages that still need it; `Parcels` keeps the names of
packed results.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.runner.worker import describe_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stagebench.runner.worker import Served


LARGE_BYTES = 64 * 1024
"""Smaller results go through the pipe with any transport: packing them gains nothing."""

_PLAIN = {"bytes": bytes, "bytearray": bytearray}
"""Types whose memory is written directly: pickle would make another copy."""


_ALIGNMENT = 64
"""Buffers begin at multiples of this many bytes, a cache line and the widest vector: arithmetic on
an array that lies across them took 10 to 70 times as long."""


class Packed(NamedTuple):
    """Where a result is stored: a pickle followed by its buffers; `sizes` are in bytes.

    Each begins at a multiple of `_ALIGNMENT`.
    """

    transport: str
    name: str
    kind: str
    sizes: tuple[int, ...]


def pack(value: object, transport: str, name: str) -> object:
    """Store a large result under `name` and return its `Packed`; return a small one unchanged.

    Buffers that support pickle protocol 5, such as NumPy arrays, are copied only once.
    """
    kind = type(value).__name__ if type(value) in _PLAIN.values() else ""
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.PickleBuffer(value) if kind else value  # type: ignore[arg-type]
    head = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    if not kind and any(buffer.raw().readonly for buffer in buffers):
        # Only protocol 5 remembers that an array is read-only: those sent through pipes are not.
        head, buffers = pickle.dumps(content, protocol=4), []
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    sizes = tuple(part.nbytes for part in parts)
    if sum(sizes) < LARGE_BYTES:
        return value
    _write(transport, name, parts)
    return Packed(transport, name, kind, sizes)


def unpack(value: object) -> Any:
    """Return the value that was packed; return anything else unchanged.

    Arrays can be written to, as after any other unpickling; nobody else sees what is written.
    """
    if not isinstance(value, Packed):
        return value
    whole = _read(value)
    parts = [whole[start : start + size] for start, size in _places(value.sizes)]
    content = pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301 - written by our own workers
    return _PLAIN[value.kind](content) if value.kind else content


def discard(transport: str, name: str) -> None:
    """Remove what was stored under a name, if anything was."""
    if transport == "path":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # pathlib is not imported by measured processes
        return
    # Imported only when needed: every import adds to the measured process's memory.
    from stagebench.runner.segment import remove_segment

    with contextlib.suppress(FileNotFoundError):
        remove_segment(name)


def _places(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where each part begins, and its size."""
    start = 0
    for size in sizes:
        yield start, size
        start += -(-size // _ALIGNMENT) * _ALIGNMENT


def _read(packed: Packed) -> memoryview:
    if packed.transport == "shared_memory":
        # Imported only when needed, as above.
        from stagebench.runner.segment import map_segment

        return memoryview(map_segment(packed.name))
    return _read_file(packed.name)


def _read_file(path: str) -> memoryview:
    # Imported only when needed, as above. Its memory begins with a page; that of bytes does not.
    import mmap

    with open(path, "rb", buffering=0) as file:
        memory = mmap.mmap(-1, os.fstat(file.fileno()).st_size, flags=mmap.MAP_PRIVATE)
        whole, read = memoryview(memory), 0
        while read < len(whole):
            count = file.readinto(whole[read:])
            if not count:
                raise OSError(f"{path} was cut off at {read} of {len(whole)} bytes")
            read += count
    return whole


def _write(transport: str, name: str, parts: Sequence[memoryview]) -> None:
    # Outside the try: what this call did not make is not its to discard.
    descriptor = _make(transport, name)
    try:
        # A segment is written like a file: this takes half the time of copying into a mapping,
        # and a full /dev/shm raises an error instead of SIGBUS.
        _write_all(descriptor, parts)
    except OSError:
        discard(transport, name)
        raise
    finally:
        os.close(descriptor)


def _make(transport: str, name: str) -> int:
    if transport == "path":
        return os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    # Imported only when needed, as above.
    from stagebench.runner.segment import make_segment

    return make_segment(name)


def _write_all(descriptor: int, parts: Sequence[memoryview]) -> None:
    places = _places([part.nbytes for part in parts])
    for part, (start, size) in zip(parts, places, strict=True):
        written = 0
        while written < size:
            written += os.pwrite(descriptor, part[written:], start + written)


_PREFIX = os.environ.get("STAGEBENCH_PREFIX", "stagebench")
"""A supervisor gives every run a prefix, by which it removes what a killed run left."""


class Delivery:
    """One result, kept until all stages that take it are done with it.

    A result packed by a worker process stays packed in main. A thread's result may exist in both
    forms: the value for threads, the packed form for processes.
    """

    __slots__ = ("packed", "takers", "value")

    def __init__(self, value: object, packed: Packed | None, takers: int) -> None:
        self.value = value
        self.packed = packed
        self.takers = takers

    def for_process(self) -> object:
        """Return the form that is sent to a process."""
        return self.value if self.packed is None else self.packed

    def is_packed(self) -> bool:
        """Return whether `take` has to read and unpickle the value."""
        return isinstance(self.value, Packed)

    def take(self) -> Any:
        """Return the value itself, for a thread."""
        return unpack(self.value)


NOTHING = Delivery(None, None, 0)
"""What a stage delivers when no other stage takes its result."""


class Parcels:
    """Issues names for packed results, and removes the results that are no longer needed."""

    _numbers = count()

    def __init__(self) -> None:
        self._live: dict[str, str] = {}
        self._prefix = ""
        self._folder: str | None = None
        self._is_open = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Allow names to be issued until `close`."""
        # Random: containers may share /dev/shm, and their programs have the same pid.
        self._prefix = f"{_PREFIX}_{os.getpid()}_{os.urandom(8).hex()}"
        self._is_open = True

    def issue(self, transport: str) -> str:
        """Return a new name to store a result under: that of a segment, or a file's path.

        Raises OSError once closed; a thread abandoned after its time-out may ask that late.
        """
        with self._lock:
            if not self._is_open:
                raise OSError("the workflow has ended")
            number = next(self._numbers)
            if transport == "path":
                name = os.path.join(self._make_folder(), str(number))  # no pathlib, as above
            else:
                name = f"{self._prefix}_{number}"
            self._live[name] = transport
        return name

    def wrap(
        self, served: Served, parcel: str | None, transport: str | None, takers: int
    ) -> tuple[Served, Delivery | None]:
        """Turn a result into a delivery; return a failure if it cannot be packed.

        `parcel` is the name that was issued to the worker process. `transport` is how to pack a
        result made in main; None leaves it unpacked.
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
            except BaseException as error:  # recorded: a full disk, or a value's own pickling
                text = f"the result cannot be stored: {describe_error(error)}"
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
        """Withdraw a name that nothing was stored under."""
        self._live.pop(name, None)

    def release(self, delivery: Delivery) -> None:
        """Count one taker of a result as done; remove the result after the last."""
        delivery.takers -= 1
        if delivery.takers <= 0:
            self.remove(delivery)

    def remove(self, delivery: Delivery) -> None:
        """Drop a result that is no longer needed."""
        packed, delivery.value, delivery.packed = delivery.packed, None, None
        if packed is not None:
            self._live.pop(packed.name, None)
            discard(packed.transport, packed.name)

    def close(self, kept: Iterable[Delivery] = ()) -> None:
        """Issue no more names; remove all but what is kept, even what killed workers stored."""
        names = {delivery.packed.name for delivery in kept if delivery.packed is not None}
        with self._lock:
            self._is_open = False
            live, self._live = self._live, {}
            for name, transport in live.items():
                if name in names:
                    self._live[name] = transport
                else:
                    discard(transport, name)
            if self._folder is not None and "path" not in self._live.values():
                # Including what a thread may be writing right now: it is no longer needed.
                remove_folder(self._folder)
                self._folder = None

    def open_folder(self) -> str:
        """Return the folder for results that are stored in files; make it if there is none."""
        with self._lock:
            return self._make_folder()

    def _make_folder(self) -> str:
        if self._folder is None:
            # Imported only when needed, as above.
            import tempfile

            self._folder = tempfile.mkdtemp(prefix=f"{_PREFIX}-{os.getpid()}-")
        return self._folder


def remove_folder(folder: str) -> None:
    """Remove a folder of results, as far as possible."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # no pathlib, as above
            with contextlib.suppress(FileNotFoundError):  # another process may remove it, too
                os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
