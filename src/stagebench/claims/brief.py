"""Verdicts on one screen: how many there are of each, and the most surprising ones first."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.claims.text import (
    CONTRADICTED,
    NOT_TESTABLE,
    SHOWN,
    chance_text,
    count_verdicts,
    measured_text,
    total_text,
)
from stagebench.present.markdown import MISSING
from stagebench.tables.io import list_rows
from stagebench.tables.schema import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

Row = dict[str, Any]

WIDTH, LINES = 80, 40
_NAME, _EXPECTED, _MEASURED = 37, 18, 23

_LISTED = tuple(verdict for verdict in VERDICTS if verdict not in (NOT_TESTABLE, SHOWN))
"""Those of the others have nothing measured that was expected."""

_LEAST_ROOM = 8
"""With fewer lines, a study has its counts alone."""

_LEAST_ROWS = 3
"""Fewer rows of a verdict are not worth its title."""


class JudgedStudy(NamedTuple):
    """The stored verdicts of one study, and how it is called."""

    title: str
    claims: pd.DataFrame
    tests: pd.DataFrame


def format_brief(studies: Sequence[JudgedStudy]) -> str:
    """Return one screen on the claims of a few studies; of many, their counts alone."""
    room = (LINES - 2) // len(studies)
    parts = [list(_brief(study, room)) for study in studies]
    lines = [line for part in parts for line in [*part, ""]]
    return "\n".join([*lines, "--all shows all claims, each with a sentence."]) + "\n"


def _brief(study: JudgedStudy, room: int) -> Iterator[str]:
    rows = list_rows(study.claims)
    head = _wrap(f"{study.title}: {total_text(rows)}: {count_verdicts(rows)}")
    yield from head
    if room < _LEAST_ROOM:
        return
    head += (chance := _wrap(chance_text(rows)))
    yield from chance
    tests: dict[str, list[Row]] = {}
    for test in list_rows(study.tests):
        tests.setdefault(test["claim"], []).append(test)
    groups = {verdict: [row for row in rows if row["verdict"] == verdict] for verdict in _LISTED}
    for verdict, number in _share_out(groups, room - len(head) - 1).items():
        yield from ["", *_section(verdict, groups[verdict], number, tests)]


def _share_out(groups: Mapping[str, Sequence[Row]], room: int) -> dict[str, int]:
    """Return how many rows of each verdict fit, the first verdicts first.

    A verdict takes a blank line and a title, and a line that says how many more there are. What
    contradicts itself has a quarter of the room if it needs it: it would be hidden by many figures.
    """
    kept = {
        verdict: min(len(rows) + 3, room // 4)
        for verdict, rows in groups.items()
        if rows and verdict == CONTRADICTED
    }
    numbers: dict[str, int] = {}
    for verdict, rows in groups.items():
        reserved = sum(lines for other, lines in kept.items() if other not in {verdict, *numbers})
        free = room - reserved - 2
        number = len(rows) if len(rows) <= free else free - 1
        if rows and number >= min(len(rows), _LEAST_ROWS):
            numbers[verdict] = number
            room -= 2 + number + (number < len(rows))
    return numbers


def _section(
    verdict: str, rows: list[Row], number: int, tests: Mapping[str, list[Row]]
) -> Iterator[str]:
    is_torn = verdict == CONTRADICTED
    titles = ("stated", "its log") if is_torn else ("expected", "measured")
    yield _line(f"{verdict.upper()} ({len(rows)})", *titles)
    # Statements say more than single figures, and there are fewer of them.
    ordered = sorted(rows, key=lambda row: row["kind"] == "figure")
    for row in ordered[:number]:
        cells = (
            _torn(row) if is_torn else (_expected(row, tests.get(row["id"], [])), _measured(row))
        )
        yield _line(_cut(str(row["id"]), _NAME), *cells)
    if number < len(rows):
        yield f"and {len(rows) - number} more"


def _torn(row: Row) -> tuple[str, str]:
    return row["stated"] or "in words", row["logged"] or MISSING


def _expected(row: Row, tests: Sequence[Row]) -> str:
    """Return what was expected of the number that is shown: it is that of one of the tests."""
    own = [test for test in tests if test["measured"] == row["measured"] and test["expected"]]
    return next((str(test["expected"]) for test in (*own, *tests) if test["expected"]), MISSING)


def _measured(row: Row) -> str:
    """Return the estimate with its interval, or alone if that is too long."""
    text = measured_text(row)
    return text if len(text) <= _MEASURED else measured_text(row | {"low": None, "high": None})


def _line(name: str, expected: str, measured: str) -> str:
    cells = _cut(expected, _EXPECTED).rjust(_EXPECTED), _cut(measured, _MEASURED).rjust(_MEASURED)
    return f"{name:<{_NAME}} {' '.join(cells)}"


def _cut(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False)
