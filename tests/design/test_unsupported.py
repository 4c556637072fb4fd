import sys
from pathlib import Path

import pytest

from stagebench.design.config import check_config, load_config, load_study
from stagebench.design.plan import format_plan, make_plan
from stagebench.design.unsupported import find_unsupported
from stagebench.errors import UnsupportedError
from stagebench.handlers.registry import HANDLERS, load_handler
from stagebench.measure.main import make_stage
from stagebench.runner.sink import ListSink
from stagebench.runner.workflow import Workflow
from stagebench.subinterpreter import FIRST

CONFIGS = Path(__file__).parents[2] / "config"
SHARING = load_study(CONFIGS / "sharing.yaml")
INHERITED = "by fork: a worker that is started by spawn inherits no objects from main"


def specify(handler="wait", executor="thread", **others):
    stage = {"name": "s", "handler": handler, "executor": executor, "parameters": {}} | others
    return {"stages": [stage]}


def test_the_study_of_sharing_names_what_cannot_run_and_why():
    found = {t.id: find_unsupported(t.specification) for t in SHARING.treatments}

    assert {name: reason for name, reason in found.items() if reason} == {
        "p1-spawn-inherited": INHERITED,
        "p2-spawn-inherited": INHERITED,
    }


def test_a_plan_lists_the_treatments_that_cannot_run_by_reason():
    text = " ".join(format_plan(make_plan(SHARING)).split())

    assert f"cannot run here: p1-spawn-inherited, p2-spawn-inherited: {INHERITED}" in text


def test_a_plan_in_which_everything_can_run_says_nothing_of_it():
    smoke = check_config(load_config(CONFIGS / "smoke.yaml"))

    assert "cannot run" not in format_plan(make_plan(smoke))


@pytest.mark.parametrize("treatment", SHARING.treatments, ids=lambda one: one.id)
def test_a_treatment_that_a_plan_refuses_is_refused_by_its_run_for_the_same_reason(treatment):
    reason = find_unsupported(treatment.specification)
    if not reason:
        return
    stages = [make_stage(stage) for stage in treatment.specification["stages"]]
    with Workflow(stages, ListSink()) as workflow, pytest.raises(UnsupportedError, match=reason):
        workflow.run(1)


@pytest.mark.parametrize(
    ("version", "is_refused"), [("3.11.9", True), ("3.13.0", True), ("3.14.2", False)]
)
def test_subinterpreters_need_a_python_that_has_them(version, is_refused):
    specification = specify(executor="interpreter") | {"python": {"version": version}}

    assert bool(find_unsupported(specification)) is is_refused


def test_without_a_python_of_its_own_a_treatment_runs_with_this_one():
    reason = find_unsupported(specify(executor="interpreter"))

    assert bool(reason) is (sys.version_info < FIRST)
    assert find_unsupported(specify()) == ""


def test_nothing_is_known_of_own_handlers_before_they_run():
    assert find_unsupported(specify(handler="steps:f", executor="process")) == ""


@pytest.mark.parametrize("name", ["shared_table", "shared_counter"])
def test_a_handler_is_asked_for_what_it_is_given(name):
    assert name in HANDLERS
    assert load_handler(name).__name__ == name
    assert find_unsupported(specify(name, "process", start_method="spawn", parameters=GIVEN[name]))


GIVEN = {"shared_table": {"by": "fork"}, "shared_counter": {"by": "thread"}}
