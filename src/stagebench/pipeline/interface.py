"""`Pipeline`: functions in a row, each with workers of its own, as one line of Python.

    with Pipeline().threads(fetch, workers=4).processes(parse, start_method="fork") as pipe:
        for page in pipe.map(urls):
            ...

A pipeline is a description; `map` runs it on the workflow runner. Its workers start with the first
item and stay until the end of the `with` block, so that a second `map` finds them there.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from stagebench.errors import WorkflowError, closest
from stagebench.pipeline.calls import (
    FirstCall,
    FirstCoroutine,
    FunctionCall,
    LaterCall,
    LaterCoroutine,
)
from stagebench.pipeline.passage import CallerTimes, KeptRecords, Passage, ResultStore, Ways
from stagebench.pipeline.progress_bar import show_progress
from stagebench.runner.engine import Engine
from stagebench.runner.stage import Stage, is_async, name_of
from stagebench.runner.worker import WorkerSetup
from stagebench.runner.workflow import check_workflow

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from stagebench.records import TaskRecord

ERRORS = ("raise", "return", "skip")

WINDOW = 16
"""So many items for each worker are on their way at most, unless `window` says otherwise."""

RECORDS = 20_000
"""So many of the last records of tasks are kept: items may be millions."""


@dataclass(frozen=True, slots=True)
class Step:
    """One function of a pipeline and the settings of its stage."""

    name: str
    function: Callable[..., Any]
    executor: str
    after: tuple[str, ...] | None
    initializer: Callable[[], Any] | None
    teardown: Callable[..., None] | None
    settings: dict[str, Any]


class Pipeline:
    """Functions that pass items on, each served by threads, processes or coroutines.

    `threads`, `processes` and `coroutines` return a longer pipeline. A function takes the result of
    the one before it; the first takes the items. With `after`, it follows the functions of these
    names instead, and takes their results in this order. All other settings are those of `Stage`:
    `queue_size`, `batch`, `prefetch`, `timeout_s`, `retries`, `transport`, `max_tasks_per_worker`.

    `window` limits the items that are on their way (default: 16 for each worker). `records` is how
    many of the last records of tasks are kept. `steps` are added by the methods.
    """

    def __init__(
        self, *, window: int | None = None, records: int = RECORDS, steps: tuple[Step, ...] = ()
    ) -> None:
        problems = [
            f"{name} is {value!r}; allowed: a whole number >= {least}"
            for name, value, least in (("window", window, 1), ("records", records, 0))
            if value is not None and (type(value) is not int or value < least)
        ]
        if problems:
            raise WorkflowError("\n".join(problems))
        self._window = window
        self._sink = KeptRecords(records)
        self._steps = steps
        self._engine: Engine | None = None
        self._outlet = ResultStore()
        self._is_entered = False
        self._times = CallerTimes()
        self._running: weakref.ref[Results] | None = None

    def threads(self, function: Callable[..., Any], *, workers: int = 1, **settings: Any) -> Self:
        """Return the pipeline with one more function, served by threads."""
        return self._add("thread", function, {"workers": workers, **settings})

    def processes(
        self,
        function: Callable[..., Any],
        *,
        workers: int = 1,
        start_method: str,
        **settings: Any,
    ) -> Self:
        """Return the pipeline with one more function, served by processes.

        `start_method` has no default: it decides about time, memory, and what a worker inherits.
        """
        given = {"workers": workers, "start_method": start_method, **settings}
        return self._add("process", function, given)

    def coroutines(
        self, function: Callable[..., Any], *, workers: int = 1, **settings: Any
    ) -> Self:
        """Return the pipeline with one more coroutine function, served by one event loop."""
        return self._add("asyncio", function, {"workers": workers, **settings})

    def map(
        self,
        items: Iterable[Any],
        *,
        on_error: str = "raise",
        ordered: bool = True,
        progress: bool = False,
    ) -> Results:
        """Pass items through all functions; return an iterator over the results.

        Results come in the order of the items, or with `ordered=False` as they are ready. Items are
        read as there is room for them. If several functions are last, a result is a dictionary with
        theirs. For an item that fails, its exception is raised, or with `on_error` "return" it
        takes the place of the result, or with "skip" there is none. `progress` shows a bar, by tqdm
        or rich. Can be iterated over by `for` and by `async for`.

        Raises WorkflowError if the pipeline is invalid or is used already.
        """
        if on_error not in ERRORS:
            hint = closest(str(on_error), ERRORS)
            raise WorkflowError(f"on_error is {on_error!r}; allowed: {', '.join(ERRORS)}{hint}")
        try:
            iter(items)
        except TypeError:
            raise WorkflowError(f"items is {items!r}; allowed: anything to iterate over") from None
        if self._running is not None and self._running() is not None:
            raise WorkflowError("this pipeline passes items already; read all its results first")
        engine = self._open()
        advance = show_progress(items) if progress else None
        ways = Ways(self.window, ordered, on_error, advance)
        passage = Passage(engine, self._outlet, items, ways)
        self._times = passage.times
        results = Results(self, passage)
        self._running = weakref.ref(results)
        return results

    def stop(self) -> None:
        """End a `map` that is going on, from wherever: its results end, what has not is cancelled.

        May be called from another thread, from a signal handler, and from a function of the
        pipeline that is served by threads.
        """
        if self._engine is not None:
            self._engine.fail(PipelineStoppedError("the pipeline was stopped"))

    def close(self) -> None:
        """End all workers."""
        running = self._running() if self._running is not None else None
        if running is not None:
            running.close()
        self._drop()

    @property
    def window(self) -> int:
        """How many items may be on their way at a time."""
        return self._window or WINDOW * sum(stage.workers for stage in self.stages)

    @property
    def records(self) -> list[TaskRecord]:
        """The last records of tasks: one for each item and function. A DataFrame takes them."""
        return list(self._sink.tasks)

    def report(self) -> str:
        """Return what limited the last `map`, from its own records, as text for a terminal."""
        from stagebench.pipeline.own_limits import describe_passage

        return describe_passage(self.stages, self._sink, self._times)

    @property
    def stages(self) -> Sequence[Stage]:
        """The stages of the workflow, in order of execution; raises WorkflowError if invalid."""
        return check_workflow([self._make_stage(place) for place in range(len(self._steps))])

    def __enter__(self) -> Self:
        self._open()
        self._is_entered = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_entered = False
        self.close()

    def end_passage(self, *, is_whole: bool) -> None:
        """Note that the results of a `map` have ended; workers stay only within `with`."""
        self._running = None
        if not is_whole or not self._is_entered:
            self._drop()

    def _add(self, executor: str, function: Callable[..., Any], settings: dict[str, Any]) -> Self:
        _check_settings(settings)
        _check_function(function, executor)
        after = settings.pop("after", None)
        step = Step(
            name=settings.pop("name", None) or _name(function, [one.name for one in self._steps]),
            function=function,
            executor=executor,
            after=(after,) if isinstance(after, str) else None if after is None else tuple(after),
            initializer=settings.pop("initializer", None),
            teardown=settings.pop("teardown", None),
            settings=settings,
        )
        records = self._sink.tasks.maxlen or 0
        return type(self)(window=self._window, records=records, steps=(*self._steps, step))

    def _make_stage(self, place: int) -> Stage:
        step = self._steps[place]
        before = (self._steps[place - 1].name,) if place else ()
        after = before if step.after is None else step.after
        kind = CALLS[step.executor == "asyncio", bool(after)]
        call = kind(step.function, after, step.initializer, step.teardown)
        return Stage(
            name=step.name,
            handler=cast("Callable[..., Any]", call),
            executor=step.executor,
            after=after,
            **step.settings,
        )

    def _open(self) -> Engine:
        if self._engine is None:
            engine = Engine(self.stages, self._sink, WorkerSetup(), None, self._outlet)
            last = [name for name, queue in engine.queues.items() if not queue.downstream]
            self._outlet.connect(last, engine.wake)
            self._engine = engine
        return self._engine

    def _drop(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close(None, keep_retained=False)


CALLS: dict[tuple[bool, bool], type[FunctionCall]] = {
    (False, False): FirstCall,
    (False, True): LaterCall,
    (True, False): FirstCoroutine,
    (True, True): LaterCoroutine,
}
"""Whether a function is a coroutine function, and follows others → its handler."""


class PipelineStoppedError(WorkflowError):
    """The pipeline was stopped from elsewhere."""


class Results:
    """The results of one `map`, for `for` and `async for`."""

    def __init__(self, pipeline: Pipeline, passage: Passage) -> None:
        self._results = _pass(pipeline, passage)

    def __iter__(self) -> Iterator[Any]:
        return self._results

    def __next__(self) -> Any:
        return next(self._results)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        import asyncio

        done = object()
        result = await asyncio.to_thread(next, self._results, done)
        if result is done:
            raise StopAsyncIteration
        return result

    def close(self) -> None:
        """End the run: what has not ended is cancelled."""
        self._results.close()


def _pass(pipeline: Pipeline, passage: Passage) -> Generator[Any, None, None]:
    is_whole = False
    try:
        yield from passage.results()
        is_whole = True
    except PipelineStoppedError:
        pass
    finally:
        pipeline.end_passage(is_whole=is_whole)


def _name(function: Callable[..., Any], taken: Sequence[str]) -> str:
    """Return a name for a function's stage: its own, with a number if that is taken."""
    inner = function
    while hasattr(inner, "func"):  # a partial
        inner = inner.func
    name = str(getattr(inner, "__name__", type(inner).__name__)).strip("<>")
    number, chosen = 1, name
    while chosen in taken:
        number += 1
        chosen = f"{name}_{number}"
    return chosen


