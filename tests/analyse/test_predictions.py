"""Tables of replays and predictions, and what a change does to a treatment."""

import math

import pytest
from tests.made_runs import even_run, measured_run, served, stage_run

from stagebench.analyse.predictions import (
    Knowledge,
    ask,
    learn,
    list_changes,
    list_profile,
    make_prediction_tables,
)
from stagebench.errors import ModelError
from stagebench.model.measured import Calibrated, is_known
from stagebench.model.predict import Checked, describe_run, leave_one_out, reproduce_all
from stagebench.model.whatif import Change, parse_changes
from stagebench.store import read_json
from stagebench.tables.io import list_rows, make_table, read_tables

FORK = {"executor": "process", "start_method": "fork"}


def know(*runs, checked=None):
    reproduced = reproduce_all(runs)
    return Knowledge(runs, reproduced, 0, leave_one_out(reproduced) if checked is None else checked)


def ask_for(knowledge, runs, *texts):
    return ask(knowledge, runs, parse_changes(texts, runs, {runs[0].treatment: {}}))


def predict_tables(*runs, chosen=()):
    """Return the rows of both tables, without cells that are missing or empty.

    `chosen` has the treatment that is advised, of some experiments.
    """
    rows = [{"experiment": name, "treatment": treatment} for name, treatment in chosen]
    tables = make_prediction_tables(know(*runs), make_table("advice", rows))
    return [
        [
            {name: value for name, value in row.items() if is_known(value) and value != ""}
            for row in list_rows(tables[name])
        ]
        for name in ("replays", "predictions")
    ]


# Changes.


def test_nothing_is_predicted_of_another_engine_or_from_it():
    run = even_run(tasks=12)
    slow = even_run(tasks=12, seconds=9.0)._replace(engine="dask", treatment="t1-dask")
    assert ask_for(know(run), [run], "work.workers=2") == ask_for(
        know(run)._replace(runs=[slow, run]), [run], "work.workers=2"
    )
    with pytest.raises(ModelError, match="the model is of the runner, not of dask"):
        ask_for(know(run), [slow], "work.workers=2")


def test_a_change_is_asked_of_a_treatment():
    run = even_run(tasks=12)
    assert ask_for(know(run), [run]).makespan_s == 12.0
    assert ask_for(know(run), [run], "work.workers=2").makespan_s == 6.0
    assert ask_for(know(run), [run], "work.workers=2", "work.speed=2").makespan_s == 3.0


def test_the_error_of_the_model_on_the_unchanged_treatment_is_taken_out():
    run = even_run(tasks=12)._replace(makespan_s=15.0)  # of which 12 s are in the records
    assert ask_for(know(run), [run], "work.workers=2").makespan_s == 7.5


HOLDS = Calibrated(1.0, 0.0, held_s=1.0, asks=0.0, wakes=0.0, held_least_s=1.0)


def computing(held=1.0, **others):
    """Make a run of four tasks that compute for a second each, though it took only 2 s."""
    run = even_run(calibrated=HOLDS._replace(held_s=held, held_least_s=held), **others)
    [stage] = run.stages
    own = [each._replace(cpu_s=1.0) for each in stage.served]
    return run._replace(stages=[stage._replace(served=own)], makespan_s=2.0)


@pytest.mark.parametrize(
    ("run", "texts", "seconds"),
    [
        (computing(), ["work.speed=2"], 2.0),  # the GIL
        (computing(), ["work.speed=2", "gil=off"], 1.0),  # the cores
        (computing(), ["work.speed=2", "gil=off", "cores=8"], 1.0),  # as predicted
        (computing(), ["work.workers=4", "gil=off", "cores=8"], 0.5),
        (computing(held=0.0, workers=1), ["work.workers=4", "cores=4"], 1.0),
        (computing(held=0.0, workers=1, **FORK), ["tasks=8"], 4.0),
    ],
)
def test_no_correction_makes_a_prediction_faster_than_cores_and_gil_allow(run, texts, seconds):
    assert ask_for(know(run), [run], *texts).makespan_s == pytest.approx(seconds, rel=1e-3)


