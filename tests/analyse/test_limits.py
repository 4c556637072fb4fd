"""The tables of floors, paths, limits and parts: of known runs, and of a real study."""

import pytest
from tests.made_runs import even_run, measured_run, random_run, served, stage_run

from stagebench.analyse.limits import choose_median, make_limit_tables, make_parts_table
from stagebench.model.measured import Calibrated, is_known
from stagebench.tables.io import list_rows, make_table, read_tables
from stagebench.tables.schema import TASK_TIME


def rows_of(tables, name, **where):
    rows = list_rows(tables[name])
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def make(*runs):
    return make_limit_tables(runs)


def limit_of(*runs):
    [row] = rows_of(make(*runs), "limits")
    return row


# Known runs.


def test_each_floor_has_its_distance_below_the_makespan():
    tables = make(even_run(workers=2, tasks=6))
    assert [
        (row["resource"], row["stage"], row["floor_s"]) for row in rows_of(tables, "floors")
    ] == [
        ("workers", "work", 3.0),
        ("path of a task", "", 1.0),
        ("cores", "", 0.0),
        ("GIL", "", 0.0),
    ]
    above = [row["above"] for row in rows_of(tables, "floors")]
    assert above[:2] == [0.0, 2.0]
    assert above[2] != above[2]  # there is no distance above a floor of nothing


def test_a_resource_that_is_full_is_named_with_its_stage():
    row = limit_of(even_run(workers=2, tasks=6))
    assert (row["resource"], row["stage"], row["is_full"], row["above"]) == (
        "workers",
        "work",
        True,
        0.0,
    )
    assert (row["floor_s"], row["makespan_s"], row["own_s"], row["lost_s"]) == (3.0, 3.0, 3.0, 0.0)
    assert (row["largest_part"], row["others_full"], row["calibrated"]) == ("", "", False)


def test_others_that_are_full_are_named_too():
    tasks = [served(n, n / 1, n + 1.0, cpu_s=1.0, due_s=0.0, submitted_s=0.0) for n in range(3)]
    known = Calibrated(1.0, 0.0, held_s=1.0, asks=0.0, wakes=0.0, held_least_s=1.0)
    row = limit_of(measured_run(stage_run("s", tasks, calibrated=known), cores=1))
    assert row["resource"] == "workers"
    assert row["others_full"] == "cores, GIL"
    assert (row["cores"], row["cores_used"], row["calibrated"]) == (1, 1.0, True)


def test_if_nothing_is_full_the_largest_part_that_was_lost_is_named():
    task = served(0, 3.0, 4.0, submitted_s=0.0, due_s=0.0, start_s=2.0, send_s=1.0)
    row = limit_of(measured_run(stage_run("s", [task])))
    assert (row["is_full"], row["above"]) == (False, 3.0)
    assert (row["largest_part"], row["largest_part_s"]) == ("start of a worker", 2.0)
    assert (row["own_s"], row["lost_s"]) == (1.0, 3.0)


def test_the_longest_task_limits_a_run_of_one_task():
    tasks = [
        stage_run("a", [served(0, 0.0, 0.1)]),
        stage_run("b", [served(0, 0.1, 0.4)], after=(0,)),
    ]
    row = limit_of(measured_run(*tasks))
    assert row["resource"] == "path of a task"
    assert row["others_full"] == "workers a, workers b"


def test_the_row_of_a_treatment_is_of_its_run_of_median_makespan():
    runs = [even_run(seconds=s, replicate=n) for n, s in enumerate((3.0, 1.0, 2.0, 9.0), 1)]
    assert choose_median(runs).replicate == 3  # of the middle two, the faster
    assert limit_of(*runs)["replicate"] == 3
    assert len(make(*runs)["floors"]) == 4 * 4


def test_cores_that_are_not_known_are_missing():
    row = limit_of(even_run(cores=0))
    assert not is_known(row["cores"])
    assert "cores" not in {one["resource"] for one in rows_of(make(even_run(cores=0)), "floors")}


