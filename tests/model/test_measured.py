"""What is read of the tables of a study, and what of it counts as a task's own work."""

import json

import pytest
from tests.known_runs import FACTS
from tests.made_runs import measured_run, served, stage_run

from stagebench.model.measured import (
    Calibrated,
    Draw,
    HandOver,
    find_hand_overs,
    find_mix,
    find_pipelines,
    group_runs,
    identify_python,
    is_known,
    measure_work,
    read_calibrated,
    read_measured,
)
from stagebench.model.path import follow_path
from stagebench.model.replay import Alone
from stagebench.model.sharing import Mix
from stagebench.store import read_json
from stagebench.tables.io import make_table, read_tables

KNOWN = Calibrated(cpu_s=0.5, away_s=0.5, held_s=0.25, asks=10.0, wakes=4.0, held_least_s=0.2)


# A task's own work.


def test_what_a_task_was_away_more_than_alone_it_waited():
    task = served(0, 0.0, 3.0, cpu_s=1.0)
    assert measure_work(task, KNOWN) == 1.5


def test_a_task_that_was_away_less_than_alone_did_not_wait():
    assert measure_work(served(0, 0.0, 1.25, cpu_s=1.0), KNOWN) == 1.25


def test_cpu_time_is_at_most_the_service():
    assert measure_work(served(0, 0.0, 1.0, cpu_s=2.0), KNOWN) == 1.0


@pytest.mark.parametrize(("cpu_s", "known"), [(None, KNOWN), (1.0, None)])
def test_without_cpu_time_or_calibration_all_of_the_service_is_work(cpu_s, known):
    assert measure_work(served(0, 0.0, 3.0, cpu_s=cpu_s), known) == 3.0


@pytest.mark.parametrize(
    ("alone", "work_s"),
    [
        # A handler that computes is away in proportion, one that waits as long as it takes.
        (Calibrated(cpu_s=1.0, away_s=0.5, held_s=1.0, asks=0, wakes=0, varies=True), 3.0),
        (Calibrated(cpu_s=0.001, away_s=0.5, held_s=0.0, asks=0, wakes=0, varies=True), 8.0),
        (Calibrated(cpu_s=0.0, away_s=0.5, held_s=0.0, asks=0, wakes=0, varies=True), 8.0),
        (Calibrated(cpu_s=0.001, away_s=0.5, held_s=0.0, asks=0, wakes=0), 2.5),
    ],
)
def test_of_tasks_that_differ_only_proportions_are_known(alone, work_s):
    assert measure_work(served(0, 0.0, 8.0, cpu_s=2.0), alone) == work_s


# What workers do.


def mix_of(*tasks, switch_s=0.005, **others):
    return find_mix(stage_run("s", tasks, **others), switch_s)


def test_a_mix_is_of_the_work_and_of_what_the_calibration_says_of_the_gil():
    mix = mix_of(served(0, 0.0, 3.0, cpu_s=1.0), calibrated=KNOWN)
    # 1.5 s of work; half of the CPU time holds the GIL.
    assert mix == pytest.approx(Mix(cpu=2 / 3, held=1 / 3, asks=10 + 200 / 3, wakes=4.0))


def test_processes_wake_but_hold_no_gil_of_main():
    mix = mix_of(
        served(0, 0.0, 2.0, cpu_s=1.0),
        calibrated=Calibrated(1.0, 1.0, 1.0, 10.0, 4.0),
        executor="process",
        start_method="fork",
    )
    assert mix == Mix(cpu=0.5, wakes=2.0)


@pytest.mark.parametrize(
    ("executor", "expected"),
    [("thread", Mix(cpu=0.25, held=0.25, asks=25.0)), ("process", Mix(cpu=0.25))],
)
def test_without_a_calibration_threads_hold_the_gil_while_they_compute(executor, expected):
    assert mix_of(served(0, 0.0, 4.0, cpu_s=1.0), executor=executor, switch_s=0.01) == expected


