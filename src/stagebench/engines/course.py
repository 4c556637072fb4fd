"""The course of tasks through a workflow, and the records of it, whatever engine serves them.

    enter --> TaskStep --> engine: submit, done --> finish --> Sink
                ^                                    |
                +------ steps that may start now <---+

All of this happens in main: it stamps when a step was submitted to the engine and when its outcome
was received. The worker has stamped the rest (serving.py).
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from stagebench.engines.serving import Errand
from stagebench.records import IMPORTED, EventRecord, Imports, TaskRecord, WorkerRecord
from stagebench.runner.engine import record_unserved
from stagebench.runner.stage import find_following, takes_upstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from stagebench.engines.serving import Performed
    from stagebench.runner.sink import Sink
    from stagebench.runner.stage import Arrival, Stage
    from stagebench.runner.worker import WorkerSetup

    Overrides = Mapping[str, Mapping[str, Any]]

_BREATH_S = 0.5
"""How long a wait lasts before signal handlers had their turn."""


class TaskStep:
    """One task in one stage, from when it may start until its outcome is known.

    `inputs` are what the engine has of the results that the handler takes, by stage.
    """

    __slots__ = ("due_ns", "inputs", "missing", "overrides", "stage", "submitted_ns", "task")

    def __init__(self, task: int, stage: Stage, overrides: Overrides) -> None:
        self.task = task
        self.stage = stage
        self.overrides = overrides
        self.inputs: dict[str, Any] = {}
        self.missing = len(stage.after)
        self.due_ns: int | None = None
        self.submitted_ns: int | None = None

    def stamp(self) -> None:
        """Note that the engine gets the step now."""
        self.submitted_ns = time.monotonic_ns()


class TaskCourse:
    """Where the tasks of a run are; `results` are those of the stages that retain them."""

    def __init__(self, stages: Sequence[Stage], sink: Sink, setup: WorkerSetup) -> None:
        self.stages = stages
        self.results: dict[str, dict[int, Any]] = {one.name: {} for one in stages if one.retain}
        self._sink = sink
        self._setup = setup
        self._following = find_following(stages)
        self._sources = {
            one.name: one.after if takes_upstream(one.handler) else () for one in stages
        }
        self._lock = threading.Lock()
        self._waiting: dict[tuple[int, str], TaskStep] = {}
        self._skipped: set[tuple[int, str]] = set()
        self._requested_ns: dict[str, int] = {}
        self._open = 0
        self._failure: BaseException | None = None
        self._wake: SimpleQueue[None] = SimpleQueue()

    def arrive(
        self, tasks: int | Iterable[Overrides], arrival: Arrival
    ) -> Iterator[tuple[int, Overrides, int]]:
        """Yield each task with its overrides and its arrival, once it has arrived."""
        started_ns = time.monotonic_ns()
        given: Iterable[Overrides] = ({} for _ in range(tasks)) if isinstance(tasks, int) else tasks
        for number, (overrides, offset_s) in enumerate(zip(given, arrival.offsets_s())):  # noqa: B905 - offsets never end
            due_ns = started_ns + int(offset_s * 1e9)
            while (left_ns := due_ns - time.monotonic_ns()) > 0:
                self._rest(left_ns / 1e9)
            if self._failure is not None:
                raise self._failure
            yield number, overrides, max(due_ns, started_ns)

    def enter(self, task: int, overrides: Overrides, due_ns: int) -> list[TaskStep]:
        """Let a task in; return its first steps."""
        with self._lock:
            self._open += len(self.stages)
        firsts = [TaskStep(task, stage, overrides) for stage in self.stages if not stage.after]
        for step in firsts:
            step.due_ns = due_ns
        return firsts

    def make_errand(self, step: TaskStep) -> Errand:
        """Return what a worker needs to serve a step, beside the outcomes that it takes."""
        stage = step.stage
        with self._lock:
            if step.submitted_ns is not None:
                self._requested_ns.setdefault(stage.name, step.submitted_ns)
        return Errand(
            step.task,
            stage.name,
            stage.handler,
            {**stage.parameters, **step.overrides.get(stage.name, {})},
            self._sources[stage.name],
            len(stage.after) > 1,
            self._setup,
        )

    def finish(self, step: TaskStep, outcome: Performed, handle: Any) -> list[TaskStep]:
        """Record how a worker has served a step; return the steps that may start now.

        `handle` is what the engine has of the outcome.
        """
        received_ns = time.monotonic_ns()
        name, served = step.stage.name, outcome.served
        if outcome.start is not None:
            self._record_worker(name, outcome)
        self._sink.task(
            TaskRecord(
                task=step.task,
                stage=name,
                attempt=1,
                status=served.status,
                due_ns=step.due_ns,
                submitted_ns=step.submitted_ns,
                started_ns=served.started_ns,
                finished_ns=served.finished_ns,
                received_ns=received_ns,
                cpu_ns=served.cpu_ns,
                pid=outcome.pid,
                thread_id=outcome.thread_id,
                error=served.error,
            )
        )
        if served.imported is not None:
            text = Imports(step.task, 1, *served.imported).write()
            self.note(IMPORTED, name, text)
        is_ok = served.status == "ok"
        if is_ok and step.stage.retain:
            self.results[name][step.task] = served.result
        return self._pass_on(step, handle, received_ns, is_ok=is_ok)

    def give_up(self, step: TaskStep, status: str, error: str) -> list[TaskStep]:
        """Record a step that the engine could not serve; return the steps that may start now."""
        received_ns = time.monotonic_ns()
        self._sink.task(
            TaskRecord(
                task=step.task,
                stage=step.stage.name,
                attempt=1,
                status=status,
                due_ns=step.due_ns,
                submitted_ns=step.submitted_ns,
                started_ns=None,
                finished_ns=None,
                received_ns=received_ns,
                cpu_ns=None,
                pid=None,
                thread_id=None,
                error=error,
            )
        )
        return self._pass_on(step, None, received_ns, is_ok=False)

    def wait(self) -> None:
        """Wait until every task has ended in every stage; raise what ended the run before."""
        while self._open and self._failure is None:
            self._rest(_BREATH_S)
        if self._failure is not None:
            raise self._failure

    def fail(self, error: BaseException) -> None:
        """End the run with an error that has come up in another thread."""
        self._failure = self._failure or error
        self._wake.put(None)

    def note(self, event: str, stage: str = "", detail: str = "") -> None:
        """Record a moment of the run."""
        now_ns = time.monotonic_ns()
        self._sink.event(EventRecord(event=event, stage=stage, time_ns=now_ns, detail=detail))

    def _rest(self, longest_s: float) -> None:
        try:
            self._wake.get(timeout=min(longest_s, _BREATH_S))
        except Empty:
            return

    def _record_worker(self, stage: str, outcome: Performed) -> None:
        start = outcome.start
        if start is None:
            return
        self._sink.worker(
            WorkerRecord(
                stage=stage,
                pid=start.pid,
                thread_id=start.thread_id,
                requested_ns=self._requested_ns[stage],
                started_ns=start.started_ns,
                ready_ns=start.ready_ns,
            )
        )

    def _pass_on(
        self, step: TaskStep, handle: Any, received_ns: int, *, is_ok: bool
    ) -> list[TaskStep]:
        """Note that a task has left a stage; return the steps that only waited for that."""
        with self._lock:
            ready = []
            for stage in self._following[step.stage.name] if is_ok else ():
                following = self._find(step, stage)
                if following is None:
                    continue
                if step.stage.name in self._sources[stage.name]:
                    following.inputs[step.stage.name] = handle
                following.missing -= 1
                if not following.missing:
                    following.due_ns = received_ns
                    del self._waiting[step.task, stage.name]
                    ready.append(following)
            skipped = [] if is_ok else self._skip(step.task, step.stage)
            self._open -= 1 + len(skipped)
            has_ended = not self._open
        for stage in skipped:
            self._sink.task(record_unserved(step.task, stage.name, "skipped", 1))
        if has_ended:
            self._wake.put(None)
        return ready

    def _find(self, step: TaskStep, stage: Stage) -> TaskStep | None:
        """Return the step that follows in a stage; None if it is skipped."""
        key = step.task, stage.name
        if key in self._skipped:
            return None
        if key not in self._waiting:
            self._waiting[key] = TaskStep(step.task, stage, step.overrides)
        return self._waiting[key]

    def _skip(self, task: int, stage: Stage) -> list[Stage]:
        """Skip all stages after one, unless another has skipped them before; return them."""
        skipped: list[Stage] = []
        for following in self._following[stage.name]:
            key = task, following.name
            if key not in self._skipped:
                self._skipped.add(key)
                self._waiting.pop(key, None)
                skipped += [following, *self._skip(task, following)]
        return skipped
