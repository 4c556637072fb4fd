"""Verdicts on claims as Markdown: counts, statements by verdict, figures by quantity."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.columns import VERDICTS
from stagebench.confidence import ALPHA
from stagebench.present.markdown import MISSING, count_noun, format_table, render_template
from stagebench.present.report import Section
from stagebench.present.report_speed import speed_sentences
from stagebench.quantities import words_of
from stagebench.tables import list_rows
from stagebench.units import format_estimate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stagebench.present.report import Contents

_TEMPLATE = Path(__file__).with_name("claims.md.j2")

Row = dict[str, Any]

REFUTED, _, _, NOT_TESTABLE, REPRODUCED, SHOWN = VERDICTS
FIGURE = "figure"
"""The kind of claims that are a published value each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """The claims of one verdict that are no figures; `otherwise` says what falls with them."""

    verdict: str
    count: int
    table: str
    otherwise: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The claims on one published quantity of an experiment, and how many have which verdict."""

    title: str
    counts: str
    table: str


def render_claims(contents: Contents) -> str:
    """Write the section on judged claims; "" where the study has none."""
    claims = describe_claims(contents.tables)
    return render_template(_TEMPLATE, {"claims": claims}) + "\n" if claims["counts"] else ""


def describe_claims(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Give what the report's section on claims is made of."""
    claims = list_rows(tables["claims"])
    tests = first_tests(list_rows(tables["claim_tests"]))
    statements = [row for row in claims if row["kind"] != FIGURE]
    return {
        "counts": count_verdicts(claims),
        "total": count_noun(len(claims), "claim"),
        "chance": chance_text(claims),
        "kinds": kinds_text(claims),
        "speed": speed_sentences(tables),
        "statements": [
            _statements(verdict, own)
            for verdict in VERDICTS
            if (own := [row for row in statements if row["verdict"] == verdict])
        ],
        "figures": _all_figures([row for row in claims if row["kind"] == FIGURE], tests),
    }


def first_tests(tests: list[Row]) -> dict[str, Row]:
    """Give the first test of each claim; a figure has only one, or one a treatment."""
    return {row["claim"]: row for row in reversed(tests)}


def whose(figure: Row, test: Row) -> str:
    """Name the treatment of a published value; a value of no treatment is tested on each."""
    is_every = figure["id"] == f"{figure['experiment']}.{test['quantity']}"
    return "every treatment" if is_every else str(test["treatment"])


def count_verdicts(claims: list[Row]) -> str:
    """Give "3 refuted, 12 reproduced", in the order in which claims are told."""
    counts = {verdict: sum(row["verdict"] == verdict for row in claims) for verdict in VERDICTS}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def kinds_text(claims: list[Row]) -> str:
    """Say how many claims of each kind were refuted, of those that were judged."""
    kinds = dict.fromkeys(row["kind"] for row in claims)
    fallen = Counter(row["kind"] for row in claims if row["verdict"] == REFUTED)
    judged = Counter(row["kind"] for row in claims if row["verdict"] not in (NOT_TESTABLE, SHOWN))
    told = [f"{fallen[kind]} of {count_noun(judged[kind], kind)}" for kind in kinds if judged[kind]]
    return f"Of those judged, refuted: {', '.join(told)}." if told else "None could be judged."


def chance_text(claims: list[Row]) -> str:
    """Say how many of the verdicts that follow from an interval chance alone may have made."""
    decided = sum(row["verdict"] in (REFUTED, REPRODUCED) for row in claims)
    if not decided:
        return "No verdict follows from an interval here."
    expected = decided * ALPHA
    many = "fewer than one" if expected < 1 else f"about {expected:.0f}"
    return (
        f"Refuted or reproduced by an interval: {decided}. Such an interval misses the true value"
        f" once in {1 / ALPHA:.0f} times, so that {many} of them may be chance."
    )


def measured_text(row: Row) -> str:
    """Give "1.02 [0.98, 1.06] ×", or a dash where nothing was measured."""
    if pd.isna(row["measured"]):
        return MISSING
    known = not (pd.isna(row["low"]) or pd.isna(row["high"]))
    limits = (row["low"], row["high"]) if known else None
    return format_estimate((row["measured"],), limits, row["unit"])


def published_text(row: Row) -> str:
    """Give "50 s (log: 46.99 s)"."""
    if row["stated"] and row["logged"]:
        return f"{row['stated']} (log: {row['logged']})"
    return row["stated"] or (f"log: {row['logged']}" if row["logged"] else MISSING)


def sorted_by_verdict(claims: list[Row]) -> list[Row]:
    """Sort claims as they are told, those of one verdict in their own order."""
    return sorted(claims, key=lambda row: VERDICTS.index(row["verdict"]))


def _statements(verdict: str, claims: list[Row]) -> Statements:
    cells = [
        [
            f"`{row['id']}`, {row['kind']}: {row['says']}",
            measured_text(row),
            published_text(row),
            row["sentence"],
        ]
        for row in claims
    ]
    told = [row for row in claims if verdict == REFUTED and row["otherwise"]]
    return Statements(
        verdict=verdict,
        count=len(claims),
        table=format_table(
            ["what is claimed", "measured", "published", "in words"], cells, texts=4
        ),
        otherwise=[f"`{row['id']}`: {row['otherwise']}" for row in told],
    )


def _all_figures(claims: list[Row], tests: Mapping[str, Row]) -> list[Figures]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in claims:
        test = tests[row["id"]]
        groups.setdefault((row["experiment"], test["quantity"]), []).append(row)
    return [
        _figures(f"{experiment}: {words_of(quantity)}", sorted_by_verdict(own), tests)
        for (experiment, quantity), own in groups.items()
    ]


def _figures(title: str, claims: list[Row], tests: Mapping[str, Row]) -> Figures:
    with_stage = any(tests[row["id"]]["stage"] for row in claims)
    stage = ["stage"] if with_stage else []
    cells = [
        [
            row["verdict"],
            whose(row, tests[row["id"]]),
            *([tests[row["id"]]["stage"]] if with_stage else []),
            measured_text(row),
            published_text(row),
            row["sentence"],
        ]
        for row in claims
    ]
    columns = ["verdict", "treatment", *stage, "measured", "published", "in words"]
    return Figures(
        title=title,
        counts=count_verdicts(claims),
        table=format_table(columns, cells, texts=len(columns)),
    )


CLAIMS = Section("claims", "claims", render_claims)
