"""What is advised for studies whose truth is known: the choice, its reasons, what to try next."""

import json
import math
from dataclasses import replace

import pytest
from tests.known_runs import FACTS
from tests.known_studies import bound_peaks
from tests.made_runs import even_run, measured_run, served, stage_run

from stagebench.analyse.advice import Wishes, describe_resource, make_advice_table
from stagebench.analyse.predictions import Knowledge, learn
from stagebench.model.measured import Calibrated, is_known
from stagebench.model.predict import leave_one_out, reproduce_all
from stagebench.model.resources import RESOURCES, Floor
from stagebench.tables.io import list_rows, make_table, read_tables
from stagebench.units import MIB


@pytest.fixture
def advise(analyse):
    """Advise on known runs whose peaks are at most `reach` times as large as their lower end."""

    def make(*runs, reach=None, **wishes):
        folder = bound_peaks(analyse(*runs, reference=None), reach or {})
        plan = json.loads((folder / "plan.json").read_text())
        tables = read_tables(folder / "tables")
        knowledge = learn(tables, plan)
        found = make_advice_table(knowledge, tables["runs"], plan, Wishes(**wishes))
        return [
            {name: value for name, value in row.items() if is_known(value)}
            for row in list_rows(found)
        ]

    return make


@pytest.fixture
def blocks(known_run, make_sweep):
    """Make three runs of each treatment: how many times as long as 6 s, and its peak in MiB."""

    def make(treatments, jitter=0.01):
        runs = []
        for place, (name, (times, peak)) in enumerate(treatments.items()):
            for n in range(3):
                sweeps = (make_sweep(0, 8.5, 10), make_sweep(1, 12, peak), make_sweep(2, 16.75, 10))
                run = known_run(
                    treatment=name,
                    baseline=place == 0,
                    replicate=n + 1,
                    start=20 * (3 * place + n),
                    sweeps=sweeps,
                )
                runs.append(run.stretched(times * (1 + jitter * (n - place) ** 2 / 7)))
        return runs

    return make


# The choice.


def test_the_fastest_is_chosen_if_it_surely_is(advise, blocks):
    [row] = advise(*blocks({"slow": (2, 20), "fast": (1, 40)}))
    assert (row["treatment"], row["of"], row["tied"], row["front"]) == (
        "fast",
        2,
        "",
        "fast, slow",
    )
    assert row["choice"].startswith("`fast`: 6.01 s in the median, peak memory 40 MiB.")
    assert row["choice"].endswith(" It is the fastest of 2.")
    assert (row["peak_bytes"], row["peak_upper_bytes"]) == (40 * MIB, 40 * MIB)
    assert row["more"] == ""


def test_what_is_slower_and_takes_more_memory_is_off_the_front(advise, blocks):
    [row] = advise(*blocks({"slow": (2, 40), "fast": (1, 20)}))
    assert (row["treatment"], row["front"]) == ("fast", "fast")


def test_of_those_that_may_be_as_fast_the_one_of_least_memory_is_chosen(advise, blocks):
    [row] = advise(*blocks({"one": (1, 40), "other": (1, 20)}, jitter=1))
    assert (row["treatment"], row["tied"]) == ("other", "one")
    assert row["choice"].endswith("`one` may be as fast, but takes more memory.")
    assert row["front"] == "one, other"  # one of them may be faster


def test_memory_that_may_be_the_same_is_not_decided(advise, blocks):
    reach = {"one": 3.0, "other": 2.5}
    [row] = advise(*blocks({"one": (1, 20), "other": (1, 20)}, jitter=1), reach=reach)
    assert row["treatment"] == "other"
    assert row["choice"].endswith(
        "peak memory 20 MiB to 50 MiB. `one` may be as fast, and no difference in memory was found."
    )


def test_several_that_may_be_as_fast_are_counted(advise, blocks):
    [row] = advise(*blocks({"a": (1, 40), "b": (1, 20), "c": (1, 30)}, jitter=1))
    assert (row["treatment"], row["of"], row["tied"]) == ("b", 3, "a, c")
    assert row["choice"].endswith("2 others may be as fast, but all take more memory.")


def test_an_upper_end_that_is_not_known_is_not_stated(advise, blocks):
    [row] = advise(*blocks({"one": (1, 40), "other": (2, 20)}), reach={"one": None})
    assert row["choice"].startswith("`one`: 6.01 s in the median, peak memory at least 40 MiB.")
    assert row["peak_bytes"] == 40 * MIB
    assert "peak_upper_bytes" not in row
    assert row["front"] == "one, other"


def test_one_treatment_is_the_fastest_of_none(advise, blocks):
    [row] = advise(*blocks({"only": (1, 20)}))
    assert row["choice"] == "`only`: 6.01 s in the median, peak memory 20 MiB."
    assert (row["of"], row["front"], row["tied"], row["more"]) == (1, "only", "", "")


