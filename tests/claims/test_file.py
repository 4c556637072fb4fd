from __future__ import annotations

import math

import pytest

from stagebench.claims.file import check_claims
from stagebench.claims.model import Grid

GRID = Grid(
    config="mine.yaml",
    treatments={
        "t1": {"executor": "thread", "workers": 1},
        "t2": {"executor": "thread", "workers": 2},
        "p2": {"executor": "process", "workers": 2},
    },
    stages=("work", "save"),
    baseline="t1",
)
TEST = {"quantity": "makespan_s", "of": "t2", "to": "t1", "expect": {"below": 1}}
CLAIM = {"id": "one", "kind": "cause", "says": "It helps.", "experiment": "runtime"}


def row(quantity, stated=math.nan, logged=math.nan, *, treatment="t2", stage="", unit="s"):
    return {
        "experiment": "runtime",
        "treatment": treatment,
        "stage": stage,
        "quantity": quantity,
        "unit": unit,
        "stated": stated,
        "logged": logged,
        "place": "text",
    }


def check(claims=(), figures=(), rows=(), tags=None, experiments=None):
    mapping = {
        "experiments": experiments or {"runtime": "mine.yaml"},
        "claims": list(claims),
        "figures": list(figures),
    }
    made, problems = check_claims(mapping, {"runtime": GRID}, list(rows), tags)
    return made, [str(problem) for problem in problems]


def problems_of(**test):
    """Return the problems of one test, without its place in the file."""
    problems = check([CLAIM | {"tests": [TEST | test]}])[1]
    return [text.removeprefix("claims[0].tests[0].") for text in problems]


def test_a_test_on_several_treatments_is_one_for_each():
    claims, problems = check([CLAIM | {"tests": [TEST | {"of": ["t2", "p2"]}]}])
    assert problems == []
    assert [test.treatment for test in claims[0].tests] == ["t2", "p2"]
    assert {(test.to, test.by, test.unit) for test in claims[0].tests} == {("t1", "ratio", "ratio")}


@pytest.mark.parametrize(
    ("test", "text"),
    [
        ({"quantity": "makspan_s"}, "quantity: unknown quantity 'makspan_s'; did you mean"),
        ({"stage": "wrk"}, "stage: unknown stage 'wrk'; did you mean 'work'?"),
        ({"of": "t22"}, "of: unknown treatment 't22'; did you mean 't2'?; allowed: t1, t2, p2"),
        ({"to": "t9"}, "to: unknown treatment 't9'"),
        ({"experiment": "runtim"}, "experiment: unknown experiment 'runtim'; did you mean"),
        ({"quantity": "stage_efficiency"}, "quantity: 'stage_efficiency' is a quantity of a stage"),
        (
            {"by": "difference", "expect": {"below": 1}},
            "expect: '1' is not allowed; allowed: a num",
        ),
        ({"expect": {"equal": 1}}, "expect.tolerance: missing"),
        ({"expect": {"equal": 1, "tolerance": 0.1}}, "expect: '0.1' is not allowed; allowed: a"),
        ({"expect": {"above": 1, "below": 2}}, "expect: above, below of its forms"),
        ({"expect": {"above": 1, "tolerance": "1 %"}}, "expect.tolerance: not allowed here"),
        ({"minus": "main_end_bytes"}, "minus: main_end_bytes (bytes) cannot be subtracted"),
        ({"over": "main_end_bytes"}, "over: main_end_bytes (bytes) cannot divide s"),
        ({"stated": "5 MiB"}, "stated: '5 MiB' is not allowed"),
        ({"wide": 1}, "wide: unknown key 'wide'"),
    ],
)
def test_a_problem_of_a_test_has_place_value_and_what_is_allowed(test, text):
    problems = problems_of(**test)
    assert len(problems) == 1
    assert problems[0].startswith(text)


