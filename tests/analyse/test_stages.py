from dataclasses import replace

import pytest

from stagebench.analyse.stages import makespan_s, result_bytes, summarise_stages
from stagebench.records import Imports
from stagebench.units import MIB


@pytest.fixture
def work(run_trace):
    return summarise_stages(run_trace())[0]


@pytest.fixture
def save(run_trace):
    return summarise_stages(run_trace())[1]


def test_stages_come_in_the_order_of_the_workflow(run_trace):
    assert [row["stage"] for row in summarise_stages(run_trace())] == ["work", "save"]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("service", [1.5, 1.5, 1.05, 1.95, 1, 2]),
        ("waiting", [2, 2, 1.1, 2.9, 1, 3]),
        ("return", [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ("response", [4, 4, 3.55, 4.45, 3.5, 4.5]),
    ],
)
def test_times_of_a_stage_are_those_of_its_tasks(work, time, expected):
    names = ("mean", "median", "p5", "p95", "min", "max")
    assert [work[f"{time}_{name}_s"] for name in names] == pytest.approx(expected)


def test_stage_efficiency_is_summed_service_over_service_and_waiting(work, save):
    assert work["stage_efficiency"] == pytest.approx(3 / 7)
    assert save["stage_efficiency"] == 1


def test_share_of_total_time_is_of_summed_waiting_and_service(work, save):
    assert work["share_of_total_time"] == pytest.approx(7 / 8.5)
    assert save["share_of_total_time"] == pytest.approx(1.5 / 8.5)


def test_utilisation_is_service_over_all_workers_and_the_makespan(work, save):
    assert work["utilisation"] == pytest.approx(3 / 6)
    assert save["utilisation"] == pytest.approx(1.5 / (2 * 6))


def test_on_cpu_share_counts_waiting_and_service_cpu_share_does_not(work):
    assert work["on_cpu_share"] == pytest.approx(1.5 / 7)
    assert work["service_cpu_share"] == pytest.approx(1.5 / 3)


def test_a_stage_has_its_mean_cpu_time_and_its_deepest_queue(work, save):
    assert (work["cpu_mean_s"], save["cpu_mean_s"]) == (0.75, 0.375)
    assert (work["deepest_queue"], save["deepest_queue"]) == (2, 0)


def test_first_tasks_of_workers_stand_apart_from_later_ones(work, save):
    assert (work["first_tasks"], work["later_tasks"]) == (1, 1)
    assert (work["service_first_mean_s"], work["service_first_median_s"]) == (2, 2)
    assert (work["service_later_mean_s"], work["service_later_median_s"]) == (1, 1)
    assert (work["cpu_first_mean_s"], work["cpu_first_median_s"]) == (1, 1)
    assert (work["cpu_later_mean_s"], work["cpu_later_median_s"]) == (0.5, 0.5)
    assert (work["cpu_median_s"], save["cpu_median_s"]) == (0.75, 0.375)
    assert (save["first_tasks"], save["later_tasks"]) == (2, 0)
    assert save["service_first_median_s"] == 0.75
    assert save["service_later_mean_s"] is save["cpu_later_median_s"] is None


def test_a_later_task_without_its_cpu_time_leaves_that_of_first_ones_known(run_trace, known_run):
    run = known_run()
    tasks = (run.tasks[0], replace(run.tasks[1], cpu_ns=None), *run.tasks[2:])
    work = summarise_stages(run_trace(replace(run, tasks=tasks)))[0]
    assert (work["cpu_first_mean_s"], work["cpu_later_mean_s"]) == (1, None)
    assert (work["cpu_median_s"], work["service_later_mean_s"]) == (None, 1)


def test_a_failed_first_attempt_makes_all_that_is_ok_later(run_trace, known_run, make_task):
    run = known_run()
    failed = make_task(0, "work", (10, 10.25, 10.5, 10.5), status="failed")
    tasks = (replace(run.tasks[0], attempt=2), *run.tasks[1:])
    work = summarise_stages(run_trace(replace(run, tasks=tasks, attempts=(failed,))))[0]
    assert (work["first_tasks"], work["later_tasks"]) == (0, 2)


