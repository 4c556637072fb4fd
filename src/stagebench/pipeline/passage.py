"""Items on their way through a pipeline, and their results in order.

    items --> fill: at most `window` are on their way --> engine --> outlet --> results, one by one

Everything that the caller sees happens in its own thread: items are read, and results handed out,
while it iterates. Meanwhile the workers go on with what is on its way.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import StagebenchError, WorkflowError
from stagebench.runner.interrupts import Interrupts, list_handled
from stagebench.runner.worker import describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stagebench.records import EventRecord, TaskRecord, WorkerRecord
    from stagebench.runner.engine import Engine
    from stagebench.runner.jobs import Job
    from stagebench.runner.transport import Delivery
    from stagebench.runner.worker import Served

SLOW_S = 0.001
"""If reading an item takes longer than this, a result that is there is handed out first."""

LOOK_S = 1.0
"""How long it is known which signals have a handler: to look takes longer than many a task."""

MOST_SHOWN = 100
"""Of an item that failed, so many characters are shown."""


class PipelineError(StagebenchError):
    """An item has failed, and there is no exception object: its worker has died, or the like."""


class Failure(NamedTuple):
    """How an item has failed: in which stage, the error as text, and the exception, if known."""

    stage: str
    status: str
    text: str
    error: BaseException | None

    def describe(self, number: int, item: object) -> BaseException:
        """Return the exception to raise, with a note on where it comes from."""
        try:
            shown = repr(item)
        except Exception as error:  # its own text may raise anything
            shown = describe_error(error)
        if len(shown) > MOST_SHOWN:
            shown = f"{shown[:MOST_SHOWN]}…"
        where = f"stage {self.stage!r}, item {number}: {shown}"
        if self.error is None:
            return PipelineError(f"{where}\n{self.text or self.status}")
        if self.error.__traceback__ is None:  # it has come from another process
            where = f"{where}\n{self.text.rstrip()}"
        self.error.add_note(where)
        return self.error


class ResultStore:
    """Where items leave: an `Outlet` that keeps results until the caller takes them."""

    def __init__(self) -> None:
        self.ended: dict[int, dict[str, Delivery] | Failure] = {}
        # In the order of their ends; not used if results are handed out in the order of items.
        self.order: deque[int] = deque()
        self._is_ordered = True
        self._open: dict[int, dict[str, Delivery]] = {}
        self._failed: dict[int, Failure] = {}
        self._last: frozenset[str] = frozenset()
        self._awaited: int | None = None
        self._wake: Callable[[], None] = lambda: None

    def connect(self, last: Iterable[str], wake: Callable[[], None]) -> None:
        """Set the stages whose results are handed out, and what ends a wait."""
        self._last, self._wake = frozenset(last), wake

    def begin(self, *, is_ordered: bool) -> None:
        """Forget everything, and begin anew."""
        self._is_ordered = is_ordered
        for kept in (self.ended, self.order, self._open, self._failed):
            kept.clear()

    def take(self, job: Job, served: Served, delivery: Delivery | None) -> None:
        """Keep the result of a last stage, or the first failure of an item."""
        stage = job.queue.stage.name
        if delivery is None:
            error = served.result if isinstance(served.result, BaseException) else None
            failure = Failure(stage, served.status, served.error or "", error)
            self._failed.setdefault(job.task, failure)
        elif stage in self._last:
            self._open.setdefault(job.task, {})[stage] = delivery

    def end(self, task: int) -> None:
        """Note that an item has ended; wake the caller if it waits for that."""
        kept = self._open.pop(task, {})
        failure = self._failed.pop(task, None)
        self.ended[task] = kept if failure is None else failure
        if not self._is_ordered:
            self.order.append(task)
        awaited = self._awaited
        if awaited is not None and awaited in (task, ANY):
            self._awaited = None
            self._wake()

    def await_end(self, task: int) -> bool:
        """Ask to be woken once a task has ended (or any: `ANY`); return whether it has."""
        self._awaited = task
        if task in self.ended or (task == ANY and self.order):
            self._awaited = None
            return True
        return False


ANY = -1


class KeptRecords:
    """A sink that keeps the last records, of one `map` or of several."""

    def __init__(self, most: int) -> None:
        self.tasks: deque[TaskRecord] = deque(maxlen=most)
        self.attempts: deque[TaskRecord] = deque(maxlen=most)
        self.workers: deque[WorkerRecord] = deque(maxlen=most)
        self.events: deque[EventRecord] = deque(maxlen=most)
        # deque.append is atomic, so no lock is needed.
        self.task = self.tasks.append
        self.attempt = self.attempts.append
        self.worker = self.workers.append
        self.event = self.events.append


class CallerTimes:
    """What the caller's thread has done: seconds reading items, and between results."""

    def __init__(self) -> None:
        self.items = 0
        self.reading_s = 0.0
        self.away_s = 0.0


