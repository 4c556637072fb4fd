"""Predictions of made-up runs whose makespan with other settings is known."""

import math
import random
from dataclasses import replace

import pytest
from tests.made_runs import even_run, measured_run, served, stage_run

from stagebench.errors import ModelError
from stagebench.model.measured import Calibrated
from stagebench.model.predict import (
    WAKES_S,
    Checked,
    Reproduced,
    describe_run,
    fit_wake,
    leave_one_out,
    predict,
    reproduce,
    reproduce_all,
    speed_up,
    widen,
)
from stagebench.model.whatif import find_limits_of_knowledge

FORK = {"executor": "process", "start_method": "fork"}
SPAWN = {"executor": "process", "start_method": "spawn"}


def scenario(run, **conditions):
    """Return the scenario of a run whose only stage has other conditions."""
    described = describe_run(run)
    [stage] = described.stages
    changed = replace(stage, conditions=stage.conditions._replace(**conditions))
    return replace(described, stages=[changed])


def spinning_run(workers, tasks=6, **others):
    """Make a run of threads that hold the GIL for a second for each task."""
    known = Calibrated(cpu_s=1.0, away_s=0.0, held_s=1.0, asks=0.0, wakes=0.0)
    run = even_run(workers=workers, tasks=tasks, seconds=float(workers), **others)
    [stage] = run.stages
    own = [each._replace(cpu_s=1.0) for each in stage.served]
    return run._replace(stages=[stage._replace(served=own, calibrated=known)])


# Scenarios and replays.


def test_a_run_is_described_as_it_was():
    run = even_run(workers=2, tasks=3, in_flight=2, queue_size=4, batch=3, cores=4, has_gil=False)
    described = describe_run(run)
    [stage] = described.stages
    assert (stage.name, stage.after, stage.queue_size, stage.batch) == ("work", (), 4, 3)
    assert (stage.conditions, stage.speed) == (run.stages[0].conditions, 1.0)
    assert described.arrivals == [0.0, 0.0, 0.0]
    assert (described.cores, described.has_gil, described.in_flight) == (4, False, 2)


def test_cores_that_are_not_known_are_not_set():
    assert describe_run(even_run(cores=0)).cores is None


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_run_is_reproduced_from_its_own_records(workers):
    run = even_run(workers=workers, tasks=12)
    assert reproduce(run, 0.0, {}) == run.makespan_s
    run = spinning_run(workers=workers, tasks=6)
    assert reproduce(run, 0.0, {}) == pytest.approx(run.makespan_s, rel=1e-3)


def test_unequal_tasks_arrivals_and_limits_are_reproduced():
    seconds = [3.0, 1.0, 2.0]
    tasks = [served(n, 0.0, each, worker=n) for n, each in enumerate(seconds)]
    run = measured_run(stage_run("s", tasks, workers=3))
    assert reproduce(run, 0.0, {}) == 3.0
    assert reproduce(run._replace(in_flight=1), 0.0, {}) == 6.0
    assert reproduce(run._replace(due_s={0: 0.0, 1: 5.0, 2: 9.0}), 0.0, {}) == 11.0


def test_starts_and_hand_overs_are_reproduced():
    task = served(0, 1.5, 2.5, submitted_s=0.0, send_s=0.5, start_s=1.0, received_s=2.75)
    assert reproduce(measured_run(stage_run("s", [task], starts_s=(1.0,))), 0.0, {}) == 2.75


@pytest.mark.parametrize(("pool", "makespan_s"), [({}, 1.0), (FORK, 2.0)])
def test_tasks_of_processes_wait_for_the_worker_that_they_were_given(pool, makespan_s):
    # The second worker takes longer to start; a thread that is ready takes all tasks.
    tasks = [served(n, 0.25 * n, 0.25 * (n + 1), submitted_s=0.0) for n in range(4)]
    stage = stage_run("s", tasks, workers=2, starts_s=(0.0, 1.75), **pool)
    assert reproduce(measured_run(stage), 0.0, {}) == makespan_s


def test_runs_are_reproduced_with_every_wait_of_threads_that_wake_up():
    [found] = reproduce_all([even_run()])
    assert found.makespans_s == [4.0] * len(WAKES_S)


def test_the_wait_that_reproduces_the_runs_best_is_chosen():
    run = even_run()  # takes 4 s
    errors = [4.0 * 1.5 ** abs(place - 3) for place in range(len(WAKES_S))]
    others = [4.0] * len(WAKES_S)
    assert fit_wake([Reproduced(run, errors)]) == 3
    assert fit_wake([Reproduced(run, errors)] * 2 + [Reproduced(run, others)]) == 3


# Predictions.


@pytest.mark.parametrize(("workers", "makespan_s"), [(1, 12.0), (2, 6.0), (5, 3.0), (12, 1.0)])
def test_tasks_that_sleep_take_as_many_rounds_as_other_workers_need(workers, makespan_s):
    run = even_run(workers=3, tasks=12)
    assert predict(scenario(run, workers=workers), [run], 0.0) == [makespan_s]


