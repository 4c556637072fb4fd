"""Where the runner hands its records to: the caller decides whether they are kept or streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stagebench.records import EventRecord, TaskRecord, WorkerRecord


class Sink(Protocol):
    """Takes records as they are made, from several threads at once."""

    def task(self, record: TaskRecord) -> None:
        """Take the record of one task in one stage."""

    def worker(self, record: WorkerRecord) -> None:
        """Take the record of a worker that served its first task."""

    def event(self, record: EventRecord) -> None:
        """Take one named moment of the run."""


class ListSink:
    """Keeps all records in three lists."""

    def __init__(self) -> None:
        self.tasks: list[TaskRecord] = []
        self.workers: list[WorkerRecord] = []
        self.events: list[EventRecord] = []

    # list.append is atomic, so no lock is needed.
    def task(self, record: TaskRecord) -> None:
        """Keep the record."""
        self.tasks.append(record)

    def worker(self, record: WorkerRecord) -> None:
        """Keep the record."""
        self.workers.append(record)

    def event(self, record: EventRecord) -> None:
        """Keep the record."""
        self.events.append(record)