_SETTINGS = (
    "workers",
    "start_method",
    "name",
    "after",
    "initializer",
    "teardown",
    "transport",
    "queue_size",
    "batch",
    "prefetch",
    "timeout_s",
    "retries",
    "retry_on",
    "max_tasks_per_worker",
)


def _check_settings(settings: Mapping[str, Any]) -> None:
    problems = [
        f"setting {name!r} is unknown; allowed: {', '.join(_SETTINGS)}{closest(name, _SETTINGS)}"
        for name in settings
        if name not in _SETTINGS
    ]
    problems += [
        f"{name} is {settings[name]!r}; allowed: a function, or None"
        for name in ("initializer", "teardown")
        if settings.get(name) is not None and not callable(settings[name])
    ]
    if problems:
        raise WorkflowError("\n".join(problems))


def _check_function(function: object, executor: str) -> None:
    wanted = "a coroutine function" if executor == "asyncio" else "a plain function"
    if not callable(function):
        raise WorkflowError(f"function is {function!r}; allowed: {wanted}")
    if is_async(function) is not (executor == "asyncio"):
        how = {"thread": "threads", "process": "processes", "asyncio": "coroutines"}[executor]
        raise WorkflowError(f"{name_of(function)} does not fit {how}(); allowed: {wanted}")
