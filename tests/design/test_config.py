"""A whole config: its problems, its study, and damaged configs."""

import copy
from pathlib import Path

import pytest
import yaml

from stagebench.design import config as config_module
from stagebench.design.config import check_config, load_config
from stagebench.design.plan import make_plan
from stagebench.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("seed", "seed"),
        ("workflows.0.name", "workflows[0].name"),
        ("workflows.0.stages.0.handler", "workflows[0].stages[0].handler"),
        ("workflows.0.stages.0.workers", "workflows[0].stages[0].workers"),
        ("experiments.0.workflow", "experiments[0].workflow"),
        ("experiments.0.tasks", "experiments[0].tasks"),
    ],
)
def test_a_missing_key_is_reported_with_what_it_should_hold(make_config, path, place):
    config = make_config()
    *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    parent = config
    for part in above:
        parent = parent[part]
    del parent[last]

    with pytest.raises(ConfigError) as caught:
        check_config(config)

    assert any(p.startswith(f"{place}: missing; allowed: ") for p in caught.value.problems)


def test_problems_of_every_kind_are_reported_together_in_the_order_of_the_config(find_problems):
    problems = find_problems(
        {
            "seed": "x",
            "workflows.0.stages.0.handler": "downlaod",
            "workflows.0.stages.0.worker": 1,
            "experiments.0.sampler": {"interval": 1},
            "experiments.0.factors.logic.tags": {"numy": "x"},
            "experiments.0.baseline.workers": 9,
        }
    )

    assert [problem.split(":")[0] for problem in problems] == [
        "seed",
        "workflows[0].stages[0].handler",
        "workflows[0].stages[0].worker",
        "experiments[0].factors.logic.tags.numy",
        "experiments[0].baseline.workers",
        "experiments[0].sampler.interval",
    ]


def test_a_broken_stage_does_not_hide_a_wrong_baseline(find_problems):
    problems = find_problems(
        {
            "workflows.0.stages.0.workers": "many",
            "experiments.0.baseline": {"executor": "process"},
        }
    )

    assert [p.split(":")[0] for p in problems] == [
        "workflows[0].stages[0].workers",
        "experiments[0].baseline",
    ]


def test_a_problem_of_a_shared_workflow_is_reported_once(make_config):
    config = make_config({"workflows.0.stages.0.parameters.latency": 1})
    config["experiments"].append({**config["experiments"][0], "name": "again"})

    with pytest.raises(ConfigError) as caught:
        check_config(config)

    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("config", [[], "text", None, 3])
def test_what_is_no_mapping_is_refused(config):
    with pytest.raises(ConfigError, match=r"the config: .* is not allowed; allowed: a mapping"):
        check_config(config)


def test_an_alias_bomb_is_refused():
    bomb = ["x"] * 10
    for _ in range(9):
        bomb = [bomb] * 10

    with pytest.raises(ConfigError, match="too large"):
        check_config({"study": bomb})


def test_a_config_that_holds_itself_is_refused(make_config):
    config = make_config()
    config["workflows"][0]["stages"][0]["parameters"]["self"] = config

    with pytest.raises(ConfigError, match="nested too deeply"):
        check_config(config)


def test_a_config_is_left_as_it_was_given(make_config):
    config = make_config({"seed": "x"})

    with pytest.raises(ConfigError):
        check_config(config)

    assert config == make_config({"seed": "x"})


def test_nothing_in_a_config_is_evaluated(make_study):
    text = "{workers}__import__('os').system('false') $(false) $HOME %(x)s"
    study = make_study({"experiments.0.process": {"environment": {"A": text}}})

    specification = study.treatments[0].specification

    assert specification["process"]["environment"]["A"] == "1" + text.removeprefix("{workers}")


def test_a_study_has_its_defaults(make_study):
    study = make_study()

    assert (study.reference, study.allow_insufficient_memory) == (None, False)


OTHERS = {ROOT / "config/claims.yaml", ROOT / "config/interpreters.yaml"}
"""No study; and one that needs several interpreters, see test_every_interpreter.py."""

SHIPPED = sorted({*(ROOT / "config").glob("*.yaml")} - OTHERS)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_study_is_valid(path):
    config = load_config(path)
    if "experiments" not in config.data:
        pytest.skip("not a study")

    assert check_config(config, path.parent).treatments


def test_the_study_of_the_documentation_is_what_it_says():
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    example = text.partition("## A whole study\n\n```yaml\n")[2].partition("```")[0]

    plan = make_plan(check_config(yaml.safe_load(example)))

    ids = plan["experiments"][0]["treatments"]
    assert (len(ids), ids[0], ids[-1], len(plan["runs"])) == (18, "t1", "p4-spawn-numpy", 90)


# Damage to one value of a valid config gives a study or a ConfigError, never a crash.
ODD = [
    None,
    True,
    0,
    -1,
    2.5,
    "{workers}",
    "{}",
    "x-{start_method}",
    "unknown",
    [None],
    ["{executor}"],
    {},
    {1: {"executor": None}},
]


