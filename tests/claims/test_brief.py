"""The screen of verdicts, on the claims of the published study and on made-up ones."""

from pathlib import Path

import pandas as pd
import pytest

from stagebench.claims.brief import LINES, WIDTH, JudgedStudy, format_brief
from stagebench.tables.io import make_table
from stagebench.tables.schema import VERDICTS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def judged(title, *claims):
    """Make a study of claims, each an id with its verdict and changes of its row."""
    numbers = {"measured": 1.02, "low": 0.98, "high": 1.06, "unit": "ratio", "kind": "comparison"}
    rows = [{"id": name, "verdict": verdict} | numbers | more for name, verdict, more in claims]
    tests = [
        {"claim": row["id"], "test": number, "measured": measured, "expected": f"above {number}"}
        for row in rows
        for number, measured in enumerate((0.5, row["measured"]), 1)
    ]
    return JudgedStudy(title, make_table("claims", rows), make_table("claim_tests", tests))


def many(number, verdict, kind="comparison"):
    return [(f"{kind}-{verdict}-{n}", verdict, {"kind": kind}) for n in range(number)]


def shown(*studies):
    lines = format_brief(studies).splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDTH
    return lines


def rows_of(lines, verdict):
    """Return the ids below the title of a verdict."""
    start = next(n for n, line in enumerate(lines) if line.startswith(verdict.upper()))
    return [line.split()[0] for line in lines[start + 1 : lines.index("", start)]]


@pytest.mark.parametrize("study", ["published", "causes"])
def test_a_real_study_fits_one_screen_and_shows_each_claim_beside_what_was_expected(study):
    tables = {
        name: pd.read_csv(next(REFERENCE.glob(f"{study}/**/{name}.csv.gz")), keep_default_na=False)
        for name in ("claims", "claim_tests")
    }
    claims = make_table("claims", tables["claims"].replace("", None).to_dict("records"))
    tests = make_table("claim_tests", tables["claim_tests"].replace("", None).to_dict("records"))
    lines = shown(JudgedStudy(f"results/{study}", claims, tests))
    refuted = claims.loc[claims["verdict"] == "refuted", "id"]
    assert f"REFUTED ({len(refuted)})" in "\n".join(lines)
    (line,) = [line for line in lines if line.startswith("spawn-takes-at-least-60-mib")]
    assert line.split() == ["spawn-takes-at-least-60-mib", "above", "55", "MiB", *line.split()[4:]]
    assert line.endswith("] MiB")


def test_the_number_shown_stands_beside_what_was_expected_of_it():
    lines = shown(judged("mine", ("a", "refuted", {})))
    (line,) = [line for line in lines if line.startswith("a ")]
    assert " ".join(line.split()) == "a above 2 1.02 [0.98, 1.06] ×"


def test_refuted_claims_come_first_statements_before_figures_and_the_rest_is_counted():
    claims = [*many(30, "refuted", "figure"), *many(2, "refuted"), *many(40, "reproduced")]
    lines = shown(judged("mine", *claims))
    rows = rows_of(lines, "refuted")
    assert rows[:3] == ["comparison-refuted-0", "comparison-refuted-1", "figure-refuted-0"]
    left = 32 - sum(row.startswith(("comparison", "figure")) for row in rows)
    assert left == 0 or f"and {left} more" in lines


def test_what_contradicts_itself_is_not_hidden_by_many_refuted_figures():
    torn = ("torn", VERDICTS[1], {"stated": "50 s", "logged": "46 s"})
    lines = shown(judged("mine", *many(300, "refuted", "figure"), torn))
    assert rows_of(lines, VERDICTS[1]) == ["torn"]
    (line,) = [line for line in lines if line.startswith("torn")]
    assert " ".join(line.split()) == "torn 50 s 46 s"


def test_all_claims_of_a_small_study_are_on_its_screen():
    lines = shown(judged("mine", ("a", "reproduced", {}), ("b", "inconclusive", {})))
    assert rows_of(lines, "inconclusive") == ["b"]
    assert rows_of(lines, "reproduced") == ["a"]


@pytest.mark.parametrize("number", [2, 5, 12])
def test_several_studies_share_one_screen(number):
    studies = [judged(f"results/{n}", *many(50, "refuted")) for n in range(number)]
    lines = shown(*studies)
    assert sum("50 claims: 50 refuted" in line for line in lines) == number


def test_a_study_without_claims_says_so():
    assert "0 claims" in shown(judged("mine"))[0]


def test_long_names_and_folders_are_cut():
    name = "one-claim-with-a-name-" + "x" * 300
    lines = shown(judged("results/" + "long/" * 30, (name, "refuted", {"low": None})))
    assert any(line.startswith("one-claim-with") and "…" in line for line in lines)
