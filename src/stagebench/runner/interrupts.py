"""Holding signal handlers back in the main thread while a workflow runs."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

Item = TypeVar("Item")


class Interrupts:
    """Holds signal handlers back in the main thread; they are called by `deliver`, or at the end.

    Python calls them between any two operations. One that raises there, as Ctrl-C does, and SIGTERM
    in many services, would leave a lock taken or a step half done. `notice` is called for a signal
    that was held back, so that the main thread can stop waiting. It must take no locks.

    Does nothing in other threads, which run no signal handlers. `signals` are those to hold back,
    if the caller knows which have a handler (`list_handled`); otherwise it is looked.
    """

    def __init__(self, notice: Callable[[], None], signals: Iterable[int] | None = None) -> None:
        self._notice = notice
        self._signals = signals
        self._may_raise = False
        self._held: dict[int, FrameType | None] = {}
        self._before: dict[int, Any] = {}
        # What a handler has raised. It comes before other errors, which a signal to all processes
        # may have caused, too.
        self.raised: BaseException | None = None

    def has_held(self) -> bool:
        """Return whether a signal was held back that nobody has delivered yet."""
        return bool(self._held)

    def deliver(self) -> None:
        """Call the handlers of all signals that were held back; any of them may raise."""
        while self._held:
            number, frame = self._held.popitem()
            try:
                self._before[number](number, frame)
            except BaseException as error:
                self.raised = error
                raise

    def during(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items; handlers are called at any time while the next one is computed."""
        source = iter(items)
        while True:
            self.deliver()
            self._may_raise = True
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                self._may_raise = False
            yield item

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            _holding.append(self)
            try:
                known = self._signals
                for number in signal.valid_signals() if known is None else known:
                    handler = signal.getsignal(number)
                    if callable(handler):
                        self._before[number] = handler
                        signal.signal(number, self._handle)
            except BaseException:  # by a handler that is not replaced yet
                self.restore()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.restore()
        finally:
            # Once more: a handler that was put back may have raised before the next one was.
            self.restore()
        self.deliver()

    def restore(self) -> None:
        """Put all handlers back, except those that were replaced meanwhile."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)
        if self in _holding:
            _holding.remove(self)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._may_raise:
            self._held[number] = frame
            self._notice()
            return
        # If it raises, all others are held back until that has been dealt with.
        self._may_raise = False
        self._before[number](number, frame)
        self._may_raise = True


def list_handled() -> list[int]:
    """Return the signals that Python calls a function for."""
    return [number for number in signal.valid_signals() if callable(signal.getsignal(number))]


_holding: list[Interrupts] = []
"""Those that hold signal handlers back now."""


def _restore_all() -> None:
    """In a forked process, put the handlers back: nobody would call them."""
    for interrupts in reversed(_holding[:]):
        interrupts.restore()


os.register_at_fork(after_in_child=_restore_all)
