"""Sentences and tables on arrivals, back-pressure and transport."""

from dataclasses import replace

import pytest
from tests.commands import read_report, render_report

from stagebench.present import flow
from stagebench.present.flow import list_unseen, name_places, unseen_note, unseen_reminder


@pytest.fixture
def bounded(present_bounded, known_run, make_task, make_sweep):
    """Three blocks without a bound, and three with a queue of one that holds a task back."""
    free = known_run(factors={"queue_size": None}, sweeps=(make_sweep(0, 11, 80),))
    work, save = free.stages
    held = make_task(1, "work", (12, 13, 14, 14.5), due=10)
    tight = replace(
        free,
        treatment="p1-tight",
        baseline=False,
        factors={"queue_size": 1},
        stages=(work | {"queue_size": 1}, save),
        tasks=(free.tasks[0], held, *free.tasks[2:]),
        sweeps=(make_sweep(0, 11, 40),),
        overflows=("save",),
    )
    blocks = [
        replace(run, replicate=n, start=40 * n + 20 * (run is tight))
        for n in (1, 2, 3)
        for run in (free, tight)
    ]
    return present_bounded(*blocks)


def test_a_bounded_treatment_has_its_times_held_back_stage_by_stage(bounded):
    lines = flow.pressure_table(bounded).splitlines()
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]
    assert rows == [
        ["p1-tight", "work", "1", "1", "1.00", "1.90", "2.00", "0"],
        ["p1-tight", "save", "unbounded", "0", "0", "0", "0", "1"],
    ]


def test_back_pressure_names_who_was_held_back_longest_and_the_memory_saved(bounded):
    most, memory, overflow = flow.pressure_sentences(bounded)
    assert most.startswith(
        "Tasks were held back: in `p1-tight`, one that was ready for `work` waited 1.00 s on"
    )
    assert memory == (
        "Less memory: `p1-tight` (queue size: work 1) against `p1-fork` (unbounded). Makespan:"
        " equivalent (1.00 [1.00–1.00] ×); tree's peak: 2.00 [2.00–2.00] × lower."
    )
    assert overflow.startswith("A full queue took one task more than its bound 3 times in front")


def test_every_pair_of_treatments_that_differ_in_a_bound_alone_has_its_ratios(bounded):
    lines = flow.contrasts_table(bounded, flow.BOUNDS).splitlines()
    (row,) = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]
    assert row[:5] == ["queue_size", "p1-tight", "work 1", "p1-fork", "unbounded"]
    assert row[5] == "1.00 [1.00–1.00]"
    assert row[8] == "0.500 [0.500–0.500]"
    assert flow.contrasts_table(bounded, flow.TRANSPORT) == ""


def test_a_treatment_without_an_ok_run_is_left_out(present, known_run):
    work, save = known_run().stages
    stages = (work | {"queue_size": 1}, save)
    dead = known_run(treatment="dead", baseline=False, stages=stages, status="crashed")
    assert "dead" not in flow.pressure_table(present(known_run(stages=stages), dead))


def test_a_limit_of_all_treatments_is_their_setting_and_no_back_pressure(present, known_run):
    limited = {"in_flight": 1}
    runs = [known_run(treatment=t, baseline=t == "a", specified=limited) for t in ("a", "b")]
    assert flow.pressure_table(present(*runs)) == ""


def test_without_a_bound_nothing_is_reported(pipe):
    assert flow.pressure_table(pipe) == ""
    assert flow.pressure_sentences(pipe) == []


def test_a_bound_that_held_nothing_back_says_so(present, known_run):
    limited = known_run(treatment="few", baseline=False, specified={"in_flight": 5})
    experiment = present(known_run(), limited)
    assert flow.pressure_sentences(experiment) == [
        "No task was held back in front of a full queue."
    ]


def test_a_transport_is_compared_with_the_pickle(present, known_run):
    work, save = known_run().stages
    shared = (work | {"transport": "shared_memory"}, save)
    other = known_run(
        treatment="shm", baseline=False, stages=shared, factors={"transport": "shared_memory"}
    )
    base = known_run(factors={"transport": "pickle"}).stretched(2)
    blocks = [replace(run, replicate=n, start=40 * n) for n in (1, 2, 3) for run in (base, other)]
    experiment = present(*blocks)
    assert flow.transport_sentence(experiment).startswith(
        "Less time: `shm` (transport: work shared_memory) against `p1-fork` (pickle). Makespan:"
        " 2.00 [2.00–2.00] × shorter."
    )
    # One block has no interval.
    assert flow.transport_sentence(present(base, other)) == ""
    assert "| shm " in flow.contrasts_table(experiment, flow.TRANSPORT)


def test_batches_are_compared_with_single_tasks(present, known_run):
    work, save = known_run().stages
    four = known_run(
        treatment="b4", baseline=False, stages=(work | {"batch": 4}, save), factors={"batch": 4}
    )
    base = known_run(factors={"batch": 1}).stretched(2)
    blocks = [replace(run, replicate=n, start=40 * n) for n in (1, 2, 3) for run in (base, four)]
    experiment = present(*blocks)
    assert flow.batch_sentence(experiment).startswith(
        "Less time: `b4` (batch: work 4) against `p1-fork` (1). Makespan: 2.00 [2.00–2.00] ×"
    )
    assert "| batch " in flow.contrasts_table(experiment, flow.BATCH)
    assert flow.contrasts_table(experiment, flow.TRANSPORT) == ""