def test_imports_of_a_stage_are_those_of_the_worker_with_most(run_trace, known_run):
    imports = {"work": Imports(0, 1, 412, ("pandas", "numpy"))}
    work, save = summarise_stages(run_trace(known_run(imports=imports)))
    assert (work["imported_modules"], work["imported"]) == (412, "pandas, numpy")
    assert (save["imported_modules"], save["imported"]) == (0, None)


def test_cpu_shares_are_missing_when_a_task_lacks_its_cpu_time(run_trace, known_run):
    run = known_run()
    tasks = (replace(run.tasks[0], cpu_ns=None), *run.tasks[1:])
    work = summarise_stages(run_trace(replace(run, tasks=tasks)))[0]
    assert work["on_cpu_share"] is None
    assert work["service_cpu_share"] is None


def test_pool_start_up_is_from_the_first_submission_to_first_and_last_ready_worker(work, save):
    assert (work["pool_first_ready_s"], work["pool_last_ready_s"]) == (0.75, 0.75)
    assert (save["pool_first_ready_s"], save["pool_last_ready_s"]) == (0, 0.125)


def test_pool_start_up_is_missing_without_a_worker(run_trace, known_run):
    work = summarise_stages(run_trace(known_run(workers=())))[0]
    assert work["pool_first_ready_s"] is None


def test_workers_served_counts_distinct_threads_and_processes(work, save):
    assert (work["workers_served"], save["workers_served"]) == (1, 2)


def test_a_stage_has_the_settings_that_it_was_run_with(work, save):
    assert work["parameters"] == '{"size_mib":2.5}'
    assert (work["executor"], work["start_method"], work["workers"]) == ("process", "fork", 1)
    assert save["start_method"] is None


def test_times_of_a_stage_leave_failed_and_skipped_tasks_out(run_trace, known_run, make_task):
    tasks = (
        make_task(0, "work", (10, 11, 13, 13.5), cpu=1),
        make_task(1, "work", (10, 13, 13.1, 13.2), cpu=0, status="failed", error="ValueError"),
        make_task(0, "save", (13.5, 13.5, 14, 14), cpu=0.25),
        make_task(1, "save", (None, None, None, None), status="skipped", worker=(None, None)),
    )
    work, save = summarise_stages(run_trace(known_run(tasks=tasks, status="tasks_failed")))
    assert (work["service_max_s"], work["service_min_s"]) == (2, 2)
    assert (work["tasks_ok"], work["tasks_failed"], work["tasks_missing"]) == (1, 1, 0)
    assert (save["tasks_ok"], save["tasks_skipped"]) == (1, 1)


def test_a_stage_that_served_nothing_has_no_times(run_trace, known_run):
    run = known_run(status="crashed", tasks=())
    work = summarise_stages(run_trace(run))[0]
    assert "service_mean_s" not in work
    assert work["stage_efficiency"] is None
    assert work["share_of_total_time"] is None
    assert work["utilisation"] is None
    assert work["tasks_missing"] == 2


def test_makespan_is_first_submission_to_last_receipt(run_trace):
    assert makespan_s(run_trace()) == 6


@pytest.mark.parametrize("status", ["timed_out", "crashed", "worker_lost"])
def test_a_run_that_did_not_end_has_no_makespan(run_trace, known_run, status):
    assert makespan_s(run_trace(known_run(status=status))) is None


def test_a_stage_has_the_time_that_tasks_were_held_back_in_front_of_it(
    run_trace, known_run, make_task
):
    tasks = (
        make_task(0, "work", (10, 11, 13, 13)),
        make_task(1, "work", (13, 13, 14, 14), due=10),
    )
    work = summarise_stages(run_trace(known_run(tasks=tasks, status="tasks_failed")))[0]
    assert (work["blocked_mean_s"], work["blocked_min_s"], work["blocked_max_s"]) == (1.5, 0, 3)
    assert work["waiting_mean_s"] == 0.5


