"""Plans as JSON and as text."""

import json
from pathlib import Path

import pytest

from stagebench.design.config import check_config, load_config, load_study
from stagebench.design.plan import format_plan, format_stages, format_tasks, make_plan
from stagebench.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "config"


@pytest.fixture(
    params=["config.yaml", "published.yaml", "causes.yaml", "smoke.yaml", "runner.yaml"]
)
def shipped_plan(request):
    return make_plan(load_study(CONFIGS / request.param))


def test_a_plan_is_plain_json(shipped_plan):
    assert json.loads(json.dumps(shipped_plan, allow_nan=False)) == shipped_plan


def test_every_run_has_its_treatment_in_the_plan(shipped_plan):
    keys = {f"{run['experiment']}/{run['treatment']}" for run in shipped_plan["runs"]}

    assert keys == shipped_plan["treatments"].keys()


def test_every_experiment_has_its_baseline_among_its_treatments(shipped_plan):
    for experiment in shipped_plan["experiments"]:
        marked = [
            t
            for t in experiment["treatments"]
            if shipped_plan["treatments"][f"{experiment['name']}/{t}"]["baseline"]
        ]
        assert marked == [experiment["baseline"]]


def test_the_default_study_has_41_treatments_in_123_runs():
    plan = make_plan(check_config(load_config(CONFIGS / "config.yaml")))

    assert (len(plan["treatments"]), len(plan["runs"])) == (41, 123)
    assert [len(e["treatments"]) for e in plan["experiments"]] == [18, 18, 3, 2]
    assert plan["reference"] == "published.csv"


def test_the_smoke_study_is_small_and_has_every_start_method():
    plan = make_plan(check_config(load_config(CONFIGS / "smoke.yaml")))

    assert len(plan["runs"]) <= 18
    methods = {
        stage.get("start_method", stage["executor"])
        for treatment in plan["treatments"].values()
        for stage in treatment["specification"]["stages"]
    }
    assert methods == {"thread", "fork", "forkserver", "spawn"}


def test_levels_are_listed_in_the_order_of_the_config_and_included_ones_last(make_study):
    plan = make_plan(
        make_study(
            {
                "experiments.0.exclude": [{"executor": "thread", "workers": 2}],
                "experiments.0.include": [{"workers": 9, "executor": "thread", "logic": "numpy"}],
            }
        )
    )

    assert plan["experiments"][0]["factors"] == {
        "workers": [1, 2, 9],
        "executor": ["thread", "process"],
        "start_method": ["fork", "spawn"],
        "logic": ["native", "numpy"],
    }


def test_a_plan_for_people_fits_80_columns_and_names_the_most_demanding(shipped_plan):
    text = format_plan(shipped_plan)

    assert max(map(len, text.splitlines())) <= 80
    needs = {k: t["estimated_memory_bytes"] for k, t in shipped_plan["treatments"].items()}
    assert f"({max(needs, key=needs.get)})" in text
    assert f"{len(shipped_plan['runs'])} runs of {len(needs)} treatments" in text


def test_a_plan_for_people_never_has_an_amount_that_it_does_not_know(shipped_plan):
    treatments = {
        name: treatment | {"estimated_memory_bytes": 0}
        for name, treatment in shipped_plan["treatments"].items()
    }
    unknown = shipped_plan | {"treatments": treatments}
    text = format_plan(unknown)
    assert "0 B" not in text
    assert text.endswith(
        "most memory: unknown; --trial measures it\ntime of the study: unknown; --trial measures it"
    )
    assert "unknown" not in format_plan(unknown, is_tried=True)


def test_a_plan_for_people_says_how_tasks_come_in_and_what_stages_are_limited_to():
    text = format_plan(make_plan(check_config(load_config(CONFIGS / "runner.yaml"))))

    assert "  tasks: 40, at once or at 20/s or Poisson at 20/s\n" in text
    assert "  tasks: 24, at once, any number or 4 in flight at most\n" in text
    assert "  stage make: payload on process, by pickle or shared_memory or path\n" in text
    assert "  stage take: checksum on thread, queue of any size or 8 or 2\n" in text
    assert "time-out 250 ms, 0 or 3 retries, tried\n    again after any fault or failed\n" in text


STAGE = {"name": "a", "handler": "steps:f", "executor": "asyncio"}


def test_a_file_of_tasks_is_named():
    tasks = {"file": "sizes.csv", "number": 20_000}

    assert format_tasks([{"tasks": tasks}]) == ["20,000 of sizes.csv", "at once"]


def test_what_differs_between_treatments_is_reported_once_each():
    assert format_tasks([{"tasks": 1}, {"tasks": [{}, {}]}, {"tasks": 1}]) == ["1 or 2", "at once"]


def test_a_stage_without_limits_is_its_handler_and_executor():
    assert list(format_stages([{"stages": [STAGE]}])) == [("a", ["steps:f on asyncio"])]


def test_every_limit_has_its_words():
    limits = {
        "transport": "path",
        "queue_size": 3,
        "batch": 4,
        "timeout_s": 90.0,
        "retries": 1,
        "retry_on": ["lost", "timed_out"],
    }

    ((_, words),) = format_stages([{"stages": [STAGE | limits]}])

    assert words == [
        "steps:f on asyncio",
        "by path",
        "queue of 3",
        "batches of 4",
        "time-out 90 s",
        "1 retries",
        "tried again after lost/timed_out",
    ]


SAME_WORK = """
study: split
seed: 1
replicates: 1
time_limit_s: 9
workflows:
  - name: waits
    stages:
      - {name: work, handler: wait, executor: thread, workers: 1, parameters: {delay_s: 0}}
experiments:
  - name: split
    workflow: waits
    tasks: {file: "by_{files}.csv"}
    factors: {files: [1, 4]}
    baseline: {files: 1}
    same_work: true
"""


@pytest.fixture
def plan_split(beside):
    """Return the plan of a study of 40 tasks and of 10 that do as much, with other words for it."""

    def make(stated="true"):
        rows = {
            number: "work.delay_s\n" + f"{number / 100}\n" * (40 // number) for number in (1, 4)
        }
        folder = beside(by_1_csv=rows[1], by_4_csv=rows[4])
        path = folder / "study.yaml"
        path.write_text(SAME_WORK.replace("same_work: true", f"same_work: {stated}"))
        return make_plan(load_study(path))

    return make


def test_a_plan_has_the_statement_of_the_same_work_and_no_specification_has_it(plan_split):
    stated, other = plan_split(), plan_split("false")

    assert stated["experiments"][0].pop("same_work") is True
    assert stated == other
    assert "same_work" not in json.dumps(other)
    assert "all treatments do the same work, as stated" in format_plan(plan_split())
    assert "same work" not in format_plan(other)


@pytest.mark.parametrize("value", ["maybe", "1", "null", "[]", '"{files}"'])
def test_a_wrong_statement_of_the_same_work_is_reported_with_its_line(plan_split, value):
    with pytest.raises(ConfigError) as caught:
        plan_split(value)
    (problem,) = caught.value.problems
    given = f'"{value}"' if value == "maybe" else value
    assert problem.endswith(
        f"study.yaml:16: experiments[split].same_work: {given} is not allowed;"
        " allowed: true (all treatments do the same work) or false"
    )
