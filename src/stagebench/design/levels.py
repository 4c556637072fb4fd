"""Levels of factors, and the placeholders that they fill.

The placeholder "{factor}" in a config stands for the level that a treatment has of the factor. If
it is the whole text, it is replaced by the level with its type; inside a longer text the level is
written out. Nothing else is evaluated, and levels are not searched for placeholders.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from stagebench.design.problems import KeyPath, Problem, problem, show

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence

Level: TypeAlias = "str | int | float | bool | list[Any] | None"
"""One value of a factor: a scalar, or a list of scalars (for `preload` and `cpus`)."""

Factors: TypeAlias = "dict[str, Level]"
"""One level for each factor that applies, in the order of declaration."""


def level_key(level: Level) -> Hashable:
    """Return a key that is equal for equal levels: 1 equals 1.0, but not true."""
    if isinstance(level, list):
        return ("list", tuple(level_key(item) for item in level))
    if isinstance(level, bool) or not isinstance(level, int | float):
        return (type(level).__name__, level)
    return ("number", level)


def holds(levels: Iterable[Level], level: Level) -> bool:
    """Report whether `level` is among `levels`."""
    wanted = level_key(level)
    return any(level_key(other) == wanted for other in levels)


def level_text(level: Any) -> str:
    """Format a level as in a config: true, null, 0.5, text as it is; lists joined by "-"."""
    if isinstance(level, list):
        return "-".join(level_text(item) for item in level)
    if level is None:
        return "null"
    return str(level).lower() if isinstance(level, bool) else str(level)


def named_levels(value: Level, levels: Sequence[Level]) -> tuple[tuple[Level, ...], list[Level]]:
    """Split the value of an entry of exclude, when or baseline into levels and unknown values.

    A list names several levels unless it is itself a level.
    """
    values = value if isinstance(value, list) and not holds(levels, value) else [value]
    known = tuple(item for item in values if holds(levels, item))
    return known, [item for item in values if not holds(levels, item)]


def matches(factors: Factors, entry: Mapping[str, Sequence[Level]]) -> bool:
    """Report whether every factor in `entry` applies and has one of the levels named there."""
    return all(name in factors and holds(levels, factors[name]) for name, levels in entry.items())


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

_ABSENT = object()

UNKNOWN = "\0unknown"
"""Stands for a value that was refused or whose level is unknown; it is not reported again."""


def find_placeholders(template: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and the name of each placeholder below `path`."""
    if isinstance(template, str):
        for name in _PLACEHOLDER.findall(template):
            yield path, name
    for key, value in _items(template):
        yield from find_placeholders(value, (*path, key))


def holds_unknown(template: Any) -> bool:
    """Report whether a value or any value inside it is unknown."""
    return template is UNKNOWN or any(holds_unknown(value) for _, value in _items(template))


@dataclass(frozen=True, slots=True)
class Filled:
    """A template with levels filled in, and the problems found.

    `moved` maps the path of each list that lost items to the positions of those it kept.
    """

    value: Any
    problems: list[Problem]
    moved: dict[KeyPath, list[int]]

    def in_template(self, path: KeyPath) -> KeyPath:
        """Return the path in the template for a path in the filled value."""
        found: KeyPath = ()
        for part in path:
            kept = self.moved.get(found)
            found = (*found, kept[part] if kept and isinstance(part, int) else part)
        return found


def substitute(
    template: Any, levels: Factors, path: KeyPath, known: Collection[str] | None = None
) -> Filled:
    """Fill the levels of one treatment, and constants, into a template.

    A key or item that is only a placeholder of a factor that does not apply is left out. Inside a
    longer text such a placeholder is a problem, and the text becomes unknown. A text with a name
    that is not in `known` becomes unknown, too, without a problem.
    """
    filler = _Filler(levels, known)
    return Filled(filler.fill(template, path), filler.problems, filler.moved)


def _items(template: Any) -> list[tuple[str | int, Any]]:
    if isinstance(template, dict):
        return list(template.items())
    return list(enumerate(template)) if isinstance(template, list) else []


class _Filler:
    """Fills a template, and notes problems and which list items have moved."""

    def __init__(self, levels: Factors, known: Collection[str] | None) -> None:
        self.problems: list[Problem] = []
        self.moved: dict[KeyPath, list[int]] = {}
        self._levels = levels
        self._known = known

    def fill(self, template: Any, path: KeyPath) -> Any:
        if isinstance(template, str):
            return self._fill_text(template, path)
        if isinstance(template, dict):
            pairs = ((key, self.fill(value, (*path, key))) for key, value in template.items())
            return {key: value for key, value in pairs if value is not _ABSENT}
        if isinstance(template, list):
            items = [self.fill(value, (*path, index)) for index, value in enumerate(template)]
            kept = [index for index, value in enumerate(items) if value is not _ABSENT]
            if len(kept) < len(items):
                self.moved[path] = kept
            return [items[index] for index in kept]
        return template

    def _fill_text(self, text: str, path: KeyPath) -> Any:
        names = dict.fromkeys(_PLACEHOLDER.findall(text))
        if not names:
            return text
        if any(self._is_unknown(name) for name in names):
            return UNKNOWN
        whole = _PLACEHOLDER.fullmatch(text)
        if whole is not None:
            return deepcopy(self._levels[whole[1]]) if whole[1] in self._levels else _ABSENT
        found = [reason for name in names if (reason := _why_not_inside(name, self._levels))]
        self.problems.extend(problem(path, f"{show(text)}: {reason}") for reason in found)
        if found:
            return UNKNOWN
        return _PLACEHOLDER.sub(lambda match: level_text(self._levels[match[1]]), text)

    def _is_unknown(self, name: str) -> bool:
        return self._known is not None and name not in self._known


def _why_not_inside(name: str, levels: Factors) -> str:
    if name not in levels:
        return f"factor '{name}' does not apply, so the text would have a gap"
    if levels[name] is None or isinstance(levels[name], list):
        return f"the level {show(levels[name])} of '{name}' cannot be a part of a longer text"
    return ""
