"""A subinterpreter: a second Python in this process, with modules, objects and a GIL of its own.

Python 3.14 is the first with `concurrent.interpreters`; the private module behind it, which 3.13
has, is not used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


FIRST = (3, 14)
"""The first version of Python that has them."""


def why_none(version: tuple[int, int]) -> str:
    """Return why a version of Python cannot run workers in subinterpreters, or an empty text."""
    if version >= FIRST:
        return ""
    return (
        f"executor interpreter needs Python {FIRST[0]}.{FIRST[1]} or later, and this is"
        f" {version[0]}.{version[1]}"
    )


class Subinterpreter:
    """A new subinterpreter; whoever calls it waits, in the calling thread."""

    def __init__(self, path: Sequence[str]) -> None:
        # There only from Python 3.14 on.
        interpreters = importlib.import_module("concurrent.interpreters")
        self._interpreter: Any = interpreters.create()
        self._interpreter.exec(set_path(path))

    def call(self, function: Callable[[bytes], bytes], message: bytes) -> bytes:
        """Call a module's function there."""
        answer: bytes = self._interpreter.call(function, message)
        return answer

    def close(self) -> None:
        """End it with all that it holds."""
        self._interpreter.close()


def set_path(path: Sequence[str]) -> str:
    """Return the statement that sets the import path: a subinterpreter has that of the start."""
    return f"import sys; sys.path[:] = {list(path)!r}"
