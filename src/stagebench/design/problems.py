"""One thing that is wrong with a config: where it is, what it is, what is allowed instead."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from stagebench.errors import closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KeyPath: TypeAlias = "tuple[str | int, ...]"
"""Keys and positions that lead from the top of a config to a value."""

LONGEST_SHOWN = 60
"""Characters of a value that a message quotes."""

MOST_NAMES = 12
"""Allowed names that a message lists before it only counts the others."""

MOST_IDS = 3
"""Treatments that a message names before it only counts the others."""


class Origin(NamedTuple):
    """Where a value is written; line 0 stands for a source that has no lines."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


Origins: TypeAlias = "Mapping[KeyPath, Origin]"
"""Where each value of a config is written; empty for a config that was made in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A path and what is wrong there; `place`, where the path alone does not lead to it."""

    path: KeyPath
    text: str
    place: Origin | None = None

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.text}"


def problem(path: KeyPath, text: str, place: Origin | None = None) -> Problem:
    """Make a problem; the short form of its class."""
    return Problem(path=path, text=text, place=place)


def locate(places: Origins, path: KeyPath) -> Origin | None:
    """Find where a value is written; of a missing value, where what should hold it is written."""
    return next(
        (places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in places), None
    )


def format_problem(found: Problem, places: Origins) -> str:
    """Write a problem as "config/mine.yaml:37: seed: …"; without the file, if there is none."""
    place = found.place or locate(places, found.path)
    return str(found) if place is None else f"{place}: {found}"


def dotted(path: KeyPath) -> str:
    """Write a path as in `experiments[0].factors.workers`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" for part in path)
    return text.removeprefix(".") or "the config"


def show(value: Any) -> str:
    """Quote a value as JSON, shortened where it is long."""
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Say that `name` is no known `kind`, what is, and which of them comes closest."""
    names = list(allowed)
    listed = ", ".join(names[:MOST_NAMES]) or f"none: there is no {kind} here"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"unknown {kind} '{_cut(name)}'{closest(name, names)}; allowed: {listed}{more}"


def some(ids: list[str]) -> str:
    """Name the first few treatments of many."""
    more = f" and {len(ids) - MOST_IDS} more" if len(ids) > MOST_IDS else ""
    return ", ".join(ids[:MOST_IDS]) + more
