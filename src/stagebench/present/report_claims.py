"""Verdicts on claims as Markdown: counts, statements by verdict, figures by quantity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.columns import VERDICTS
from stagebench.present.markdown import MISSING, count_noun, format_table
from stagebench.quantities import words_of
from stagebench.units import format_estimate

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = dict[str, Any]

REFUTED, _, _, _, REPRODUCED, _ = VERDICTS
CHANCE = 0.05
"""How often a 95 % interval misses what it estimates."""


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


def describe_claims(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Give what the report's section on claims is made of."""
    claims = rows_of(tables["claims"])
    tests = {row["claim"]: row for row in reversed(rows_of(tables["claim_tests"]))}
    statements = [row for row in claims if row["kind"] != "figure"]
    return {
        "counts": count_verdicts(claims),
        "total": count_noun(len(claims), "claim"),
        "chance": chance_text(claims),
        "statements": [
            _statements(verdict, own)
            for verdict in VERDICTS
            if (own := [row for row in statements if row["verdict"] == verdict])
        ],
        "figures": _all_figures([row for row in claims if row["kind"] == "figure"], tests),
    }


def count_verdicts(claims: list[Row]) -> str:
    """Give "3 refuted, 12 reproduced", in the order in which claims are told."""
    counts = {verdict: sum(row["verdict"] == verdict for row in claims) for verdict in VERDICTS}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def chance_text(claims: list[Row]) -> str:
    """Say how many of the verdicts that follow from an interval chance alone may have made."""
    decided = sum(row["verdict"] in (REFUTED, REPRODUCED) for row in claims)
    if not decided:
        return "No verdict follows from an interval here."
    expected = decided * CHANCE
    many = "fewer than one" if expected < 1 else f"about {expected:.0f}"
    return (
        f"Refuted or reproduced by an interval: {decided}. Such an interval misses the true value"
        f" once in 20 times, so that {many} of them may be chance."
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


def rows_of(table: pd.DataFrame) -> list[Row]:
    """Give the rows of a table as column → value."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _statements(verdict: str, claims: list[Row]) -> Statements:
    cells = [
        [f"{row['says']} ({row['kind']})", measured_text(row), published_text(row), row["sentence"]]
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
            tests[row["id"]]["treatment"],
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
