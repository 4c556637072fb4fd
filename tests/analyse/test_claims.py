from __future__ import annotations

import pytest

from stagebench.analyse.claim import Claim, ClaimTest, Measure, Needs, Published, Range
from stagebench.analyse.claim_evidence import Evidence, gather_evidence
from stagebench.analyse.claim_values import Run
from stagebench.analyse.claims import judge_claims
from stagebench.analyse.summary import summarise_study

MEASURE = Measure(quantity="makespan_s", unit="s")
MISSING = {"runtime": "run published.yaml", "other": "run causes.yaml"}


def check_of(low, high, **more):
    facts = {"experiment": "runtime", "treatment": "t2", "to": "t1", "by": "ratio"}
    allowed = None if low is None else Range(low=low, high=high, text=f"{low} to {high}")
    rest = {"measure": MEASURE, "unit": "ratio", "allowed": allowed}
    return ClaimTest(**(facts | rest | more))


def claim_of(*checks, **more):
    facts = {"id": "one", "kind": "comparison", "says": "So it is.", "place": "", "needs": Needs()}
    return Claim(**(facts | {"experiment": "runtime", "tests": checks} | more))


def runs_of(*values):
    return [
        Run(block=n, campaign="", numbers={"": {"makespan_s": value}})
        for n, value in enumerate(values, 1)
    ]


def evidence_of(**more):
    runs = {"t1": runs_of(1, 1, 1), "t2": runs_of(2, 2.1, 1.9), "t5": runs_of(5, 5)}
    facts = {"study": "mine", "planned": frozenset(runs), "runs": runs, "cores": 2, "misfit": ""}
    return {"runtime": Evidence(**(facts | more))}


def judge(claim, **more):
    return judge_claims([claim], evidence_of(**more), MISSING)["claims"].iloc[0]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.5, 2.5, "reproduced"),
        (3, 4, "refuted"),
        (2, 4, "inconclusive"),
        (None, None, "shown"),
    ],
)
def test_a_verdict_follows_from_where_the_interval_lies(low, high, verdict):
    row = judge(claim_of(check_of(low, high)))
    assert row["verdict"] == verdict
    assert row["measured"] == pytest.approx(1.998, abs=0.001)
    assert row["low"] < 2 < row["high"]
    assert row["n"] == 3


@pytest.mark.parametrize(
    ("others", "verdict"),
    [
        ([check_of(3, 4)], "refuted"),
        ([check_of(2, 4)], "inconclusive"),
        ([check_of(2, 4), check_of(3, 4)], "refuted"),
    ],
)
def test_all_tests_of_a_claim_must_hold(others, verdict):
    assert judge(claim_of(check_of(1.5, 2.5), *others))["verdict"] == verdict


def test_the_numbers_of_a_claim_are_those_of_the_test_that_decided():
    row = judge(claim_of(check_of(1.5, 2.5), check_of(0, 1, to="", by="", unit="s")))
    assert (row["verdict"], row["measured"], row["unit"]) == ("refuted", 2, "s")


def test_too_few_blocks_are_inconclusive_and_said():
    row = judge(claim_of(check_of(4, 6, treatment="t5")))
    assert (row["verdict"], row["reason"]) == ("inconclusive", "it takes 3 blocks, there are 2")
    assert row["sentence"] == (
        "Makespan of t5: 5.00 × t1 in 2 blocks, expected 4 to 6; it takes 3 blocks, there are 2."
    )


@pytest.mark.parametrize(
    ("claim", "facts", "reason"),
    [
        ({"needs": Needs(cores=5)}, {}, "needs 5 cores, has 2"),
        ({"needs": Needs(cores=1)}, {"cores": None}, "needs 1 cores, has an unknown number"),
        (
            {"needs": Needs(full_scale=True)},
            {"misfit": "n is 1 here, 2 there"},
            "needs the published size (n is 1 here, 2 there)",
        ),
        ({}, {"planned": frozenset({"t2"})}, "study mine has no treatment t1 of runtime"),
        (
            {"tests": (check_of(1, 2, experiment="other"),)},
            {},
            "experiment other was not run: run causes.yaml",
        ),
    ],
)
def test_what_cannot_be_tested_here_says_what_is_missing(claim, facts, reason):
    made = claim_of(**({"tests": (check_of(3, 4),)} | claim))
    tables = judge_claims([made], evidence_of(**facts), MISSING)
    row = tables["claims"].iloc[0]
    assert (row["verdict"], row["reason"]) == ("not testable here", reason)
    assert set(tables["claim_tests"]["verdict"]) == {"not testable here"}


