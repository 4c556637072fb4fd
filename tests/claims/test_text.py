"""Verdicts on claims, in the report and on a terminal."""

import pytest
from markdown_it import MarkdownIt
from tests.commands import read_report, render_report

from stagebench.claims.text import (
    WIDTH,
    chance_text,
    describe_claims,
    format_claims,
    speed_sentences,
)
from stagebench.tables.io import make_table, write_tables
from stagebench.tables.schema import VERDICTS

LONG = "runtime.p2-fork-numpy.cpu_bound.share_of_total_time"
SECONDS = "runtime.t1.makespan_s"


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
    claim(SECONDS, "shown", "figure", measured=None, low=None, high=None),
]
FIGURES = {
    LONG: {
        "treatment": "p2-fork-numpy",
        "stage": "cpu_bound",
        "quantity": "share_of_total_time",
        "expected": "80 % ± 5 points",
    },
    SECONDS: {"treatment": "t1"},
}


@pytest.fixture
def judged():
    known = {"test": 1, "experiment": "runtime", "treatment": "t2", "quantity": "makespan_s"}
    tests = [{"claim": row["id"]} | known | FIGURES.get(row["id"], {}) for row in CLAIMS]
    return {
        "claims": make_table("claims", CLAIMS),
        "claim_tests": make_table("claim_tests", tests),
        "published": make_table("published", []),
    }


def test_counts_come_first_and_refuted_claims_come_before_the_rest(judged):
    found = describe_claims(judged)
    assert found["counts"] == "2 refuted, 1 not testable here, 1 reproduced, 1 shown"
    assert found["total"] == "4 claims, and 1 value only shown"
    verdicts = [group.verdict for group in found["statements"]]
    assert verdicts == ["refuted", "not testable here", "reproduced"]


def test_only_refuted_claims_say_what_follows(judged):
    found = [group.otherwise for group in describe_claims(judged)["statements"]]
    assert found == [["`bad`: It falls."], [], []]


def test_figures_of_one_quantity_stand_together(judged):
    shares, makespans = describe_claims(judged)["figures"]
    assert (shares.title, shares.counts) == ("runtime: share of total time", "1 refuted")
    assert (makespans.title, makespans.counts) == ("runtime: makespan", "1 shown")
    header, _, first = [
        [cell.strip() for cell in line[1:-1].split("|")] for line in shares.table.splitlines()
    ]
    assert header == ["verdict", "treatment", "stage", "measured", "published", "in words"]
    assert first[:5] == ["refuted", "p2-fork-numpy", "cpu_bound", "1.02 [0.98, 1.06] ×", "80 %"]
    (_, _, second) = makespans.table.splitlines()
    assert [cell.strip() for cell in second.split("|")][3:5] == ["–", "–"]


def test_refuted_claims_are_counted_by_kind_among_the_judged(judged):
    kinds = describe_claims(judged)["kinds"]
    assert kinds == "Of those judged, refuted: 1 of 2 comparisons, 1 of 1 figure."


@pytest.mark.parametrize(
    ("decided", "words"), [(0, "No verdict"), (10, "fewer than one"), (100, "about 5 of them")]
)
def test_the_verdicts_that_may_be_due_to_chance_are_counted(decided, words):
    assert words in chance_text([claim("one", "refuted")] * decided)


def test_the_report_has_the_claims_of_a_study_that_has_some(study, judged, tmp_path):
    write_tables(judged, tmp_path / "claims")
    files = study / "tables", study / "plan.json", tmp_path / "figures"
    render_report(*files, tmp_path, claims=tmp_path / "claims")
    pages = read_report(tmp_path)
    text = pages["report/claims.md"]
    assert "4 claims, and 1 value only shown: 2 refuted" in text
    assert "[Claims](report/claims.md)" in pages["report.md"]
    assert "### runtime: makespan: 1 shown" in text
    rules = sum(line.startswith("| -") for line in text.splitlines())
    assert MarkdownIt("commonmark").enable("table").render(text).count("<table>") == rules > 2


def shown(judged, title="mine"):
    return format_claims(title, judged["claims"], judged["claim_tests"]).splitlines()


def test_a_terminal_of_80_columns_is_enough(judged):
    rows = [*CLAIMS, *(claim(f"{verdict}-one", verdict) for verdict in VERDICTS)]
    judged = judged | {"claims": make_table("claims", rows)}
    assert max(map(len, shown(judged, "results/" + "long/" * 20))) <= WIDTH == 80


def test_a_terminal_shows_refuted_claims_first_with_their_sentences(judged):
    lines = shown(judged)
    heads = [line.split(" (")[0] for line in lines if line.isupper() or " (" in line]
    assert heads[-4:] == ["REFUTED", "NOT TESTABLE HERE", "REPRODUCED", "SHOWN"]
    bad = next(n for n, line in enumerate(lines) if line.startswith("bad "))
    assert lines[bad].endswith("1.02 [0.98, 1.06] ×                  50 s")
    assert lines[bad + 1 : bad + 3] == ["    Makespan of t2: 1.02.", "    It falls."]


def test_a_terminal_shows_figures_by_quantity_and_treatment_beside_what_is_expected(judged):
    lines = shown(judged)
    title = next(n for n, line in enumerate(lines) if "share of total time" in line)
    assert lines[title].split("  ")[1] == "runtime, cpu_bound: share of total time"
    assert lines[title].endswith("  expected")
    assert " ".join(lines[title + 1].split()) == "p2-fork-numpy 1.02 [0.98, 1.06] × 80 % ± 5 points"
    assert lines[-2].endswith("  published")
    assert lines[-1].split() == ["t1", "–", "–"]


