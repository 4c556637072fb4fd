"""The screen of a study that runs: lines that stay, and below them a few that are drawn anew."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TYPE_CHECKING

from stagebench.terminal import escape_controls

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = 80
"""The width of a terminal that does not know its own."""

FEWEST_COLUMNS = 20


class Display:
    """What is written to a descriptor; only a terminal that can move its cursor is drawn on.

    A reader that has gone away is no reason to end a study: then nothing is written.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._drawn: list[str] = []
        self._lock = threading.Lock()
        known = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
        self.can_draw = known and os.isatty(descriptor)

    @property
    def width(self) -> int:
        """Return how wide a line may be that is to stay on one row."""
        return max(FEWEST_COLUMNS, self._size()[0] - 1)

    def say(self, text: str) -> None:
        """Write lines that stay, above those that are drawn."""
        with self._lock:
            self._write(self._erase() + escape_controls(text.rstrip("\n")) + "\n")

    def draw(self, lines: Sequence[str]) -> None:
        """Draw lines in place of those that were drawn last; a stopped terminal is left alone."""
        with self._lock:
            if not self.can_draw or not self._is_free():
                return
            shown = [escape_controls(line)[: self.width] for line in lines]
            shown = shown[: max(1, self._size()[1] - 1)]
            if shown != self._drawn:
                self._write(self._erase() + "\n".join(shown))
                self._drawn = shown

    def clear(self) -> None:
        """Remove the lines that were drawn."""
        with self._lock:
            if self._drawn:
                self._write(self._erase())

    def _erase(self) -> str:
        """Return what removes the lines that were drawn, and leaves the cursor where they began."""
        up = f"\x1b[{len(self._drawn) - 1}A" if len(self._drawn) > 1 else ""
        text = f"\r{up}\x1b[J" if self._drawn else ""
        self._drawn = []
        return text

    def _size(self) -> tuple[int, int]:
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(self._descriptor)
            return columns or COLUMNS, rows or 24
        return COLUMNS, 24  # rows of a usual terminal

    def _is_free(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(select.select([], [self._descriptor], [], 0)[1])
        return False

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._descriptor, data) :]
