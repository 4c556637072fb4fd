"""Records of what came of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.records import TaskRecord

if TYPE_CHECKING:
    from stagebench.runner.jobs import Job
    from stagebench.runner.worker import Served, Start


def record_served(job: Job, served: Served, received_ns: int, start: Start | None) -> TaskRecord:
    """Make the record of an attempt; `start` is its worker, None where none began."""
    return TaskRecord(
        task=job.task,
        stage=job.queue.stage.name,
        attempt=job.attempt,
        status=served.status,
        due_ns=job.due_ns,
        submitted_ns=job.submitted_ns,
        # Of a worker that was lost or given up, main's own view of when it began.
        started_ns=served.started_ns or job.since_ns,
        finished_ns=served.finished_ns,
        received_ns=received_ns,
        cpu_ns=served.cpu_ns,
        pid=None if start is None else start.pid,
        thread_id=None if start is None else start.thread_id,
        error=served.error,
    )


def record_unserved(task: int, stage: str, status: str, attempt: int) -> TaskRecord:
    """Make the record of a task that no worker served to an end in a stage."""
    return TaskRecord(
        task=task,
        stage=stage,
        attempt=attempt,
        status=status,
        due_ns=None,
        submitted_ns=None,
        started_ns=None,
        finished_ns=None,
        received_ns=None,
        cpu_ns=None,
        pid=None,
        thread_id=None,
        error=None,
    )