def test_more_threads_that_hold_the_gil_do_not_help():
    run = spinning_run(workers=1)
    found = predict(scenario(run, workers=4), [run], 0.0)
    assert found == [pytest.approx(6.0, rel=1e-3)]
    free = replace(scenario(run, workers=3), has_gil=False, cores=8)
    assert predict(free, [run], 0.0) == [pytest.approx(2.0)]


def test_cores_are_shared_by_processes_that_compute():
    run = spinning_run(workers=1, tasks=8, **FORK)
    four = scenario(run, workers=4)
    assert predict(four, [run], 0.0) == [pytest.approx(4.0)]
    assert predict(replace(four, cores=4), [run], 0.0) == [pytest.approx(2.0)]


def test_a_treatment_that_is_kept_to_one_core_is_predicted_on_one():
    wide = spinning_run(workers=1, tasks=8, treatment="wide", **FORK)
    narrow = wide._replace(treatment="narrow", cores=1, free_cores=1.0)
    assert predict(scenario(narrow, workers=2), [wide, narrow], 0.0) == [pytest.approx(8.0)]
    assert predict(scenario(wide, workers=2), [wide, narrow], 0.0) == [pytest.approx(4.0)]


def test_others_take_from_a_machine_what_they_took_from_runs_that_were_full():
    idle = spinning_run(workers=1, tasks=8, treatment="idle", free_cores=1.5, **FORK)
    busy = idle._replace(treatment="busy", free_cores=1.0, cpu_s=16.0)
    two = scenario(idle, workers=2)
    assert predict(two, [idle], 0.0) == [pytest.approx(8.0 / 1.5)]
    assert predict(two, [idle, busy], 0.0) == [pytest.approx(8.0)]


def test_each_replicate_of_the_nearest_source_makes_a_prediction():
    runs = [even_run(replicate=n, seconds=float(n)) for n in (1, 2, 3)]
    assert predict(scenario(runs[0], workers=2), runs, 0.0) == [2.0, 4.0, 6.0]


def test_a_stage_draws_from_the_runs_that_resemble_it_most():
    def predicted(wanted, *sources):
        return predict(scenario(even_run(), **wanted), list(sources), 0.0)[0] / 4

    def source(seconds, workers=1, **others):
        return even_run(seconds=seconds, workers=workers, treatment=f"t{seconds}", **others)

    threads, many = source(1.0), source(2.0, workers=4)
    fork, spawn = source(3.0, workers=4, **FORK), source(5.0, **SPAWN)
    every = (spawn, many, fork, threads)
    assert predicted({"workers": 1}, *every) == 1.0
    # The executor matters more than the start method, and that more than the number of workers.
    assert predicted({"workers": 1} | FORK, *every) == 3.0
    assert predicted({"workers": 1} | FORK, spawn, threads) == 5.0
    assert predicted({"workers": 4}, *every) * 4 == 2.0
    kept = source(7.0, retain=True)
    assert predicted({"workers": 1, "retain": True}, threads, kept) == 7.0


def test_only_the_same_handler_with_the_same_parameters_is_a_source():
    runs = [even_run(), even_run(treatment="t2", parameters='{"delay_s":9}', seconds=9.0)]
    asked = scenario(runs[0], parameters='{"delay_s":9}')
    assert predict(asked, runs, 0.0) == [36.0]
    with pytest.raises(ModelError) as error:
        predict(scenario(runs[0], handler="other"), runs, 0.0)
    assert str(error.value) == (
        "stage 'work': no other run has the handler 'other' with the same parameters;"
        " allowed: handlers and parameters that were measured"
    )


def test_what_another_interpreter_measured_predicts_nothing():
    runs = [even_run(), even_run(treatment="t2", python="other", seconds=9.0)]
    assert predict(describe_run(runs[0]), runs, 0.0) == [4.0]
    assert predict(describe_run(runs[1]), runs, 0.0) == [36.0]
    with pytest.raises(ModelError, match="with the same parameters and interpreter; allowed"):
        predict(scenario(runs[0], python="third"), runs, 0.0)
    assert [math.isnan(each.predicted_s) for each in check(*runs)] == [True, True]


def test_of_alike_stages_that_of_the_same_experiment_is_a_source():
    runs = [even_run(experiment="a", seconds=2.0), even_run(experiment="b", seconds=3.0)]
    assert [predict(describe_run(run), runs, 0.0) for run in runs] == [[8.0], [12.0]]


def unequal_run(seconds, **others):
    """Make a run of tasks that differ, each with a worker of its own."""
    tasks = [served(n, 0.0, each, worker=n, is_first=True) for n, each in enumerate(seconds)]
    stage = stage_run("work", tasks, workers=len(tasks), varies=True)
    return measured_run(stage, **others)


def test_each_of_the_tasks_that_differ_has_its_own_work():
    run = unequal_run([5.0, 1.0, 1.0, 1.0, 1.0])
    assert predict(scenario(run, workers=2), [run], 0.0) == [5.0]
    assert predict(scenario(run, workers=1), [run], 0.0) == [9.0]