def test_a_contradiction_is_one_wherever_it_is_run():
    published = Published(stated="12 s", logged="13.6 s", contradiction="12 is not 13.6")
    claim = claim_of(check_of(1.5, 2.5, published=published), needs=Needs(cores=5))
    row = judge(claim)
    assert (row["verdict"], row["reason"]) == ("contradicted by its own log", "12 is not 13.6")
    assert (row["stated"], row["logged"]) == ("12 s", "13.6 s")


def test_the_sentence_names_the_numbers_the_blocks_and_what_was_published():
    published = Published(stated="50 s", logged="46 s")
    assert judge(claim_of(check_of(1.5, 2.5, published=published)))["sentence"] == (
        "Makespan of t2: 2.00 [1.76, 2.26] × t1 in 3 blocks, expected 1.5 to 2.5;"
        " stated 50 s, logged 46 s."
    )


def test_what_is_not_paired_by_block_says_so():
    late = [
        Run(block=n, campaign="late", numbers=r.numbers) for n, r in enumerate(runs_of(2, 3, 4))
    ]
    runs = {"t1": runs_of(1, 1, 1), "t2": late}
    sentence = judge(claim_of(check_of(1, 2)), runs=runs)["sentence"]
    assert "in 3 blocks (not paired by block of another campaign)" in sentence


def test_the_table_of_tests_has_the_range_that_was_allowed():
    claim = claim_of(check_of(1.5, 2.5), check_of(3, float("inf")))
    tests = judge_claims([claim], evidence_of(), MISSING)["claim_tests"]
    assert list(tests["expected_low"]) == [1.5, 3]
    assert list(tests["expected_high"].isna()) == [False, True]
    assert list(tests["pairing"]) == ["blocks", "blocks"]


REFERENCE = {"experiment": "pipe", "treatment": "", "stage": "work", "logged": float("nan")}


@pytest.mark.parametrize(
    ("quantity", "stated", "misfit"),
    [
        ("parameter.size_mib", 2.5, ""),
        ("parameter.size_mib", 10, "size_mib is 2.5 here, 10 there"),
        ("parameter.elements", 10, "elements is unknown here, 10 there"),
        ("makespan_s", 10, ""),
    ],
)
def test_the_scale_of_a_study_is_told_by_its_parameters(study, known_run, quantity, stated, misfit):
    tables = summarise_study(*study(known_run()))
    row = REFERENCE | {"quantity": quantity, "stated": stated}
    found = gather_evidence("known", tables, [row])["pipe"]
    assert found.misfit == misfit


def test_only_runs_that_succeeded_are_evidence(study, known_run):
    runs = [known_run(), known_run(replicate=2, start=20, status="timed_out")]
    found = gather_evidence("known", summarise_study(*study(*runs)), [])["pipe"]
    assert [run.block for run in found.runs["p1-fork"]] == [1]
    assert found.runs["p1-fork"][0].numbers["work"]["service_mean_s"] == 1.5


@pytest.mark.parametrize(
    ("of_control", "of_claim", "verdict"),
    [
        ((1.5, 2.5), (3, 4), "refuted"),
        ((1.5, 2.5), (1.5, 2.5), "reproduced"),
        ((3, 4), (3, 4), "inconclusive"),
        ((2, 4), (1.5, 2.5), "inconclusive"),
    ],
)
def test_without_its_control_a_claim_is_not_decided(of_control, of_claim, verdict):
    claims = [
        claim_of(check_of(*of_claim), controls=("control",)),
        claim_of(check_of(*of_control), id="control"),
    ]
    row = judge_claims(claims, evidence_of(), MISSING)["claims"].iloc[0]
    assert row["verdict"] == verdict
    assert ("its control does not hold: control is" in row["sentence"]) == (
        verdict == "inconclusive"
    )
