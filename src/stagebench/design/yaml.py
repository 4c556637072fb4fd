"""A config file as a mapping: strict, safe YAML, in which a repeated key is an error.

A mapping from YAML as plain JSON values: text keys, finite numbers, nothing too deep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from stagebench.design.levels import UNKNOWN, level_text
from stagebench.design.problems import KeyPath, Problem, problem
from stagebench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping
    from pathlib import Path


LARGEST_FILE = 1_000_000
"""Bytes; a config is written by hand."""

_MERGE = "tag:yaml.org,2002:merge"


def load_config(path: Path) -> dict[str, Any]:
    """Read a config file; raises ConfigError with path, line and reason."""
    text = _read_text(path)
    try:
        # A SafeLoader: it makes plain values and refuses every tag that would make an object.
        config = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a safe loader, but stricter
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}{_line(error)}: {_reason(error)}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{path}: nested too deeply to be read"]) from error
    except ValueError as error:
        # A date such as 2026-02-30, or a number of thousands of digits.
        raise ConfigError([f"{path}: a value cannot be read: {error}"]) from error
    if not isinstance(config, dict):
        kind = "empty" if config is None else f"a {type(config).__name__}"
        raise ConfigError([f"{path}: the file is {kind}; allowed: a mapping (key: value lines)"])
    return config


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(data) > LARGEST_FILE:
        size = f"{len(data):,} bytes"
        raise ConfigError([f"{path}: {size} are too many; allowed: {LARGEST_FILE:,}"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}, line {line}: not UTF-8 text: {error.reason}"]) from error


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, but a key that is written twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Build one mapping with text as keys: 1 and true would be one key otherwise."""
        self._check_keys(node)
        self.flatten_mapping(node)
        return {
            level_text(self.construct_object(key, deep=True)): self.construct_object(
                value, deep=deep
            )
            for key, value in node.value
        }

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name = level_text(self.construct_object(key, deep=True))
            if name in seen:
                first = seen[name].line + 1
                text = f"the key '{name}' is written twice, first in line {first}"
                raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
            seen[name] = key.start_mark


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1}"


def _reason(error: yaml.YAMLError) -> str:
    reason = getattr(error, "problem", None) or getattr(error, "reason", None)
    return f"not YAML that can be read: {reason}" if reason else "not YAML that can be read"


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

    def read(self, value: Any, path: KeyPath) -> Any:
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

    def _read_mapping(self, value: Mapping[Any, Any], path: KeyPath) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            name = level_text(key)
            if name in plain:
                self._refuse((*path, name), "written twice; allowed: each key once")
            plain[name] = self.read(item, (*path, name))
        return plain

    def _refuse(self, path: KeyPath, reason: str) -> str:
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


def mappings(items: Any, path: KeyPath) -> Iterator[tuple[dict[str, Any], KeyPath]]:
    """Yield the mappings of a list with their places; what was refused is passed over."""
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield item, (*path, index)


def place_in(config: Any, path: KeyPath) -> list[int]:
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
