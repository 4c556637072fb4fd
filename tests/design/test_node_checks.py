"""Nodes of an experiment: what a config may say, and what is measured again."""

import pytest

from stagebench.design.plan import format_plan, make_plan
from stagebench.errors import ConfigError

NODES = "experiments.0.nodes"


def nodes(study):
    return [one.specification.get("nodes") for one in study.treatments]


def test_a_specification_has_nodes_only_if_the_config_has_some(make_study):
    assert set(nodes(make_study())) == {None}
    assert set(nodes(make_study({NODES: None}))) == {None}
    assert nodes(make_study({NODES: {"count": 1}}))[0] == {"count": 1}


def test_settings_of_equal_meaning_are_the_same_treatment(make_study):
    unset = {"count": 1, "cores": None, "link_mbit_s": 100}
    assert nodes(make_study({NODES: unset}))[0] == {"count": 1}
    given = {"count": 2, "cores": 1, "link_mbit_s": 100}
    assert nodes(make_study({NODES: given}))[0] == {"count": 2, "cores": 1, "link_mbit_s": 100.0}


def test_the_number_of_nodes_can_be_a_factor_and_the_plan_says_what_cannot_run(make_study):
    changes = {
        NODES: {"count": "{nodes}", "link_mbit_s": 50},
        "experiments.0.factors.nodes": [1, 2],
        "experiments.0.baseline.nodes": 1,
    }
    text = " ".join(format_plan(make_plan(make_study(changes))).split())
    assert "engine: 1 node or 2 nodes with links of 50 Mbit/s" in text
    assert "stagebench runs on one node, not on 2; dask runs on several" in text


@pytest.mark.parametrize(
    ("given", "others", "text"),
    [
        ({"count": 0}, {}, "allowed: a whole number from 1 to 100"),
        ({"cores": 1}, {}, "count"),
        ({"count": 2, "cores": 0}, {}, "allowed: a whole number from 1 to 10000"),
        ({"count": 2, "link_mbit_s": 0.5}, {}, "allowed: million bits a second, from 1 to"),
        ({"count": 2, "speed": 1}, {}, "unknown key 'speed'"),
        (2, {}, "allowed: a mapping of the keys count, cores, link_mbit_s"),
        (
            {"count": 1, "cores": 1},
            {"experiments.0.process": {"cpus": [0]}},
            "process.cpus: [0] beside nodes.cores is not allowed; allowed: one or the other",
        ),
        (
            {"count": 2},
            {"experiments.0.server": {"command": "serve $PORT"}},
            "nodes: nodes have a network of their own and do not reach a server",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_is_allowed(make_study, given, others, text):
    with pytest.raises(ConfigError) as caught:
        make_study({NODES: given, **others})
    assert text in " ".join(caught.value.problems)