def test_all_problems_are_reported_at_once():
    broken = [
        CLAIM | {"tests": [TEST | {"of": "t9"}], "place": "tag.1"},
        CLAIM | {"tests": [TEST | {"quantity": "x"}], "kind": "fact"},
        CLAIM | {"tests": [TEST | {"experiment": "other"}]},
    ]
    problems = check(broken, tags=["tag.2"])[1]
    assert [text.partition(":")[0] for text in problems] == [
        "claims[1].kind",
        "claims[0].place[0]",
        "claims[0].tests[0].of",
        "claims[2].tests[0].experiment",
        "claims",
    ]
    assert problems[-1] == "claims: 'one' is the id of 2 claims; allowed: each id once"


def test_a_tag_that_is_not_in_the_index_is_an_error_with_the_closest_one():
    problems = check([CLAIM | {"tests": [TEST], "place": "runtime.t1"}], tags=["runtime.t2"])[1]
    text = "claims[0].place[0]: unknown tag 'runtime.t1'; did you mean 'runtime.t2'?; allowed: "
    assert problems == [text + "runtime.t2"]


def entry(quantity="makespan_s", **more):
    return {"experiment": "runtime", "quantity": quantity, **more}


def figures(entries, *rows):
    claims, problems = check(figures=entries, rows=rows)
    assert problems == []
    return claims


def test_the_first_entry_that_matches_a_published_value_says_how_it_is_judged():
    entries = [
        entry(tolerance="1 s", where={"executor": "process", "workers": [1, 2]}),
        entry(tolerance="2 s"),
    ]
    claims = figures(entries, row("makespan_s", 10, treatment="p2"), row("makespan_s", 10))
    assert [claim.tests[0].allowed.high for claim in claims] == [11, 12]
    assert [claim.id for claim in claims] == ["runtime.p2.makespan_s", "runtime.t2.makespan_s"]
    assert all(claim.needs.full_scale for claim in claims)


def test_a_published_value_that_no_entry_matches_is_an_error():
    text = (
        "figures: no entry matches makespan_s of runtime; allowed: each published value is judged,"
        " or shown (published: runtime.t2.makespan_s)"
    )
    assert check(rows=[row("makespan_s", 10), row("parameter.elements", 5)])[1] == [text]


def test_ratios_are_expected_within_one_column():
    entries = [entry(**{"as": "ratio"}, tolerance="10 %")]
    base = row("makespan_s", 50, 40, treatment="t1")
    claims = figures(entries, base, row("makespan_s", 25, 30), row("makespan_s", logged=30))
    expected = [(c.tests[0].allowed.low, c.tests[0].allowed.high) for c in claims[1:]]
    assert expected == [pytest.approx((0.45, 0.55)), pytest.approx((0.675, 0.825))]
    # The others are compared with the baseline itself.
    assert claims[0].tests[0].allowed is None


def test_memory_is_expected_above_the_published_base():
    entries = [
        entry("tree_base_bytes", **{"as": "shown"}),
        entry("main_peak_bytes", **{"as": "above_base"}, tolerance="5 MiB"),
    ]
    rows = [row("tree_base_bytes", 50, unit="MiB"), row("main_peak_bytes", 60, unit="MiB")]
    test = figures(entries, *rows)[1].tests[0]
    assert test.measure.minus == "main_base_bytes"
    assert test.allowed.text == "10 MiB ± 5 MiB"


def test_two_statements_on_one_quantity_are_two_claims():
    rows = [row("stage_efficiency", n, 0.219, stage="work", unit="1") for n in (0.2, 0.65)]
    claims = figures([entry("stage_efficiency", tolerance="5 points")], *rows)
    assert [claim.id[-2:] for claim in claims] == ["cy", "-2"]
    assert [bool(claim.tests[0].published.contradiction) for claim in claims] == [False, True]


def test_a_count_needs_no_tolerance_and_all_else_does():
    rows = [row("most_children", 5, unit="1"), row("makespan_s", 5)]
    problems = check(figures=[entry("most_children"), entry()], rows=rows)[1]
    text = (
        "figures[1]: its entry has no tolerance; allowed: a number with %, or with the unit of the"
        " quantity (published: runtime.t2.makespan_s)"
    )
    assert problems == [text]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (entry("makspan_s"), "figures[0].quantity: unknown quantity 'makspan_s'"),
        (entry(where={"worker": 1}), "figures[0].where.worker: unknown factor 'worker'; did you"),
        (entry(where={"workers": 9}), "figures[0].where.workers: unknown level '9'"),
        (entry(**{"as": "ration"}), 'figures[0].as: "ration" is not allowed'),
        (entry(stage="wrk"), "figures[0].stage: unknown stage 'wrk'"),
    ],
)
def test_a_problem_of_an_entry_of_figures_is_reported(given, text):
    problems = check(figures=[given])[1]
    assert len(problems) == 1
    assert problems[0].startswith(text)


