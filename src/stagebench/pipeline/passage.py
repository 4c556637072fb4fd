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
    """How an item has failed: in which stage, the text of the error, and the exception, if known."""

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


class Exit:
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

    def __init__(self, engine: Engine, outlet: Exit, items: Iterable[Any], ways: Ways) -> None:
        self._engine = engine
        self._outlet = outlet
        self._ways = ways
        self._given = iter(items)
        self._items: Iterator[Any] | None = self._given
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
                yield from self._hand_out()
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
            began_s = time.monotonic()
            try:
                item = next(source)
            except StopIteration:
                self._items = None
                return
            number, now_s = self._fed, time.monotonic()
            self._fed += 1
            self._on_way[number] = item
            given = {name: {"item": item} for name in self._first}
            while not self._engine.feed(number, given, int(now_s * 1e9)):
                self._wait(interrupts)
            if now_s - began_s > SLOW_S and self._has_next():
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

    def _hand_out(self) -> Iterator[Any]:
        """Yield the next result, if it is one."""
        number = self._next if self._ways.is_ordered else self._outlet.order.popleft()
        self._next += self._ways.is_ordered
        item, outcome = self._on_way.pop(number), self._outlet.ended.pop(number)
        self._out += 1
        if self._ways.advance is not None:
            self._ways.advance(self._out)
        if not isinstance(outcome, Failure):
            yield self._take(number, outcome)
        elif self._ways.on_error == "raise":
            raise outcome.describe(number, item)
        elif self._ways.on_error == "return":
            yield outcome.describe(number, item)

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
