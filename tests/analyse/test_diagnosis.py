"""Tables of the runs that diagnose, from calls whose costs are known."""

import json

import pandas as pd
import pytest
from tests.commands import analyse_study
from tests.known_runs import MAIN, STAGES, add_diagnoses, task

from stagebench import store
from stagebench.analyse.run_file import check_plan
from stagebench.analyse.study import summarise_study
from stagebench.errors import StoreError
from stagebench.tables.io import read_tables

SAVE = STAGES[1] | {"name": "save", "after": [], "executor": "thread"}
ONE, OTHER = (MAIN, 7), (MAIN, 8)
NO_SCHEDSTAT = {"wait": None}


def serve(*spans, cpu=(), workers=(ONE,)):
    """Make a task for each span in service; workers take turns."""
    times = cpu or [1.0] * len(spans)
    return tuple(
        task(n, "save", (0, began, ended, ended), cpu=times[n], worker=workers[n % len(workers)])
        for n, (began, ended) in enumerate(spans)
    )


@pytest.fixture
def calibrate(known_run, make_call):
    """Return the three calibrations of a pipeline whose only stage computes and waits.

    Each has three tasks; the first one of each worker is left out. Changes are by kind.
    """

    def call(began, ended, **costs):
        return make_call(began, ended, **({"worker": ONE} | costs))

    def make(more=None, **changes):
        runs = {
            "alone": {
                "tasks": serve((20, 29), (30, 32), (40, 44), cpu=(9, 1, 2)),
                "diagnosis": (
                    call(20, 29, wait=0, switches=(99, 0)),
                    call(30, 32, wait=0.25, switches=(3, 1)),
                    call(40, 44, wait=0.25, switches=(5, 0)),
                ),
            },
            "beside": {
                "tasks": serve((20, 29), (30, 34), (40, 44), cpu=(9, 1, 1)),
                "diagnosis": (
                    call(20, 29, wait=0, spinner=0),
                    call(30, 34, wait=0.25, spinner=1),
                    call(40, 44, wait=0.25, spinner=3),
                ),
            },
            "pair": {
                "tasks": serve((10, 19), (10, 19), (20, 24), (20, 25), workers=(ONE, OTHER)),
                "tasks_planned": 4,
            },
        }
        facts = {"treatment": "pipe-1", "stages": (SAVE,), "tasks_planned": 3, "workers": ()}
        return [
            (kind, known_run(**facts | run | (more or {}) | changes.get(kind, {})))
            for kind, run in runs.items()
        ]

    return make


@pytest.fixture
def summarise(write_runs, known_run):
    """Return the tables of a study of one run with some diagnoses."""
    return lambda *diagnoses: summarise_study(*add_diagnoses(*write_runs(known_run()), diagnoses))


@pytest.fixture
def alone(summarise, calibrate):
    """Return the only row of the table `alone`."""

    def make(more=None, **changes):
        (row,) = summarise(*calibrate(more, **changes))["alone"].to_dict("records")
        return row

    return make


def test_a_pipeline_is_the_median_of_its_later_tasks_and_away_as_the_least_disturbed(alone):
    row = alone()

    assert (row["experiment"], row["pipeline"], row["stage"]) == ("pipe", "pipe-1", "save")
    assert row["handler"] == SAVE["handler"]
    assert json.loads(row["parameters"]) == SAVE["parameters"]
    assert (row["status"], row["tasks"]) == ("ok", 2)
    assert (row["service_s"], row["cpu_s"], row["away_s"]) == (3, 1.5, 0.75)
    assert row["wakes"] == 4


def test_what_the_spinner_did_not_get_the_handler_held_but_no_longer_than_it_computed(
    alone, make_call
):
    assert alone()["held_s"] == 1.5  # of 2 that the spinner did not get

    def spare(spinner):
        calls = [
            make_call(*span, wait=0.25, spinner=spinner, worker=ONE)
            for span in ((20, 29), (30, 34), (40, 44))
        ]
        row = alone(beside={"diagnosis": tuple(calls)})
        return row["held_least_s"], row["held_s"]

    # 0.75 of a second that it computed beside the spinner, of which it waited for a core for 0.25,
    # with the GIL or without it: half of 1.5, or three quarters.
    assert spare(3.25) == pytest.approx((0.75, 0.9375))
    assert spare(4.5) == (0, 0)  # two clocks


def test_each_switch_interval_away_beside_a_spinner_is_an_ask(alone):
    assert alone()["gil_asks"] == pytest.approx((2.75 - 0.75) / 0.005)
    process = {"environment": {}, "preload": [], "cpus": None, "blas_threads": 1}
    slow = {"specified": {"process": process | {"switch_interval_s": 0.5}}}
    assert alone(slow)["gil_asks"] == pytest.approx(4)


