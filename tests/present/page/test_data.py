"""What the page draws is what the tables say."""

import json
from dataclasses import replace

from stagebench.present.page.data import (
    cut_line,
    describe_experiment,
    list_failures,
)
from stagebench.present.page.inside import describe_shown_runs
from stagebench.units import MIB


def treatments_of(experiment):
    return {one["id"]: one for one in describe_experiment(experiment)["treatments"]}


def test_a_treatment_has_its_numbers_and_their_words(pipe):
    fast = treatments_of(pipe)["p2-fork"]
    assert fast["makespan"] == ["6", 6.0, 6.0, 6.0]
    assert fast["against"][0] == "2.10 [1.86–2.36] × faster"
    assert fast["peak"] == ["≥ 36.0", 36.0, None]
    assert (fast["ok"], fast["n"], fast["failed"]) == (3, 3, 0)


def test_the_baseline_is_not_compared_with_itself(pipe):
    assert treatments_of(pipe)["p1-fork"]["against"] == ["baseline", 1.0]


def test_a_treatment_that_does_other_work_is_not_compared(present, known_run):
    work, save = known_run().stages
    other = known_run(
        treatment="big",
        baseline=False,
        start=20,
        stages=(work | {"parameters": {"size_mib": 5}}, save),
    )
    assert treatments_of(present(known_run(), other))["big"]["against"] == ["other work", None]


def test_without_a_baseline_nothing_is_compared(pipe):
    without = {
        "runs": pipe.tables["runs"].assign(baseline=False),
        "comparisons": pipe.tables["comparisons"].iloc[:0],
    }
    treatments = treatments_of(replace(pipe, tables={**pipe.tables, **without}))
    assert {tuple(one["against"]) for one in treatments.values()} == {("–", None)}


def test_a_treatment_without_an_ok_run_has_no_numbers_and_says_how_it_ended(pipe):
    failed = treatments_of(pipe)["p5-fork"]
    assert failed["makespan"] == ["–", None, None, None]
    assert failed["peak"] == ["–", None, None]
    assert failed["against"] == ["–", None]
    assert failed["limit"] == "no ok run (timed_out × 1)"


def test_what_limits_a_treatment_is_a_cell_and_begins_a_sentence(pipe):
    limited = treatments_of(pipe)["p2-fork"]
    assert limited["limit"].startswith("nothing is full (")
    assert limited["why"].startswith("Nothing is full (")


def test_only_factors_that_vary_are_columns(present, known_run):
    one = known_run(factors={"workers": 1, "logic": "native"})
    two = known_run(
        treatment="two", baseline=False, start=20, factors={"workers": 2, "logic": "native"}
    )
    three = known_run(treatment="three", baseline=False, start=40, factors={"workers": 2})
    assert describe_experiment(present(one, two))["factors"] == ["workers"]
    assert describe_experiment(present(three, one, two))["factors"] == ["workers", "logic"]


def test_every_run_is_there_with_its_block_and_how_it_ended(pipe):
    runs = describe_experiment(pipe)["runs"]
    assert len(runs) == 7
    assert [run[:3] for run in runs][:3] == [[0, 1, 1], [0, 2, 2], [0, 3, 3]]
    [failed] = [run for run in runs if run[3]]
    assert failed[3] == "timed_out: time limit | of <60 s>"
    assert failed[4] is None


def test_failures_are_named_with_their_reason(pipe, alone):
    assert list_failures(pipe) == ["p5-fork: 1 of 1 run timed out (time limit | of <60 s>)"]
    assert list_failures(alone) == []


def test_tasks_that_failed_are_counted_with_the_first_error(present, known_run, make_task):
    tasks = [
        make_task(n, "work", (10, 11, 12, 12), status="failed", error=f"OSError: {n}")
        for n in range(2)
    ]
    experiment = present(known_run(status="tasks_failed", tasks=tuple(tasks)))
    assert list_failures(experiment) == [
        "p1-fork: 1 of 1 run with failed tasks",
        "p1-fork, stage work: 2 tasks failed (OSError: 0)",
    ]


def test_attempts_that_were_retried_are_no_failures(present, known_run, make_task):
    lost = make_task(0, "work", (10, 10, None, 11), status="lost", error="worker 7 ended")
    assert list_failures(present(known_run(attempts=(lost,)))) == []


def test_a_long_text_is_cut_and_its_length_is_told():
    text = cut_line("x" * 50_000_000)
    assert text.endswith("… (50000000 characters)")
    assert len(text) < 400
    assert cut_line("a\nb\x1b[31m\ud800") == "a b\ufffd[31m\ufffd"


def test_everything_is_json(experiments):
    for experiment in experiments.values():
        values = [describe_experiment(experiment), describe_shown_runs(experiment)]
        assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_mebibytes_are_those_of_the_report(present_bounded, known_run):
    one = treatments_of(present_bounded(known_run()))["p1-fork"]
    assert one["peak"] == ["36.0", 36.0, 36.0]
    assert MIB == 2**20
