"""A mapping from YAML as plain JSON values: text keys, finite numbers, nothing too deep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagebench.design.levels import level_text
from stagebench.design.placeholders import UNKNOWN
from stagebench.problems import Path, Problem, problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEEPEST = 20
"""Levels of nesting; what refers to itself is deeper than any number."""

MOST_VALUES = 100_000
"""Values of a config, aliases counted at each use: a few lines of YAML can stand for billions."""

LARGEST_NUMBER = 2**63 - 1
"""What every reader of a specification can hold, and no estimate overflows on."""


class _TooLargeError(Exception):
    """The config holds more values than can be meant."""


class _Reader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._values = 0

    def read(self, value: Any, path: Path) -> Any:
        """Copy a value as plain JSON; what cannot be is told and becomes an open text."""
        self._values += 1
        if self._values > MOST_VALUES:
            raise _TooLargeError
        if len(path) > DEEPEST:
            return self._refuse(path, f"nested too deeply; allowed: {DEEPEST} levels")
        if hasattr(value, "keys"):
            return self._read_mapping(value, path)
        if isinstance(value, list | tuple):
            return [self.read(item, (*path, i)) for i, item in enumerate(value)]
        reason = _why_not_plain(value)
        return self._refuse(path, reason) if reason else value

    def _read_mapping(self, value: Mapping[Any, Any], path: Path) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            name = level_text(key)
            if name in plain:
                self._refuse((*path, name), "written twice; allowed: each key once")
            plain[name] = self.read(item, (*path, name))
        return plain

    def _refuse(self, path: Path, reason: str) -> str:
        self.problems.append(problem(path, reason))
        return UNKNOWN


def make_plain(config: Any) -> tuple[Any, list[Problem]]:
    """Copy a config as plain JSON values, with the problems of those that cannot be."""
    reader = _Reader()
    try:
        return reader.read(config, ()), reader.problems
    except _TooLargeError:
        return UNKNOWN, [problem((), f"too large; allowed: {MOST_VALUES} values in all")]


def _why_not_plain(value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        # Written so that NaN, which compares as false, is refused.
        inside = abs(value) <= LARGEST_NUMBER
        return "" if inside else "this number is not allowed; allowed: numbers within 64 bits"
    if isinstance(value, str):
        return _why_no_text(value)
    kind = type(value).__name__
    return f"a value of type {kind} ({value}) is not allowed; quote it if a text is meant"


def _why_no_text(value: str) -> str:
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        return f"{value!r} is not allowed; allowed: text without NUL and lone surrogates"
    return ""


def repair(config: Any, problems: list[Problem]) -> Any:
    """Put an open text in each place that has a problem, so that the others can be looked at."""
    for found in problems:
        if not found.path:
            return UNKNOWN
        *above, last = found.path
        parent = config
        for part in above:
            parent = parent if parent is UNKNOWN else parent[part]
        if parent is not UNKNOWN:
            parent[last] = UNKNOWN
    return config


def mappings(items: Any, path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield the mappings of a list with their places; what was refused is passed over."""
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield item, (*path, index)


def place_in(config: Any, path: Path) -> list[int]:
    """Give the positions of a path's parts, so that places sort as the config has them."""
    positions = []
    for part in path:
        if isinstance(part, int):
            positions.append(part)
        else:
            keys = list(config) if isinstance(config, dict) else []
            positions.append(keys.index(part) if part in keys else len(keys))
        config = _child(config, part)
    return positions


def _child(value: Any, part: str | int) -> Any:
    """Give what lies at a key or position, or None where nothing does."""
    if isinstance(value, dict):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) else None
