import copy

import pytest

from stagebench.design.config import check_config
from stagebench.design.grid import check_engines
from stagebench.design.plan import format_plan, make_plan
from stagebench.design.schema_errors import make_validator
from stagebench.engines import support
from stagebench.engines.support import ENGINES, OWN, find_engine_limit
from stagebench.errors import ConfigError

PROCESS = {"executor": "process", "start_method": "spawn"}


def specify(engine, *, stage=None, second=None, **others):
    stages = [{"name": "a", "executor": "thread", "workers": 2, "after": []} | (stage or {})]
    if second is not None:
        stages.append({"name": "b", "executor": "thread", "workers": 2, "after": ["a"]} | second)
    return {"engine": engine, "stages": stages} | others


def test_a_treatment_without_an_engine_has_no_limit():
    specification = specify(OWN, stage={"queue_size": 2})
    del specification["engine"]
    assert find_engine_limit(specification) == ""


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_and_spawned_processes_are_what_every_engine_has(engine):
    assert find_engine_limit(specify(engine, stage=PROCESS, second={})) == ""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"in_flight": 3}, "no limit of tasks in flight (here 3)"),
        (
            {"stage": {"executor": "asyncio"}},
            "has no executor asyncio, only thread and process (stage 'a')",
        ),
        ({"stage": {"queue_size": 2}}, "has no queue_size 2 (stage 'a')"),
        (
            {"stage": {"retries": 1, "timeout_s": 2.0}},
            "has no timeout_s 2.0, retries 1 (stage 'a')",
        ),
    ],
)
def test_what_the_runner_alone_can_do_is_unsupported_with_its_place(engine, changes, reason):
    limit = find_engine_limit(specify(engine, **changes))
    assert limit.startswith(f"{engine} ")
    assert reason in limit


@pytest.mark.parametrize(
    ("engine", "changes", "reason"),
    [
        (
            "joblib",
            {"stage": PROCESS | {"workers": 1}},
            "runs a single worker in the calling thread",
        ),
        ("joblib", {"arrival": {"kind": "poisson"}}, "takes all tasks at once"),
        ("joblib", {"stage": PROCESS | {"start_method": "fork"}}, "by fork, only by spawn"),
        ("ray", {"stage": PROCESS | {"start_method": "fork"}}, "by fork, only by spawn"),
        (
            "tadween",
            {"second": {"after": ["a", "a2"]}},
            "lets a stage follow only one other, not a, a2",
        ),
        ("tadween", {"second": {"after": []}}, "begins a workflow with one stage (here a, b)"),
        (
            "dask",
            {"stage": PROCESS, "second": PROCESS | {"start_method": "fork"}},
            "starts all processes by one method (here fork, spawn)",
        ),
    ],
)
def test_what_an_engine_cannot_do_is_unsupported_there_and_nowhere_else(engine, changes, reason):
    assert reason in find_engine_limit(specify(engine, **changes))
    assert find_engine_limit(specify("concurrent.futures", **changes)) == ""


def test_the_schema_allows_the_engines_that_there_are():
    allowed = make_validator("stagebench.design", "study.schema.yaml", "/$defs/engine")
    names = [OWN, *ENGINES, None]
    assert [name for name in names if not allowed.is_valid(name)] == []
    assert not allowed.is_valid("celery")


CONFIG = {
    "study": "mine",
    "seed": 1,
    "replicates": 1,
    "time_limit_s": 5,
    "workflows": [
        {
            "name": "one",
            "stages": [
                {
                    "name": "a",
                    "handler": "wait",
                    "executor": "thread",
                    "workers": 1,
                    "queue_size": 3,
                    "parameters": {"delay_s": 0},
                }
            ],
        }
    ],
    "experiments": [
        {
            "name": "e",
            "workflow": "one",
            "tasks": 2,
            "engine": "{engine}",
            "factors": {"engine": {"levels": ["stagebench", "joblib"], "tags": {"stagebench": ""}}},
            "baseline": {"engine": "stagebench"},
        }
    ],
}


def test_the_plan_names_the_treatments_that_cannot_run_and_why():
    text = format_plan(make_plan(check_config(CONFIG)))
    words = " ".join(text.split())
    assert "cannot run here: engine-joblib: joblib has no queue_size 3 (stage 'a')" in words
    assert "engine: stagebench or joblib" in words


def test_the_runner_by_name_is_the_same_treatment_as_without_the_key():
    plain = copy.deepcopy(CONFIG)
    del plain["experiments"][0]["engine"], plain["experiments"][0]["factors"]
    del plain["experiments"][0]["baseline"]
    (alone,) = check_config(plain).treatments
    named = check_config(CONFIG).treatments[0]
    names = ("treatment", "factors")
    assert {k: v for k, v in alone.specification.items() if k not in names} == {
        k: v for k, v in named.specification.items() if k not in names
    }


def test_an_engine_that_is_not_installed_is_refused_with_its_extra(monkeypatch):
    study = check_config(CONFIG)
    monkeypatch.setattr(support, "find_spec", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        check_engines(study.treatments)
    (problem,) = caught.value.problems
    assert problem.startswith("e/engine-joblib: the engine joblib needs joblib, ")
    assert 'pip install "stagebench[joblib]"' in problem
    assert "here stagebench, concurrent.futures," in problem
