"""Verdicts for a terminal: counts, then every claim, 80 columns wide."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Any

from stagebench.columns import VERDICTS
from stagebench.present.markdown import MISSING, count_noun
from stagebench.present.report_claims import (
    FIGURE,
    NOT_TESTABLE,
    REFUTED,
    chance_text,
    count_verdicts,
    first_tests,
    kinds_text,
    measured_text,
    whose,
)
from stagebench.quantities import words_of
from stagebench.tables import list_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

Row = dict[str, Any]

WIDTH = 80
_NAME, _MEASURED, _PUBLISHED = 29, 27, 20
_EXPLAINED = VERDICTS[:3]
"""Verdicts whose claims are told in a sentence, too."""


def format_claims(title: str, claims: pd.DataFrame, tests: pd.DataFrame) -> str:
    """Write the claims of one study: those that fell first, those only shown last."""
    rows = list_rows(claims)
    by_claim = first_tests(list_rows(tests))
    lines = [
        *_wrap(f"{title}: {count_noun(len(rows), 'claim')}: {count_verdicts(rows)}", ""),
        *_wrap(f"{kinds_text(rows)} 95 % intervals, not adjusted. {chance_text(rows)}", ""),
    ]
    for verdict in VERDICTS:
        own = [row for row in rows if row["verdict"] == verdict]
        lines += ["", *_section(verdict, own, by_claim)] if own else []
    return "\n".join(lines) + "\n"


def _section(verdict: str, rows: list[Row], tests: Mapping[str, Row]) -> Iterator[str]:
    title, room = f"{verdict.upper()} ({len(rows)})", _NAME + 2 + _MEASURED
    yield f"{title}{'measured':>{room - len(title)}}  {'published':>{_PUBLISHED}}"
    if verdict != NOT_TESTABLE:
        yield from _claims(verdict, rows, tests)
        return
    # Most of them share a reason: it is told once.
    for reason, own in groupby(sorted(rows, key=_reason), key=_reason):
        yield from _wrap(f"{reason}:", "  ")
        yield from _claims(verdict, list(own), tests)


def _claims(verdict: str, rows: list[Row], tests: Mapping[str, Row]) -> Iterator[str]:
    """Give statements by their names, then figures by quantity and treatment."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if _is_published_value(row):
            groups.setdefault(_quantity(tests[row["id"]]), []).append(row)
        else:
            yield from _statement(verdict, row)
    for quantity, own in groups.items():
        yield _heading(quantity, "expected" if tests[own[0]["id"]]["expected"] else "published")
        for row in own:
            yield from _figure(verdict, row, tests[row["id"]])


def _statement(verdict: str, row: Row) -> Iterator[str]:
    yield from _named_line(row["id"], measured_text(row), _published(row))
    if verdict in _EXPLAINED:
        yield from _wrap(row["sentence"], "    ")
    if verdict == REFUTED and row["otherwise"]:
        yield from _wrap(row["otherwise"], "    ")


def _figure(verdict: str, row: Row, test: Row) -> Iterator[str]:
    """Give a published value by its treatment, beside what is expected of the measured one."""
    told = test["expected"] or _published(row)
    yield from _named_line(f"    {whose(row, test)}", measured_text(row), told)
    if verdict in _EXPLAINED and row["reason"]:
        yield from _wrap(row["reason"], "      ")


def _is_published_value(row: Row) -> bool:
    """Tell whether a claim is a row of the reference: its id begins with the experiment."""
    return row["kind"] == FIGURE and str(row["id"]).startswith(f"{row['experiment']}.")


def _heading(quantity: str, last: str) -> str:
    """Give what the figures below it have in common, and what their last column is."""
    width = WIDTH - len(last) - 2
    return f"{_cut(f'  {quantity}', width).ljust(width)}  {last}"


def _quantity(test: Row) -> str:
    """Name what figures have in common: "runtime, cpu_bound: makespan as a ratio to t1"."""
    where = ", ".join(filter(None, (test["experiment"], test["stage"])))
    less = f" less {words_of(test['minus'])}" if test["minus"] else ""
    to = f" as a {test['by']} to {test['to']}" if test["to"] else ""
    return f"{where}: {words_of(test['quantity'])}{less}{to}"


def _reason(row: Row) -> str:
    return str(row["reason"])


def _published(row: Row) -> str:
    return row["stated"] or (f"log {row['logged']}" if row["logged"] else MISSING)


def _named_line(name: str, measured: str, published: str) -> Iterator[str]:
    """Give a line, and one before it for a name that is too long for its column."""
    if len(name) > _NAME:
        yield from _wrap(name, "")
        name = ""
    yield _line(name, measured, published)


def _line(name: str, measured: str, published: str) -> str:
    cells = (
        name.ljust(_NAME),
        _cut(measured, _MEASURED).rjust(_MEASURED),
        _cut(published, _PUBLISHED).rjust(_PUBLISHED),
    )
    return "  ".join(cells)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