def test_a_stage_has_its_limits(run_trace, known_run):
    work, save = known_run().stages
    limits = {"queue_size": 4, "batch": 8, "timeout_s": 0.5, "transport": "path", "retries": 2}
    work |= limits | {"retry_on": ["lost", "timed_out"]}
    rows = summarise_stages(run_trace(known_run(stages=(work, save))))
    names = (*limits, "retry_on")
    assert [rows[0][name] for name in names] == [4, 8, 0.5, "path", 2, "lost, timed_out"]
    assert [rows[1][name] for name in names] == [None] * 6


def test_coroutines_have_no_cpu_time_and_no_number_of_workers(run_trace, known_run):
    run = known_run()
    work = run.stages[0] | {"executor": "asyncio", "workers": 3}
    tasks = tuple(replace(task, cpu_ns=None) for task in run.tasks)
    row = summarise_stages(run_trace(replace(run, stages=(work, run.stages[1]), tasks=tasks)))[0]
    missing = ("on_cpu_share", "service_cpu_share", "cpu_mean_s", "workers_served")
    assert [row[name] for name in missing] == [None] * 4
    assert row["utilisation"] == pytest.approx(3 / (3 * 6))


def test_a_worker_that_replaces_a_lost_one_is_no_part_of_the_pools_start(run_trace, known_run):
    run = known_run()
    later = replace(run.workers[0], requested_ns=12 * 10**9, ready_ns=13 * 10**9)
    work = summarise_stages(run_trace(replace(run, workers=(*run.workers, later))))[0]
    assert (work["pool_first_ready_s"], work["pool_last_ready_s"]) == (0.75, 0.75)


def test_times_of_a_stage_are_of_the_last_attempt(run_trace, known_run, make_task):
    slow = make_task(0, "work", (10, 10, 19, 19), status="failed")
    work = summarise_stages(run_trace(known_run(attempts=(slow,))))[0]
    assert (work["service_max_s"], work["attempts_repeated"]) == (2, 1)


def test_a_makespan_begins_with_the_first_attempt(run_trace, known_run, make_task):
    first = make_task(0, "work", (9, 9, 9.5, 10), status="failed")
    assert makespan_s(run_trace(known_run(attempts=(first,)))) == 7


def test_a_task_was_held_back_in_front_of_all_its_attempts(run_trace, known_run, make_task):
    first = make_task(0, "work", (12, 12, 13, 13), due=10, status="failed")
    last = make_task(0, "work", (13, 13, 14, 14), attempt=2)
    other = make_task(1, "work", (10, 10, 11, 11))
    run = known_run(attempts=(first,), tasks=(last, other), status="tasks_failed")
    work = summarise_stages(run_trace(run))[0]
    assert (work["blocked_max_s"], work["blocked_mean_s"]) == (2, 1)


def stage(handler="payload", **parameters):
    return {"name": "work", "handler": handler, "parameters": parameters}


def test_a_payload_has_the_size_of_its_parameter():
    assert result_bytes({"tasks": 3}, stage(size_mib=2.5)) == 2.5 * MIB


def test_tasks_that_keep_the_size_change_nothing():
    tasks = [{}, {"work": {"delay_s": 1}}, {"other": {"size_mib": 1}}]
    assert result_bytes({"tasks": tasks}, stage(size_mib=2)) == 2 * MIB


@pytest.mark.parametrize(
    ("tasks", "described"),
    [
        ([{"work": {"size_mib": 1}}], stage(size_mib=2)),
        (3, stage()),
        (3, stage(handler="download", size_mib=2)),
    ],
)
def test_results_of_several_sizes_or_of_an_unknown_one_have_none(tasks, described):
    assert result_bytes({"tasks": tasks}, described) is None


def test_a_file_of_tasks_may_give_each_its_size():
    named = {"file": "tasks.csv", "columns": {"work.size_mib": ["float"]}}
    assert result_bytes({"tasks": named}, stage(size_mib=2)) is None
    named["columns"] = {"other.size_mib": ["float"]}
    assert result_bytes({"tasks": named}, stage(size_mib=2)) == 2 * MIB
