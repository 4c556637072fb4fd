from __future__ import annotations

from dataclasses import replace

from stagebench.present.experiment import split_experiments
from stagebench.present.findings import experiment_findings, study_findings
from stagebench.tables import read_tables


def findings_of(analyse, *runs):
    return experiment_findings(split_experiments(read_tables(analyse(*runs) / "tables"))[0])


def test_the_study_says_how_many_runs_succeeded(tables):
    assert study_findings(tables["runs"]) == [
        "7 of 8 runs succeeded: 4 treatments, 1 to 3 runs each."
    ]


def test_a_study_without_failures_says_so(analyse, known_run):
    runs = read_tables(analyse(known_run()) / "tables")["runs"]
    assert study_findings(runs) == ["All 1 run succeeded: 1 treatment, 1 run each."]


def test_an_experiment_tells_its_extremes(pipe):
    assert experiment_findings(pipe) == [
        (
            "**`p2-fork` wins**: 0.477 [0.423–0.536] × p1-fork (makespan 6.00 s; slowest: p1-fork,"
            " 12.6 s)."
        ),
        (
            "Makespan against p1-fork, 2 treatments: 1 faster, 1 without enough blocks for an"
            " interval."
        ),
        "Bottleneck, by utilisation of its workers: `work` in 2 treatments.",
        "Peak PSS of the tree: 36.0 MiB in every treatment (median).",
        "The memory sampler saw worker processes in all 6 runs that had some.",
    ]


def test_kinds_of_work_beyond_the_third_are_counted(analyse, known_run):
    work, save = known_run().stages
    runs = [
        known_run(
            treatment=f"{size}-{save_workers}",
            baseline=(size, save_workers) == (1, 1),
            factors={"size_mib": size, "save_workers": save_workers},
            stages=(work | {"parameters": {"size_mib": size}}, save | {"workers": save_workers}),
            start=40 * size + 20 * save_workers,
        ).stretched(size / save_workers)
        for size in range(1, 6)
        for save_workers in (1, 2)
    ]
    found = findings_of(analyse, *runs)
    assert [text.split(":")[0] for text in found[:4]] == [
        "**`1-2` is ahead with size_mib 1**",
        "**`2-2` is ahead with size_mib 2**",
        "**`3-2` is ahead with size_mib 3**",
        "2 more verdicts on other work",
    ]


def test_a_single_stage_of_threads_tells_neither_bottleneck_nor_workers(alone):
    assert experiment_findings(alone) == [
        "Fastest: **t1**, 2.00 s (median makespan).",
        "Peak PSS of the tree: 40.0 MiB (median).",
    ]


def test_bottlenecks_that_are_as_busy_are_counted_together(analyse, known_run):
    work, save = known_run().stages
    tasks = known_run().tasks
    twins = [replace(task, stage="save") for task in tasks if task.stage == "work"]
    same = known_run(
        stages=(work, save | {"workers": work["workers"]}),
        tasks=(*(task for task in tasks if task.stage == "work"), *twins),
    )
    assert "Bottleneck, by utilisation of its workers: `work` with `save` in 1 treatment." in (
        findings_of(analyse, same)
    )


def test_memory_tells_the_most_and_the_least(analyse, known_run, make_sweep):
    small = known_run(treatment="t1", baseline=False, sweeps=(make_sweep(0, 11, 10),))
    found = findings_of(analyse, known_run(), small)
    assert (
        "Most memory: **p1-fork**, 36.0 MiB; least: **t1**, 10.0 MiB"
        " (median peak PSS of the whole process tree)."
    ) in found


def test_a_treatment_whose_results_wait_unseen_is_not_called_the_least(
    analyse, known_run, make_sweep
):
    work, save = known_run().stages
    big = known_run(treatment="t1", baseline=False, sweeps=(make_sweep(0, 11, 99),))
    hidden = known_run(
        treatment="shm",
        baseline=False,
        sweeps=(make_sweep(0, 11, 5),),
        stages=(work | {"transport": "shared_memory"}, save),
    )
    found = findings_of(analyse, known_run(), big, hidden)
    assert (
        "Most memory: **t1**, 99.0 MiB; least: **p1-fork**, 36.0 MiB (median peak PSS of the whole"
        " process tree). Memory not judged: `shm` (results wait in shared memory, which no PSS"
        " has)."
    ) in found
    assert (
        "Memory not judged: `shm` (results wait in shared memory, which no PSS has)."
    ) in findings_of(analyse, replace(hidden, baseline=True))


def test_workers_that_no_sweep_saw_are_told(analyse, known_run, make_sweep):
    unseen = known_run(replicate=2, sweeps=(make_sweep(0, 11, 10),))
    found = findings_of(analyse, known_run(), unseen)
    assert found[-1] == "The memory sampler saw worker processes in 1 of 2 runs that had some."


def test_an_experiment_in_which_nothing_succeeded_says_so(analyse, known_run):
    found = findings_of(analyse, known_run(status="crashed"))
    assert found == ["No run succeeded: there is no makespan to tell."]