def test_tasks_whose_cpu_time_is_not_known_are_left_out_of_a_mix():
    assert mix_of(served(0, 0.0, 9.0, cpu_s=None), served(1, 0.0, 1.0, cpu_s=0.5)).cpu == 0.5
    assert mix_of(served(0, 0.0, 9.0, cpu_s=None)) == Mix()


def test_a_calibration_without_any_cpu_time_holds_nothing():
    known = Calibrated(0.0, 1.0, 0.0, 0.0, 3.0)
    assert mix_of(served(0, 0.0, 1.0, cpu_s=0.5), calibrated=known).held == 0.0


# What tasks are given.


def drawn_stage(**others):
    tasks = [
        served(0, 0.5, 3.5, is_first=True, send_s=0.5, received_s=4.0),
        served(1, 4.25, 5.25, send_s=0.25, received_s=5.5),
        served(2, 5.75, 7.75, send_s=0.25, received_s=8.0),
    ]
    return stage_run("s", tasks, **others)


def test_a_task_of_the_same_run_has_its_own_times():
    assert Draw(drawn_stage(), None).give_own(0) == Alone(0.5, 3.0, 0.5)


def test_other_tasks_take_turns_and_first_ones_take_those_of_first_tasks():
    draw = Draw(drawn_stage(), None)
    assert [draw.give_any(task, is_first=False).serve_s for task in range(3)] == [1.0, 2.0, 1.0]
    assert [draw.give_any(task, is_first=True).serve_s for task in range(2)] == [3.0, 3.0]


def test_hand_overs_are_means_to_later_tasks_and_from_all():
    assert Draw(drawn_stage(), None).give_any(0, is_first=True)[::2] == (0.25, pytest.approx(1 / 3))


def test_hand_overs_may_be_those_of_other_workers():
    handed = stage_run("s", [served(0, 1.0, 2.0, send_s=1.0, received_s=4.0)])
    assert Draw(drawn_stage(), None, handed).give_any(0, is_first=False) == Alone(1.0, 1.0, 2.0)


def test_processes_are_handed_tasks_as_is_known_from_where_that_took_least():
    tasks = [
        served(n, n * 2.0, n * 2.0 + 1.0, send_s=0.5, received_s=n * 2.0 + 1.25) for n in (0, 1)
    ]
    slow = stage_run("s", tasks, executor="process", start_method="fork")
    fast = stage_run("s", [each._replace(send_s=0.25) for each in tasks], executor="process")
    runs = [measured_run(slow), measured_run(fast)._replace(treatment="other")]
    known = find_hand_overs(runs)[slow.conditions.handed]
    assert known == HandOver(0.25, 0.25)
    assert Draw(slow, known).give_own(0) == Alone(0.25, 1.0, 0.25)


def test_hand_overs_between_threads_are_not_of_processes():
    assert find_hand_overs([measured_run(drawn_stage())]) == {}


@pytest.mark.parametrize("is_first", [True, False])
def test_first_and_later_tasks_stand_in_for_each_other(is_first):
    draw = Draw(stage_run("s", [served(0, 0.0, 1.0, is_first=is_first)]), None)
    assert {draw.give_any(0, is_first=first).serve_s for first in (True, False)} == {1.0}


# Tables.


@pytest.fixture(scope="module")
def plan(study):
    return read_json(study / "plan.json")


@pytest.fixture(scope="module")
def runs(tables, plan):
    return read_measured(tables, plan)


def test_runs_are_those_that_were_ok_in_their_order(runs):
    assert [(*run.key, run.replicate) for run in runs] == [
        *(("pipe", "p1-fork", number) for number in (1, 2, 3)),
        *(("pipe", "p2-fork", number) for number in (1, 2, 3)),
        ("alone", "t1", 1),
    ]
    assert list(group_runs(runs)) == [("pipe", "p1-fork"), ("pipe", "p2-fork"), ("alone", "t1")]


