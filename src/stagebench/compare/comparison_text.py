"""A comparison for a terminal of 80 columns: what differs, the answer, and a row per treatment."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from stagebench.compare.findings import ALL
from stagebench.compare.wording import (
    describe_alone,
    describe_differences,
    describe_sources,
    describe_unknown,
    is_compared,
    is_different,
    list_titles,
    say_margin,
    summarise,
    write_cells,
)
from stagebench.present.markdown import show_line, title_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stagebench.compare.findings import Finding, SideBySide, StudyComparison
    from stagebench.compare.wording import Cells

WIDTH = 80
_NAME = 24
"""Characters of a name that its row has room for; a longer one has a line of its own."""

_SIDE = 11
_MOST_DIFFERENCES = 12
_MOST_ALONE = 4
_MOST_ROWS = 40
_INDENT = 2


def format_comparison(comparison: StudyComparison) -> str:
    """Return a comparison as text."""
    lines = [*_list_head(comparison)]
    for pair in comparison.pairs:
        lines += ["", *_list_pair(pair)]
    lines += ["", *_wrap(say_margin(comparison.margin))]
    return "\n".join(lines) + "\n"


def _list_head(comparison: StudyComparison) -> Iterator[str]:
    sources = describe_sources(comparison)
    width = min(_NAME, max(len(show_line(name)) for name, _ in sources))
    for name, text in sources:
        yield from _wrap(f"{show_line(name):<{width}}  {text}", _INDENT + width)
    found = describe_differences(comparison)
    yield ""
    if unknown := describe_unknown(comparison):
        yield from _wrap(unknown)
        if not found:
            return
    if not found:
        yield "Nothing that is recorded of machine and software differs."
        return
    yield "What differs"
    shown = found[:_MOST_DIFFERENCES]
    width = max(len(label) for label, _ in shown)
    for label, values in shown:
        yield from _wrap(f"  {label:<{width}}  {show_line(values)}", _INDENT + 2 + width)
    if len(found) > len(shown):
        rest = ", ".join(label for label, _ in found[len(shown) :])
        yield from _wrap(f"  and: {rest}", 4)


def _list_pair(pair: SideBySide) -> Iterator[str]:
    yield from _wrap(f"{show_line(pair.other)} against {show_line(pair.base)}", _INDENT)
    for family in pair.families:
        yield from _wrap(f"- {show_line(summarise(family))}.", _INDENT)
    for text in (pair.note, describe_alone(pair, _MOST_ALONE)):
        if text:
            yield from _wrap(show_line(text))
    for family in filter(is_compared, pair.families):
        title = f"{family.experiment}: {title_quantity(family.quantity)}"
        yield from ("", *_list_table(title, pair, family.findings, family.quantity))
        if family.effects:
            title = f"{family.experiment}: effects on it"
            yield from ("", *_list_table(title, pair, family.effects, family.quantity))


def _list_table(
    title: str, pair: SideBySide, findings: Sequence[Finding], quantity: str
) -> Iterator[str]:
    shown = _choose_rows(findings)
    rows = [write_cells(one, quantity) for one in shown]
    base, other, *rest = map(show_line, list_titles(pair))
    titles = [*_cut_apart(base, other), *rest]
    columns = list(zip(*(one[1:6] for one in rows), strict=True))
    widths = [max(len(name), *map(len, own)) for name, own in zip(titles, columns, strict=True)]
    room = max(_NAME, WIDTH - sum(widths) - 2 * len(widths))
    name = min(room, max(len(show_line(one.label)) for one in rows))
    yield from _wrap(show_line(title))
    yield _join(" " * name, titles, widths)
    for one in rows:
        yield from _list_row(one, name, widths)
    if len(shown) < len(findings):
        yield f"and {len(findings) - len(shown)} more (--html and --json have all)"


def _choose_rows(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that have a row, in their order: first of all those that differ."""
    wanted = sorted(findings, key=lambda one: (one.kind != ALL, not is_different(one)))
    chosen = {id(one) for one in wanted[:_MOST_ROWS]}
    return [one for one in findings if id(one) in chosen]


def _list_row(cells: Cells, name: int, widths: Sequence[int]) -> Iterator[str]:
    """Return a row; a long name and warnings that do not fit have lines of their own."""
    label = show_line(cells.label)
    if len(label) > name:
        yield from _wrap(label, _INDENT)
        label = ""
    line = _join(f"{label:<{name}}", cells[1:6], widths)
    warnings = cells.warnings
    if warnings and len(line) + 2 + len(warnings) <= WIDTH:
        yield f"{line}  {warnings}"
        return
    yield line
    if warnings:
        yield from _wrap(f"{'':<{name}}  {warnings}", name + 2)


def _join(name: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = [
        # Both sides and the number of runs are numbers.
        cell.rjust(width) if place in (0, 1, 4) else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join([name, *texts]).rstrip()


def _cut_apart(base: str, other: str) -> tuple[str, str]:
    """Return two names cut to the width of a column, so that they still differ."""
    if max(len(base), len(other)) <= _SIDE:
        return base, other
    ends, beginnings = ((_cut(base, at), _cut(other, at)) for at in (_SIDE, -_SIDE))
    apart = [pair for pair in (ends, beginnings) if pair[0] != pair[1]]
    return apart[0] if apart else ("base", "other")


def _cut(text: str, most: int) -> str:
    """Return the end of a text, or with a negative number its beginning."""
    if len(text) <= abs(most):
        return text
    return f"…{text[1 - most :]}" if most > 0 else f"{text[: -most - 1]}…"


def _wrap(text: str, indent: int = 0) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False) or [
        ""
    ]