def test_tasks_that_differ_are_those_of_the_same_experiment_alone():
    mine = unequal_run([5.0, 1.0], experiment="mine")
    others = [unequal_run([9.0, 9.0], experiment="a"), even_run(experiment="mine", seconds=7.0)]
    assert predict(describe_run(mine), [*others, mine], 0.0) == [5.0]
    with pytest.raises(ModelError, match="no other run has the handler"):
        predict(describe_run(mine), others, 0.0)
    with pytest.raises(ModelError, match="no other run has the handler"):
        predict(describe_run(others[1]), [mine], 0.0)


def test_workers_that_were_not_measured_with_a_handler_start_as_they_did_with_another():
    threads = even_run(treatment="t1", tasks=2)
    spawned = even_run(
        treatment="p1", tasks=2, name="other", handler="other", starts_s=(3.0,), **SPAWN
    )
    assert predict(scenario(threads, **SPAWN), [threads, spawned], 0.0) == [5.0]


def test_more_workers_start_on_a_line_through_those_that_were_measured():
    run = even_run(workers=2, tasks=4, starts_s=(1.0, 1.5))
    # The last two of four are ready after 2 and 2.5 s; each has one task.
    assert predict(scenario(run, workers=4), [run], 0.0) == [3.0]
    one = even_run(workers=1, tasks=2, starts_s=(1.0,))
    assert predict(scenario(one, workers=2), [one], 0.0) == [2.5]


def test_a_stage_that_is_faster_takes_less():
    run = even_run(tasks=4)
    assert predict(speed_up(describe_run(run), "work", 0.5), [run], 0.0) == [2.0]
    assert predict(speed_up(describe_run(run), "work", 0.25), [run], 0.0) == [pytest.approx(3.0)]
    assert speed_up(describe_run(run), "other", 0.5) == describe_run(run)


# Predictions whose truth is known.


def check(*runs):
    return leave_one_out(reproduce_all(runs))


def test_each_treatment_is_predicted_from_all_the_others():
    runs = [even_run(workers=n, tasks=12, treatment=f"t{n}") for n in (1, 2, 4)]
    assert check(*runs) == [
        Checked("pipe", "t1", 12.0, 12.0, 0.0),
        Checked("pipe", "t2", 6.0, 6.0, 0.0),
        Checked("pipe", "t4", 3.0, 3.0, 0.0),
    ]


def test_a_treatment_that_equals_the_one_to_predict_is_left_out_with_it():
    runs = [even_run(treatment="t1"), even_run(treatment="same")]
    found = check(*runs)
    assert [math.isnan(each.predicted_s) for each in found] == [True, True]
    assert all("no other run has the handler 'wait'" in each.reason for each in found)


def test_a_treatment_alone_cannot_be_checked():
    [found] = check(even_run())
    assert (found.measured_s, found.error, found.is_within) == (
        4.0,
        pytest.approx(math.nan, nan_ok=True),
        False,
    )


def test_the_spread_is_the_range_of_replicates_by_their_median():
    runs = [even_run(replicate=n, seconds=s) for n, s in ((1, 1.0), (2, 1.25), (3, 1.5))]
    assert check(*runs)[0].spread == 2.0 / 5.0


@pytest.mark.parametrize(
    ("predicted_s", "spread", "is_within"),
    [(1.09, 0.0, True), (0.91, 0.0, True), (1.11, 0.0, False), (1.2, 0.25, True)],
)
def test_a_prediction_is_good_within_a_tenth_or_the_spread(predicted_s, spread, is_within):
    found = Checked("pipe", "t1", 1.0, predicted_s, spread)
    assert found.error == pytest.approx(predicted_s - 1)
    assert found.is_within is is_within


def checked(*errors):
    return [Checked("pipe", f"t{n}", 1.0, math.exp(each), 0.0) for n, each in enumerate(errors)]


def test_without_known_errors_an_interval_has_no_end():
    failed = Checked("pipe", "t1", 1.0, math.nan, 0.0, "no other run")
    assert widen([2.0, 1.0, 4.0], [failed]) == (2.0, 0.0, math.inf)


def test_an_interval_holds_all_replays_and_nine_of_ten_known_errors():
    errors = [number / 100 for number in range(1, 10)] + [-3.0]
    random.Random(1).shuffle(errors)
    middle, low, high = widen([2.0, 1.0, 4.0], checked(*errors))
    assert middle == 2.0
    assert (low, high) == (pytest.approx(math.exp(-0.09)), pytest.approx(4 * math.exp(0.09)))
    assert widen([1.0], checked(-0.2)) == (
        1.0,
        *map(pytest.approx, (math.exp(-0.2), math.exp(0.2))),
    )


def test_where_cores_are_unknown_none_are_missing_and_others_are_named_as_never_measured():
    tasks = [served(n, 0.0, 1.0, cpu_s=1.0, due_s=0.0, submitted_s=0.0) for n in range(4)]
    stage = stage_run("s", tasks, executor="process", start_method="fork", workers=4)
    run = measured_run(stage, cores=0, free_cores=math.inf)
    assert predict(describe_run(run), [run], 0.0) == [1.0]
    asked = replace(describe_run(run), cores=2)
    assert find_limits_of_knowledge(asked, describe_run(run), [run]) == [
        "measured on an unknown number of cores alone"
    ]
