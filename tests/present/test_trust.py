"""Sentences and tables on how far the measurements can be trusted."""

from dataclasses import replace

import pandas as pd
import pytest
from tests.known_runs import FACTS

from stagebench.present import trust
from stagebench.tables.io import read_tables


@pytest.fixture
def runs_of(analyse):
    return lambda *runs: read_tables(analyse(*runs) / "tables")["runs"]


def test_failed_runs_are_listed_with_status_and_reason(tables):
    lines = trust.failures_table(tables["runs"]).splitlines()
    assert len(lines) == 3
    assert "timed_out" in lines[2]
    assert "time limit \\| of <60 s>" in lines[2]


def test_without_failures_there_is_no_table(runs_of, known_run):
    assert trust.failures_table(runs_of(known_run())) == ""


def test_errors_of_tasks_are_counted(analyse, known_run, make_task):
    tasks = [
        make_task(n, "work", (10, 11, 12, 12), status="failed", error="ValueError: `x` | y")
        for n in range(2)
    ]
    found = read_tables(analyse(known_run(tasks=tuple(tasks), status="tasks_failed")) / "tables")
    assert trust.task_errors(found["tasks"]) == ["2 × `ValueError: x | y`"]


def test_the_planned_order_is_confirmed(tables):
    text = trust.order_text(tables["runs"])
    assert text == "All 8 runs started in the planned random order."


def test_runs_out_of_order_are_counted(runs_of, known_run):
    runs = runs_of(known_run(start=40), known_run(replicate=2), known_run(replicate=3, start=20))
    assert trust.order_text(runs).startswith("1 of 3 runs started after a run that was")


def test_disjoint_runs_are_confirmed(tables):
    text = trust.overlap_text(tables["runs"])
    assert text == "No two of 8 runs were measured at the same time."


def test_overlapping_runs_are_a_warning(runs_of, known_run):
    text = trust.overlap_text(runs_of(known_run(), known_run(replicate=2, start=3)))
    assert text.startswith("**2 runs overlapped another one")


def test_runs_of_unknown_times_are_counted(runs_of, known_run):
    crashed = known_run(replicate=2, status="crashed", run={"exec_ns": None})
    text = trust.overlap_text(runs_of(known_run(), crashed))
    assert text == "No two of 1 run were measured at the same time; unknown for 1."


def test_processes_left_behind_are_reported(runs_of, known_run):
    assert trust.survivors_text(runs_of(known_run())) == "No run left a process behind."
    left = trust.survivors_text(runs_of(known_run(run={"survivors": 2})))
    assert left == "1 run left processes behind, which were ended."


def test_the_supervisors_time_is_compared_with_the_runs_own(runs_of, known_run):
    text = trust.totals_text(runs_of(known_run(), known_run(replicate=2, start=20)))
    assert text == "The runs' own times add up to 19 s; supervisors added 2.5 s (13 %)."


def test_totals_of_runs_that_never_started_are_unknown(runs_of, known_run):
    crashed = known_run(status="crashed", run={"exec_ns": None, "exited_ns": None})
    assert trust.totals_text(runs_of(crashed)) == "The runs' own times are not known."


def test_noise_overhead_and_sampler_are_listed_by_experiment(tables):
    noise = trust.noise_table(tables["runs"]).splitlines()
    assert [cell.strip() for cell in noise[0].split("|")[2:-1]] == [
        "pipe median",
        "pipe maximum",
        "alone median",
        "alone maximum",
    ]
    assert "0.500" in trust.noise_table(tables["runs"])
    assert "1.25" in trust.overhead_table(tables["runs"])
    assert "0.750" in trust.sampler_table(tables["runs"])


def test_noise_that_was_not_read_is_a_dash(runs_of, known_run):
    unknown = dict.fromkeys(["load_before", "load_after", "steal_share", "others_cpu_share"])
    table = trust.noise_table(runs_of(known_run(run={"noise": unknown})))
    assert table.count("–") == 8 + 2  # pressure on the disk is unknown, too


def test_processes_that_ended_under_a_sweep_are_counted(runs_of, known_run):
    text = trust.vanished_text(runs_of(known_run()))
    assert text == "A process ended while it was being read 1 time in 6 sweeps."


