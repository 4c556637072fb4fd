import pytest

from stagebench.design.emulation import EMULATE, complete_emulation, find_emulation_problems
from stagebench.design.grid import expand_treatments
from stagebench.store import canonical_json

SAMPLER = "experiments.0.sampler"


def specifications(study):
    return [treatment.specification for treatment in expand_treatments(study)]


def test_without_the_setting_a_specification_is_what_it_was_before_there_was_one(make_study):
    off = specifications(make_study({SAMPLER: {"emulate": None}}))
    assert off[0]["sampler"] == {"interval_s": 0.01, "cpu_budget": 0.01, "census": "auto"}
    assert canonical_json(off) == canonical_json(specifications(make_study()))


@pytest.mark.parametrize("given", [{}, {"interval_s": 0.1}, {"discovery_s": 1}, dict(EMULATE)])
def test_the_published_pauses_are_the_defaults(make_study, given):
    (first, *_) = specifications(make_study({SAMPLER: {"emulate": given}}))
    assert canonical_json(first["sampler"]) == (
        '{"census":"auto","cpu_budget":0.01,"emulate":{"discovery_s":1.0,"interval_s":0.1},'
        '"interval_s":0.01}'
    )


def test_a_whole_number_of_seconds_is_one_form_with_the_float():
    assert str(complete_emulation({"discovery_s": 2})) == str(
        complete_emulation({"discovery_s": 2.0})
    )


@pytest.mark.parametrize(
    ("emulate", "expected"),
    [
        (
            {"interval_s": 2},
            "interval_s: 2 is not allowed; allowed: no more than discovery_s (1.0)",
        ),
        (
            {"interval_s": 0.5, "discovery_s": 0.2},
            "discovery_s: 0.2 is not allowed; allowed: no less than interval_s (0.5)",
        ),
    ],
)
def test_a_discovery_that_no_record_would_tell_of_is_refused(find_problems, emulate, expected):
    problems = find_problems({SAMPLER: {"emulate": emulate}})
    assert problems == [f"experiments[0].sampler.emulate.{expected}"]


def test_problems_of_the_emulation_are_told_with_all_others(find_problems):
    problems = find_problems(
        {
            "seed": -1,
            SAMPLER: {"emulate": {"interval_s": 2}, "interval": 1},
            "experiments.0.tasks": 0,
        }
    )
    assert [problem.split(":")[0] for problem in problems] == [
        "seed",
        "experiments[0].tasks",
        "experiments[0].sampler.emulate.interval_s",
        "experiments[0].sampler.interval",
    ]


def test_pauses_may_be_a_factor(make_study):
    changes = {
        "experiments.0.factors.discovery": [0.1, 1],
        "experiments.0.baseline.discovery": 1,
        SAMPLER: {"emulate": {"discovery_s": "{discovery}"}},
    }
    found = {s["sampler"]["emulate"]["discovery_s"] for s in specifications(make_study(changes))}
    assert found == {0.1, 1.0}


def test_a_level_that_does_not_suit_is_told_with_its_treatments(find_problems):
    changes = {
        "experiments.0.factors.discovery": [0.05, 1],
        "experiments.0.baseline.discovery": 1,
        SAMPLER: {"emulate": {"discovery_s": "{discovery}"}},
    }
    (problem,) = find_problems(changes)
    assert problem.startswith(
        "experiments[0].sampler.emulate.discovery_s: 0.05 is not allowed; allowed: no less than"
        " interval_s (0.1) (in t1-discovery-0_05, "
    )


@pytest.mark.parametrize(
    "sampler",
    [None, [], "{unknown value}", {}, {"emulate": None}, {"emulate": {"interval_s": "x"}}],
)
def test_what_is_refused_elsewhere_or_open_is_passed_over(sampler):
    assert find_emulation_problems(sampler, ()) == []