def test_runs_that_failed_are_no_candidates(advise, blocks, known_run):
    broken = known_run(treatment="broken", start=200, status="timed_out", detail="60 s")
    [row] = advise(*blocks({"one": (1, 20)}), broken)
    assert (row["treatment"], row["of"]) == ("one", 1)


def test_a_treatment_of_which_a_run_failed_is_not_chosen(advise, blocks, known_run):
    broken = known_run(treatment="quick", replicate=4, start=900, status="timed_out", detail="60 s")
    runs = blocks({"slow": (3, 20), "quick": (1, 20)})
    [before] = advise(*runs)
    [row] = advise(*runs, broken)
    assert before["treatment"] == "quick"
    assert (row["treatment"], row["of"], row["front"]) == ("slow", 1, "slow")
    assert "Runs of `quick` failed, which therefore cannot be chosen." in row["choice"]


def test_if_runs_of_all_failed_the_best_is_chosen_all_the_same(advise, blocks, known_run):
    broken = known_run(treatment="one", replicate=4, start=900, status="timed_out", detail="60 s")
    [row] = advise(*blocks({"one": (1, 20)}), broken)
    assert (row["treatment"], row["of"]) == ("one", 1)


def test_without_ok_runs_there_is_no_advice(advise, known_run):
    assert advise(known_run(status="timed_out", detail="60 s")) == []


def test_experiments_have_advice_of_their_own(tables):
    rows = list_rows(tables["advice"])
    assert [(row["experiment"], row["work"], row["treatment"]) for row in rows] == [
        ("pipe", 1, "p2-fork"),
        ("alone", 1, "t1"),
    ]


# Wishes.


def test_what_may_take_more_memory_than_there_is_is_not_chosen(advise, blocks):
    runs = blocks({"slow": (2, 20), "fast": (1, 40)})
    assert [row["treatment"] for row in advise(*runs, memory_bytes=40 * MIB)] == ["fast"]
    [row] = advise(*runs, memory_bytes=40 * MIB - 1)
    assert (row["treatment"], row["of"]) == ("slow", 1)
    # Its peak may be twice as large.
    [row] = advise(*runs, reach={"fast": 2.0}, memory_bytes=79 * MIB)
    assert row["treatment"] == "slow"


def test_the_largest_peak_of_all_runs_must_fit(advise, blocks):
    runs = blocks({"slow": (2, 20), "fast": (1, 40)})
    [row] = advise(*runs, reach={("fast", 2): 2.0}, memory_bytes=79 * MIB)
    assert row["treatment"] == "slow"


def test_what_has_no_known_upper_end_does_not_surely_fit(advise, blocks):
    runs = blocks({"slow": (2, 20), "fast": (1, 40)})
    [row] = advise(*runs, reach={"fast": None}, memory_bytes=2**50)
    assert row["treatment"] == "slow"


def test_memory_into_which_nothing_fits_is_compared_with_the_lowest_upper_end(advise, blocks):
    runs = blocks({"slow": (2, 20), "fast": (1, 40)})
    [row] = advise(*runs, reach={"slow": 1.5}, memory_bytes=MIB)
    assert row["why"] == (
        "No treatment surely fits into 1 MiB: the lowest upper end of a peak is 30 MiB."
    )
    assert (row["of"], row.get("treatment", "")) == (0, "")
    [row] = advise(*runs, reach={"slow": None, "fast": None}, memory_bytes=MIB)
    assert row["why"] == "No treatment surely fits into 1 MiB: no upper end of a peak is known."


def test_other_cores_make_the_choice_one_of_predictions(advise, blocks):
    [row] = advise(*blocks({"slow": (2, 20), "fast": (1, 40)}), cores=64)
    assert row["treatment"] in ("slow", "fast")
    assert " predicted for 64 cores (" in row["choice"]
    assert row["predicted_s"] > 0
    assert "measured on 2 cores alone" in row["next"] or "No other number" in row["next"]


# Why.


def table_of(*runs):
    """Advise on made-up runs whose peaks are not known; return the row of each experiment."""
    plan = {
        "margin": 0.05,
        "experiments": [],
        "treatments": {
            "/".join(run.key): {"specification": {"tasks": len(run.due_s), "stages": []}}
            for run in runs
        },
    }
    rows = [
        {
            "experiment": run.experiment,
            "treatment": run.treatment,
            "block": run.replicate,
            "replicate": run.replicate,
            "campaign": "a",
            "status": "ok",
            "makespan_s": run.makespan_s,
        }
        for run in runs
    ]
    reproduced = reproduce_all(runs)
    knowledge = Knowledge(runs, reproduced, 0, leave_one_out(reproduced))
    return list_rows(make_advice_table(knowledge, make_table("runs", rows), plan))


def why(run):
    [row] = table_of(run)
    return row["why"]