def test_shares_of_a_path_add_up_to_one():
    for seed in range(40):
        run = random_run(seed)
        rows = rows_of(make(run), "paths")
        assert sum(row["share"] for row in rows) == pytest.approx(1.0)
        row = limit_of(run)
        assert row["own_s"] + row["lost_s"] == pytest.approx(run.makespan_s)


def test_a_run_on_another_engine_has_floors_and_no_path():
    run = even_run()
    other = run._replace(engine="dask")
    assert [*make(other)["floors"]["floor_s"]] == [*make(run)["floors"]["floor_s"]]
    assert make(other)["paths"].empty
    row = limit_of(other)
    assert row["largest_part"] == ""
    assert not any(is_known(row[name]) for name in ("own_s", "lost_s", "largest_part_s"))


def test_no_runs_have_no_limits():
    assert [len(table) for table in make().values()] == [0, 0, 0]


# Parts.

SPECIFICATION = {
    "stages": [
        {"name": "s", "handler": "wait", "parameters": {"delay_s": 1.0}, "executor": "thread"}
    ],
    "process": {},
}
TIMES = {"blocked_s": 0.5, "queue_s": 1.0, "start_s": 0.0, "send_s": 0.25, "return_s": 0.75}


def diagnosed(**changes):
    row = {
        "experiment": "x", "treatment": "t", "stage": "s", "task": 0, "attempt": 1, "status": "ok",
        "started_s": 0.0, "finished_s": 3.0, "service_s": 3.0, "cpu_s": 1.0, "core_wait_s": 0.25,
        "voluntary_switches": 201, "response_s": 5.0,
    }  # fmt: skip
    return row | TIMES | changes


def alone(**changes):
    row = {
        "experiment": "x", "pipeline": "x-1", "stage": "s", "handler": "wait",
        "parameters": '{"delay_s":1.0}', "status": "ok", "tasks": 3, "service_s": 2.0, "cpu_s": 1.0,
        "away_s": 1.0, "held_s": 0.5, "held_least_s": 0.5, "gil_asks": 0.0, "wakes": 1.0,
    }  # fmt: skip
    return row | changes


def parts(rows, calibrations=None, executor="thread"):
    """Return the rows of the table of parts, without what is missing."""
    [stage] = SPECIFICATION["stages"]
    plan = {
        "treatments": {
            "x/t": {"specification": SPECIFICATION | {"stages": [stage | {"executor": executor}]}}
        }
    }
    tables = {
        "alone": make_table("alone", [alone()] if calibrations is None else calibrations),
        "diagnosed": make_table("diagnosed", rows),
    }
    found = make_parts_table(tables, plan)
    return [
        {name: value for name, value in row.items() if is_known(value)} for row in list_rows(found)
    ]


def test_parts_but_that_before_it_was_taken_add_up_to_the_time_of_a_task():
    # Each waits for the GIL no longer than the other one holds it.
    [row] = parts([diagnosed(), diagnosed(task=1)])
    inside = {"held_s": 0.5, "computing_s": 0.5, "gil_wait_s": 0.5, "core_wait_s": 0.25}
    assert row == {
        "experiment": "x", "treatment": "t", "stage": "s", "tasks": 2, **TIMES, **inside,
        "asleep_s": 1.25, "response_s": 5.0,
    }  # fmt: skip
    assert sum(row[f"{part}_s"] for part in TASK_TIME) - row["blocked_s"] == row["response_s"]


def test_parts_are_means_over_tasks():
    [row] = parts([diagnosed(), diagnosed(task=1, queue_s=2.0, response_s=6.0)])
    assert (row["tasks"], row["queue_s"], row["response_s"]) == (2, 1.5, 5.5)


def test_a_process_does_not_wait_for_the_gil():
    [row] = parts([diagnosed(), diagnosed(task=1)], executor="process")
    assert (row["gil_wait_s"], row["asleep_s"]) == (0.0, 1.75)


