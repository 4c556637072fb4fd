"""Problems of a config: the place, what is wrong there, and what is allowed instead."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from stagebench.errors import closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KeyPath: TypeAlias = "tuple[str | int, ...]"
"""Keys and positions from the top of a config to a value."""

LONGEST_SHOWN = 60
"""Most characters of a value that a message quotes."""

MOST_NAMES = 12
"""Most allowed names that a message lists; it counts the others."""

MOST_IDS = 3
"""Most treatments that a message names; it counts the others."""


class Origin(NamedTuple):
    """The file and line of a value; line 0 means a source without lines.

    `name` is the name of an entry of a list that has one, such as a stage.
    """

    file: str
    line: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


Origins: TypeAlias = "Mapping[KeyPath, Origin]"
"""The origin of each value of a config; empty for a config made in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A path and what is wrong there; `place` is set if the path alone does not locate it."""

    path: KeyPath
    text: str
    place: Origin | None = None

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.text}"


def problem(path: KeyPath, text: str, place: Origin | None = None) -> Problem:
    """Make a problem, without keywords."""
    return Problem(path=path, text=text, place=place)


def locate(places: Origins, path: KeyPath) -> Origin | None:
    """Find the origin of a value, or of the innermost part around it if it is missing."""
    return next(
        (places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in places), None
    )


def format_problem(found: Problem, places: Origins) -> str:
    """Format a problem as "config/mine.yaml:37: seed: …", or without a file if unknown."""
    place = found.place or locate(places, found.path)
    # A path that does not locate the value is one in a file that was merged into another.
    text = str(found) if found.place else f"{dotted(found.path, places)}: {found.text}"
    return text if place is None else f"{place}: {text}"


def dotted(path: KeyPath, places: Origins | None = None) -> str:
    """Format a path like `experiments[0].factors.workers`; an entry with a name has that."""
    text = ""
    for end, part in enumerate(path, 1):
        own = places.get(path[:end]) if places else None
        inner = own.name if own is not None and own.name else part
        text += f"[{inner}]" if isinstance(part, int) else f".{_cut(part)}"
    return text.removeprefix(".") or "the config"


def show(value: Any) -> str:
    """Quote a value as JSON, shortened if it is long."""
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return a text that says `name` is unknown, with the closest match and the known names."""
    names = list(allowed)
    listed = ", ".join(names[:MOST_NAMES]) or f"none: there is no {kind} here"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"unknown {kind} '{_cut(name)}'{closest(name, names)}; allowed: {listed}{more}"


def quote_placeholder(value: Any) -> str:
    """Return what to say of a placeholder without quotes, which YAML reads as a mapping; or ""."""
    if isinstance(value, dict) and len(value) == 1 and None in value.values():
        (name,) = value
        return f'; a placeholder needs quotes: "{{{_cut(str(name))}}}"'
    return ""


def some(ids: list[str]) -> str:
    """Join the first few treatment ids and count the others."""
    more = f" and {len(ids) - MOST_IDS} more" if len(ids) > MOST_IDS else ""
    return ", ".join(ids[:MOST_IDS]) + more
