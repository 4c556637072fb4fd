"""Plain functions as handlers of stages."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class FunctionCall:
    """A function of a pipeline, as the handler of a stage.

    It takes one argument, or one from each of the stages that it follows (`names`), and in addition
    what `initializer` has returned in this worker, unless that is None or there is no initializer.
    """

    keeps_errors = True

    def __init__(
        self,
        function: Callable[..., Any],
        names: tuple[str, ...],
        initializer: Callable[[], Any] | None,
        teardown: Callable[..., None] | None,
    ) -> None:
        self.function = function
        self.names = names
        self.initializer = initializer
        self.teardown = teardown
        self.__qualname__ = getattr(function, "__qualname__", repr(function))
        # Of each thread its own; a process has one, and a loop.
        self.opened = threading.local()

    def __getstate__(self) -> tuple[Any, ...]:
        return self.function, self.names, self.initializer, self.teardown

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @property
    def begin_worker(self) -> Callable[[], None] | None:
        """What opens what a worker needs once; None without an initializer."""
        return None if self.initializer is None else self._open

    @property
    def end_worker(self) -> Callable[[], None] | None:
        """What closes what a worker has opened; None without a teardown."""
        return None if self.teardown is None else self._close

    def _open(self) -> None:
        if self.initializer is not None:
            self.opened.value = self.initializer()

    def _close(self) -> None:
        if self.teardown is not None:
            self.teardown(*self._more())

    def _more(self) -> tuple[Any, ...]:
        value = getattr(self.opened, "value", None)
        return () if value is None else (value,)

    def _call(self, given: Any) -> Any:
        if len(self.names) > 1:
            return self.function(*(given[name] for name in self.names), *self._more())
        return self.function(given, *self._more())


class FirstCall(FunctionCall):
    """A function that takes the items."""

    def __call__(self, item: Any) -> Any:
        """FunctionCall the function with an item."""
        if self.initializer is None:
            return self.function(item)
        return self._call(item)


class LaterCall(FunctionCall):
    """A function that takes the results of other stages."""

    def __call__(self, upstream: Any) -> Any:
        """FunctionCall the function with the results of the stages before it."""
        if self.initializer is None and len(self.names) == 1:
            return self.function(upstream)
        return self._call(upstream)


class FirstCoroutine(FunctionCall):
    """A coroutine function that takes the items."""

    async def __call__(self, item: Any) -> Any:
        """Await the function with an item."""
        return await self._call(item)


class LaterCoroutine(FunctionCall):
    """A coroutine function that takes the results of other stages."""

    async def __call__(self, upstream: Any) -> Any:
        """Await the function with the results of the stages before it."""
        return await self._call(upstream)
