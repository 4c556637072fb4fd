from __future__ import annotations

from dataclasses import replace

import pytest

from stagebench.present.winners import describe_winners


@pytest.fixture
def compete(present_bounded, known_run, make_sweep):
    """Judge treatments given as executor, workers, makespans and MiB; the first is the baseline."""

    def make(treatments, reach=None, **more):
        runs = []
        for name, (executor, workers, makespans, size, *transport) in treatments.items():
            work, save = known_run().stages
            work = work | {"executor": executor, "workers": workers}
            work |= {"transport": transport[0]} if transport else {}
            known = known_run(
                treatment=name,
                baseline=name == next(iter(treatments)),
                factors={"executor": executor, "workers": workers},
                stages=(work, save),
                sweeps=(make_sweep(0, 9.5, 20), make_sweep(1, 11, size)),
                **more,
            )
            runs += [
                replace(known.stretched(seconds / 6), replicate=n, start=20 * len(runs) + 20 * n)
                for n, seconds in enumerate(makespans, start=1)
            ]
        return describe_winners(present_bounded(*runs, reach=reach))

    return make


THREADS = {"t1": ("thread", 1, (12, 12.1, 12.2), 30), "t2": ("thread", 2, (6, 6.1, 6.2), 40)}
PROCESSES = {"p2": ("process", 2, (3, 3.1, 3.2), 90)}


def test_the_kind_that_wins_is_named_where_it_varies(compete):
    (verdict,) = compete(THREADS | PROCESSES)
    assert verdict.headline == "Processes win"
    assert compete(PROCESSES | {"a4": ("asyncio", 4, (1, 1.1, 1.2), 20)})[0].headline == (
        "Coroutines win"
    )


def test_the_winner_is_compared_with_the_baseline(compete):
    time = compete(THREADS | PROCESSES)[0].reasons[0]
    assert time.startswith(
        "`p2` has the shortest makespan of 3 treatments: 3.10 s in the median, 3.90 [3.64–4.18] ×"
        " faster than the baseline `t1`."
    )


def test_the_next_is_named_where_nothing_is_tied(compete):
    time = compete(THREADS | PROCESSES)[0].reasons[0]
    assert (
        "By their 95 % intervals all others are slower. The nearest median is that of `t2`" in time
    )
    assert "`t2`, which takes 1.97" in time


def test_ties_are_named_with_what_they_share_with_the_winner(compete):
    near = {"p5": ("process", 5, (3.1, 3.0, 3.25), 90)}
    verdict = compete(THREADS | PROCESSES | near)[0]
    assert verdict.headline == "Processes win"
    assert "of 4 treatments, though another may be as fast: 3.10 s" in verdict.reasons[0]
    assert "No difference from it found: `p5`, 1.01 [" in verdict.reasons[0]
    assert verdict.reasons[0].endswith("All of these have executor process.")


def test_no_model_wins_where_kinds_are_tied(compete):
    near = {"t5": ("thread", 5, (3.1, 3.0, 3.25), 90)}
    verdict = compete(THREADS | PROCESSES | near)[0]
    assert verdict.headline == "No model wins alone"
    assert "These share no level." in verdict.reasons[0]


def test_nothing_wins_where_all_are_tied(compete):
    same = {"t1": ("thread", 1, (3, 3.1, 3.2), 9), "p1": ("process", 1, (3.1, 3, 3.2), 9)}
    assert compete(same)[0].headline == "Not decided"


def test_a_winner_is_named_where_the_kind_does_not_vary(compete):
    assert compete(THREADS)[0].headline == "`t2` wins"
    assert "The winner has workers 2." in compete(THREADS)[0].reasons[0]


def test_the_least_memory_and_that_of_the_fastest_are_reported(compete):
    memory = compete(THREADS | PROCESSES)[0].reasons[1]
    assert memory == (
        "`t1` takes the least memory at the tree's peak of 3 treatments: 30.0 MiB in the median; it"
        " is the baseline. By their 95 % intervals all others take more memory. The nearest"
        " median is that of `t2`, which takes 1.33 [1.33–1.33] × as much. The fastest takes 90.0"
        " MiB, 3.00 [3.00–3.00] × the least."
    )


def test_the_fastest_may_take_the_least_memory_too(compete):
    small = {"p2": ("process", 2, (3, 3.1, 3.2), 10)}
    assert (
        compete(THREADS | small)[0].reasons[1].endswith("The fastest also takes the least memory.")
    )


SHARED = {"p2-shm": ("process", 2, (3, 3.1, 3.2), 10, "shared_memory")}


def test_what_hides_results_is_named_beside_the_least_memory_and_does_not_take_it(compete):
    memory = compete(THREADS | SHARED)[0].reasons[1]
    assert memory.startswith("`t1` takes the least memory at the tree's peak of 2 treatments: 30.0")
    assert memory.endswith(
        "Memory not judged: `p2-shm`. Their results pass through shared memory, where no process"
        " maps them while they wait, so no peak includes them. The fastest is one of these, so how"
        " much it takes is unknown."
    )


