"""The workflow runner: passes tasks through a graph of stages and records each passage.

    tasks, all at once
      |
      v   submit              serve                       receive
    TaskQueue "download" --> pool of threads -----------> done callback --> Sink
      |                                                        |
      |     the callback makes the TaskRecord, streams it and  |
      v     hands the task on to every downstream stage        v
    TaskQueue "cpu_bound" <------------------------------------+
      |   submit
      +----> pickle --> pool of processes --> pickle --> done callback --> Sink, TaskQueue "upload"

There is no dispatching thread: a task is handed on by the thread that completes it, a worker of a
thread pool or the manager thread of a process pool. A stage with several upstream stages takes a
task when all of them have delivered it. What fails is recorded and its downstream stages are
skipped; a pool that loses a worker ends the run.

`run` returns when every task has ended in every stage, with all pools still open: how memory looks
before and after they are closed is one of the things that are measured.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

from stagebench.errors import WorkerLostError, WorkflowError, closest
from stagebench.records import EventRecord
from stagebench.runner.queues import TaskQueue, record_unserved
from stagebench.runner.stage import Stage, check_stage, order_stages
from stagebench.runner.worker import WorkerSetup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from stagebench.records import TaskRecord
    from stagebench.runner.sink import Sink

    Overrides = Mapping[str, Mapping[str, Any]]

_NO_SETUP = WorkerSetup()


class Workflow:
    """Stages in an acyclic graph, each with its own queue and pool.

    Raises WorkflowError, with every problem, before anything is started. Use as a context manager,
    or call `close` when done.
    """

    def __init__(self, stages: Sequence[Stage], sink: Sink, setup: WorkerSetup = _NO_SETUP) -> None:
        ordered = check_workflow(list(stages))
        self._sink = sink
        self._stages = {stage.name: stage for stage in ordered}
        self._downstream = {
            name: [other for other in ordered if name in other.after] for name in self._stages
        }
        self._queues = {
            stage.name: TaskQueue(stage, setup, self._finish, sink.worker) for stage in ordered
        }
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    def run(self, tasks: Sequence[Overrides]) -> None:
        """Pass all tasks through all stages; returns when each has ended in each stage.

        A task is a mapping of stage name to parameters that override the stage's own. Raises
        WorkerLostError when a pool lost a worker: what had not ended is then recorded as cancelled.
        """
        self._prepare(tasks)
        self._event("workflow_started")
        try:
            for task in range(len(tasks)):
                for stage in self._stages.values():
                    if not stage.after:
                        self._submit(task, stage)
            self._ended.wait()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            if self._failure is not None:
                self._cancel_rest()
        self._event("workflow_finished")
        if self._failure is not None:
            raise self._failure

    def close(self, *, keep_retained: bool = False) -> None:
        """End the pools; with `keep_retained` only those of stages that do not retain results."""
        for queue in self._queues.values():
            if not (keep_retained and queue.stage.retain):
                queue.close(cancel=self._failure is not None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _prepare(self, tasks: Sequence[Overrides]) -> None:
        _check_tasks(tasks, self._stages)
        self._tasks = tasks
        self._ended.clear()
        self._open = len(tasks) * len(self._stages)
        self._recorded = {name: bytearray(len(tasks)) for name in self._stages}
        # Only stages with several upstream ones count arrivals: (task, stage) -> [missing, whole].
        self._arrivals: dict[tuple[int, str], list[int]] = {}
        if not self._open:
            self._ended.set()

    def _submit(self, task: int, stage: Stage) -> None:
        overrides = self._tasks[task].get(stage.name)
        parameters = {**stage.parameters, **overrides} if overrides else stage.parameters
        self._queues[stage.name].submit(task, parameters)

    def _finish(self, record: TaskRecord) -> None:
        """Record a task and hand it on; runs in the thread that completed it."""
        try:
            if self._record(record) and self._failure is None:
                if record.status == "lost":
                    self._fail(WorkerLostError(f"stage {record.stage!r}: {record.error}"))
                else:
                    self._hand_on(record.task, record.stage, delivered=record.status == "ok")
        except BaseException as error:  # noqa: BLE001 - raised again by run(), in the caller's thread
            self._fail(error)

    def _record(self, record: TaskRecord) -> bool:
        """Stream a record once; False when this task already ended in this stage."""
        with self._lock:
            if self._recorded[record.stage][record.task]:
                return False
            self._recorded[record.stage][record.task] = 1
        self._sink.task(record)
        return True

    def _hand_on(self, task: int, stage: str, *, delivered: bool) -> None:
        for downstream in self._downstream[stage]:
            arrived = self._arrive(task, downstream, delivered=delivered)
            if arrived is None:
                continue
            if arrived:
                self._submit(task, downstream)
            else:
                self._finish(record_unserved(task, downstream.name, "skipped"))
        # Counted down last: run() must not return while a task is still being handed on.
        with self._lock:
            self._open -= 1
            if not self._open:
                self._ended.set()

    def _arrive(self, task: int, stage: Stage, *, delivered: bool) -> bool | None:
        """Count one upstream stage in; tells whether all delivered, or None while some miss."""
        if len(stage.after) == 1:
            return delivered
        key = (task, stage.name)
        with self._lock:
            state = self._arrivals.setdefault(key, [len(stage.after), 1])
            state[0] -= 1
            state[1] &= delivered
            if state[0]:
                return None
            del self._arrivals[key]
        return bool(state[1])

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._failure is None:
                self._failure = error
        self._ended.set()

    def _cancel_rest(self) -> None:
        """Give every task that has not ended its record, and take no further one."""
        for queue in self._queues.values():
            queue.close(cancel=True)
        for name in self._stages:
            for task in range(len(self._tasks)):
                self._record(record_unserved(task, name, "cancelled"))

    def _event(self, event: str) -> None:
        self._sink.event(EventRecord(event=event, stage="", time_ns=time.monotonic_ns()))


def check_workflow(stages: list[Stage]) -> list[Stage]:
    """Return the stages in an order of execution; raises WorkflowError with every problem."""
    names = [stage.name for stage in stages]
    problems = [] if stages else ["a workflow needs at least one stage"]
    problems += [
        f"stage {name!r}: defined {names.count(name)} times; names are unique"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    for stage in stages:
        problems += check_stage(stage)
        problems += [
            f"stage {stage.name!r}: follows unknown stage {name!r}; stages are"
            f" {', '.join(names)}{closest(name, names)}"
            for name in stage.after
            if name not in names
        ]
    if problems:
        raise WorkflowError("\n".join(problems))
    return order_stages(stages)


def _check_tasks(tasks: Sequence[Overrides], stages: Mapping[str, Stage]) -> None:
    for number, overrides in enumerate(tasks):
        for name in overrides:
            if name not in stages:
                hint = closest(name, list(stages))
                raise WorkflowError(f"task {number}: unknown stage {name!r}{hint}")