def test_an_interval_holds_the_predictions_of_all_replicates_and_nine_of_ten_errors():
    runs = [even_run(seconds=s, replicate=n) for n, s in enumerate((1.0, 1.25, 1.5))]
    found = ask_for(know(*runs, checked=[Checked("x", "t", 1.0, math.exp(0.1), 0.0)]), runs)
    assert found.makespan_s == 5.0
    assert found.low_s == pytest.approx(4 * math.exp(-0.1))
    assert found.high_s == pytest.approx(6 * math.exp(0.1))


def test_without_a_prediction_that_was_checked_an_interval_has_no_end():
    run = even_run()
    assert ask_for(know(run), [run])[1:3] == (0.0, math.inf)


def test_what_was_never_measured_is_named():
    run = even_run()
    assert ask_for(know(run), [run]).beyond == []
    assert ask_for(know(run), [run], "cores=8", "work.speed=2").beyond == [
        "measured on 2 cores alone",
        "another speed of work was not measured",
    ]


def test_a_handler_that_was_not_measured_cannot_be_predicted():
    run = even_run()
    other = describe_run(even_run(handler="other"))
    with pytest.raises(ModelError, match="no other run has the handler 'other'"):
        ask(know(run), [run], [Change("handler=other", lambda _: other)])


def test_a_study_knows_the_runs_of_each_experiment():
    runs = [even_run(), even_run(experiment="other"), even_run(replicate=2)]
    assert know(*runs).of("pipe") == [runs[0], runs[2]]
    assert know(*runs).of("none") == []
    assert know(*runs).wake_s == 0.0


# What people would try.


def texts(changes):
    return [change.text for change in changes]


def pipe(**whole):
    first = stage_run("get", [served(0, 0.0, 1.0), served(1, 0.0, 1.0, worker=1)], workers=4)
    second = stage_run("sum", [served(0, 1.0, 2.0), served(1, 2.0, 3.0)], after=(0,), **FORK)
    return measured_run(first, second, **whole)


def test_changes_are_those_that_concern_each_stage_and_the_machine():
    run = pipe()
    assert texts(list_changes(describe_run(run), [run])) == [
        "get.workers=8", "get.workers=2", "sum.workers=2", "cores=4", "cores=16", "gil=off",
        "get.speed=2", "sum.speed=2", "sum.queue_size=1", "sum.batch=4",
    ]  # fmt: skip


def test_a_limit_of_tasks_in_flight_may_be_twice_as_high():
    run = pipe(in_flight=3)
    assert "in_flight=6" in texts(list_changes(describe_run(run), [run]))


def test_what_is_not_there_cannot_be_changed():
    run = pipe(cores=0, has_gil=False)
    second = run.stages[1]._replace(queue_size=2, batch=4)
    run = run._replace(stages=[run.stages[0], second])
    assert texts(list_changes(describe_run(run), [run])) == [
        "get.workers=8", "get.workers=2", "sum.workers=2", "get.speed=2", "sum.speed=2",
    ]  # fmt: skip


def test_every_change_does_what_its_text_says():
    run = pipe(in_flight=3)
    before = describe_run(run)
    for change in list_changes(before, [run]):
        [parsed] = parse_changes([change.text], [run], {"t1": {}})
        assert change.apply(before) == parsed.apply(before), change.text


def test_a_profile_makes_each_stage_shorter_by_shares():
    run = pipe()
    changes = list_profile(describe_run(run))
    assert texts(changes) == [
        f"{share} × {stage}" for stage in ("get", "sum") for share in ("0.9", "0.75", "0.5")
    ]
    speeds = [each.speed for each in changes[-1].apply(describe_run(run)).stages]
    assert speeds == [1.0, 2.0]


# Tables.


def grid():
    return [even_run(workers=n, tasks=12, treatment=f"t{n}") for n in (1, 2, 4)]


def test_each_run_is_replayed_from_its_own_records():
    replays, _ = predict_tables(*grid()[:2])
    assert replays == [
        {
            "experiment": "pipe", "treatment": name, "replicate": 1, "measured_s": seconds,
            "replayed_s": seconds, "error": 0.0, "calibrated": False,
        }
        for name, seconds in (("t1", 12.0), ("t2", 6.0))
    ]  # fmt: skip