def test_a_metric_other_than_pss_is_a_warning(runs_of, known_run):
    assert trust.metric_text(runs_of(known_run())) == ""
    run = known_run()
    uss = sampled_by(run, "uss")
    text = trust.metric_text(runs_of(run, replace(uss, replicate=2)))
    assert "USS" in text
    assert "RSS" not in text


def sampled_by(run, metric):
    sampler = FACTS["run"]["sampler"] | {"metric": metric}
    return replace(run, run={"sampler": sampler})


def test_control_groups_that_were_charged_more_than_our_anonymous_memory_agree(tables):
    text = trust.cgroup_text(tables["runs"])
    assert text.startswith("In all ")
    assert "times that in the median" in text


def test_a_control_group_that_was_charged_less_is_a_warning(runs_of, known_run):
    little = {"version": 2, "peak_bytes": 2**20, "kernel_peak_bytes": None, "cache_bytes": 0}
    text = trust.cgroup_text(runs_of(known_run(run={"cgroup": little})))
    assert text.startswith("**In 1 of 1 run the control group was charged with less")


def charged(swap_bytes):
    """Return what a run's control group was charged for, with memory swapped out."""
    known = {"version": 2, "peak_bytes": 2**27, "kernel_peak_bytes": None, "cache_bytes": 0}
    return {"cgroup": known | {"swap_bytes": swap_bytes}}


def test_memory_that_was_swapped_out_is_a_warning(runs_of, known_run):
    runs = runs_of(known_run(run=charged(0)), known_run(replicate=2, run=charged(3 << 20)))
    text = trust.swap_text(runs)
    assert text.startswith(
        "**Memory was swapped out in 1 of 2 runs, up to 3 MiB at a time: no figure"
    )


@pytest.mark.parametrize("size", [0, None])
def test_without_swap_nothing_is_said(runs_of, known_run, size):
    assert trust.swap_text(runs_of(known_run(run=charged(size)))) == ""


def test_swap_that_only_a_sweep_saw_is_counted(runs_of, known_run):
    run = known_run(run={"cgroup": {"reason": "none"}})
    (record, (first, *others)), *sweeps = run.sweeps
    sweep = record, [replace(first, swap_bytes=2 << 20), *others]
    swapped = replace(run, sweeps=(sweep, *sweeps))
    assert "in 1 of 1 run, up to 2 MiB" in trust.swap_text(runs_of(swapped))


def test_without_control_groups_there_is_no_cross_check(runs_of, known_run):
    text = trust.cgroup_text(runs_of(known_run(run={"cgroup": {"reason": "none"}})))
    assert text.startswith("No control group could be created")


GROUPED = {"reads": 950, "read_cpu_s": 0.095, "group_drift_bytes": 2**20}
COUNTED = {"reads": 475, "read_cpu_s": 0.038}
NO_GROUP = {"cgroup": {"reason": "Permission denied: /sys/fs/cgroup/x"}}


def test_the_instrument_is_named_with_its_rate_and_its_cost(runs_of, known_run):
    runs = runs_of(known_run(sampled=GROUPED), known_run(replicate=2, sampled=GROUPED))
    assert trust.instrument_text(runs) == (
        "In all 2 runs a control group counted the memory of the whole tree, 100 times a second in"
        " the median (100 at least), for 1.0 % of a core's time."
    )


def test_runs_without_a_control_group_say_why(runs_of, known_run):
    runs = runs_of(
        known_run(sampled=GROUPED),
        known_run(replicate=2, sampled=COUNTED, run=NO_GROUP),
        known_run(replicate=3, sampled=COUNTED, run=NO_GROUP),
    )
    assert trust.instrument_text(runs) == (
        "In 1 of 3 runs a control group counted the memory of the whole tree, 100 times a second in"
        " the median (100 at least), for 1.0 % of a core's time. In 2 of 3 runs the counters of"
        " single processes were read, 50.0 times a second in the median (50.0 at least), for 0.4 %"
        " of a core's time. Without a control group, what comes and goes between two readings makes"
        " brackets wide, and shared memory counts only while it is mapped. Why there was no control"
        " group: `Permission"
        " denied: /sys/fs/cgroup/x` (2 runs)."
    )


