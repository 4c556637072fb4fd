"""Placeholders: "{factor}" in a config stands for the level that a treatment gives the factor.

A placeholder that is the whole text takes the level with its type; inside a longer text the level
is written out. Nothing else is ever evaluated, and a level is never searched for placeholders.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from stagebench.design.levels import level_text
from stagebench.problems import Path, Problem, problem, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagebench.design.study import Factors

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

_ABSENT = object()

UNKNOWN = "{unknown value}"
"""Stands in a config for a value that was refused: open, so that nothing more is said of it."""


def is_open(value: object) -> bool:
    """Tell whether a value is a text with a placeholder, so that nothing is known of it yet."""
    return isinstance(value, str) and _PLACEHOLDER.search(value) is not None


def find_placeholders(template: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the place and the factor's name of each placeholder below `path`."""
    if isinstance(template, str) and template is not UNKNOWN:
        for name in _PLACEHOLDER.findall(template):
            yield path, name
    for key, value in _items(template):
        yield from find_placeholders(value, (*path, key))


def holds_unknown(template: Any) -> bool:
    """Tell whether a value at or below a part of a config was refused."""
    return template is UNKNOWN or any(holds_unknown(value) for _, value in _items(template))


def substitute(template: Any, factors: Factors, path: Path) -> tuple[Any, list[Problem]]:
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


def _fill(template: Any, factors: Factors, path: Path, problems: list[Problem]) -> Any:
    if isinstance(template, str):
        return _fill_text(template, factors, path, problems)
    if not isinstance(template, dict | list):
        return template
    filled = (
        (key, _fill(value, factors, (*path, key), problems)) for key, value in _items(template)
    )
    kept = [(key, value) for key, value in filled if value is not _ABSENT]
    return dict(kept) if isinstance(template, dict) else [value for _, value in kept]


def _fill_text(text: str, factors: Factors, path: Path, problems: list[Problem]) -> Any:
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
