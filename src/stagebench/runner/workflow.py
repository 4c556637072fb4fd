"""The workflow runner: passes tasks through a graph of stages and records each passage.

    tasks, as they arrive
      |  feed: unless too many are in flight, or the first queue is full
      v
    StageQueue "download" --> pool of threads -------------------> finish --> Sink
      |  waiting: at most queue_size                                 |
      |                                                              |  route: to every stage that
      v                                                              v  follows, with the result if
    StageQueue "cpu_bound" <-----------------------------------------+  its handler takes it
      |
      +--> job --> pipe --> worker process --> pipe --> manager thread --> finish --> Sink, route
                              |                  |
                              +-- large result --+--> shared memory or file; only its name
                                                      goes through main

There is no dispatching thread. The thread that completes a task passes it on: a worker of a thread
pool, the event loop, or the thread that listens to a pool of processes. If the next queue is full,
the worker keeps its task and serves no other until there is a place. A task that fails is retried
as often as its stage allows; then the failure is recorded, and the stages that follow are skipped.
A worker that is lost or killed is replaced.

From the top down: this module checks and feeds; engine.py carries out; routing.py decides where
tasks go and which may start, using the queues of jobs.py; thread_pool.py, process_pool.py and
coroutine_pool.py hold the workers; worker.py and process_worker.py run inside them; transport.py
carries results.

`run` returns when every task has ended in every stage, with all pools still open, because memory is
measured before and after they close. Meanwhile signal handlers are held back until no step is half
done: Ctrl-C raises, and others may.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, ValuesView
from typing import TYPE_CHECKING, Any, Self

from stagebench.errors import WorkflowError, closest
from stagebench.records import OWN_INTERPRETER
from stagebench.runner.engine import Engine
from stagebench.runner.interrupts import Interrupts
from stagebench.runner.stage import (
    Arrival,
    Stage,
    check_missing,
    check_names,
    check_pickles,
    check_stage,
    order_stages,
    plain_number,
)
from stagebench.runner.worker import WorkerSetup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagebench.runner.sink import Sink

    Overrides = Mapping[str, Mapping[str, Any]]


NS_PER_S = 1_000_000_000
_NO_SETUP = WorkerSetup()
_AT_ONCE = Arrival()
_NONE: Overrides = {}
_NO_PARAMETERS: Mapping[str, Any] = {}
_SINK = ("task", "attempt", "worker", "event")
_TASK = "a mapping of stage names to mappings of parameters"


class Workflow:
    """Stages in an acyclic graph, each with its own queue and pool.

    `sink` receives the records; `setup` is what workers do when they start; `in_flight` limits the
    tasks that have begun but not ended in all stages (None: no limit). Raises WorkflowError, with
    every problem, before anything starts. Use it as a context manager, or call `close` when done.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        sink: Sink,
        *,
        setup: WorkerSetup = _NO_SETUP,
        in_flight: int | None = None,
    ) -> None:
        in_flight = plain_number(in_flight)
        ordered = check_workflow(stages, in_flight)
        _check_sink(sink)
        self._stages = {stage.name: stage for stage in ordered}
        self._engine = Engine(ordered, sink, setup, in_flight)

    def run(self, tasks: int | Iterable[Overrides], arrival: Arrival = _AT_ONCE) -> None:
        """Pass all tasks through all stages; return when each has ended in each stage.

        `tasks` is a number, or one mapping for each task, from stage names to parameters that
        override the stage's own. Anything but a sequence is read as tasks begin, so it may be long.
        Raises WorkflowError for invalid tasks, before the first one starts if they are a sequence;
        WorkerLostError if a stage cannot start its workers; and whatever the sink raises. Tasks
        that have not ended by then are recorded as cancelled, as they are on Ctrl-C.
        """
        with Interrupts(self._engine.wake) as interrupts:
            self._engine.reserve(interrupts)
            try:
                self._run(tasks, arrival, interrupts)
            finally:
                self._engine.release()
        failure = interrupts.raised or self._engine.failure
        if failure is not None:
            raise failure

    def _run(
        self, tasks: int | Iterable[Overrides], arrival: Arrival, interrupts: Interrupts
    ) -> None:
        tasks = plain_number(tasks)
        _check_kinds(tasks, arrival)
        known = _list_tasks(tasks)
        if known is not None:
            # Tasks given as a number are all alike: one check is enough.
            checked = [_NONE][:tasks] if isinstance(tasks, int) else known
            self._check_tasks(enumerate(interrupts.during(checked)))
        try:
            self._engine.begin()
            given: Any = tasks if known is None else known
            feed = enumerate(interrupts.during(given))
            self._feed(feed, arrival, interrupts, is_checked=known is not None)
            while not self._engine.has_ended():
                self._wait(interrupts)
        except BaseException as error:  # raised again by run, once the rest is cancelled
            self._engine.fail(error)
        self._engine.end(0 if known is None else len(known))

    def results(self, stage: str) -> dict[int, Any]:
        """Return the last run's results of a stage that retains them, by task.

        Raises WorkflowError if the stage is unknown, retains no results, or is closed, or if a
        result cannot be unpickled.
        """
        if not isinstance(stage, str) or stage not in self._stages:
            raise WorkflowError(_unknown_stage(stage, self._stages))
        if not self._stages[stage].retain:
            raise WorkflowError(f"stage {stage!r} retains no results; set retain=True")
        if self._engine.is_closed(stage):
            raise WorkflowError(
                f"stage {stage!r} is closed and its results are gone; read them before closing"
            )
        return self._engine.results(stage)

    def close(self, *, keep_retained: bool = False) -> None:
        """End the pools; with `keep_retained`, spare those of stages that retain results.

        May be called from anywhere, also twice. A run that is going on is cancelled, and raises
        WorkflowError; `close` waits for the end of its pools unless the run waits for the caller,
        as it does for a sink, a handler and a signal handler.
        """
        with Interrupts(self._engine.wake) as interrupts:
            self._engine.close(interrupts, keep_retained=keep_retained)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _feed(
        self,
        feed: Iterator[tuple[int, Overrides]],
        arrival: Arrival,
        interrupts: Interrupts,
        *,
        is_checked: bool,
    ) -> None:
        """Begin one task after another, each when it is due and there is room for it."""
        begun_ns = time.monotonic_ns()
        for (task, overrides), offset_s in zip(feed, arrival.offsets_s(), strict=False):
            if not is_checked:
                self._check_tasks([(task, overrides)])
            due_ns = begun_ns + int(offset_s * NS_PER_S)
            self._sleep_until(due_ns, interrupts)
            if self._engine.failure is not None:
                return
            while not self._engine.feed(task, overrides, due_ns):
                self._wait(interrupts)

    def _sleep_until(self, due_ns: int, interrupts: Interrupts) -> None:
        while self._engine.failure is None and (left_ns := due_ns - time.monotonic_ns()) > 0:
            self._engine.wait(left_ns / NS_PER_S)
            interrupts.deliver()

    def _wait(self, interrupts: Interrupts) -> None:
        self._engine.wait()
        interrupts.deliver()
        if self._engine.failure is not None:
            raise self._engine.failure

    def _check_tasks(self, tasks: Iterable[tuple[int, Overrides]]) -> None:
        """Reject parameters that are unknown, missing, or cannot be sent to a process."""
        checked: set[tuple[str, frozenset[str]]] = set()
        problems = []
        for number, overrides in tasks:
            if not _is_task(overrides):
                problems.append(f"task {number} is {overrides!r}; allowed: {_TASK}")
                continue
            problems += [
                f"task {number}: {_unknown_stage(name, self._stages)}; a task is {_TASK}"
                for name in overrides
                if name not in self._stages
            ]
            for stage in self._stages.values():
                own = overrides.get(stage.name, _NO_PARAMETERS)
                key = (stage.name, frozenset(own))
                if key not in checked or (own and stage.executor in OWN_INTERPRETER):
                    checked.add(key)
                    problems += _find_task_problems(number, stage, own)
        if problems:
            raise WorkflowError("\n".join(problems))