def test_a_group_that_was_taken_away_is_not_the_instrument(runs_of, known_run):
    gone = GROUPED | {"group_failure": "taken away during the run (No such device)"}
    runs = runs_of(known_run(sampled=gone))
    assert list(runs["memory_instrument"]) == ["counters"]
    assert trust.instrument_text(runs).endswith(
        "Why there was no control group: `taken away during the run (No such device)` (1 run)."
    )


def test_runs_without_readings_were_read_in_sweeps_alone(runs_of, known_run):
    text = trust.instrument_text(runs_of(known_run()))
    assert text.startswith("In all 1 run memory was read in sweeps alone. Without a control group")
    assert "Why" not in text


@pytest.fixture
def stages_of(analyse):
    return lambda *runs: read_tables(analyse(*runs) / "tables")["stages"]


@pytest.fixture
def repeated(stages_of, known_run, make_task):
    attempts = (
        make_task(0, "work", (10, 10, None, 11), status="timed_out"),
        make_task(1, "work", (10, 10, None, 11), status="timed_out"),
        make_task(1, "work", (11, 11, None, 12), status="lost", attempt=2),
    )
    return stages_of(known_run(attempts=attempts))


def test_attempts_are_counted_by_what_they_were_repeated_after(repeated):
    assert trust.attempts_text(repeated).startswith(
        "Tasks were retried after 3 attempts (2 timed out, 1 lost its worker). A task counts"
    )


def test_without_attempts_nothing_is_reported(stages_of, known_run):
    stages = stages_of(known_run())
    assert trust.attempts_text(stages) == ""
    assert trust.outcomes_table(stages) == ""


def test_stages_in_which_something_went_wrong_are_listed(repeated):
    lines = trust.outcomes_table(repeated).splitlines()
    cells = [cell.strip() for cell in lines[2][1:-1].split("|")]
    assert len(lines) == 3
    assert cells == ["pipe", "p1-fork", "work", "2", "0", "0", "0", "0", "0", "0", "2", "1"]


def test_tasks_that_timed_out_are_counted_over_all_runs(stages_of, known_run, make_task):
    tasks = (
        make_task(0, "work", (10, 11, 12, 12)),
        make_task(1, "work", (10, 11, None, 12), status="timed_out"),
        make_task(0, "save", (12, 12, 13, 13)),
        make_task(1, "save", (None,) * 4, status="skipped"),
    )
    runs = [known_run(tasks=tasks, status="tasks_failed", replicate=n) for n in (1, 2)]
    table = trust.outcomes_table(stages_of(*runs))
    cells = [[c.strip() for c in line[1:-1].split("|")] for line in table.splitlines()[2:]]
    assert [row[2:8] for row in cells] == [
        ["work", "2", "0", "2", "0", "0"],
        ["save", "2", "0", "0", "0", "2"],
    ]


@pytest.fixture
def tables_of(analyse):
    return lambda *runs: read_tables(analyse(*runs) / "tables")


def test_without_warm_ups_nothing_is_reported(tables_of, known_run):
    warm_ups = tables_of(known_run())["warm_ups"]
    assert trust.warm_ups_text(warm_ups) == ""
    assert trust.failed_warm_ups_table(warm_ups) == ""


def test_warm_ups_are_counted_and_a_failed_one_is_listed(tables_of, known_run):
    failed = known_run(warm_up=True, replicate=2, status="crashed", detail="no module")
    warm_ups = tables_of(known_run(warm_up=True), failed, known_run(start=20))["warm_ups"]
    text = trust.warm_ups_text(warm_ups)
    assert text.startswith("2 warm-up runs came before the first block")
    assert "**1 of them did not succeed**" in text
    (row,) = trust.failed_warm_ups_table(warm_ups).splitlines()[2:]
    assert "crashed" in row
    assert "no module" in row


def test_one_campaign_is_the_rule_and_several_are_listed_with_their_runs(tables_of, known_run):
    later = known_run(replicate=2, start=20, run={"campaign": "2026-11-24T07:00:00+00:00"})
    assert trust.campaigns_text(tables_of(known_run())["runs"]) == ""
    text = trust.campaigns_text(tables_of(known_run(), later)["runs"])
    assert "2 campaigns" in text
    assert "2026-11-24T07:00:00+00:00 (1 run)" in text