def test_each_treatment_is_predicted_from_the_others_with_an_interval_of_their_errors():
    _, rows = predict_tables(*grid())
    left_out = [row for row in rows if row["kind"] == "left out"]
    assert left_out == [
        {
            "experiment": "pipe", "treatment": name, "kind": "left out", "measured_s": seconds,
            "predicted_s": seconds, "low_s": seconds, "high_s": seconds, "spread": 0.0,
            "error": 0.0,
            "is_within": True,
        }
        for name, seconds in (("t1", 12.0), ("t2", 6.0), ("t4", 3.0))
    ]  # fmt: skip


def test_without_advice_changes_are_of_the_fastest_treatment_of_each_experiment():
    other = even_run(experiment="other", treatment="t9")
    _, rows = predict_tables(*grid(), other)
    changed = [row for row in rows if row["kind"] != "left out"]
    assert {(row["experiment"], row["treatment"]) for row in changed} == {
        ("pipe", "t4"),
        ("other", "t9"),
    }
    by_change = {row["change"]: row for row in changed if row["experiment"] == "pipe"}
    assert by_change["work.workers=8"]["predicted_s"] == 2.0
    assert by_change["work.workers=2"]["predicted_s"] == 6.0
    assert by_change["0.5 × work"]["predicted_s"] == 1.5
    assert by_change["work.speed=2"]["note"] == "another speed of work was not measured"
    assert {row["kind"] for row in changed} == {"what if", "profile"}


def test_changes_are_of_the_treatment_that_is_advised():
    _, rows = predict_tables(*grid(), chosen=[("pipe", "t2")])
    assert {row["treatment"] for row in rows if row["kind"] != "left out"} == {"t2"}
    _, rows = predict_tables(*grid(), chosen=[("pipe", "")])
    assert {row["treatment"] for row in rows if row["kind"] != "left out"} == {"t4"}


def test_a_treatment_that_cannot_be_predicted_has_the_reason_and_no_number():
    replays, rows = predict_tables(even_run())
    assert len(replays) == 1
    [left_out] = [row for row in rows if row["kind"] == "left out"]
    assert left_out == {
        "experiment": "pipe", "treatment": "t1", "kind": "left out", "measured_s": 4.0,
        "spread": 0.0,
        "note": "stage 'work': no other run has the handler 'wait' with the same parameters;"
        " allowed: handlers and parameters that were measured",
    }  # fmt: skip
    what_if = next(row for row in rows if row["kind"] == "what if")
    assert what_if["predicted_s"] == 2.0
    assert what_if["low_s"] == 0.0
    assert "high_s" not in what_if


def test_no_runs_have_no_predictions():
    assert predict_tables() == [[], []]


# Studies.


def test_a_study_without_ok_runs_is_one_of_which_nothing_is_known(analyse, known_run):
    folder = analyse(known_run(status="timed_out", detail="time limit of 60 s"))
    tables = read_tables(folder / "tables")
    assert {len(tables[name]) for name in ("replays", "predictions", "limits", "advice")} == {0}
    knowledge = learn(tables, read_json(folder / "plan.json"))
    assert (knowledge.runs, knowledge.checked, knowledge.place) == ([], [], 0)


def test_a_real_study_has_predictions_of_all_that_was_ok(small):
    tables = read_tables(small / "tables")
    assert set(tables["replays"]["experiment"]) == {"grid", "ask", "list"}
    rows = list_rows(tables["predictions"])
    known = {row["treatment"]: row for row in rows if row["kind"] == "left out"}
    assert {name for name, row in known.items() if is_known(row["predicted_s"])} == {"w1", "w3"}
    assert {row["experiment"] for row in rows if row["kind"] == "profile"} == {
        "grid",
        "ask",
        "list",
    }
    assert all(
        is_known(row["predicted_s"]) or row["note"] for row in rows
    )  # what is not predicted has a reason
