"""Verdicts for a terminal: counts, then every claim, 80 columns wide."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Any

from stagebench.columns import VERDICTS
from stagebench.present.markdown import MISSING, count_noun
from stagebench.present.report_claims import chance_text, count_verdicts, measured_text, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

Row = dict[str, Any]

WIDTH = 80
_ID, _MEASURED, _PUBLISHED = 35, 27, 14
_EXPLAINED = VERDICTS[:3]
"""Verdicts whose claims are told in a sentence, too."""


def format_claims(title: str, claims: pd.DataFrame) -> str:
    """Write the claims of one study: those that fell first, those only shown last."""
    rows = rows_of(claims)
    lines = [
        *_wrap(f"{title}: {count_noun(len(rows), 'claim')}: {count_verdicts(rows)}", ""),
        *_wrap(f"95 % intervals, not adjusted. {chance_text(rows)}", ""),
    ]
    for verdict in VERDICTS:
        own = [row for row in rows if row["verdict"] == verdict]
        lines += ["", *_section(verdict, own)] if own else []
    return "\n".join(lines) + "\n"


def _section(verdict: str, rows: list[Row]) -> Iterator[str]:
    yield _line(f"{verdict.upper()} ({len(rows)})", "measured", "published")
    if verdict == "not testable here":
        # Most of them share a reason: it is told once.
        for reason, own in groupby(sorted(rows, key=_reason), key=_reason):
            yield from _wrap(f"{reason}:", "  ")
            yield from map(_claim_line, own)
        return
    for row in rows:
        yield _claim_line(row)
        if verdict in _EXPLAINED:
            yield from _wrap(row["sentence"], "    ")
        if verdict == VERDICTS[0] and row["otherwise"]:
            yield from _wrap(row["otherwise"], "    ")


def _reason(row: Row) -> str:
    return str(row["reason"])


def _claim_line(row: Row) -> str:
    published = row["stated"] or (f"log {row['logged']}" if row["logged"] else MISSING)
    return _line(row["id"], measured_text(row), published)


def _line(name: str, measured: str, published: str) -> str:
    cells = (
        _cut(name, _ID).ljust(_ID),
        _cut(measured, _MEASURED).rjust(_MEASURED),
        _cut(published, _PUBLISHED).rjust(_PUBLISHED),
    )
    return "  ".join(cells)


def _cut(text: str, width: int) -> str:
    """Shorten a text in its middle: the ends tell most."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[head + 1 - width :]}"


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