def test_a_figure_of_every_treatment_is_not_shown_as_that_of_the_first():
    row = claim("runtime.tasks", "reproduced", "figure")
    test = {"claim": "runtime.tasks", "test": 1, "experiment": "runtime", "treatment": "t1"}
    tests = make_table("claim_tests", [test | {"quantity": "tasks", "expected": "20"}])
    lines = format_claims("mine", make_table("claims", [row]), tests).splitlines()
    assert lines[-1].startswith("    every treatment ")


def test_a_statement_with_a_long_name_has_a_line_for_it(judged):
    name = "one-thread-is-slowest-and-least-efficient"
    rows = make_table("claims", [claim(name, "reproduced")])
    lines = format_claims("mine", rows, judged["claim_tests"]).splitlines()
    assert lines[-2] == name
    assert " ".join(lines[-1].split()) == "1.02 [0.98, 1.06] × –"


def test_a_reason_that_several_claims_share_is_printed_once(judged):
    further = claim("further", "not testable here", reason="needs 5 cores, has 2")
    claims = make_table("claims", [*CLAIMS, further])
    assert "\n".join(shown(judged | {"claims": claims})).count("needs 5 cores, has 2") == 1


RUN = {"quantity": "makespan_s", "unit": "s", "basis": "ratio to t1", "measured_relative": 1}
TASK = {"quantity": "service_mean_s", "unit": "s"}
SIZE = {"quantity": "parameter.elements", "unit": "1", "stage": "work", "measured_relative": 1}


def tables(*published, verdict="refuted"):
    rows = [{"experiment": "pipe", "treatment": "t1", "stage": ""} | row for row in published]
    claims = [{"id": name, "kind": "figure", "verdict": verdict} for name in ("a", "b", "c")]
    claims.append({"id": "d", "kind": "comparison", "verdict": "refuted"})
    claims.append({"id": "e", "kind": "figure", "verdict": "contradicted by its own log"})
    tested = [
        {"claim": "a", "quantity": "makespan_s", "to": "t1", "treatment": "t2"},
        {"claim": "b", "quantity": "share_of_total_time", "stage": "load"},
        {"claim": "c", "quantity": "share_of_total_time", "stage": "work"},
        *(
            {"claim": name, "quantity": "makespan_s", "to": "t1", "treatment": "t3"}
            for name in ("d", "e")
        ),
    ]
    known = {"experiment": "pipe", "verdict": "refuted"}
    return {
        "published": make_table("published", rows),
        "claims": make_table("claims", claims),
        "claim_tests": make_table("claim_tests", [row | known for row in tested]),
    }


SLOWER = (
    {**SIZE, "treatment": ""},
    {**RUN, "stated": 50, "logged": 40, "median": 80},
    {**TASK, "stage": "load", "logged": 2, "median": 1.8},
    {**TASK, "stage": "work", "stated": 3, "median": 9},
)


def test_a_slower_cpu_beside_the_same_network_is_reported_with_what_was_refuted():
    (text,) = speed_sentences(tables(*SLOWER))
    assert text.startswith(
        "t1 of pipe took 2.00 × the published time (80.0 s here, 40.0 s there), and the factor"
        " differs between stages: a task took 0.900 × in load, 3.00 × in work."
    )
    assert "refuted (ratios 1, shares 2), it is *different on this machine*" in text


def test_a_machine_that_is_slower_in_all_alike_excuses_nothing():
    work = SLOWER[3] | {"median": 2.8}
    assert speed_sentences(tables(*SLOWER[:3], work)) == []


@pytest.mark.parametrize(
    "known",
    [
        tables(*SLOWER, verdict="reproduced"),
        tables(SLOWER[0] | {"measured_relative": 0.125}, *SLOWER[1:]),
        tables(SLOWER[0], *SLOWER[2:]),
        tables(),
    ],
    ids=["nothing refuted", "another size", "no makespan", "nothing published"],
)
def test_without_values_to_compare_nothing_is_reported(known):
    assert speed_sentences(known) == []


def test_figures_that_fell_are_told_apart_by_what_explains_them(judged):
    names = {
        "own": ("contradicted by its own log", "makespan_s"),
        "share": ("refuted", "share_of_total_time"),
        "efficiency": ("refuted", "stage_efficiency"),
        "peak": ("refuted", "main_peak_bytes"),
        "held": ("reproduced", "makespan_s"),
    }
    claims = [
        claim(name, verdict, "figure", stated="12 s", logged="13.6 s")
        for name, (verdict, _) in names.items()
    ]
    tests = [
        {"claim": name, "test": 1, "experiment": "runtime", "quantity": quantity}
        for name, (_, quantity) in names.items()
    ]
    tables = judged | {
        "claims": make_table("claims", claims),
        "claim_tests": make_table("claim_tests", tests),
    }
    own, relative, others = describe_claims(tables)["fallen"]
    assert own.startswith("1 of the document's differ from the authors' own log")
    assert "`own`: stated 12 s, logged 13.6 s." in own
    assert relative.startswith("2 with no such contradiction")
    assert relative.endswith("share of total time 1, stage efficiency 1.")
    assert others.startswith("1 with no such contradiction")
    assert others.endswith("main peak 1.")


def test_it_is_counted_which_verdicts_rest_on_what_was_chosen(judged):
    assert describe_claims(judged)["depending"] == ""
    claims = [
        claim("firm", "refuted", at_half="refuted", at_twice="refuted"),
        claim("weak", "refuted", at_half="refuted", at_twice="inconclusive"),
        claim("words", "refuted"),
    ]
    text = describe_claims(judged | {"claims": make_table("claims", claims)})["depending"]
    assert text.startswith("Verdicts that rest on a tolerance")
    assert "published: 2. Half of it would change 0 of them, twice of it 1" in text