def check_workflow(stages: Sequence[Stage], in_flight: int | None = None) -> list[Stage]:
    """Return the stages in order of execution; raises WorkflowError with every problem."""
    if not isinstance(stages, Sequence) or not all(isinstance(one, Stage) for one in stages):
        raise WorkflowError(f"stages is {stages!r}; allowed: a list of Stage")
    names = [stage.name for stage in stages]
    problems = [] if stages else ["a workflow needs at least one stage"]
    if in_flight is not None and (type(in_flight) is not int or in_flight < 1):
        problems.append(f"in_flight is {in_flight!r}; allowed: a whole number >= 1, or None")
    counts = Counter(name for name in names if isinstance(name, str))
    problems += [
        f"stage {name!r}: defined {count} times; names are unique"
        for name, count in sorted(counts.items())
        if count > 1
    ]
    for stage in stages:
        problems += check_stage(stage)
        problems += [
            f"stage {stage.name!r}: follows {_unknown_stage(name, counts)}"
            for name in (stage.after if isinstance(stage.after, tuple) else ())
            if isinstance(name, str) and name not in counts
        ]
    if problems:
        raise WorkflowError("\n".join(problems))
    return order_stages(list(stages))


def _list_tasks(tasks: int | Iterable[Overrides]) -> list[Overrides] | None:
    """Return all tasks if they are a number or a sequence; None if they are read as they begin.

    Things with a length are no exception: a progress bar has that of a generator, which can be
    read only once and may wait for its next item.
    """
    if isinstance(tasks, int):
        return [_NONE] * tasks
    return list(tasks) if isinstance(tasks, Sequence | ValuesView) else None


def _is_task(task: object) -> bool:
    return isinstance(task, Mapping) and all(isinstance(own, Mapping) for own in task.values())


def _unknown_stage(name: object, stages: Mapping[str, object]) -> str:
    known = list(stages)
    return f"unknown stage {name!r}; stages are {', '.join(known)}{closest(str(name), known)}"


def _check_sink(sink: object) -> None:
    missing = [name for name in _SINK if not callable(getattr(sink, name, None))]
    if missing or isinstance(sink, type):
        lacks = f"has no {', '.join(missing)}" if missing else "is a class"
        raise WorkflowError(f"sink {sink!r} {lacks}; allowed: an object with {', '.join(_SINK)}")


def _check_kinds(tasks: object, arrival: object) -> None:
    is_number = type(tasks) is int and tasks >= 0
    if not is_number and (
        isinstance(tasks, int | str | Mapping) or not isinstance(tasks, Iterable)
    ):
        raise WorkflowError(f"tasks is {tasks!r}; allowed: a whole number >= 0, or tasks: {_TASK}")
    if not isinstance(arrival, Arrival):
        raise WorkflowError(f"arrival is {arrival!r}; allowed: an Arrival")


def _find_task_problems(number: int, stage: Stage, own: Mapping[str, Any]) -> Iterator[str]:
    place = f"task {number}, stage {stage.name!r}"
    for problem in check_names(stage, own):
        yield f"{place}: {problem}"
    for problem in check_missing(stage, {**stage.parameters, **own}):
        yield f"{place}: {problem}"
    if stage.executor in OWN_INTERPRETER:
        for problem in check_pickles(own):
            yield f"{place}: {problem}"