def test_a_run_is_read_as_it_was(runs):
    run = runs[3]
    assert (run.makespan_s, run.in_flight, run.arrival, run.has_gil) == (6.0, None, None, True)
    assert run.due_s == {0: 0.0, 1: 0.0}
    work, save = run.stages
    assert work.conditions == (
        "payload",
        '{"size_mib":2.5}',
        "process",
        "fork",
        1,
        False,
        "pickle",
        0,
        "",
    )
    assert (work.after, save.after, save.conditions.workers) == ((), (0,), 2)
    assert (work.starts_s, save.starts_s) == ((0.75,), (0.0, 0.125))
    assert work.served == [
        served(
            0, 1.0, 3.0, is_first=True, due_s=0.0, submitted_s=0.0, received_s=3.5, cpu_s=1.0,
            start_s=0.75, send_s=0.25,
        ),
        served(1, 3.0, 4.0, due_s=0.0, submitted_s=0.0, received_s=4.5, cpu_s=0.5, queue_s=3.0),
    ]  # fmt: skip
    assert [each.is_first for each in save.served] == [True, True]


def test_runs_without_calibrations_have_none(runs):
    assert {stage.calibrated for run in runs for stage in run.stages} == {None}


def test_a_run_with_a_repeated_attempt_is_left_out(known_run, make_task, analyse):
    lost = make_task(0, "work", (10, 10.5, 10.75, 10.75), status="failed")
    again = make_task(0, "work", (10.75, 11, 13, 13.5), cpu=1.0, attempt=2)
    tasks = (again, *known_run().tasks[1:])
    folder = analyse(known_run(tasks=tasks, attempts=(lost,)), known_run(replicate=2, start=40))
    found = read_measured(read_tables(folder / "tables"), read_json(folder / "plan.json"))
    assert [run.replicate for run in found] == [2]


def test_a_runs_engine_is_read_of_the_specification(known_run, analyse):
    other = known_run(treatment="p1-joblib", start=40, specified={"engine": "joblib"})
    folder = analyse(known_run(), other)
    found = read_measured(read_tables(folder / "tables"), read_json(folder / "plan.json"))
    assert [(run.treatment, run.engine) for run in found] == [
        ("p1-fork", ""),
        ("p1-joblib", "joblib"),
    ]


def test_a_limit_and_arrivals_are_read_of_the_specification(known_run, make_task, analyse):
    first, _, *saves = known_run().tasks
    late = make_task(1, "work", (12, 13, 14, 14.5), cpu=0.5, due=11.5)
    arrival = {"kind": "fixed_rate", "rate_per_s": 0.5}
    given = {"in_flight": 1, "arrival": arrival}
    folder = analyse(known_run(tasks=(first, late, *saves), specified=given))
    [run] = read_measured(read_tables(folder / "tables"), read_json(folder / "plan.json"))
    assert (run.in_flight, run.arrival, run.due_s) == (1, arrival, {0: 0.0, 1: 1.5})


def test_cores_are_those_of_the_machine_unless_a_treatment_is_kept_to_some(known_run, analyse):
    process = {"environment": {}, "preload": [], "cpus": [1], "blas_threads": 1}
    folder = analyse(known_run(), known_run(treatment="p2", specified={"process": process}))
    tables = read_tables(folder / "tables")
    rows = [{"property": "cores_usable", "value": "3", "runs": 2, "where": ""}]
    tables["environment"] = make_table("environment", rows)
    found = read_measured(tables, read_json(folder / "plan.json"))
    assert [run.cores for run in found] == [3, 1]
    assert all(0 < run.free_cores <= run.cores for run in found)


def test_a_machine_without_a_gil_is_read_as_one(tables, plan):
    rows = [{"property": "gil", "value": "False", "runs": 7, "where": ""}]
    changed = tables | {"environment": make_table("environment", rows)}
    changed["interpreters"] = make_table("interpreters", [])  # as before there was such a table
    assert not any(run.has_gil for run in read_measured(changed, plan))
    assert {run.cores for run in read_measured(changed, plan)} == {0}


