"""What the analysis needs of `run.json` and `plan.json` is checked before it is used."""

import copy
import json
import re

import pytest
from tests.commands import analyse_study

from stagebench import store
from stagebench.analyse.conditions import describe_conditions
from stagebench.analyse.run_file import PLAN, PLANNED_RUN, PLANNED_TREATMENT, RUN
from stagebench.analyse.traces import list_requests, read_trace
from stagebench.errors import StoreError

PLACE = "pipe/p1-fork/r1"


def names(expected, place=()):
    """Give the place of every key, also of those within another one."""
    for name, kind in expected.items():
        yield (*place, name)
        if isinstance(kind, dict):
            yield from names(kind, (*place, name))


def edit_run(raw, change):
    path = raw / PLACE / store.RUN_FILE
    run = json.loads(path.read_text())
    change(run)
    store.write_json(path, run)


def read_first(plan, raw):
    return read_trace(list_requests(plan)[0], raw)


def test_every_missing_key_of_a_run_is_named(write_runs, known_run):
    plan, raw = write_runs(known_run())
    path = raw / PLACE / store.RUN_FILE
    whole = json.loads(path.read_text())
    for *within, name in names(RUN):
        run = copy.deepcopy(whole)
        holder = run
        for key in within:
            holder = holder[key]
        del holder[name]
        store.write_json(path, run)
        with pytest.raises(StoreError, match=rf"run\.json: no {'.'.join([*within, name])}; remove"):
            read_first(plan, raw)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("status", "great", "status is 'great', expected one of ok, tasks_failed, worker_lost"),
        ("status", None, "status is None, expected one of ok"),
        ("replicate", True, "replicate is True, expected a whole number from 0"),
        ("lock_wait_s", -0.5, "lock_wait_s is -0.5, expected a number from 0, or null"),
        ("cpu_user_s", float("nan"), "cpu_user_s is nan, expected a number from 0, or null"),
        ("cpu_user_s", "1.5", "cpu_user_s is '1.5', expected a number from 0, or null"),
        ("started_at", "2026-02-30", "started_at is '2026-02-30', expected a time with its zone"),
        ("sampler", [], "sampler is [], expected a mapping"),
        ("exited_ns", 1, "exited_ns is 1, before exec_ns"),
        ("specification", None, "specification is None, expected a mapping"),
    ],
)
def test_a_wrong_value_of_a_run_is_an_error(write_runs, known_run, key, value, words):
    plan, raw = write_runs(known_run())
    edit_run(raw, lambda run: run.update({key: value}))
    with pytest.raises(StoreError, match=rf"r1/run\.json: {re.escape(words)}.*; remove the folder"):
        read_first(plan, raw)


def test_all_problems_of_a_run_are_named_at_once(write_runs, known_run):
    plan, raw = write_runs(known_run())
    edit_run(raw, lambda run: run.update(status="great", detail=1))
    with pytest.raises(StoreError, match=r"status is 'great', .*; detail is 1, expected a text"):
        read_first(plan, raw)


def test_what_a_server_used_is_checked_where_a_run_had_one(write_runs, known_run):
    plan, raw = write_runs(known_run())
    edit_run(raw, lambda run: run["noise"].update(server_cpu_share=0.25))
    run = read_first(plan, raw).run
    assert "the server beside it used 25 % of CPU time" in describe_conditions(run)["noisy"]
    edit_run(raw, lambda run: run["noise"].update(server_cpu_share="much"))
    with pytest.raises(StoreError, match=r"noise\.server_cpu_share is 'much', expected a number"):
        read_first(plan, raw)


def test_settings_that_were_read_only_once_are_an_error(write_runs, known_run):
    plan, raw = write_runs(known_run())
    edit_run(raw, lambda run: run["machine_after"]["settings"].pop("aslr"))
    with pytest.raises(StoreError, match=r"machine_after have other settings: \['aslr'\]"):
        read_first(plan, raw)


def spoiled_plans(plan):
    yield [], "not a plan"
    for name in PLAN:
        yield {key: value for key, value in plan.items() if key != name}, f"no {name}"
    for name in PLANNED_RUN:
        run = {key: value for key, value in plan["runs"][0].items() if key != name}
        yield plan | {"runs": [run]}, rf"no runs\[0\]\.{name}"
    for name in PLANNED_TREATMENT:
        treatments = copy.deepcopy(plan["treatments"])
        del treatments["pipe/p1-fork"][name]
        yield plan | {"treatments": treatments}, f"no treatments.pipe/p1-fork.{name}"
    yield plan | {"experiments": [{}]}, r"no experiments\[0\]\.name"
    yield plan | {"treatments": {}}, r"runs\[0\] is of no treatment of the plan"
    yield plan | {"runs": [None]}, r"runs\[0\] is None, expected a mapping"


def test_a_plan_that_is_none_is_an_error_that_names_it(write_runs, known_run, tmp_path):
    plan, raw = write_runs(known_run())
    path = tmp_path / "plan.json"
    for spoiled, words in spoiled_plans(plan):
        store.write_json(path, spoiled)
        with pytest.raises(
            StoreError, match=rf"plan\.json: {words}.*; remove it to write it again"
        ):
            analyse_study(path, raw, None, tmp_path / "tables")
