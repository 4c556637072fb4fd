import pytest

from stagebench.design.arrival import NEEDS
from stagebench.design.grid import expand_treatments
from stagebench.runner.arrival import ARRIVALS, Arrival

RUNTIME = "experiments.0"
ARRIVAL = f"{RUNTIME}.arrival"


@pytest.fixture
def arrivals(make_study):
    """Give the arrival of each kind of treatment, by what ids end in."""

    def make(changes):
        treatments = expand_treatments(make_study(changes))
        return {t.id: t.specification.get("arrival") for t in treatments if t.id.startswith("t1")}

    return make


def test_the_kinds_are_those_of_the_runner_and_it_takes_what_they_need():
    assert tuple(NEEDS) == ARRIVALS
    given = {"rate_per_s": 2.0, "seed": 1}
    for kind, needs in NEEDS.items():
        assert Arrival(kind=kind, **{name: given[name] for name in needs}).kind == kind


@pytest.mark.parametrize(
    ("arrival", "expected"),
    [
        (None, None),
        ({"kind": "at_once"}, None),
        ({"kind": "at_once", "rate_per_s": None}, None),
        ({"kind": "fixed_rate", "rate_per_s": 2}, {"kind": "fixed_rate", "rate_per_s": 2.0}),
        (
            {"kind": "poisson", "rate_per_s": 0.5, "seed": 3},
            {"kind": "poisson", "rate_per_s": 0.5, "seed": 3},
        ),
    ],
)
def test_a_specification_has_what_the_kind_needs_and_nothing_for_tasks_at_once(
    arrivals, arrival, expected
):
    assert arrivals({ARRIVAL: arrival})["t1"] == expected


def test_one_mapping_serves_all_kinds_where_the_kind_is_a_factor(arrivals):
    found = arrivals(
        {
            ARRIVAL: {"kind": "{arrival}", "rate_per_s": 20, "seed": 1},
            f"{RUNTIME}.factors.arrival": list(ARRIVALS),
            f"{RUNTIME}.baseline.arrival": "at_once",
        }
    )

    assert found["t1-arrival-at_once"] is None
    assert found["t1-arrival-fixed_rate"] == {"kind": "fixed_rate", "rate_per_s": 20.0}
    assert found["t1-arrival-poisson"] == {"kind": "poisson", "rate_per_s": 20.0, "seed": 1}


# An arrival, and the one problem that is told of it.
BAD = {
    "no kind": ({"rate_per_s": 1}, ".kind: missing; allowed: at_once, fixed_rate, poisson"),
    "an unknown kind": (
        {"kind": "poison", "rate_per_s": 1, "seed": 0},
        '.kind: "poison" is not allowed; allowed: at_once, fixed_rate, poisson; did you mean',
    ),
    "a kind alone": ("poisson", ': "poisson" is not allowed; allowed: a mapping of the keys kind,'),
    "no rate": (
        {"kind": "fixed_rate"},
        ".rate_per_s: missing for fixed_rate; allowed: tasks a second, above 0 and at most",
    ),
    "a rate of nothing": (
        {"kind": "fixed_rate", "rate_per_s": 0},
        ".rate_per_s: 0 is not allowed; allowed: tasks a second, above 0 and at most 1000000",
    ),
    "no seed": (
        {"kind": "poisson", "rate_per_s": 1, "seed": None},
        ".seed: missing for poisson; allowed: a whole number, 0 or more",
    ),
    "a seed for nothing": (
        {"kind": "fixed_rate", "rate_per_s": 1, "seed": 0},
        ".seed: 0 changes nothing for fixed_rate; allowed: no such key",
    ),
    "a rate for nothing": (
        {"kind": "at_once", "rate_per_s": 5},
        ".rate_per_s: 5 changes nothing for at_once; allowed: no such key",
    ),
}


@pytest.mark.parametrize(("arrival", "text"), BAD.values(), ids=BAD)
def test_a_wrong_arrival_is_told_once(find_problems, arrival, text):
    (problem,) = find_problems({ARRIVAL: arrival})

    assert problem.startswith(f"experiments[0].arrival{text}")


def test_a_kind_that_lacks_something_in_some_treatments_names_them(find_problems):
    (problem,) = find_problems(
        {
            ARRIVAL: {"kind": "{arrival}"},
            f"{RUNTIME}.factors.arrival": ["at_once", "fixed_rate"],
            f"{RUNTIME}.baseline.arrival": "at_once",
        }
    )

    assert problem.startswith("experiments[0].arrival.rate_per_s: missing for fixed_rate;")
    assert "(in t1-arrival-fixed_rate, t1-numpy-arrival-fixed_rate, " in problem