def test_a_bound_does_not_save_memory_where_results_wait_unseen(present, known_run, make_sweep):
    work, save = known_run().stages
    work = work | {"transport": "path"}
    free = known_run(stages=(work, save), sweeps=(make_sweep(0, 11, 80),))
    tight = known_run(
        treatment="tight",
        baseline=False,
        stages=(work | {"queue_size": 1}, save),
        sweeps=(make_sweep(0, 11, 40),),
    )
    experiment = present(free, tight)
    assert "| tight " in flow.contrasts_table(experiment, flow.BOUNDS)
    assert not any("memory" in text for text in flow.pressure_sentences(experiment))


def test_a_transport_that_does_not_vary_is_not_compared(pipe):
    assert flow.transport_sentence(pipe) == ""
    assert flow.contrasts_table(pipe, flow.TRANSPORT) == ""


@pytest.mark.parametrize(
    ("specified", "text"),
    [
        ({}, ""),
        ({"arrival": {"kind": "at_once"}}, ""),
        (
            {"arrival": {"kind": "fixed_rate", "rate_per_s": 20}},
            "Tasks arrive at a fixed rate, 20.0 per second.",
        ),
        (
            {"arrival": {"kind": "poisson", "rate_per_s": 5.0, "seed": 3}, "in_flight": 4},
            (
                "Tasks arrive at random (Poisson), 5.00 per second on average, seed 3."
                " Tasks in flight: at most 4."
            ),
        ),
    ],
)
def test_arrival_and_tasks_in_flight_are_described_where_they_are_set(
    present, known_run, specified, text
):
    assert flow.arrival_text(present(known_run(specified=specified))) == text


def test_arrivals_and_limits_that_differ_are_all_described(present, known_run):
    fixed = {"arrival": {"kind": "fixed_rate", "rate_per_s": 2}, "in_flight": 3}
    other = known_run(treatment="b", baseline=False, specified=fixed)
    assert flow.arrival_text(present(known_run(), other)) == (
        "Tasks arrive all at once or at a fixed rate, 2.00 per second."
        " Tasks in flight: any number, at most 3."
    )


@pytest.fixture
def mixed(known_run):
    work, save = known_run().stages
    return [
        known_run(),
        *(
            known_run(treatment=to, baseline=False, stages=(work | {"transport": to}, save))
            for to in ("pickle", "shared_memory", "path")
        ),
    ]


def test_treatments_are_unseen_by_any_transport_but_the_pickle(present, mixed):
    assert list_unseen(present(*mixed)) == ["shared_memory", "path"]


def test_the_note_names_them_and_where_their_results_wait(present, mixed):
    note = unseen_note(present(*mixed))
    assert "in `shared_memory`, `path`: results of 64 KiB and more pass through" in note
    assert "through shared memory or a file. While a result waits there, no process maps it" in note
    assert "through a file. While" in unseen_note(present(mixed[0], mixed[3]))


@pytest.fixture
def grouped(mixed):
    """The same with a control group, which counts shared memory."""
    sampled = {"reads": 900, "group_drift_bytes": 2**20}
    return [replace(run, sampled=sampled) for run in mixed]


def test_a_control_group_sees_shared_memory_and_no_file(present, grouped):
    experiment = present(*grouped)
    assert list_unseen(experiment) == ["path"]
    assert name_places(experiment) == "a file"
    note = unseen_note(experiment)
    assert "in `path`: results of 64 KiB and more pass through a file. While" in note


def test_shared_memory_is_unseen_if_one_run_had_no_control_group(present, grouped, mixed):
    again = [replace(run, replicate=2, start=90 + 20 * n) for n, run in enumerate(mixed)]
    assert list_unseen(present(*grouped, *again)) == ["shared_memory", "path"]


def test_a_run_that_failed_does_not_say_what_was_seen(present, grouped):
    failed = replace(grouped[2], replicate=2, start=90, status="crashed", sampled={})
    assert list_unseen(present(*grouped, failed)) == ["path"]


def test_without_such_a_transport_there_is_no_note(pipe):
    assert (list_unseen(pipe), unseen_note(pipe), unseen_reminder(pipe)) == ([], "", "")


def test_wherever_their_peak_stands_beside_others_the_report_says_so(analyse, mixed):
    folder = analyse(*mixed)
    render_report(folder / "tables", folder / "plan.json", folder / "figures", folder)
    pages = read_report(folder)
    assert "**Unseen memory** in `shared_memory`, `path`" in pages["report.md"]
    text = pages["report/pipe.md"]
    sections = {
        place: text.split(f"\n## {place}", 1)[1].split("\n#", 1)[0]
        for place in ("Treatments", "Effects against", "Transport", "Memory")
    }
    assert "**Unseen memory** in `shared_memory`, `path`" in sections["Treatments"]
    reminder = "Memory of `shared_memory`, `path` is shown but not judged"
    assert all(reminder in sections[place] for place in ("Effects against", "Transport", "Memory"))
