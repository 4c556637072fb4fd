"""The status line in the terminal while a command is being traced."""

from __future__ import annotations

import contextlib
import os
import select
import termios
import time
from typing import TYPE_CHECKING

from stagebench.units import GIB, MIB

if TYPE_CHECKING:
    from stagebench.units import Bytes, Seconds

COLUMNS = 79
"""A terminal of 80 columns does not scroll at this width."""

INTERVAL_S = 0.2


class LiveLine:
    """One line, overwritten in place, on a terminal that the command uses, too.

    It pauses when it would be in the way: in the background, while the terminal is stopped
    (Ctrl-S), and while a program reads single keys, as editors and interactive shells do.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._shown = 0
        self._next_s = 0.0

    def show(self, text: str) -> None:
        """Overwrite the line, at most once per `INTERVAL_S`."""
        now_s = time.monotonic()
        if now_s < self._next_s or not self._is_free():
            return
        self._next_s = now_s + INTERVAL_S
        line = text[: min(COLUMNS, self._width() - 1)]
        self._write("\r" + line.ljust(self._shown))
        self._shown = len(line)

    def clear(self) -> None:
        """Remove the line."""
        if self._shown and self._is_free():
            self._write("\r" + " " * self._shown + "\r")
        self._shown = 0

    def _is_free(self) -> bool:
        try:
            if not termios.tcgetattr(self._descriptor)[3] & termios.ICANON:
                return False
        except termios.error:
            return False  # hung up
        with contextlib.suppress(OSError):  # not our controlling terminal: no job control
            if os.tcgetpgrp(self._descriptor) != os.getpgrp():
                return False
        return bool(select.select([], [self._descriptor], [], 0)[1])

    def _width(self) -> int:
        with contextlib.suppress(OSError):
            return os.get_terminal_size(self._descriptor).columns or COLUMNS + 1
        return COLUMNS + 1

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._descriptor, text.encode())


def format_line(
    elapsed_s: Seconds,
    tree_bytes: Bytes | None,
    highest_bytes: Bytes | None,
    processes: tuple[int, int],
) -> str:
    """Format the line; `processes` are the numbers of those alive and of those ever created."""
    alive, created = processes
    return (
        f"{format_elapsed(elapsed_s)}  tree {_size(tree_bytes)}, highest {_size(highest_bytes)}"
        f"  {alive} of {created} processes live"
    )


def format_elapsed(elapsed_s: Seconds) -> str:
    """Format a running time: "7.9 s", and from a minute on "12:34" or "1:00:00"."""
    minutes, seconds = divmod(int(elapsed_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}" if minutes else f"{elapsed_s:.1f} s"


def _size(size: Bytes | None) -> str:
    if size is None:
        return "–"
    return f"{size / GIB:.1f} GiB" if size >= 10 * GIB else f"{size / MIB:.1f} MiB"
