"""The shipped claims agree with the shipped index, published values and configs."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from stagebench.design.config import load_study
from stagebench.design.plan import make_plan

CONFIGS = Path(__file__).parents[2] / "config"
CLAIMS = yaml.safe_load((CONFIGS / "claims.yaml").read_text(encoding="utf-8"))
STATED = re.compile(r"(-?[\d.]+) ?(%|MiB|s)?")


def read_rows(name):
    with (CONFIGS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


INDEX = [row["tag"] for row in read_rows("published_index.csv")]
PUBLISHED = read_rows("published.csv")


def listed(value):
    return value if isinstance(value, list) else [value]


def list_tests(claim):
    """Return a claim's tests, each with its experiment."""
    return [{"experiment": claim.get("experiment")} | test for test in claim["tests"]]


EVERY_TEST = [(claim["id"], test) for claim in CLAIMS["claims"] for test in list_tests(claim)]


@pytest.fixture(scope="module")
def plans():
    names = dict.fromkeys(CLAIMS["experiments"].values())
    return {name: make_plan(load_study(CONFIGS / name)) for name in names}


@pytest.fixture(scope="module")
def treatments(plans):
    """Return experiment → treatment → specification, for the experiments that claims name."""
    found = {}
    for experiment, config in CLAIMS["experiments"].items():
        prefix = f"{experiment}/"
        found[experiment] = {
            name.removeprefix(prefix): planned["specification"]
            for name, planned in plans[config]["treatments"].items()
            if name.startswith(prefix)
        }
    return found


def test_every_observation_of_the_index_is_claimed_and_no_other():
    claimed = [tag for claim in CLAIMS["claims"] for tag in listed(claim.get("place", []))]
    published = [tag for row in PUBLISHED for tag in row["place"].split(";")]
    assert {*claimed, *published} == set(INDEX)


def test_a_tag_and_a_claim_have_one_meaning_each():
    assert [tag for tag, times in Counter(INDEX).items() if times > 1] == []
    ids = Counter(claim["id"] for claim in CLAIMS["claims"])
    assert [name for name, times in ids.items() if times > 1] == []


def test_only_controls_have_no_place():
    without = [claim for claim in CLAIMS["claims"] if "place" not in claim]
    assert all(claim["says"].startswith("Control: ") for claim in without)


def test_a_limit_that_the_words_do_not_give_says_where_it_comes_from():
    """Zero and one, and a half of a share, are what words like "no", "more" and "most" mean."""
    unexplained = [
        (claim, test)
        for claim, test in EVERY_TEST
        if test.get("from") == "words"
        and "equal" not in test["expect"]
        and str(next(iter(test["expect"].values()))).split()[0] not in {"0", "1", "2", "50"}
    ]
    assert unexplained == []


def test_every_cause_says_what_is_wrong_without_it():
    causes = [claim for claim in CLAIMS["claims"] if claim["kind"] == "cause"]
    assert len(causes) >= 20
    assert [claim["id"] for claim in causes if not claim.get("otherwise")] == []


def test_every_experiment_and_treatment_that_a_claim_names_exists(treatments):
    named = {
        (claim, test["experiment"], treatment)
        for claim, test in EVERY_TEST
        for treatment in [*listed(test["of"]), *listed(test.get("to", []))]
    }
    unknown = [name for name in named if name[2] not in treatments.get(name[1], {})]
    assert unknown == []


def test_every_stage_that_a_claim_names_exists(treatments):
    for claim, test in EVERY_TEST:
        if "stage" in test:
            treatment = treatments[test["experiment"]][listed(test["of"])[0]]
            stages = [stage["name"] for stage in treatment["stages"]]
            assert test["stage"] in stages, claim


def test_every_experiment_of_the_causes_is_claimed():
    used = {test["experiment"] for _, test in EVERY_TEST}
    assert set(CLAIMS["experiments"]) - {"memory", "runtime"} <= used


def test_every_published_value_that_is_no_parameter_has_an_entry():
    entries = {(entry["experiment"], entry["quantity"]) for entry in CLAIMS["figures"]}
    values = {(row["experiment"], row["quantity"]) for row in PUBLISHED}
    assert entries == {value for value in values if not value[1].startswith("parameter.")}


def test_every_factor_that_a_figure_names_has_that_level(plans):
    experiments = {e["name"]: e for e in plans["published.yaml"]["experiments"]}
    for entry in CLAIMS["figures"]:
        factors = experiments[entry["experiment"]]["factors"]
        for factor, level in entry.get("where", {}).items():
            assert level in factors[factor], entry


def test_two_rows_of_one_published_value_have_one_logged_value():
    logged = {}
    for row in PUBLISHED:
        key = tuple(row[name] for name in ("experiment", "treatment", "stage", "quantity"))
        assert logged.setdefault(key, row["logged"]) == row["logged"], key


def logged_values(experiment):
    """Return treatment → (stage, quantity) → logged value."""
    found = {}
    for row in PUBLISHED:
        if row["experiment"] == experiment and row["treatment"] and row["logged"]:
            own = found.setdefault(row["treatment"], {})
            own[row["stage"], row["quantity"]] = float(row["logged"])
    return found


def test_logged_efficiencies_and_shares_follow_from_the_logged_times():
    stages = ("download", "cpu_bound", "upload")
    for logged in logged_values("runtime").values():
        service = [logged[stage, "service_mean_s"] for stage in stages]
        busy = [
            logged[stage, "service_mean_s"] + logged[stage, "waiting_mean_s"] for stage in stages
        ]
        efficiencies = [logged[stage, "stage_efficiency"] for stage in stages]
        ratios = [part / whole for part, whole in zip(service, busy, strict=True)]
        assert efficiencies == pytest.approx(ratios, abs=0.005)
        shares = [logged[stage, "share_of_total_time"] for stage in stages]
        assert shares == pytest.approx([spent / sum(busy) for spent in busy], abs=0.002)


def test_no_logged_part_is_larger_than_the_logged_whole():
    for treatment, logged in logged_values("memory").items():
        main, children, tree = (
            logged["", f"{part}_peak_bytes"] for part in ("main", "children", "tree")
        )
        # The peaks of total and parts may be in different records.
        assert max(main, children) <= tree + 0.01 <= main + children + 0.1, treatment


RATIOS = [
    (claim, test, treatment)
    for claim, test in EVERY_TEST
    for treatment in listed(test["of"])
    if "to" in test and ("stated" in test or "logged" in test) and "minus" not in test
]


@pytest.mark.parametrize("kind", ["stated", "logged"])
def test_published_values_of_claims_follow_from_the_published_figures(kind):
    checked = 0
    for claim, test, treatment in RATIOS:
        values = [find_value(test, name, kind) for name in (treatment, test["to"]) if kind in test]
        if values and None not in values:
            of, to = values
            published = float(STATED.fullmatch(str(test[kind]))[1])
            expected = of - to if test.get("by") == "difference" else of / to
            assert published == pytest.approx(expected, rel=0.02), (claim, treatment)
            checked += 1
    assert checked >= (5 if kind == "stated" else 25)


def find_value(test, treatment, kind):
    """Find a published value; for the memory study the log has a duration instead of a makespan."""
    quantity = test["quantity"]
    if (test["experiment"], quantity) == ("memory", "makespan_s"):
        quantity = "sampled_s"
    place = (test["experiment"], treatment, test.get("stage", ""), quantity)
    found = [
        row[kind]
        for row in PUBLISHED
        if tuple(row[n] for n in ("experiment", "treatment", "stage", "quantity")) == place
    ]
    return float(found[0]) if found and found[0] else None