class Ways(NamedTuple):
    """How results are handed out.

    `on_error` is "raise", "return" or "skip". `advance` is called with the number of items handed
    out so far.
    """

    window: int
    is_ordered: bool
    on_error: str
    advance: Callable[[int], None] | None = None


class Passage:
    """One call of `map`: an iterator over the results."""

    def __init__(
        self, engine: Engine, outlet: ResultStore, items: Iterable[Any], ways: Ways
    ) -> None:
        self._engine = engine
        self._outlet = outlet
        self._ways = ways
        self.times = CallerTimes()
        self._items: Iterator[Any] | None = iter(items)
        self._on_way: dict[int, Any] = {}
        self._fed = 0
        self._out = 0
        self._next = 0
        queues = engine.queues.items()
        self._first = [name for name, queue in queues if not queue.stage.after]
        self._looked_s = -math.inf
        self._signals: list[int] = []

    def results(self) -> Iterator[Any]:
        """Yield the results; an item that fails raises, or is handed out or left out."""
        self._begin()
        is_whole = False
        try:
            while self._fed > self._out or self._items is not None:
                if not self._has_next():
                    self._advance()
                    continue
                number, outcome = self._pop()
                item = self._on_way.pop(number)
                if not isinstance(outcome, Failure):
                    result = self._take(number, outcome)
                elif self._ways.on_error == "skip":
                    continue
                elif self._ways.on_error == "return":
                    result = outcome.describe(number, item)
                else:
                    raise outcome.describe(number, item)
                del item, outcome
                left_s = time.perf_counter()
                yield result
                self.times.away_s += time.perf_counter() - left_s
            is_whole = True
        finally:
            self._end(is_whole=is_whole)

    def _begin(self) -> None:
        with Interrupts(self._engine.wake) as interrupts:
            self._engine.reserve(interrupts)
            self._outlet.begin(is_ordered=self._ways.is_ordered)
            self._engine.begin()
            self._engine.hand_over(None)

    def _end(self, *, is_whole: bool) -> None:
        """End the run; what has not ended by then is cancelled."""
        with Interrupts(self._engine.wake) as interrupts:
            self._engine.hand_over(interrupts)
            if not is_whole:
                self._engine.fail(WorkflowError("the results were not read to their end"))
            self._engine.end(0)
            self._outlet.begin(is_ordered=True)
            self._engine.release()

    def _advance(self) -> None:
        """Read items, and wait until the next result is there; or find that there is none."""
        now_s = time.monotonic()
        if now_s > self._looked_s + LOOK_S:
            self._looked_s, self._signals = now_s, list_handled()
        with Interrupts(self._engine.wake, self._signals) as interrupts:
            self._engine.hand_over(interrupts)
            try:
                self._fill(interrupts)
                awaited = self._next if self._ways.is_ordered else ANY
                while self._fed > self._out and not self._outlet.await_end(awaited):
                    self._wait(interrupts)
            finally:
                self._engine.hand_over(None)

    def _fill(self, interrupts: Interrupts) -> None:
        """Read items until as many as may be are on their way."""
        if self._items is None:
            return
        source = interrupts.during(self._items)
        while self._fed - self._out < self._ways.window:
            began_s = time.perf_counter()
            try:
                item = next(source)
            except StopIteration:
                self._items = None
                return
            number, read_s = self._fed, time.perf_counter() - began_s
            self._fed += 1
            self.times.items += 1
            self.times.reading_s += read_s
            self._on_way[number] = item
            given = {name: {"item": item} for name in self._first}
            while not self._engine.feed(number, given, time.monotonic_ns()):
                self._wait(interrupts)
            if read_s > SLOW_S and self._has_next():
                return

    def _wait(self, interrupts: Interrupts) -> None:
        self._engine.wait()
        interrupts.deliver()
        if self._engine.failure is not None:
            raise self._engine.failure

    def _has_next(self) -> bool:
        if self._engine.failure is not None:
            raise self._engine.failure
        if self._ways.is_ordered:
            return self._next in self._outlet.ended
        return bool(self._outlet.order)

    def _pop(self) -> tuple[int, dict[str, Delivery] | Failure]:
        """Return the number and the outcome of the next item that is handed out."""
        if self._ways.is_ordered:
            number = self._next
            self._next += 1
        else:
            number = self._outlet.order.popleft()
        self._out += 1
        if self._ways.advance is not None:
            self._ways.advance(self._out)
        return number, self._outlet.ended.pop(number)

    def _take(self, number: int, outcome: dict[str, Delivery]) -> Any:
        """Return the result of an item: of several last stages, a dictionary."""
        results = {name: self._unpack(number, one) for name, one in outcome.items()}
        return next(iter(results.values())) if len(results) == 1 else results

    def _unpack(self, number: int, delivery: Delivery) -> Any:
        try:
            value = delivery.take()
        except (Exception, SystemExit, GeneratorExit) as error:
            raise PipelineError(
                f"the result of item {number} cannot be read: {describe_error(error)}"
            ) from error
        self._engine.release_result(delivery)
        return value
