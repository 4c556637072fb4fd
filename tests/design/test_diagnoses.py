"""Which runs diagnose, and what they are specified as."""

from collections import Counter

import pytest

from stagebench.design.config import check_config
from stagebench.design.plan import format_plan, make_plan
from stagebench.design.specification import LONGEST

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"
OFF = {"diagnose": False}


@pytest.fixture
def diagnoses(make_study):
    """Return the diagnosing runs of the small config with changes."""
    return lambda changes=None, beside=None: make_plan(make_study(changes, beside))["diagnoses"]


def by_name(diagnoses):
    return {one["name"]: one for one in diagnoses}


def count(diagnoses):
    return Counter(one["kind"] for one in diagnoses)


def test_each_treatment_has_one_and_each_pipeline_three(diagnoses):
    found = diagnoses()

    # Of the factors only the logic is a property of handlers.
    assert count(found) == {"treatment": 12, "alone": 2, "beside": 2, "pair": 2}
    names = [one["name"] for one in found]
    assert names[0] == "treatments/runtime/t1"
    assert names[12:15] == [f"pipelines/runtime-1/{kind}" for kind in ("alone", "beside", "pair")]
    assert len(set(names)) == len(names)
    assert [one["kind"] for one in found[:12]] == ["treatment"] * 12
    assert found[0]["pipeline"] == found[12]["pipeline"] == "runtime-1"
    assert by_name(found)["treatments/runtime/p2-spawn-numpy"]["pipeline"] == "runtime-2"
    assert {one["treatment"] for one in found[12:]} == {None}


def test_a_treatment_is_diagnosed_as_it_is(make_study):
    plan = make_plan(make_study())

    for one in plan["diagnoses"][:12]:
        own = plan["treatments"][f"runtime/{one['treatment']}"]["specification"]
        assert one["specification"] == own | {"diagnose": {"spinner": False}}


def test_diagnosing_changes_no_other_part_of_a_plan(make_study):
    plans = [make_plan(make_study(changes)) for changes in ({}, OFF)]

    with_them, without = (one.pop("diagnoses") for one in plans)
    assert plans[0] == plans[1]
    assert (len(with_them), without) == (18, [])


def test_a_pipeline_alone_has_one_thread_for_each_stage_and_no_setting_of_its_pool(diagnoses):
    settings = {
        f"{STAGE}.queue_size": 2,
        f"{STAGE}.timeout_s": 1,
        f"{STAGE}.retries": 2,
        f"{STAGE}.retain": True,
        f"{STAGE}.transport": "path",
        f"{RUNTIME}.in_flight": 3,
        f"{RUNTIME}.arrival": {"kind": "fixed_rate", "rate_per_s": 5},
        f"{RUNTIME}.linger": {"before_start_s": 1},
        f"{RUNTIME}.sampler": {"interval_s": 0.5},
        f"{RUNTIME}.process": {"preload": ["decimal"], "switch_interval_s": 0.01},
        f"{RUNTIME}.factors.executor": ["process"],
        f"{RUNTIME}.baseline": {"workers": 1, "start_method": "fork", "logic": "native"},
    }

    found = by_name(diagnoses(settings))

    alone = found["pipelines/runtime-1/alone"]["specification"]
    assert (alone["experiment"], alone["treatment"]) == ("runtime", "runtime-1")
    assert (alone["factors"], alone["tasks"], alone["in_flight"]) == ({}, 4, 1)
    assert alone["diagnose"] == {"spinner": False}
    assert "arrival" not in alone
    assert set(alone["linger"].values()) == {0.0}
    first = found["treatments/runtime/p1-fork"]["specification"]
    assert alone["sampler"] == first["sampler"]
    assert alone["process"] == first["process"]
    assert alone["process"]["switch_interval_s"] == 0.01
    for stage, given in zip(alone["stages"], first["stages"], strict=True):
        kept = ("name", "handler", "source", "parameters", "after")
        pool = {"executor": "thread", "workers": 1, "retain": False}
        assert stage == {name: given[name] for name in kept} | pool