def quiet(waited_s, share):
    is_quiet = None if share is None else share >= 0.9
    return {"quiet": {"waited_s": waited_s, "idle_share": share, "quiet": is_quiet}}


def test_the_wait_for_a_quiet_machine_is_reported(tables_of, known_run):
    runs = [
        known_run(run=quiet(0.25, 1.0)),
        known_run(replicate=2, start=20, run=quiet(2.0, 0.5)),
        known_run(replicate=3, start=40, run=quiet(0.0, None)),
    ]
    text = trust.quiet_text(tables_of(*runs)["runs"])
    assert text.startswith("The machine was quiet before 1 of 2 runs, unknown for 1; a run waited")
    assert text.endswith("2.00 s at most.")
    assert trust.quiet_text(tables_of(runs[2])["runs"]).startswith("No run waited")


def test_of_many_different_errors_the_most_frequent_are_listed(tables_of, known_run):
    tasks = tables_of(known_run())["tasks"]
    many = pd.concat([tasks.head(1)] * 151, ignore_index=True)
    many["error"] = ["often"] + [f"error {max(1, n)}" for n in range(150)]
    many.loc[1, "error"] = "often"
    lines = trust.task_errors(many)
    assert lines[0] == "2 × `often`"
    assert (len(lines), lines[-1]) == (101, "and 50 other errors")


def test_noisy_runs_are_counted_and_listed_with_their_reasons(tables_of, known_run):
    noisy = known_run(replicate=2, start=20, run=quiet(2.0, 0.5))
    runs = tables_of(known_run(), noisy)["runs"]
    text = trust.noisy_text(runs)
    assert text.startswith(
        "**1 of 2 runs (50 %) were disturbed** by other activity, 1 of them in pipe/p1-fork."
    )
    (row,) = trust.noisy_table(runs).splitlines()[2:]
    assert "not quiet before (50 % idle)" in row


def test_without_noise_no_run_is_listed(tables_of, known_run):
    runs = tables_of(known_run())["runs"]
    assert trust.noisy_text(runs) == "None of 1 run is flagged as noisy."
    assert trust.noisy_table(runs) == ""


@pytest.fixture
def environment_of(analyse):
    return lambda *runs: read_tables(analyse(*runs) / "tables")["environment"]


def test_the_machine_is_listed_with_its_settings(environment_of, known_run):
    table = trust.machine_table(environment_of(known_run()))
    for label, value in (
        ("frequency governor", "performance"),
        ("CPUs that the control group allows", "no limit"),
        ("memory that the control group allows", "8 GiB"),
    ):
        assert any(label in row and value in row for row in table.splitlines())


def test_runs_of_one_place_are_no_finding(environment_of, known_run):
    environment = environment_of(known_run(), known_run(replicate=2, start=20))
    assert trust.mixture_findings(environment) == []
    assert trust.mixtures_table(environment) == ""


def test_mixed_places_are_a_finding_and_listed_by_where_they_were(environment_of, known_run):
    other = FACTS["run"]["environment"] | {"kernel": "7.0", "packages": {"numpy": "3.0"}}
    second = known_run(experiment="second", start=20, run={"environment": other})
    environment = environment_of(known_run(), second)
    (finding,) = trust.mixture_findings(environment)
    assert "kernel (2 values), numpy (2 values)" in finding
    rows = trust.mixtures_table(environment).splitlines()[2:]
    assert [[cell.strip() for cell in row.split("|")[1:5]] for row in rows] == [
        ["kernel", "6.18", "pipe", "1"],
        ["kernel", "7.0", "second", "1"],
        ["numpy", "2.4.6", "pipe", "1"],
        ["numpy", "3.0", "second", "1"],
    ]


def test_memory_that_was_touched_is_told_with_what_pages_cost(runs_of, known_run):
    assert trust.warmth_text(runs_of(known_run())) == (
        "Before 1 of 1 run a helper touched memory and freed it again, 64 MiB in 0 ms in the"
        " median, so that runs do not pay for pages that the machine has given away. A fresh page"
        " of 4 KiB took 8.19 µs of CPU time, one that had been used 0.256 µs (32.0 ×; medians)."
    )