def test_where_only_one_can_be_judged_by_memory_no_least_is_named(compete):
    alone = {"t1": THREADS["t1"]} | SHARED
    assert compete(alone)[0].reasons[1].startswith("Memory not judged: `p2-shm`. Their results")


def test_of_treatments_that_all_keep_results_in_processes_none_is_left_out(compete):
    assert "not judged" not in " ".join(compete(THREADS | PROCESSES)[0].reasons)


def test_the_verdict_cautions_that_the_best_was_chosen(compete):
    assert compete(THREADS | PROCESSES)[0].caution.startswith(
        "The intervals of all 3 hold together"
    )
    assert "its lead is likely overstated" in compete(THREADS | PROCESSES)[0].caution


def test_below_three_blocks_the_verdict_says_that_there_is_no_interval(compete):
    few = {name: (*own[:2], own[2][:2], own[3]) for name, own in (THREADS | PROCESSES).items()}
    verdict = compete(few)[0]
    assert verdict.headline == "Not decided"
    assert (
        "Medians: `t1` 12.1 s; `t2` 6.05 s; `p2` 3.05 s. With 2 blocks there is no interval."
    ) in verdict.reasons[0]
    assert "[" not in verdict.reasons[0]
    assert verdict.caution == ""


WIDE = {"a": ("thread", 1, (12, 12.1, 12.2), 30), "b": ("thread", 2, (6, 6.1, 6.2), 40)}


def test_brackets_that_overlap_leave_the_least_memory_undecided(compete):
    memory = compete(WIDE, reach={"a": 2.0})[0].reasons[1]
    assert memory == (
        "Memory at the tree's peak of 2 treatments: not decided which is first. Medians: `a`"
        " 30.0 – 60.0 MiB; `b` 40.0 MiB. In relation to `b`: `a`, 0.750 – 1.50 [0.750–1.50] ×."
    )


def test_brackets_that_lie_apart_decide_the_least_memory(compete):
    memory = compete(WIDE, reach={"a": 1.2, "b": 3.0})[0].reasons[1]
    assert memory.startswith("`a` takes the least memory at the tree's peak of 2 treatments: 30.0")
    assert "The other is `b`, which takes 1.11 – 4.00 [1.11–4.00] × as much." in memory


def test_without_an_upper_end_the_one_that_lacks_it_is_not_the_least(compete):
    memory = compete(WIDE, reach={"a": None})[0].reasons[1]
    assert "not decided which is first" in memory
    assert "`a` ≥ 30.0 MiB" in memory
    # The least is known if only the others have no upper end.
    assert compete(WIDE, reach={"b": None})[0].reasons[1].startswith("`a` takes the least memory")


def test_treatments_without_enough_pairs_are_named(compete):
    late = {"p9": ("process", 9, (8, 8.1), 90)}
    time = compete(THREADS | PROCESSES | late)[0].reasons[0]
    assert "Too few pairs to decide: `p9`." in time


def test_failed_runs_of_the_winner_are_counted(present, known_run):
    runs = [known_run(replicate=n, start=20 * n).stretched(2) for n in (1, 2, 3, 4)]
    fast = [
        known_run(treatment="t2", baseline=False, replicate=n, start=100 + 20 * n)
        for n in (1, 2, 3)
    ]
    dead = known_run(treatment="t2", baseline=False, replicate=4, start=200, status="crashed")
    (verdict,) = describe_winners(present(*runs, *fast, dead))
    assert "; 1 of its 4 runs failed." in verdict.reasons[0]


def test_every_kind_of_work_has_its_verdict_with_what_sets_it_apart(present, known_run):
    runs = []
    for size in (1, 5):
        for workers in (1, 2):
            work, save = known_run().stages
            work = work | {"parameters": {"size_mib": size}, "workers": workers}
            known = known_run(
                treatment=f"p{workers}-{size}",
                baseline=(size, workers) == (1, 1),
                factors={"size_mib": size, "workers": workers},
                stages=(work, save),
                start=20 * len(runs),
            )
            runs.append(known.stretched(size / workers))
    headlines = [verdict.headline for verdict in describe_winners(present(*runs))]
    assert headlines == ["Not decided with size_mib 1", "Not decided with size_mib 5"]


def test_where_tasks_arrive_one_by_one_the_turnaround_decides_too(compete):
    arrival = {"kind": "poisson", "rate_per_s": 2.0, "seed": 1}
    turnaround = compete(THREADS | PROCESSES, specified={"arrival": arrival})[0].reasons[1]
    assert turnaround.startswith("Tasks arrived one by one, so no makespan can be shorter than")
    assert "`p2` has the shortest turnaround (95th percentile) of 3 treatments" in turnaround


def test_an_experiment_of_one_treatment_has_no_winner(alone):
    assert describe_winners(alone) == []


def test_where_no_run_succeeded_there_is_no_winner(present, known_run):
    dead = [known_run(status="crashed"), known_run(treatment="b", baseline=False, status="crashed")]
    assert describe_winners(present(*dead)) == []