def test_a_handler_that_is_away_for_less_beside_a_spinner_never_asks(alone, make_call):
    calls = [make_call(*span, wait=3, spinner=1, worker=ONE) for span in ((30, 34), (40, 44))]
    assert alone(beside={"diagnosis": tuple(calls)})["gil_asks"] == 0


def test_a_pair_are_tasks_that_were_served_at_once_for_most_of_their_time(alone):
    assert alone()["pair_ratio"] == 1.5

    def pair(*spans):
        tasks = serve((10, 19), (10, 19), *spans, workers=(ONE, OTHER))
        return alone(pair={"tasks": tasks})["pair_ratio"]

    assert pair((20, 26), (20, 28)) == 2  # of the second, the first covers three quarters
    assert pd.isna(pair((20, 24), (23, 27)))


def test_the_first_tasks_count_if_there_are_no_others(alone):
    row = alone(
        alone={"tasks": serve((20, 29), cpu=(4,)), "tasks_planned": 1},
        beside={"tasks": serve((20, 29), cpu=(4,)), "tasks_planned": 1},
        pair={"tasks": serve((10, 19), (10, 19), workers=(ONE, OTHER)), "tasks_planned": 2},
    )

    assert (row["tasks"], row["service_s"], row["cpu_s"], row["pair_ratio"]) == (1, 9, 4, 1)


def missing(row):
    return {name for name, value in row.items() if pd.isna(value)}


def test_what_needs_a_calibration_that_failed_is_missing_and_the_status_says_why(alone):
    failed = {"status": "timed_out", "detail": "still running"}

    row = alone(beside=failed)

    assert row["status"] == "beside: timed_out: still running"
    assert missing(row) == {"held_s", "held_least_s", "gil_asks"}
    row = alone(alone=failed)
    assert row["status"] == "alone: timed_out: still running"
    assert row["tasks"] == 0
    numbers = {"service_s", "cpu_s", "away_s", "held_s", "gil_asks", "wakes", "pair_ratio"}
    numbers |= {"held_least_s"}
    assert missing(row) == numbers
    row = alone(alone=failed, pair={"status": "crashed"})
    assert row["status"] == "alone: timed_out: still running; pair: crashed"


def test_what_a_kernel_does_not_count_is_missing_and_the_status_says_so(alone, make_call):
    spans = ((20, 29), (30, 32), (40, 44))
    calls = tuple(make_call(*span, wait=None, worker=ONE) for span in spans)

    row = alone(alone={"diagnosis": calls})

    assert row["status"] == "the kernel does not count how long a thread waits for a core"
    assert missing(row) == {"away_s", "gil_asks"}


def test_of_coroutines_only_the_service_time_is_known(alone):
    tasks = tuple(task(n, "save", (0, 20 + n, 22 + n, 22 + n), worker=ONE) for n in range(3))
    shared = {"stages": (SAVE | {"executor": "asyncio"},)}

    none = {"tasks": tasks, "diagnosis": ()}
    row = alone(shared, alone=none, beside=none, pair=none | {"tasks_planned": 3})

    assert (row["status"], row["service_s"]) == ("coroutines share a thread", 2)
    assert missing(row) == {
        "cpu_s",
        "away_s",
        "held_s",
        "held_least_s",
        "gil_asks",
        "wakes",
        "pair_ratio",
    }


def test_a_task_of_a_treatment_has_its_times_and_the_costs_of_its_call(
    summarise, known_run, make_call
):
    calls = (
        make_call(11.5, 12.5, wait=0.5, switches=(3, 1)),
        make_call(13, 14, wait=None, switches=(2, 0)),
        make_call(13.5, 14, worker=(MAIN, 9)),  # another thread's
        make_call(14.5, 15.75, worker=(MAIN, 8)),  # beyond its time in service
    )

    table = summarise(("treatment", known_run(diagnosis=calls)))["diagnosed"]

    places = zip(table["stage"], table["task"], strict=True)
    assert list(places) == [("work", 0), ("save", 0), ("work", 1), ("save", 1)]
    assert set(zip(table["experiment"], table["treatment"], strict=True)) == {("pipe", "p1-fork")}
    first, saved, second, last = table.to_dict("records")
    assert (first["attempt"], first["status"], first["first"]) == (1, "ok", True)
    times = ("blocked_s", "waiting_s", "service_s", "cpu_s", "return_s")
    assert [first[name] for name in times] == [0, 1, 2, 1, 0.5]
    assert first["core_wait_s"] == 0.5
    assert (first["voluntary_switches"], first["other_switches"]) == (3, 1)
    assert (second["first"], second["voluntary_switches"]) == (False, 2)
    assert missing(second) == {"core_wait_s"}
    unknown = {"core_wait_s", "voluntary_switches", "other_switches"}
    assert missing(saved) == missing(last) == unknown