HOLDS = Calibrated(1.0, 0.0, held_s=1.0, asks=0.0, wakes=0.0, held_least_s=1.0)
COMPUTES = HOLDS._replace(held_s=0.0, held_least_s=0.0)


def computing(workers, tasks, calibrated, **whole):
    """Make a run of threads of which each computes for a second per task, and waits as long."""
    run = even_run(workers=workers, tasks=tasks, seconds=float(workers), **whole)
    [stage] = run.stages
    own = [each._replace(cpu_s=1.0) for each in stage.served]
    return run._replace(stages=[stage._replace(served=own, calibrated=calibrated)])


def test_workers_that_are_busy_are_the_reason():
    assert why(even_run(workers=3, tasks=12)) == (
        "All 3 workers of `work` are busy almost all the time (floor 4 s of 4 s)."
    )
    assert why(even_run(tasks=4)) == (
        "The only worker of `work` is busy almost all the time (floor 4 s of 4 s)."
    )


def test_cores_that_are_full_are_the_reason():
    run = computing(2, 6, COMPUTES, cores=1)
    assert why(run) == (
        "1.00 of 1 cores are in use: the cores are full, and more workers cannot help"
        " (floor 6 s of 6 s)."
    )


def test_the_gil_is_the_reason_of_threads_that_hold_it():
    assert why(computing(2, 6, HOLDS)) == (
        "1.00 of 2 cores are in use: the threads share one GIL, and more of them cannot help"
        " (floor 6 s of 6 s)."
    )


def test_without_a_known_number_of_cores_none_are_counted():
    assert why(computing(2, 6, HOLDS, cores=0)).startswith(
        "1.00 cores are in use: the threads share one GIL"
    )


def test_arrivals_are_the_reason_if_tasks_come_one_after_another():
    tasks = [served(n, 2.0 * n, 2.0 * n + 0.5, worker=n % 2) for n in range(4)]
    run = measured_run(stage_run("s", tasks, workers=2), due_s={n: 2.0 * n for n in range(4)})
    assert why(run) == "It waits for the arrival of tasks (floor 6.5 s of 6.5 s)."


def test_tasks_in_flight_are_the_reason_if_no_more_may_come():
    tasks = [served(n, n + 0.0, n + 1.0, worker=n % 4, due_s=0.0, is_first=True) for n in range(4)]
    run = measured_run(stage_run("s", tasks, workers=4), in_flight=1)
    assert why(run) == (
        "One task, the most allowed, is in flight almost all the time (floor 4 s of 4 s)."
    )