def places(config, path=()):
    """Yield the path of every value of a config."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def put(config, path, value):
    *above, last = path
    for part in above:
        config = config[part]
    config[last] = value


FULL = {
    "reference": "x.csv",
    "allow_insufficient_memory": False,
    "experiments.0.tasks": [{"download": {"latency_ms": 1}}, {}],
    "experiments.0.sampler": {"interval_s": 0.5},
    "experiments.0.linger": {"before_start_s": 0.1},
    "experiments.0.process": {"environment": {"A": "{workers}"}, "preload": ["json"], "cpus": [0]},
    "experiments.0.exclude": [{"executor": "process", "workers": 2}],
    "experiments.0.include": [{"workers": 3, "executor": "thread", "logic": "numpy"}],
}


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_damaged_config_gives_a_study_or_all_its_problems(make_config, value):
    config = make_config(FULL)
    check_config(config)
    refused = 0
    for path in places(config):
        damaged = copy.deepcopy(config)
        put(damaged, path, value)
        try:
            make_plan(check_config(damaged))
        except ConfigError:
            refused += 1

    assert refused > 0


def test_a_config_without_one_of_its_keys_gives_a_study_or_all_its_problems(make_config):
    config = make_config(FULL)
    refused = 0
    for path in places(config):
        damaged = copy.deepcopy(config)
        *above, last = path
        parent = damaged
        for part in above:
            parent = parent[part]
        del parent[last]
        try:
            make_plan(check_config(damaged))
        except ConfigError:
            refused += 1

    assert refused > 0


RUNTIME = "experiments.0"


@pytest.fixture
def build(make_study):
    """Return the first experiment of the small study with changes."""
    return lambda changes=None: make_study(changes).experiments[0]


def test_a_list_of_levels_and_a_mapping_with_levels_are_the_same(build):
    short = build({f"{RUNTIME}.factors.workers": [1, 2]})
    long = build({f"{RUNTIME}.factors.workers": {"levels": [1, 2]}})

    assert short == long


def test_one_level_and_a_list_of_one_are_the_same_entry(build):
    one = build({f"{RUNTIME}.exclude": [{"executor": "process", "workers": 2}]})
    several = build({f"{RUNTIME}.exclude": [{"executor": ["process"], "workers": [2]}]})

    assert one == several


def test_a_condition_may_name_several_levels(build):
    condition = {"executor": ["process", "thread"]}
    experiment = build(
        {
            f"{RUNTIME}.factors.logic.when": condition,
            f"{RUNTIME}.baseline": {"workers": 1, "executor": "thread", "logic": "native"},
        }
    )

    assert experiment.factors[3].when == {"executor": ("process", "thread")}


def test_the_template_holds_the_stages_of_the_experiments_own_workflow(make_study):
    other = {
        "name": "other",
        "stages": [{"name": "a", "handler": "payload", "executor": "thread", "workers": 1}],
    }
    second = {"name": "second", "workflow": "other", "tasks": 1}
    study = make_study({"workflows.1": other, "experiments.1": second})

    stages = [[s["name"] for s in e.template["stages"]] for e in study.experiments]
    assert stages == [["download", "cpu_bound"], ["a"]]


def test_a_study_of_too_many_runs_is_refused_before_its_treatments_are_made(find_problems):
    levels = list(range(1, 201))
    changes = {
        "replicates": 1000,
        "experiments.0.factors.workers": levels,
    }
    (problem,) = find_problems(changes)

    text = "with its 1,200 treatments the study has 1,200,000 runs; allowed: 100,000"
    assert problem.startswith(f"experiments[0]: {text}")


@pytest.mark.parametrize(
    ("changes", "runs"),
    [
        ({"replicates": 1000, "warm_ups": 100}, "13,200"),
        ({"experiments.0.factors.workers": [1]}, "12"),
    ],
)
def test_warm_ups_and_all_experiments_count_as_runs(find_problems, monkeypatch, changes, runs):
    monkeypatch.setattr(config_module, "MOST_RUNS", int(runs.replace(",", "")) - 1)

    (problem,) = find_problems(changes)

    assert f"the study has {runs} runs; allowed:" in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"time_limit_s": 1e-9},
        {"time_limit_s": 0.0009},
        {"quiet_wait_s": 1e-9},
        {"quiet_wait_s": 0.00099},
    ],
)
def test_a_time_that_would_become_zero_is_refused(find_problems, make_study, changes):
    (problem,) = find_problems(changes)

    (name,) = changes
    assert problem.startswith(f"{name}: ")
    assert "from 0.001 to" in problem
    assert make_study({name: 0.001})


@pytest.mark.parametrize("code", [0, 7, 27, 0x9B, 0xFFFE])
def test_a_character_that_no_yaml_may_hold_is_told_with_its_line(tmp_path, code):
    path = tmp_path / "odd.yaml"
    path.write_text(f"study: odd\nseed: 1\nclaims: a{chr(code)}b\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    reason = f"not YAML that can be read: the character U+{code:04X} is not allowed"
    assert caught.value.problems == [f"{path}:3: {reason}"]


def test_a_config_that_is_wrong_everywhere_is_told_in_bounds(tmp_path):
    path = tmp_path / "odd.yaml"
    keys = "".join(f"  k{number}: !odd x\n" for number in range(300))
    path.write_text(f"study: odd\n{'k' * 900}: 1\nconstants:\n{keys}")

    with pytest.raises(ConfigError) as caught:
        check_config(load_config(path))

    assert len(caught.value.problems) == 201
    assert caught.value.problems[-1].startswith("and 10")
    assert max(map(len, caught.value.problems)) < 500 + len(str(path))
