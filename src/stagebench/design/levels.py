"""Levels of factors: when two are the same, how one is written, which ones an entry names.

Placeholders: "{factor}" in a config stands for the level that a treatment gives the factor.

A placeholder that is the whole text takes the level with its type; inside a longer text the level
is written out. Nothing else is ever evaluated, and a level is never searched for placeholders.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from stagebench.design.problems import KeyPath, Problem, problem, show

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from stagebench.design.checked_study import Factors, Level


def level_key(level: Level) -> Hashable:
    """Give what two levels share when they mean the same: 1 and 1.0 do, 1 and true do not."""
    if isinstance(level, list):
        return ("list", tuple(level_key(item) for item in level))
    if isinstance(level, bool) or not isinstance(level, int | float):
        return (type(level).__name__, level)
    return ("number", level)


def holds(levels: Iterable[Level], level: Level) -> bool:
    """Tell whether `level` is among `levels`."""
    wanted = level_key(level)
    return any(level_key(other) == wanted for other in levels)


def level_text(level: Any) -> str:
    """Write a level as a config does: true, null, 0.5, words as they are; a list joined by "-"."""
    if isinstance(level, list):
        return "-".join(level_text(item) for item in level)
    if level is None:
        return "null"
    return str(level).lower() if isinstance(level, bool) else str(level)


def named_levels(value: Level, levels: Sequence[Level]) -> tuple[tuple[Level, ...], list[Level]]:
    """Split what an entry of exclude, when or baseline names into levels and unknown values.

    A list names several levels, unless it is itself a level.
    """
    values = value if isinstance(value, list) and not holds(levels, value) else [value]
    known = tuple(item for item in values if holds(levels, item))
    return known, [item for item in values if not holds(levels, item)]


def matches(factors: Factors, entry: Mapping[str, Sequence[Level]]) -> bool:
    """Tell whether every factor that `entry` names applies and has one of the levels named."""
    return all(name in factors and holds(levels, factors[name]) for name, levels in entry.items())


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

_ABSENT = object()

UNKNOWN = "{unknown value}"
"""Stands in a config for a value that was refused: open, so that nothing more is said of it."""


def is_open(value: object) -> bool:
    """Tell whether a value is a text with a placeholder, so that nothing is known of it yet."""
    return isinstance(value, str) and _PLACEHOLDER.search(value) is not None


def find_placeholders(template: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place and the factor's name of each placeholder below `path`."""
    if isinstance(template, str) and template is not UNKNOWN:
        for name in _PLACEHOLDER.findall(template):
            yield path, name
    for key, value in _items(template):
        yield from find_placeholders(value, (*path, key))


def holds_unknown(template: Any) -> bool:
    """Tell whether a value at or below a part of a config was refused."""
    return template is UNKNOWN or any(holds_unknown(value) for _, value in _items(template))


def substitute(template: Any, factors: Factors, path: KeyPath) -> tuple[Any, list[Problem]]:
    """Put the levels of one treatment into a template.

    A key or item that is wholly a placeholder of a factor that does not apply is left out. Inside
    a longer text such a factor is a problem, and the text stays open.
    """
    problems: list[Problem] = []
    return _fill(template, factors, path, problems), problems


def _items(template: Any) -> list[tuple[str | int, Any]]:
    if isinstance(template, dict):
        return list(template.items())
    return list(enumerate(template)) if isinstance(template, list) else []


def _fill(template: Any, factors: Factors, path: KeyPath, problems: list[Problem]) -> Any:
    if isinstance(template, str):
        return _fill_text(template, factors, path, problems)
    if not isinstance(template, dict | list):
        return template
    filled = (
        (key, _fill(value, factors, (*path, key), problems)) for key, value in _items(template)
    )
    kept = [(key, value) for key, value in filled if value is not _ABSENT]
    return dict(kept) if isinstance(template, dict) else [value for _, value in kept]


def _fill_text(text: str, factors: Factors, path: KeyPath, problems: list[Problem]) -> Any:
    whole = _PLACEHOLDER.fullmatch(text)
    if whole is not None:
        return deepcopy(factors[whole[1]]) if whole[1] in factors else _ABSENT
    names = dict.fromkeys(_PLACEHOLDER.findall(text))
    found = [_why_not_inside(name, factors) for name in names]
    problems.extend(problem(path, f"{show(text)}: {reason}") for reason in found if reason)
    if any(found):
        return text
    return _PLACEHOLDER.sub(lambda match: level_text(factors[match[1]]), text)


def _why_not_inside(name: str, factors: Factors) -> str:
    if name not in factors:
        return f"factor '{name}' does not apply, so the text has a gap"
    if factors[name] is None or isinstance(factors[name], list):
        return f"the level {show(factors[name])} of '{name}' cannot be a part of a longer text"
    return ""