def test_several_tasks_in_flight_are_counted():
    tasks = [served(n, n // 2 + 0.0, n // 2 + 1.0, worker=n % 4, due_s=0.0) for n in range(8)]
    run = measured_run(stage_run("s", tasks, workers=4), in_flight=2)
    assert why(run).startswith("2 tasks, the most allowed, are in flight almost all the time (")


def test_without_calibrations_it_is_not_known_whether_threads_wait_for_the_gil():
    assert why(computing(2, 6, None)) == (
        "1.00 of 2 cores are in use: its threads work or wait for the GIL; for how long they hold"
        " it is unknown (floor 6 s of 6 s)."
    )


def test_the_longest_task_is_the_reason_if_the_others_end_before():
    tasks = [served(0, 0.0, 5.0), served(1, 0.0, 1.0, worker=1)]
    run = measured_run(stage_run("s", tasks, workers=2))
    assert why(run) == "One task alone takes almost all the time (floor 5 s of 5 s)."


def test_if_nothing_is_full_the_rest_is_where_the_time_went():
    tasks = [
        served(
            0, 4.0, 5.0, submitted_s=0.0, due_s=0.0, start_s=3.0, send_s=1.0, received_s=5.5,
            is_first=True,
        )
    ]  # fmt: skip
    assert why(measured_run(stage_run("s", tasks))) == (
        "Nothing is full: the path of one task would allow 1 s of 5.5 s. On the critical path: 3 s"
        " start of a worker and 1.5 s hand-over."
    )


def test_tasks_that_queue_behind_each_other_are_named():
    tasks = [
        served(0, 0.0, 1.0),
        served(1, 0.0, 1.0, worker=1),
        served(2, 1.0, 4.0, due_s=0.0, submitted_s=0.0, queue_s=1.0),
    ]
    assert why(measured_run(stage_run("s", tasks, workers=2))) == (
        "Nothing is full: the path of one task would allow 3 s of 4 s. Tasks queue behind each"
        " other for 1 s."
    )


def test_every_resource_has_words():
    for resource in RESOURCES:
        assert describe_resource(Floor(resource, "s", 1.0)).startswith("the ")
    assert describe_resource(Floor("workers", "s", 1.0)) == "the workers of `s`"


# What next.


def next_of(*runs):
    [row] = table_of(*runs)
    return row


def test_more_workers_of_the_stage_that_is_full_are_next():
    row = next_of(even_run(workers=2, tasks=48))
    # 24 rounds of a second each become 3 in three steps.
    assert row["next_changes"] == "work.workers=16"
    assert (row["next_predicted_s"], row["next_low_s"]) == (3.0, 0.0)
    assert row["next"] == (
        "Next: try work.workers=16: 3 s predicted (its error is unknown), 24 s now (work had at"
        " most 2 such workers)."
    )
    assert not is_known(row["next_high_s"])


def test_two_stages_that_are_equally_full_change_together():
    first = [
        served(n, float(n), n + 1.0, due_s=0.0, submitted_s=0.0, queue_s=float(n))
        for n in range(20)
    ]
    second = [served(n, n + 1.0, n + 2.0) for n in range(20)]
    row = next_of(
        measured_run(stage_run("get", first), stage_run("put", second, after=(0,), handler="put"))
    )
    assert {change.split(".")[0] for change in row["next_changes"].split(", ")} == {"get", "put"}
    assert row["next_predicted_s"] < 10


def test_if_no_change_promises_anything_only_other_work_does():
    row = next_of(computing(2, 6, HOLDS))
    assert row["next"] == ("No other number of workers and no batch is predicted to save 3 %.")
    assert not is_known(row["next_predicted_s"])


def test_more_workers_are_not_next_where_cores_or_the_gil_are_full():
    for known in (HOLDS, COMPUTES):
        run = computing(2, 6, known, cores=1 if known is COMPUTES else 8)
        # The model finds it slower than it was, so that there seems to be something to gain.
        row = next_of(run._replace(makespan_s=6.5))
        assert "workers" not in str(row["next_changes"])


def test_more_tasks_in_flight_are_next_if_their_limit_is_full():
    tasks = [served(n, n + 0.0, n + 1.0, worker=n % 4, due_s=0.0) for n in range(8)]
    row = next_of(measured_run(stage_run("s", tasks, workers=4), in_flight=1))
    assert row["next_changes"] == "in_flight=4"
    assert row["next_predicted_s"] == 2.0


def test_a_limit_in_flight_that_was_tried_is_named():
    tasks = [served(n, 2.0 * n, 2.0 * n + 0.25, worker=n % 2) for n in range(9)]
    run = measured_run(
        stage_run("s", tasks, workers=2), due_s={n: 2.0 * n for n in range(9)}, in_flight=8
    )
    assert next_of(run)["next"] == (
        "No other number of workers, no other limit in flight and no batch is predicted to save"
        " 3 %."
    )


def test_known_errors_make_an_interval():
    runs = [even_run(workers=n, tasks=12, treatment=f"t{n}") for n in (1, 2)]
    rows = {row["treatment"]: row for row in table_of(*runs)}
    [row] = rows.values()
    assert row["treatment"] == "t2"
    assert (row["next_low_s"], row["next_high_s"]) == (
        row["next_predicted_s"],
        row["next_predicted_s"],
    )
    assert math.isfinite(row["next_high_s"])


# More blocks.


@pytest.mark.parametrize(
    ("jitter", "times", "more"),
    [
        (0.3, {"one": 1.2, "other": 1.0}, ""),  # told apart already
        (0.6, {"one": 1.2, "other": 1.0}, "1 more block would tell `other` and `one` apart"),
        (0.9, {"one": 1.2, "other": 1.0}, "2 more blocks would tell `other` and `one` apart"),
        # Of several the one that is told apart first.
        (0.9, {"one": 1.2, "other": 1.0, "third": 1.01}, "2 more blocks would tell `other` and"),
    ],
)
def test_blocks_that_would_tell_the_choice_apart_are_counted(advise, blocks, jitter, times, more):
    peaks = {"one": 40, "other": 20, "third": 30}
    [row] = advise(*blocks({n: (time, peaks[n]) for n, time in times.items()}, jitter=jitter))
    assert row["treatment"] == "other"
    assert row["more"].startswith(more)
    assert bool(row["more"]) is bool(more)


def test_treatments_that_are_equal_are_not_told_apart_by_more_blocks(advise, blocks):
    [row] = advise(*blocks({"one": (1, 40), "other": (1, 20)}, jitter=0))
    assert (row["tied"], row["more"]) == ("one", "")


def test_on_several_nodes_more_blocks_are_on_further_ones(advise, blocks):
    environment = FACTS["run"]["environment"]
    runs = [
        replace(run, run=run.run | {"environment": environment | {"node": f"n{run.replicate}"}})
        for run in blocks({"one": (1.2, 40), "other": (1.0, 20)}, jitter=0.6)
    ]
    [row] = advise(*runs)
    assert row["more"].startswith("1 more block on further nodes would tell `other` and `one`")