def test_beside_has_a_spinner_and_a_pair_has_two_of_all(diagnoses):
    found = by_name(diagnoses())
    alone, beside, pair = (
        found[f"pipelines/runtime-1/{kind}"]["specification"]
        for kind in ("alone", "beside", "pair")
    )

    assert beside == alone | {"diagnose": {"spinner": True}}
    stages = [stage | {"workers": 2} for stage in alone["stages"]]
    assert pair == alone | {"stages": stages, "in_flight": 2}


def test_stages_beside_each_other_take_turns_where_they_are_called_alone(diagnoses):
    chain = by_name(diagnoses())
    found = by_name(diagnoses({f"{STAGE}.after": []}))

    turns = {
        kind: found[f"pipelines/runtime-1/{kind}"]["specification"]["diagnose"].get("in_turn")
        for kind in ("alone", "beside", "pair")
    }
    assert turns == {"alone": True, "beside": True, "pair": None}
    assert "in_turn" not in chain["pipelines/runtime-1/alone"]["specification"]["diagnose"]


def test_settings_that_a_handler_notices_make_pipelines_and_others_do_not(diagnoses):
    def pipelines(**process):
        changes = {
            f"{RUNTIME}.process": process,
            f"{RUNTIME}.factors.more": [1, 2],
            f"{RUNTIME}.baseline.more": 1,
        }
        return count(diagnoses(changes))["alone"]

    assert pipelines(blas_threads="{more}") == 4
    assert pipelines(environment={"MORE": "{more}"}) == 4
    assert pipelines(switch_interval_s="{more}") == 4


def test_the_affinity_makes_no_pipeline(make_config):
    config = make_config({f"{RUNTIME}.process": {"cpus": [0]}})
    second = config["experiments"][0] | {"name": "again", "process": {}}
    config["experiments"].append(second)

    found = make_plan(check_config(config))["diagnoses"]

    assert count(found) == {"treatment": 24, "alone": 2, "beside": 2, "pair": 2}
    assert by_name(found)["treatments/again/t1"]["pipeline"] == "runtime-1"
    assert found[-1]["specification"]["process"]["cpus"] == [0]


@pytest.mark.parametrize(("levels", "tasks"), [([1, 2], 2), ([3, 40], 4)])
def test_of_equal_tasks_as_many_run_alone_as_a_treatment_has_up_to_four(diagnoses, levels, tasks):
    changes = {
        f"{RUNTIME}.tasks": "{number}",
        f"{RUNTIME}.factors.number": levels,
        f"{RUNTIME}.baseline.number": levels[0],
    }

    found = diagnoses(changes)

    assert count(found)["alone"] == 2
    assert {one["specification"]["tasks"] for one in found if one["treatment"] is None} == {tasks}


def test_of_a_list_of_tasks_the_first_four_run_alone(diagnoses):
    tasks = [{"cpu_bound": {"elements": n}} for n in range(1, 7)]

    found = by_name(diagnoses({f"{RUNTIME}.tasks": tasks}))

    assert found["pipelines/runtime-1/pair"]["specification"]["tasks"] == tasks[:4]
    assert found["treatments/runtime/t1"]["specification"]["tasks"] == tasks


def test_of_a_file_of_tasks_the_first_four_run_alone_as_a_list(diagnoses, beside):
    rows = "cpu_bound.elements,download.compression\n1,true\n2,\n,false\n4,\n5,\n"
    folder = beside(sizes_csv=rows)

    found = by_name(diagnoses({f"{RUNTIME}.tasks": {"file": "sizes.csv"}}, folder))

    assert found["pipelines/runtime-1/alone"]["specification"]["tasks"] == [
        {"cpu_bound": {"elements": 1}, "download": {"compression": True}},
        {"cpu_bound": {"elements": 2}},
        {"download": {"compression": False}},
        {"cpu_bound": {"elements": 4}},
    ]
    assert found["treatments/runtime/t1"]["specification"]["tasks"]["file"] == "sizes.csv"


