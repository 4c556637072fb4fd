"""Where the runner sends its records: the caller decides whether to keep or stream them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stagebench.records import EventRecord, TaskRecord, WorkerRecord


class Sink(Protocol):
    """Receives records as they are made, from several threads at once."""

    def task(self, record: TaskRecord) -> None:
        """Receive the record of how a task ended in a stage."""

    def attempt(self, record: TaskRecord) -> None:
        """Receive the record of an attempt that is followed by a retry."""

    def worker(self, record: WorkerRecord) -> None:
        """Receive the record of a worker that is ready."""

    def event(self, record: EventRecord) -> None:
        """Receive one named moment of the run."""


class ListSink:
    """Keeps all records in four lists; `pandas.DataFrame` accepts each of them."""

    def __init__(self) -> None:
        self.tasks: list[TaskRecord] = []
        self.attempts: list[TaskRecord] = []
        self.workers: list[WorkerRecord] = []
        self.events: list[EventRecord] = []

    # list.append is atomic, so no lock is needed.
    def task(self, record: TaskRecord) -> None:
        """Keep the record."""
        self.tasks.append(record)

    def attempt(self, record: TaskRecord) -> None:
        """Keep the record."""
        self.attempts.append(record)

    def worker(self, record: WorkerRecord) -> None:
        """Keep the record."""
        self.workers.append(record)

    def event(self, record: EventRecord) -> None:
        """Keep the record."""
        self.events.append(record)
