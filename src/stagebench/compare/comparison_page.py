"""A comparison as one HTML file that needs nothing else: tables, and intervals as bars."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.compare.findings import EFFECT
from stagebench.compare.wording import (
    describe_alone,
    describe_differences,
    describe_sources,
    describe_unknown,
    is_compared,
    list_titles,
    say_margin,
    summarise,
    write_cells,
)
from stagebench.present.markdown import format_number, render_template, show_line, title_quantity
from stagebench.tables.decisions import EQUIVALENT, NO_INTERVAL, NOT_DECIDED
from stagebench.tables.quantities import LOWER, QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.compare.findings import Finding, SideBySide, StudyComparison

_TEMPLATE = Path(__file__).parent / "comparison.html.j2"
_MOST_ALONE = 20
_BAR = 200
"""Width of the drawing of an interval."""

_FURTHEST = math.log(20)
"""The axis ends at 20 times as large or small: what lies beyond is cut there."""

_NEAREST = math.log(1.1)


class _Bar(NamedTuple):
    """Places of an interval on its axis."""

    low: float
    high: float
    middle: float
    kind: str


def render_comparison(comparison: StudyComparison) -> str:
    """Return a comparison as HTML."""
    return render_template(
        _TEMPLATE,
        {
            "title": " against ".join(
                reversed([show_line(one.name) for one in comparison.sources[:2]])
            ),
            "sources": describe_sources(comparison),
            "unknown": describe_unknown(comparison),
            "differences": describe_differences(comparison),
            "pairs": [_describe_pair(pair) for pair in comparison.pairs],
            "signs": say_margin(comparison.margin),
            "width": _BAR,
        },
    )


def _describe_pair(pair: SideBySide) -> dict[str, Any]:
    titles = [show_line(title) for title in list_titles(pair)]
    tables = []
    for family in filter(is_compared, pair.families):
        title = f"{family.experiment}: {title_quantity(family.quantity)}"
        tables.append(_describe_table(title, family.findings, family.quantity))
        if family.effects:
            title = f"{family.experiment}: effects on {QUANTITIES[family.quantity].label}"
            tables.append(_describe_table(title, family.effects, family.quantity))
    return {
        "title": show_line(f"{pair.other} against {pair.base}"),
        "answers": [show_line(f"{summarise(family)}.") for family in pair.families],
        "notes": [text for text in (pair.note, describe_alone(pair, _MOST_ALONE)) if text],
        "titles": titles,
        "tables": tables,
    }


def _describe_table(title: str, findings: Sequence[Finding], quantity: str) -> dict[str, Any]:
    reach = _find_reach(findings)
    return {
        "title": show_line(title),
        "axis": [format_number(math.exp(-reach)), format_number(math.exp(reach))],
        "rows": [
            {"cells": write_cells(one, quantity)._asdict(), "bar": _draw(one, reach, quantity)}
            for one in findings
        ],
    }


def _find_reach(findings: Sequence[Finding]) -> float:
    """Return how far the axis goes: as far as the limits, within bounds."""
    limits = [
        abs(math.log(limit))
        for one in findings
        if one.change is not None
        for limit in (one.change.low, one.change.high)
        if limit is not None and 0 < limit < math.inf
    ]
    return min(_FURTHEST, max(_NEAREST, *limits)) if limits else _NEAREST


def _draw(finding: Finding, reach: float, quantity: str) -> _Bar | None:
    change = finding.change
    if change is None or change.low is None or change.high is None:
        return None
    low, high = _place(change.low, reach), _place(change.high, reach)
    middle = _place(math.sqrt(change.ratio * change.upper), reach)
    if finding.outcome in (EQUIVALENT, NOT_DECIDED, NO_INTERVAL):
        kind = "open"
    elif finding.kind == EFFECT:
        kind = "differs"
    else:
        is_better = (finding.outcome == LOWER) == (QUANTITIES[quantity].better == LOWER)
        kind = "better" if is_better else "worse"
    return _Bar(low, high, middle, kind)


def _place(ratio: float, reach: float) -> float:
    """Return where a ratio lies on the axis."""
    log = -reach if ratio <= 0 else min(reach, max(-reach, math.log(ratio)))
    return round(_BAR * (log + reach) / (2 * reach), 1)