def test_a_task_that_nobody_is_beside_does_not_wait_for_the_gil():
    [row] = parts([diagnosed(), diagnosed(task=1, started_s=3.0, finished_s=6.0)])
    assert (row["gil_wait_s"], row["asleep_s"]) == (0.0, 1.75)


@pytest.mark.parametrize(
    ("rows", "calibrations"),
    [
        ([diagnosed()], ()),
        ([diagnosed()], (alone(parameters='{"delay_s":2.0}'),)),
        ([diagnosed(core_wait_s=None)], (alone(),)),
        ([diagnosed(cpu_s=None)], (alone(),)),
        ([diagnosed(), diagnosed(voluntary_switches=None)], (alone(),)),
    ],
)
def test_what_is_inside_a_service_that_cannot_be_known_is_missing(rows, calibrations):
    [row] = parts(rows, calibrations)
    assert not {"held_s", "computing_s", "gil_wait_s", "core_wait_s", "asleep_s"} & set(row)
    assert {name: row[name] for name in TIMES} == TIMES


def test_tasks_that_failed_or_did_not_end_are_in_no_part():
    rows = [diagnosed(status="failed"), diagnosed(task=1, response_s=None)]
    assert parts(rows) == []
    assert parts([{"experiment": "x", "treatment": "t", "status": "timed_out"}]) == []


# Studies.


def test_a_study_without_calibrations_has_limits_all_the_same(tables):
    assert not tables["limits"]["calibrated"].any()
    assert list(tables["limits"]["treatment"]) == ["p1-fork", "p2-fork", "t1"]
    assert set(tables["paths"]["part"]) <= {
        "on a CPU", "blocked or asleep", "first task of a worker", "start of a worker", "hand-over",
        "held back", "other",
    }  # fmt: skip
    assert tables["parts"].empty


def test_a_real_study_has_what_can_be_known_of_each_experiment(small):
    tables = read_tables(small / "tables")
    limits = {(row["experiment"], row["treatment"]): row for row in list_rows(tables["limits"])}
    assert [key[0] for key in limits] == ["grid", "grid", "ask", "list"]
    by_name = {key[0]: row for key, row in limits.items()}
    assert by_name["grid"]["calibrated"]
    assert not by_name["ask"]["calibrated"]  # coroutines
    one, *_ = [row for key, row in limits.items() if key[0] == "grid"]
    assert (one["resource"], one["stage"], one["is_full"]) == ("workers", "get", True)
    assert (by_name["ask"]["resource"], by_name["ask"]["is_full"]) == ("workers", True)
    assert (by_name["list"]["resource"], by_name["list"]["is_full"]) == ("path of a task", True)


def test_floors_and_paths_of_a_real_study_hold(small):
    tables = read_tables(small / "tables")
    runs = {
        (row["experiment"], row["treatment"], row["replicate"]): row["makespan_s"]
        for row in list_rows(tables["runs"])
    }
    key = ["experiment", "treatment", "replicate"]
    for name, own in tables["floors"].groupby(key):
        assert own["floor_s"].max() <= runs[name] * (1 + 1e-6)
    for name, own in tables["paths"].groupby(key):
        assert own["path_s"].sum() == pytest.approx(runs[name], rel=1e-6)
    assert set(tables["floors"]["experiment"]) == {"grid", "ask", "list"}


def test_parts_of_a_real_study_add_up(small):
    tables = read_tables(small / "tables")
    rows = {
        (row["experiment"], row["treatment"], row["stage"]): row
        for row in list_rows(tables["parts"])
    }
    assert {key[0] for key in rows} == {"grid", "ask", "list", "broken"}
    for key, row in rows.items():
        if key[0] in ("grid", "list"):
            total = sum(row[f"{part}_s"] for part in TASK_TIME) - row["blocked_s"]
            assert total == pytest.approx(row["response_s"], rel=1e-6), key
    [ask] = [row for key, row in rows.items() if key[0] == "ask"]
    assert ask["held_s"] != ask["held_s"]
    assert ask["response_s"] > 0