def read_varying(run, tables, plan, tasks):
    """Return whether the tasks of each stage vary, if the treatment of a run has these tasks."""
    known = [
        alone_row(handler=stage.conditions.handler, parameters=stage.conditions.parameters)
        for stage in run.stages
    ]
    changed = json.loads(json.dumps(plan))
    changed["treatments"]["/".join(run.key)]["specification"]["tasks"] = tasks
    [found, *_] = [
        each
        for each in read_measured(tables | {"alone": make_table("alone", known)}, changed)
        if each.key == run.key
    ]
    assert all(stage.calibrated.varies is stage.varies for stage in found.stages)
    return [stage.varies for stage in found.stages]


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (2, [False, False]),
        ([{}, {}], [False, False]),
        ([{"work": {"size_mib": 1}}] * 2, [False, False]),
        ([{"save": {"size": 1}}, {}], [False, True]),
        # What comes after a stage may take results that differ.
        ([{"work": {"size_mib": 1}}, {}], [True, True]),
        ({"file": "a.csv", "number": 2, "columns": {"save.size": ["int"]}}, [False, True]),
    ],
)
def test_stages_vary_whose_tasks_differ_or_come_from_such_a_stage(
    runs, tables, plan, tasks, expected
):
    assert read_varying(runs[3], tables, plan, tasks) == expected


def test_coroutines_are_shared_out_to_as_many_workers_as_there_are_at_a_time(
    known_run, make_task, analyse
):
    stage = known_run().stages[1] | {"name": "ask", "executor": "asyncio", "after": []}
    moments = [(10, 10, 11, 11), (10, 10, 13, 13), (10, 11.5, 12, 12), (10, 12.25, 14, 14)]
    tasks = tuple(make_task(n, "ask", each) for n, each in enumerate(moments))
    folder = analyse(
        known_run(stages=(stage,), tasks=tasks, tasks_planned=4, workers=(), factors={}),
    )
    [run] = read_measured(read_tables(folder / "tables"), read_json(folder / "plan.json"))
    [found] = run.stages
    assert [each.worker for each in found.served] == [0, 1, 0, 0]
    assert [(each.queue_s, each.send_s) for each in found.served] == [
        (0.0, 0.0),
        (0.0, 0.0),
        (1.0, 0.5),
        (2.0, 0.25),
    ]
    assert sum(each.seconds for each in follow_path(run)) == run.makespan_s == 4.0


def alone_row(**changes):
    row = {
        "experiment": "x", "pipeline": "x-1", "stage": "s", "handler": "wait", "parameters": "{}",
        "status": "ok", "tasks": 3, "service_s": 1.0, "cpu_s": 0.5, "away_s": 0.5, "held_s": 0.25,
        "held_least_s": 0.2, "gil_asks": 60.0, "wakes": 4.0, "pair_ratio": 1.0,
    }  # fmt: skip
    return row | changes


def test_a_task_that_is_forced_to_let_go_of_the_gil_did_not_ask_for_it_by_itself():
    # In 0.25 s a spinner takes the GIL away 50 times.
    found = read_calibrated(make_table("alone", [alone_row()]))
    assert found == {("wait", "{}"): KNOWN}
    few = read_calibrated(make_table("alone", [alone_row(gil_asks=20.0)]))
    assert few["wait", "{}"].asks == 0.0


def test_how_often_it_was_forced_follows_from_the_switch_interval_of_its_pipeline():
    diagnoses = [
        {
            "kind": "alone",
            "pipeline": "x-1",
            "specification": {"process": {"switch_interval_s": 0.05}},
        }
    ]
    found = read_calibrated(make_table("alone", [alone_row()]), {"diagnoses": diagnoses})
    assert found["wait", "{}"].asks == 55.0


def test_of_pipelines_with_the_same_handler_a_treatments_own_counts():
    rows = [alone_row(pipeline=f"x-{n}", cpu_s=0.5 * n) for n in (1, 2, 3)]
    table = make_table("alone", rows)
    assert [
        read_calibrated(table, None, name)["wait", "{}"].cpu_s for name in ("x-1", "x-2", None)
    ] == [0.5, 1.0, 0.5]
    specification = {"treatment": "t1", "process": {}}
    diagnoses = [
        {"kind": kind, "experiment": "x", "pipeline": "x-2", "specification": specification}
        for kind in ("treatment", "alone")
    ]
    assert find_pipelines({"diagnoses": diagnoses}) == {"x/t1": "x-2"}
    assert find_pipelines({}) == {}