def test_first_tasks_that_do_not_fit_on_a_command_line_are_not_run_alone(make_study, beside):
    folder = beside(
        long_py="def look(text: str):\n    return text\n", texts_csv=f"see.text\n{'x' * LONGEST}\n"
    )
    stage = {"name": "see", "handler": "long:look", "executor": "thread", "workers": 1}
    changes = {
        "workflows.0.stages": [stage],
        f"{RUNTIME}.tasks": {"file": "texts.csv"},
        f"{RUNTIME}.factors": {},
        f"{RUNTIME}.baseline": {},
    }

    plan = make_plan(make_study(changes, folder))

    (only,) = plan["diagnoses"]
    assert (only["name"], only["pipeline"]) == ("treatments/runtime/only", None)
    assert "runtime: 1 without a pipeline, whose first tasks are too long" in format_plan(plan)


def test_coroutines_stay_coroutines(diagnoses):
    changes = {
        "workflows.0.stages.1": {
            "name": "rest",
            "handler": "wait_async",
            "executor": "asyncio",
            "workers": "{workers}",
            "parameters": {"delay_s": 0},
        },
        f"{RUNTIME}.factors": {"workers": [5, 9]},
        f"{RUNTIME}.baseline": {"workers": 5},
    }

    found = by_name(diagnoses(changes))

    pair = found["pipelines/runtime-1/pair"]["specification"]["stages"]
    assert [(stage["executor"], stage["workers"]) for stage in pair] == [
        ("thread", 2),
        ("asyncio", 2),
    ]


def test_a_run_that_diagnoses_does_not_emulate_the_published_way(diagnoses):
    found = diagnoses({f"{RUNTIME}.sampler": {"emulate": {}, "interval_s": 0.5}})

    assert all("emulate" not in one["specification"]["sampler"] for one in found)
    assert {one["specification"]["sampler"]["interval_s"] for one in found} == {0.5}


@pytest.mark.parametrize(
    ("study", "own", "expected"),
    [
        (None, None, True),
        (None, False, False),
        (False, None, False),
        (False, True, True),
        (True, False, False),
    ],
)
def test_an_experiment_overrides_the_study(diagnoses, study, own, expected):
    given = {"diagnose": study, f"{RUNTIME}.diagnose": own}
    changes = {path: value for path, value in given.items() if value is not None}

    assert bool(diagnoses(changes)) is expected


@pytest.mark.parametrize("value", ["yes", 1, None, [], "{workers}"])
def test_other_values_are_refused_with_their_place(find_problems, value):
    problems = find_problems({"diagnose": value, f"{RUNTIME}.diagnose": value})

    assert len(problems) == 2
    places = {one.partition(":")[0] for one in problems}
    assert places == {"diagnose", "experiments[0].diagnose"}
    assert all("is not allowed; allowed: true or false" in one for one in problems)


def test_a_plan_for_people_says_in_a_line_how_many_runs_diagnose(make_study):
    line = "then 18 that diagnose: 12 of treatments, 6 of pipelines run alone\n"

    assert line in format_plan(make_plan(make_study()))
    assert "diagnose" not in format_plan(make_plan(make_study(OFF)))


def test_the_memory_of_a_calibration_is_estimated_by_its_smallest_treatment(make_study):
    plan = make_plan(make_study({f"{STAGE}.parameters.elements": 1_000_000}))

    found = by_name(plan["diagnoses"])
    sizes = [
        one["estimated_memory_bytes"]
        for name, one in plan["treatments"].items()
        if not name.endswith("numpy")
    ]
    assert found["pipelines/runtime-1/alone"]["estimated_memory_bytes"] == min(sizes)
    assert found["pipelines/runtime-1/pair"]["estimated_memory_bytes"] == 2 * min(sizes)
