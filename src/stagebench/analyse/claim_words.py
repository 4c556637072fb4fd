"""One sentence for a claim, made of the numbers: measured, expected, published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.analyse.claim import RATIO
from stagebench.columns import IN_BLOCKS, OTHER_CAMPAIGN
from stagebench.quantities import words_of
from stagebench.units import format_estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.analyse.claim import ClaimTest, Measure
    from stagebench.analyse.claim_values import Measured

MOST_TESTS = 4
"""Tests that a sentence tells in full; those that decide come first."""


def describe_claim(judged: Sequence[tuple[ClaimTest, Measured]], reason: str) -> str:
    """Tell what was measured of a claim, what was published, and why it was not judged, if so."""
    known = [(test, measured) for test, measured in judged if measured.estimate is not None]
    parts = [_describe(test, measured) for test, measured in known[:MOST_TESTS]]
    if len(known) > MOST_TESTS:
        parts.append(f"{len(known) - MOST_TESTS} more like it")
    published = dict.fromkeys(filter(None, (_published(test) for test, _ in judged)))
    parts += list(published)[:MOST_TESTS]
    text = "; ".join([*parts, *([reason] if reason else [])])
    return f"{text[:1].upper()}{text[1:]}."


def tell_number(number: float) -> str:
    """Write a parameter: whole where it is, with a comma for each thousand."""
    return f"{number:,.10g}"


def _describe(test: ClaimTest, measured: Measured) -> str:
    """Tell one test: "makespan of t2: 1.02 [0.98, 1.06] × t1 in 5 blocks, expected 1 ± 10 %"."""
    if measured.estimate is None:
        return ""
    values = (measured.estimate, *([] if measured.upper is None else [measured.upper]))
    limits = None
    if measured.low is not None and measured.high is not None:
        limits = (measured.low, measured.high)
    number = format_estimate(values, limits, test.unit)
    blocks = f"{measured.n} block{'' if measured.n == 1 else 's'}"
    stage = f"{test.measure.stage} in " if test.measure.stage else ""
    what = f"{_name(test.measure)} of {stage}{test.treatment}"
    text = f"{what}: {number}{_against(test)} in {blocks}"
    if measured.pairing not in ("", IN_BLOCKS):
        apart = " of another campaign" if measured.pairing == OTHER_CAMPAIGN else ""
        text += f" (not paired by block{apart})"
    return text if test.allowed is None else f"{text}, expected {test.allowed.text}"


def _against(test: ClaimTest) -> str:
    if not test.to:
        return ""
    return f" {test.to}" if test.by == RATIO else f" against {test.to}"


def _name(measure: Measure) -> str:
    """Name what is taken of a run: "main end less main base"."""
    name = words_of(measure.quantity)
    if measure.minus:
        name += f" less {words_of(measure.minus)}"
    if measure.over:
        name += f" over {words_of(measure.over)}"
    return name


def _published(test: ClaimTest) -> str:
    stated, logged = test.published.stated, test.published.logged
    if stated and logged:
        return f"stated {stated}, logged {logged}"
    if stated or logged:
        return f"stated {stated}" if stated else f"logged {logged}"
    return ""
