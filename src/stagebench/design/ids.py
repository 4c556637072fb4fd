"""Readable, stable ids of treatments: p2-fork, p5-spawn-retain, t1-numpy.

An id depends on the treatment's own levels alone, so that adding a level or a treatment never
renames another one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stagebench.design.levels import level_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stagebench.design.study import Factor, Factors, Level

_LETTERS = {"thread": "t", "process": "p", "asyncio": "a"}
"""First letter of an id that gives the executor and the number of workers: t1, p5, a9."""

_FIRST = ("executor", "workers", "start_method")
"""Factors that are written first and without their names."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


def treatment_id(factors: Factors, declared: Iterable[Factor]) -> str:
    """Write the id of the treatment that has these levels.

    An experiment without factors has one treatment, "only"; one whose levels are all silent is
    "plain".
    """
    if not factors:
        return "only"
    tags = {f.name: f.tags.get(level_text(factors[f.name])) for f in declared if f.name in factors}
    words = {name: _word(name, level, tags[name]) for name, level in factors.items()}
    pool = _pool_word(factors, tags)
    if pool:
        words["executor"], words["workers"] = pool, ""
    names = sorted(words, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    return "-".join(words[name] for name in names if words[name]) or "plain"


def is_valid_id(name: str) -> bool:
    """Tell whether an id can be the name of a folder everywhere."""
    return _ID.fullmatch(name) is not None


def _pool_word(factors: Factors, tags: Mapping[str, str | None]) -> str:
    """Give executor and workers as one word, where both apply and neither has a tag."""
    letter = _LETTERS.get(level_text(factors.get("executor")), "")
    both = letter and "workers" in factors
    tagged = any(tags.get(name) is not None for name in ("executor", "workers"))
    return f"{letter}{level_text(factors['workers'])}" if both and not tagged else ""


def _word(name: str, level: Level, tag: str | None) -> str:
    if tag is not None:
        return tag
    if isinstance(level, bool):
        return name if level else ""
    text = "unset" if level is None else level_text(level).replace(".", "_") or "empty"
    if name == "workers":
        return f"w{text}"
    return text if name in _FIRST else f"{name}-{text}"
