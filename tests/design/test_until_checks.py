"""How many blocks a study has: what a config may say, and what it is told otherwise."""

import pytest

from stagebench.design.config import check_config
from stagebench.design.plan import make_plan
from stagebench.errors import ConfigError


@pytest.fixture
def until(make_config):
    def make(**changes):
        config = make_config() | {"until": {"makespan_s": "5 %"}}
        del config["replicates"]
        return config | changes

    return make


def problems_of(config):
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    return "\n".join(caught.value.problems)


def test_percentages_and_shares_mean_the_same(until):
    given = {
        "makespan_s": "5 %",
        "throughput_per_s": "5%",
        "turnaround_p95_s": 0.05,
        "peak": "2.5 %",
    }
    study = check_config(until(until=given, time_budget="1.5 h"))
    assert study.until.half_widths == {
        "makespan_s": 0.05,
        "throughput_per_s": 0.05,
        "turnaround_p95_s": 0.05,
        "tree_peak_bytes": 0.025,
    }
    assert study.until.time_budget_s == 5400
    assert study.precision == study.until.half_widths


def test_the_plan_lists_all_blocks_that_there_may_be_in_the_order_of_a_fixed_study(
    until, make_config
):
    plan = make_plan(check_config(until(at_least=5, at_most=9)))
    fixed = make_plan(check_config(make_config() | {"replicates": 9}))
    assert plan["runs"] == fixed["runs"]
    assert plan["treatments"] == fixed["treatments"]
    assert "until" not in fixed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"until": {"makespan": "5 %"}}, "until.makespan: unknown key 'makespan'; did you mean"),
        ({"until": {}}, "until: {} is not allowed; allowed: a mapping of at least one of"),
        ({"until": {"peak": "0 %"}}, 'until.peak: "0 %" is not allowed; allowed: a percentage'),
        ({"until": {"peak": "101 %"}}, 'until.peak: "101 %" is not allowed'),
        ({"until": {"peak": "5"}}, 'until.peak: "5" is not allowed'),
        ({"until": {"peak": 5}}, "until.peak: 5 is not allowed"),
        ({"until": {"peak": True}}, "until.peak: true is not allowed"),
        ({"at_least": 4}, "at_least: 4 is not allowed; allowed: a whole number of blocks from 5"),
        ({"at_most": 1001}, "at_most: 1001 is not allowed"),
        ({"at_least": 9, "at_most": 8}, "at_most: at_least is 9 and at_most 8; allowed: at_least"),
        ({"at_least": 31}, "at_least: at_least is 31 and at_most 30 by default"),
        ({"replicates": 5}, "replicates: not allowed beside until"),
        ({"time_budget": "0 s"}, 'time_budget: "0 s" is not allowed; allowed: a time such as'),
        ({"time_budget": "soon"}, 'time_budget: "soon" is not allowed'),
        ({"precision": {"makespan_s": 0.1}}, "precision.makespan_s: makespan_s is in until, too"),
    ],
)
def test_what_is_wrong_is_named_with_place_value_and_what_is_allowed(until, changes, expected):
    assert expected in problems_of(until(**changes))


@pytest.mark.parametrize("key", ["at_least", "at_most", "time_budget"])
def test_keys_of_until_have_no_place_in_a_fixed_study(make_config, key):
    value = "5 min" if key == "time_budget" else 6
    assert f"{key}: has an effect only beside until" in problems_of(make_config() | {key: value})


def test_a_study_says_how_many_blocks_it_has(make_config):
    config = make_config()
    del config["replicates"]
    assert "replicates: missing; allowed: replicates (1 to 1000), or until" in problems_of(config)
