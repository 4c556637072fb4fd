"""What is shown to people: text of studies and programs is displayed and never obeyed.

A name may contain any character, also those by which a terminal is controlled (ESC, BEL, CR, …).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters except tab and line feed, those that turn the direction of text, and halves
of characters."""

STDERR = 2

INTERRUPTED = "interrupted; nothing was written"
"""The last words of a command that Ctrl-C has ended."""


def escape_controls(text: str) -> str:
    """Return a text with each character that a terminal obeys as its escape sequence of Python.

    This is the one way by which text gets to a terminal.
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def print_text(text: str) -> None:
    """Write to standard output, whatever its encoding; raises BrokenPipeError if nobody reads."""
    if sys.stdout is not None:  # closed by who started this
        sys.stdout.write(_encodable(text, sys.stdout))
        sys.stdout.flush()


def print_error(text: str) -> None:
    """Write to standard error, if that is possible."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(_encodable(text, sys.stderr))
            sys.stderr.flush()
            _write_anew(text)


def _encodable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return escape_controls(text).encode(encoding, "backslashreplace").decode(encoding)


def _write_anew(text: str) -> None:
    """If standard error is a log that was removed, write also to a new file of its name.

    Otherwise nobody could read why a job of a study failed whose results were removed meanwhile.
    """
    state = os.fstat(STDERR)
    if stat.S_ISREG(state.st_mode) and state.st_nlink == 0:
        path = os.readlink(f"/proc/self/fd/{STDERR}").removesuffix(" (deleted)")
        if path.endswith(".log"):  # and no temporary file of another program
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "a", encoding="utf-8") as log:
                log.write(escape_controls(text))
