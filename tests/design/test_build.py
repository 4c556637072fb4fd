import pytest

RUNTIME = "experiments.0"


@pytest.fixture
def build(make_study):
    """Give the first experiment of the small study with changes."""
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
