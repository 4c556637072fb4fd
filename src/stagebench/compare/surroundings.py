"""What differs in machine and software between the sources of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from stagebench.present.trust import format_property, label_property
from stagebench.tables.io import list_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.compare.sources import StudySource

FIRST = (
    *("host", "node", "cpu_model", "machine", "cores", "cores_usable", "memory_bytes", "os"),
    *("kernel", "python_implementation", "python", "gil", "stagebench", "commit", "commit_dirty"),
)
"""Properties that explain most, in the order in which they are named."""

UNKNOWN = "unknown"
LONGEST_HASH = 12
"""Characters of a commit that are shown."""


class Difference(NamedTuple):
    """A property with its values for each source; the label and the values are for people."""

    name: str
    label: str
    values: tuple[str, ...]


def find_differences(sources: Sequence[StudySource]) -> list[Difference]:
    """Return the properties of which sources have different values, those that matter first.

    Those of which nothing is recorded do not count.
    """
    known = [_read(source) for source in sources]
    recorded = [own for own in known if own]
    names = list(dict.fromkeys(name for own in recorded for name in own))
    found = [
        Difference(
            name,
            label_property(name),
            tuple(_format(name, own.get(name, ())) for own in known),
        )
        for name in names
        if len({own.get(name, ()) for own in recorded}) > 1
    ]
    return sorted(found, key=lambda one: _rank(one.name))


def _read(source: StudySource) -> dict[str, tuple[str, ...]]:
    values: dict[str, list[str]] = {}
    for row in list_rows(source.environment):
        values.setdefault(str(row["property"]), []).append(str(row["value"]))
    return {name: tuple(sorted(set(own))) for name, own in values.items()}


def _format(name: str, values: Sequence[str]) -> str:
    if not values:
        return UNKNOWN
    texts = [format_property(name, value) for value in values]
    if name == "commit":
        texts = [text[:LONGEST_HASH] for text in texts]
    return " and ".join(texts)


def _rank(name: str) -> tuple[int, bool]:
    place = FIRST.index(name) if name in FIRST else len(FIRST)
    return place, name.startswith("packages.")
