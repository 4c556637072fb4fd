"""A comparison as JSON, for programs; docs/compare.md describes it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from stagebench.compare.forbidden import list_findings
from stagebench.compare.wording import say_change
from stagebench.tables.quantities import unit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.compare.findings import Finding, FindingFamily, SideBySide, StudyComparison
    from stagebench.compare.forbidden import Condition

SCHEMA = "stagebench-comparison/1"


def write_comparison(comparison: StudyComparison, conditions: Sequence[Condition] = ()) -> str:
    """Return a comparison as JSON; what is unknown, or has no limit, is null."""
    found = {
        "schema": SCHEMA,
        "margin": comparison.margin,
        "campaigns_differ": comparison.campaigns_differ,
        "sources": [
            {"name": one.name, "paths": list(one.paths), "campaigns": one.campaigns}
            for one in comparison.sources
        ],
        "differences": [
            {"property": one.name, "label": one.label, "values": list(one.values)}
            for one in comparison.differences
        ],
        "comparisons": [_describe_pair(pair) for pair in comparison.pairs],
        "conditions": [
            {
                "condition": one.text,
                "found": [line.strip() for line in list_findings(comparison, one)],
            }
            for one in conditions
        ],
    }
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _describe_pair(pair: SideBySide) -> dict[str, Any]:
    return {
        "base": pair.base,
        "other": pair.other,
        "note": pair.note,
        "alone": list(pair.alone),
        "families": [_describe_family(family) for family in pair.families],
    }


def _describe_family(family: FindingFamily) -> dict[str, Any]:
    return {
        "experiment": family.experiment,
        "quantity": family.quantity,
        "unit": unit_of(family.quantity),
        "findings": [_describe_finding(one) for one in (*family.findings, *family.effects)],
    }


def _describe_finding(one: Finding) -> dict[str, Any]:
    change = one.change
    found: dict[str, Any] = {
        "kind": one.kind,
        "label": one.label,
        "treatments": [list(names) for names in one.treatments],
        "base": [_known(value) for value in one.base],
        "other": [_known(value) for value in one.other],
        "word": one.word,
        "says": say_change(one),
        "warnings": list(one.warnings),
    }
    if change is None:
        return found
    return found | {
        "ratio": [_known(change.ratio), _known(change.upper)],
        "limits": [_known(change.low), _known(change.high)],
        "runs": list(reversed(change.counts)),
        "pairing": change.pairing,
    }


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
