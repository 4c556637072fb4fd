from __future__ import annotations

import pytest

from stagebench.present.claims_text import WIDTH, format_claims
from stagebench.present.report import render_report
from stagebench.present.report_claims import chance_text, describe_claims
from stagebench.tables import make_table, write_tables

LONG = "runtime.p2-fork-numpy.cpu_bound.share_of_total_time"


def claim(name, verdict, kind="comparison", **more):
    numbers = {"measured": 1.02, "low": 0.98, "high": 1.06, "unit": "ratio", "n": 5}
    texts = {
        "says": f"{name} is so.",
        "sentence": "Makespan of t2: 1.02.",
        "otherwise": "It falls.",
    }
    return (
        {"id": name, "kind": kind, "verdict": verdict, "experiment": "runtime"}
        | numbers
        | texts
        | more
    )


CLAIMS = [
    claim("good", "reproduced"),
    claim("bad", "refuted", stated="50 s", logged="46 s"),
    claim("far", "not testable here", reason="needs 5 cores, has 2"),
    claim(LONG, "refuted", "figure", stated="80 %", otherwise=""),
    claim("seconds", "shown", "figure", measured=None, low=None, high=None),
]


@pytest.fixture
def judged():
    tests = [
        {"claim": row["id"], "test": 1, "treatment": "t2", "stage": "", "quantity": "makespan_s"}
        for row in CLAIMS
    ]
    return {"claims": make_table("claims", CLAIMS), "claim_tests": make_table("claim_tests", tests)}


def test_counts_come_first_and_what_fell_comes_before_the_rest(judged):
    told = describe_claims(judged)
    assert told["counts"] == "2 refuted, 1 not testable here, 1 reproduced, 1 shown"
    verdicts = [group.verdict for group in told["statements"]]
    assert verdicts == ["refuted", "not testable here", "reproduced"]


def test_what_falls_with_a_claim_is_told_of_refuted_ones_only(judged):
    told = [group.otherwise for group in describe_claims(judged)["statements"]]
    assert told == [["`bad`: It falls."], [], []]


def test_figures_of_one_quantity_stand_together(judged):
    (figures,) = describe_claims(judged)["figures"]
    assert (figures.title, figures.counts) == ("runtime: makespan", "1 refuted, 1 shown")
    header, _, first, second = [
        [cell.strip() for cell in line[1:-1].split("|")] for line in figures.table.splitlines()
    ]
    assert header == ["verdict", "treatment", "measured", "published", "in words"]
    assert first[:4] == ["refuted", "t2", "1.02 [0.98, 1.06] ×", "80 %"]
    assert second[2:4] == ["–", "–"]


@pytest.mark.parametrize(
    ("decided", "words"), [(0, "No verdict"), (10, "fewer than one"), (100, "about 5 of them")]
)
def test_the_verdicts_that_chance_may_have_made_are_counted(decided, words):
    assert words in chance_text([claim("one", "refuted")] * decided)


def test_the_report_has_the_claims_of_a_study_that_has_some(study, judged, tmp_path):
    write_tables(judged, tmp_path / "claims")
    files = study / "tables", study / "plan.json", tmp_path / "figures"
    render_report(*files, tmp_path, claims=tmp_path / "claims")
    text = (tmp_path / "report.md").read_text()
    assert "5 claims: 2 refuted" in text
    assert "[claims](#claims)" in text
    assert "<summary>runtime: makespan: 1 refuted, 1 shown</summary>" in text
    rules = sum(line.startswith("| -") for line in text.splitlines())
    assert (tmp_path / "report.html").read_text().count("<table>") == rules


def test_a_terminal_of_80_columns_is_enough(judged):
    text = format_claims("results/" + "long/" * 20, judged["claims"])
    assert max(map(len, text.splitlines())) <= WIDTH == 80
    assert "runtime.p2-fork-n" in text


def test_a_terminal_shows_what_fell_first_with_its_sentence(judged):
    lines = format_claims("mine", judged["claims"]).splitlines()
    heads = [line.split(" (")[0] for line in lines if line.isupper() or " (" in line]
    assert heads[-4:] == ["REFUTED", "NOT TESTABLE HERE", "REPRODUCED", "SHOWN"]
    bad = next(n for n, line in enumerate(lines) if line.startswith("bad "))
    assert lines[bad].endswith("1.02 [0.98, 1.06] ×            50 s")
    assert lines[bad + 1 : bad + 3] == ["    Makespan of t2: 1.02.", "    It falls."]


def test_a_reason_that_several_claims_share_is_told_once():
    further = claim("further", "not testable here", reason="needs 5 cores, has 2")
    assert (
        format_claims("mine", make_table("claims", [*CLAIMS, further])).count(
            "needs 5 cores, has 2"
        )
        == 1
    )