@pytest.mark.parametrize(
    ("published", "text"),
    [
        (row("makespan_s", 5, unit="MiB"), "makespan_s is in s, not in 'MiB'"),
        (row("makespan_s", 5, treatment="t1"), ""),
        (row("makespan_s", 5), "nothing that ratio refers to was published; allowed: value, shown"),
        (row("makespan_s", 5, treatment="t9"), "unknown treatment 't9'"),
    ],
)
def test_a_published_value_that_cannot_be_judged_is_an_error(published, text):
    entries = [entry(**{"as": "ratio"}, tolerance="10 %")]
    problems = check(figures=entries, rows=[published])[1]
    assert text in problems[0] if text else problems == []


def test_a_control_is_another_claim():
    own = {"tests": [TEST], "control": ["two", "one", "tow"]}
    problems = check([CLAIM | own, CLAIM | {"id": "two", "tests": [TEST]}])[1]
    assert problems == [
        "claims[0].control: unknown claim 'one'; allowed: two",
        "claims[0].control: unknown claim 'tow'; did you mean 'two'?; allowed: two",
    ]


def made_from(**test):
    claims, problems = check([CLAIM | {"tests": [TEST | test]}])
    assert problems == []
    return claims[0].tests


@pytest.mark.parametrize(
    ("test", "source", "chosen"),
    [
        ({"expect": {"below": 1}}, "words", ""),
        ({"expect": {"below": 0.9}}, "chosen", "below 0.9"),
        ({"expect": {"below": 0.9}, "from": "stated"}, "stated", ""),
        ({"expect": {"equal": 1, "tolerance": "10 %"}}, "chosen", "10 %"),
        ({"expect": {"equal": 1, "tolerance": "10 %"}, "logged": "1.1"}, "logged", "10 %"),
        ({"expect": {"equal": 1, "tolerance": "10 %"}, "from": "words"}, "words", "10 %"),
    ],
)
def test_a_limit_comes_from_the_publication_from_words_or_from_this_file(test, source, chosen):
    limit = made_from(**test)[0].limit
    assert (limit.source, limit.chosen) == (source, chosen)


def test_a_test_without_an_expectation_is_shown():
    claims, problems = check([CLAIM | {"tests": [{"quantity": "makespan_s", "of": "t2"}]}])
    assert problems == []
    assert claims[0].tests[0].allowed is None
    wrong = {"quantity": "makespan_s", "of": "t2", "from": "words"}
    assert "from: nothing to explain" in check([CLAIM | {"tests": [wrong]}])[1][0]


def test_a_quantity_can_be_multiplied_by_counts_and_shares_alone():
    stage = {"quantity": "cpu_mean_s", "stage": "work", "over": "makespan_s"}
    assert made_from(**stage, times="tasks_ok")[0].measure.unit == "ratio"
    assert "no factor; allowed: a count, a share" in problems_of(**stage, times="cpu_mean_s")[0]


@pytest.mark.parametrize(
    ("expect", "logged", "contradicts"),
    [
        ({"above": 1}, "0.935", True),
        ({"above": 1}, "0.963", False),
        ({"above": 1}, "1.2", False),
        ({"below": 1}, "1.06", True),
        ({"equal": 0.2, "tolerance": "15 %"}, "0.325", True),
        ({"equal": 0.5, "tolerance": "15 %"}, "0.581", False),
    ],
)
def test_a_log_contradicts_words_beyond_any_choice_of_ours(expect, logged, contradicts):
    published = made_from(expect=expect, logged=logged)[0].published
    assert bool(published.contradiction) == contradicts
    if contradicts:
        assert f"for t2 to t1, its log says {logged}" in published.contradiction