def test_why_no_memory_was_touched_is_told(runs_of, known_run):
    facts = FACTS["run"]
    warmed = facts["warmed"] | {"touched_bytes": 0, "reason": "a fresh page costs no more"}
    before = facts["machine_before"] | {"fresh_page_ns": None, "used_page_ns": None}
    text = trust.warmth_text(runs_of(known_run(run={"warmed": warmed, "machine_before": before})))
    assert text == (
        "Less memory than a run needs was touched because: a fresh page costs no more (1 run)."
    )


def on(node, **environment):
    return {"environment": FACTS["run"]["environment"] | {"node": node, **environment}}


@pytest.fixture
def on_nodes(tables_of, known_run):
    """Two treatments in four blocks, of which the last lies on two nodes that differ in cores."""
    small, large = on("n1", cores=2), on("n2", cores=4)
    places = {1: (small, small), 2: (large, large), 3: (small, small), 4: (large, small)}
    runs = [
        known_run(
            treatment=treatment,
            baseline=treatment == "t1",
            replicate=block,
            start=40 * block + 3 * number,
            run=where[number],
        )
        for block, where in places.items()
        for number, treatment in enumerate(("t1", "t2"))
    ]
    return tables_of(*runs)


def test_the_nodes_of_runs_are_listed_with_what_follows(on_nodes):
    text = trust.nodes_text(on_nodes["runs"], on_nodes["environment"])
    assert text.startswith("The runs were made on 2 nodes: `n1` (3 blocks, 5 runs), `n2` (2 blocks")
    assert "Two nodes show little of how nodes differ, so intervals are wide." in text
    assert "**1 run of block 4 was made on another node than the baseline" in text
    assert text.endswith("The nodes differ in cores.")


def test_a_table_has_what_each_node_made_and_differs_in(on_nodes):
    header, _, *rows = trust.nodes_table(on_nodes["runs"], on_nodes["environment"]).splitlines()
    assert header.split("|")[-2].strip() == "cores"
    cells = [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows]
    assert [(row[0], row[1], row[2], row[-1]) for row in cells] == [
        ("n1", "3", "5", "2"),
        ("n2", "2", "3", "4"),
    ]


def test_what_nodes_differ_in_is_not_said_of_all_runs(on_nodes):
    environment = on_nodes["environment"]
    assert "2 (n1), 4 (n2)" in trust.machine_table(environment)
    assert trust.mixture_findings(environment) == []
    assert trust.mixtures_table(environment) == ""


def test_one_node_is_the_rule(tables_of, known_run):
    for runs in ([known_run()], [known_run(run=on("n1")), known_run(replicate=2, start=20)]):
        tables = tables_of(*runs)
        assert trust.nodes_text(tables["runs"], tables["environment"]) == ""
        assert trust.nodes_table(tables["runs"], tables["environment"]) == ""
        assert trust.few_nodes_text(tables["runs"]) == ""


def test_nodes_that_work_side_by_side_keep_the_order_and_do_not_overlap(runs_of, known_run):
    runs = runs_of(
        known_run(run=on("n1"), start=5),
        known_run(replicate=2, run=on("n2"), start=0),
        known_run(replicate=3, run=on("n1"), start=30),
    )
    assert trust.order_text(runs).endswith("in the planned random order on each node.")
    assert trust.overlap_text(runs).startswith("No two of 3 runs were measured at the same time on")
    assert trust.list_doubts(runs) == trust.list_doubts(runs_of(known_run()))
    late = runs_of(known_run(run=on("n1"), start=50), known_run(replicate=2, run=on("n1")))
    assert trust.order_text(late).startswith("1 of 2 runs started after a run that was planned")


@pytest.mark.parametrize(("number", "word"), [(2, "Two"), (3, "Three"), (4, "")])
def test_two_or_three_nodes_are_called_few(on_nodes, number, word):
    runs = pd.concat([on_nodes["runs"].assign(node=f"{n}") for n in range(number)])
    assert trust.few_nodes_text(runs).startswith(f"{word} nodes show little" if word else "")
    assert bool(trust.few_nodes_text(runs)) is bool(word)
    assert trust.nodes_text(runs, on_nodes["environment"]).startswith(
        f"The runs were made on {number} nodes"
    )
