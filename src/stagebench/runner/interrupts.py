"""Ctrl-C while tasks are handed out: held back until nothing is half done."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Interrupts:
    """Raises KeyboardInterrupt only where it is `allowed`, or when it comes a second time.

    Only in the main thread, and only where Python's own handler is in place: whoever has another
    one has decided otherwise.
    """

    def __init__(self) -> None:
        self._is_allowed = False
        self._came = False
        self._before: Any = None

    def check(self) -> None:
        """Raise what was held back."""
        if self._came:
            raise KeyboardInterrupt

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Mark a stretch that may be left anywhere; raises at once what was held back."""
        self._is_allowed = True
        try:
            self.check()
            yield
        finally:
            self._is_allowed = False

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        if self._is_allowed or self._came:
            raise KeyboardInterrupt
        self._came = True
