"""Levels of factors: when two are the same, how one is written, which ones an entry names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from stagebench.design.study import Factors, Level


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