def test_a_run_has_the_calibration_of_its_own_pipeline(runs, tables, plan):
    work = runs[3].stages[0].conditions
    rows = [
        alone_row(pipeline=f"x-{n}", handler=work.handler, parameters=work.parameters, cpu_s=n / 4)
        for n in (1, 2)
    ]
    diagnoses = [
        {
            "kind": "treatment",
            "experiment": "pipe",
            "pipeline": pipeline,
            "specification": {"treatment": treatment},
        }
        for treatment, pipeline in (("p1-fork", "x-1"), ("p2-fork", "x-2"))
    ]
    changed = tables | {"alone": make_table("alone", rows)}
    found = read_measured(changed, plan | {"diagnoses": diagnoses})
    assert {run.treatment: run.stages[0].calibrated.cpu_s for run in found[:6]} == {
        "p1-fork": 0.25,
        "p2-fork": 0.5,
    }


@pytest.mark.parametrize(
    "missing", ["cpu_s", "away_s", "held_s", "held_least_s", "gil_asks", "wakes"]
)
def test_a_calibration_that_is_not_known_in_full_is_none(missing):
    assert read_calibrated(make_table("alone", [alone_row(**{missing: None})])) == {}


@pytest.mark.parametrize(
    ("value", "known"),
    [(0, True), (0.0, True), ("", True), (None, False), (float("nan"), False)],
)
def test_a_cell_is_known_unless_it_is_missing(value, known):
    assert is_known(value) is known


def with_python(specification, name):
    return specification | {"python": {"name": name, "version": "3.13.5", "build": "1"}}


def test_a_calibration_with_another_interpreter_says_nothing():
    table = make_table("alone", [alone_row()])
    specification = with_python({"treatment": "x-1", "process": {}}, "one")
    plan = {"diagnoses": [{"kind": "alone", "pipeline": "x-1", "specification": specification}]}

    own, other = (identify_python(with_python({}, name)) for name in ("one", "two"))
    assert read_calibrated(table, plan, "x-1", own).keys() == {("wait", "{}")}
    assert read_calibrated(table, plan, None, own).keys() == {("wait", "{}")}
    assert read_calibrated(table, plan, None, other) == {}
    assert read_calibrated(table, plan) == {}, "it is not the one that runs stagebench"


def test_each_run_knows_its_own_interpreter_and_whether_its_gil_was_on(tables, plan):
    changed = json.loads(json.dumps(plan))
    treatment = changed["treatments"]["pipe/p2-fork"]
    treatment["specification"] = with_python(treatment["specification"], "one")
    rows = [
        {"experiment": "pipe", "treatment": "p2-fork", "replicate": number, "gil": gil}
        for number, gil in ((1, False), (2, True))
    ]

    found = read_measured(tables | {"interpreters": make_table("interpreters", rows)}, changed)

    assert [run.has_gil for run in found[3:6]] == [False, True, True]
    assert {bool(run.stages[0].conditions.python) for run in found[3:6]} == {True}
    assert {run.stages[0].conditions.python for run in found[:3]} == {""}


def test_cores_are_those_of_the_runs_node(known_run, analyse):
    environment = FACTS["run"]["environment"]
    runs = [
        known_run(
            replicate=n,
            start=20 * n,
            run={"environment": environment | {"node": node, "cores_usable": cores}},
        )
        for n, (node, cores) in enumerate([("n1", 2), ("n2", 4), ("n1", 2)], start=1)
    ]
    folder = analyse(*runs)
    found = read_measured(read_tables(folder / "tables"), read_json(folder / "plan.json"))
    assert [run.cores for run in found] == [2, 4, 2]
