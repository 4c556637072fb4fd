"""Results on their way: who still takes them, and the names that large ones lie under."""

from __future__ import annotations

import os
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

from stagebench.runner.transport import Packed, discard, pack, unpack

if TYPE_CHECKING:
    from stagebench.runner.jobs import Job
    from stagebench.runner.worker import Served

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

    def wrap(self, job: Job, served: Served) -> tuple[Served, Delivery | None]:
        """Make a delivery of a result; of one that cannot be packed, a failure."""
        queue, result = job.queue, served.result
        packed = result if isinstance(result, Packed) else None
        if job.parcel is not None and packed is None and served.status in ("ok", "failed"):
            self._forget(job.parcel)
        if served.status != "ok":
            return served, None
        if queue.packs:
            try:
                packed = self._pack(result, queue.stage.transport)
            except Exception as error:  # recorded: a full disk, or a value's own pickling
                text = f"the result cannot be laid down: {type(error).__name__}: {error}"
                return served._replace(status="failed", result=None, error=text), None
        if queue.takers:
            return served, Delivery(result, packed, queue.takers)
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
