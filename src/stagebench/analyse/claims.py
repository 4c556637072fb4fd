"""Claims + the tables of studies → verdicts, each with a sentence made of the numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.analyse.claim_values import Measured, measure_test
from stagebench.analyse.claim_words import describe_claim
from stagebench.columns import VERDICTS
from stagebench.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from stagebench.analyse.claim import Claim, ClaimTest, Needs
    from stagebench.analyse.claim_evidence import Evidence

Json = dict[str, Any]

REFUTED, CONTRADICTED, INCONCLUSIVE, NOT_TESTABLE, REPRODUCED, SHOWN = VERDICTS

_ORDER = (NOT_TESTABLE, REFUTED, INCONCLUSIVE, REPRODUCED, SHOWN)
"""Verdicts of tests: a claim has the first that one of its tests has, since all must hold."""


class Judged(NamedTuple):
    """What became of one test."""

    test: ClaimTest
    study: str
    measured: Measured
    verdict: str
    reason: str


def judge_claims(
    claims: Iterable[Claim], evidence: Mapping[str, Evidence], missing: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """Judge every claim: the tables `claims` and `claim_tests`, in the order of the claims.

    `missing` says of each experiment without evidence how to come by it.
    """
    tested = [(claim, _judge_tests(claim, evidence, missing)) for claim in claims]
    verdicts = {claim.id: _judge(claim, judged) for claim, judged in tested}
    rows = [_claim_row(claim, judged, *_control(claim, verdicts)) for claim, judged in tested]
    tests = [
        _test_row(claim, number, one)
        for claim, judged in tested
        for number, one in enumerate(judged, 1)
    ]
    return {
        "claims": make_table("claims", rows),
        "claim_tests": make_table("claim_tests", tests),
    }


def _judge_tests(
    claim: Claim, evidence: Mapping[str, Evidence], missing: Mapping[str, str]
) -> list[Judged]:
    why = _why_not_testable(claim, evidence, missing)
    return [_judge_test(test, evidence.get(test.experiment), why) for test in claim.tests]


def _control(claim: Claim, verdicts: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Give a claim's verdict and reason; without its controls an experiment decides nothing."""
    verdict, reason = verdicts[claim.id]
    failed = [name for name in claim.controls if verdicts[name][0] != REPRODUCED]
    if not failed or verdict not in (REFUTED, REPRODUCED):
        return verdict, reason
    told = ", ".join(f"{name} is {verdicts[name][0]}" for name in failed)
    return INCONCLUSIVE, f"its control does not hold: {told}"


def _judge(claim: Claim, judged: list[Judged]) -> tuple[str, str]:
    """Give the verdict on a claim, and the reason for it where the numbers are none."""
    contradictions = [test.published.contradiction for test in claim.tests]
    if any(contradictions):
        return CONTRADICTED, next(filter(None, contradictions))
    verdict = min((one.verdict for one in judged), key=_ORDER.index)
    reasons = dict.fromkeys(one.reason for one in judged if one.verdict == verdict and one.reason)
    return verdict, "; ".join(reasons)


def _judge_test(test: ClaimTest, evidence: Evidence | None, why: str) -> Judged:
    """Judge one test; `why` says why its claim is not testable here, if it is not."""
    measured = measure_test(test, evidence.runs) if evidence else Measured()
    study = evidence.study if evidence else ""
    if why:
        return Judged(test, study, measured, NOT_TESTABLE, why)
    return Judged(test, study, measured, _compare(test, measured), measured.why)


def _compare(test: ClaimTest, measured: Measured) -> str:
    if test.allowed is None:
        return SHOWN
    if measured.low is None or measured.high is None:
        return INCONCLUSIVE
    if test.allowed.holds(measured.low, measured.high):
        return REPRODUCED
    return REFUTED if test.allowed.misses(measured.low, measured.high) else INCONCLUSIVE


def _why_not_testable(
    claim: Claim, evidence: Mapping[str, Evidence], missing: Mapping[str, str]
) -> str:
    for test in claim.tests:
        found = evidence.get(test.experiment)
        if found is None:
            return f"experiment {test.experiment} was not run: {missing[test.experiment]}"
        for treatment in (test.treatment, test.to):
            if treatment and treatment not in found.planned:
                return f"study {found.study} has no treatment {treatment} of {test.experiment}"
        if why := _why_unmet(claim.needs, found):
            return why
    return ""


def _why_unmet(needs: Needs, found: Evidence) -> str:
    if needs.cores and (found.cores is None or found.cores < needs.cores):
        has = "has an unknown number" if found.cores is None else f"has {found.cores}"
        return f"needs {needs.cores} cores, {has}"
    if needs.full_scale and found.misfit:
        return f"needs the published size ({found.misfit})"
    return ""


def _claim_row(claim: Claim, judged: list[Judged], verdict: str, reason: str) -> Json:
    """Put a claim's verdict beside the numbers of the test that decided about it."""
    told = sorted(judged, key=lambda one: _ORDER.index(one.verdict))
    aside = "" if verdict == CONTRADICTED else reason
    return {
        "id": claim.id,
        "kind": claim.kind,
        "says": claim.says,
        "place": claim.place,
        "experiment": claim.experiment,
        "verdict": verdict,
        "reason": reason,
        **_numbers(told[0]),
        "stated": _joined(test.published.stated for test in claim.tests),
        "logged": _joined(test.published.logged for test in claim.tests),
        "sentence": describe_claim([(one.test, one.measured) for one in told], aside),
        "otherwise": claim.otherwise,
    }


def _test_row(claim: Claim, number: int, judged: Judged) -> Json:
    test, measure, allowed = judged.test, judged.test.measure, judged.test.allowed
    ends = {} if allowed is None else {"low": allowed.low, "high": allowed.high}
    return {
        "claim": claim.id,
        "test": number,
        "study": judged.study,
        "experiment": test.experiment,
        "treatment": test.treatment,
        "to": test.to,
        "by": test.by,
        "stage": measure.stage,
        "quantity": measure.quantity,
        "minus": measure.minus,
        "over": measure.over,
        "verdict": judged.verdict,
        "reason": judged.reason,
        **_numbers(judged),
        "measured_upper": judged.measured.upper,
        "pairing": judged.measured.pairing,
        "expected": "" if allowed is None else allowed.text,
        # An end that is infinite is none.
        **{f"expected_{name}": end for name, end in ends.items() if math.isfinite(end)},
        "stated": test.published.stated,
        "logged": test.published.logged,
    }


def _numbers(judged: Judged) -> Json:
    estimate, _, low, high, n, *_ = judged.measured
    return {"measured": estimate, "low": low, "high": high, "unit": judged.test.unit, "n": n}


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, texts)))
