"""Where the runner hands its records to: the caller decides whether they are kept or streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stagebench.records import EventRecord, TaskRecord, WorkerRecord


class Sink(Protocol):
    """Takes records as they are made, from several threads at once."""

    def task(self, record: TaskRecord) -> None:
        """Take the record of how one task ended in one stage."""

    def attempt(self, record: TaskRecord) -> None:
        """Take the record of an attempt after which the task is tried again in the same stage."""

    def worker(self, record: WorkerRecord) -> None:
        """Take the record of a worker that is ready to serve."""

    def event(self, record: EventRecord) -> None:
        """Take one named moment of the run."""


class ListSink:
    """Keeps all records in four lists, of which pandas makes a DataFrame each."""

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