def test_a_call_belongs_to_its_attempt_and_no_other(summarise, known_run, make_call):
    stage = STAGES[0] | {"retries": 1}
    tried = task(0, "work", (10, 11, 12, 12), cpu=0.5, status="failed")
    again = task(0, "work", (12, 12, 13, 13), cpu=0.5, attempt=2)
    calls = (make_call(12, 13, switches=(2, 0)), make_call(11, 12, switches=(1, 0)))
    facts = {"stages": (stage,), "tasks_planned": 1, "tasks": (again,), "attempts": (tried,)}

    table = summarise(("treatment", known_run(**facts, workers=(), diagnosis=calls)))["diagnosed"]

    (row,) = table.to_dict("records")
    assert (row["attempt"], row["voluntary_switches"], row["first"]) == (2, 2, False)


def test_a_treatment_that_failed_as_a_whole_has_a_row_that_says_how(summarise, known_run):
    run = known_run(status="crashed", detail="exit code 1: no module", tasks=())

    (row,) = summarise(("treatment", run))["diagnosed"].to_dict("records")

    assert row["status"] == "crashed: exit code 1: no module"
    assert (row["treatment"], row["stage"]) == ("p1-fork", "")
    assert pd.isna(row["task"])


def test_runs_that_diagnose_are_in_no_other_table(summarise, calibrate, known_run):
    with_them = summarise(*calibrate(), ("treatment", known_run(start=40)))
    without = summarise()

    assert without["alone"].empty
    assert without["diagnosed"].empty
    assert (len(with_them["alone"]), len(with_them["diagnosed"])) == (1, 4)
    for name in sorted(set(without) - {"alone", "diagnosed"}):
        assert with_them[name].equals(without[name]), name


def test_a_run_that_was_not_made_is_named(write_runs, known_run):
    plan, raw = add_diagnoses(*write_runs(known_run()), [("treatment", known_run())])
    plan["diagnoses"][0]["name"] = "treatments/pipe/other"

    with pytest.raises(StoreError, match=r"diagnosis/treatments/pipe/other: .* not been measured"):
        summarise_study(plan, raw)


def test_calls_that_were_changed_since_are_refused(write_runs, known_run, make_call):
    run = known_run(diagnosis=(make_call(11, 13),))
    plan, raw = add_diagnoses(*write_runs(known_run()), [("treatment", run)])
    folder = raw.with_name("diagnosis") / "treatments/pipe/p1-fork"
    recorded = store.read_json(folder / store.RUN_FILE)
    files = store.describe_files(folder)
    del files[store.RUN_FILE]
    store.write_json(folder / store.RUN_FILE, recorded | {"files": files})
    assert len(summarise_study(plan, raw)["diagnosed"]) == 4
    path = folder / store.DIAGNOSIS_FILE
    path.write_text(path.read_text().replace("11000000000", "11000000001"))

    with pytest.raises(StoreError, match=r"diagnosis\.csv: not the content that was written"):
        summarise_study(plan, raw)


def test_a_run_of_another_specification_is_refused(write_runs, known_run):
    plan, raw = add_diagnoses(*write_runs(known_run()), [("treatment", known_run())])
    plan["diagnoses"][0]["specification"]["diagnose"] = {"spinner": True}

    with pytest.raises(StoreError, match="measured with a specification that is not the plan's"):
        summarise_study(plan, raw)


def test_the_command_writes_both_tables(write_runs, known_run, calibrate, tmp_path):
    plan, raw = add_diagnoses(*write_runs(known_run()), calibrate())
    (tmp_path / "plan.json").write_text(json.dumps(plan))

    analyse_study(tmp_path / "plan.json", raw, None, tmp_path / "tables")

    tables = read_tables(tmp_path / "tables")
    assert (len(tables["alone"]), len(tables["diagnosed"])) == (1, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda some: some[0].update(kind="solo"), "diagnoses[0].kind is 'solo', expected one of"),
        (lambda some: some[0].pop("specification"), "no diagnoses[0].specification"),
        (
            lambda some: some.pop(),
            "pipeline pipe-1 has the diagnoses alone, beside, expected alone",
        ),
        (lambda some: some.append(3), "diagnoses[3] is 3, expected a mapping"),
    ],
)
def test_a_plan_with_other_diagnoses_is_refused(write_runs, known_run, calibrate, change, words):
    plan, raw = add_diagnoses(*write_runs(known_run()), calibrate())
    change(plan["diagnoses"])

    with pytest.raises(StoreError) as caught:
        check_plan(raw.with_name("plan.json"), plan)

    assert words in str(caught.value)
