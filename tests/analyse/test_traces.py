import json
import shutil
from dataclasses import replace

import pytest
from tests.known_runs import FACTS

from stagebench import store
from stagebench.analyse.stages import makespan_s
from stagebench.analyse.traces import (
    choose_shown,
    count_overlaps,
    list_requests,
    makespan_ratios,
    read_trace,
    span_s,
    started_ranks,
)
from stagebench.errors import StoreError
from stagebench.records import IMPORTED, Imports


def read_first(plan, raw):
    return read_trace(list_requests(plan)[0], raw)


def test_traces_come_in_the_order_of_the_plan_whatever_the_order_of_the_runs(traces, known_run):
    found = traces(
        known_run(treatment="b", replicate=2),
        known_run(experiment="second", treatment="a"),
        known_run(treatment="b", replicate=1),
        known_run(treatment="a", baseline=False),
    )
    keys = [tuple(trace.key.values()) for trace in found]
    assert keys == [("pipe", "b", 1), ("pipe", "b", 2), ("pipe", "a", 1), ("second", "a", 1)]


def test_a_run_that_was_not_measured_is_named(write_runs, known_run):
    plan, raw = write_runs(known_run(), known_run(replicate=2))
    shutil.rmtree(raw / "pipe/p1-fork/r1")
    with pytest.raises(StoreError, match="pipe/p1-fork/r1: this run of the plan has not been"):
        read_first(plan, raw)


def test_a_run_without_its_record_is_named(write_runs, known_run):
    plan, raw = write_runs(known_run())
    (raw / "pipe/p1-fork/r1" / store.RUN_FILE).unlink()
    with pytest.raises(StoreError, match=r"r1/run.json: cannot be read"):
        read_first(plan, raw)


@pytest.mark.parametrize("name", [store.TASKS_FILE, store.EVENTS_FILE, store.SAMPLES_FILE])
def test_an_ok_run_that_lacks_a_file_is_an_error(write_runs, known_run, name):
    plan, raw = write_runs(known_run())
    (raw / "pipe/p1-fork/r1" / name).unlink()
    with pytest.raises(StoreError, match=name):
        read_first(plan, raw)


def test_a_crashed_run_may_lack_files(write_runs, known_run):
    plan, raw = write_runs(known_run(status="crashed"))
    for name in (store.TASKS_FILE, store.WORKERS_FILE, store.EVENTS_FILE):
        (raw / "pipe/p1-fork/r1" / name).unlink()
    trace = read_first(plan, raw)
    assert (trace.tasks, trace.workers, trace.events) == ((), (), {})
    assert trace.origin_ns is None


def test_a_folder_with_another_run_in_it_is_an_error(write_runs, known_run):
    plan, raw = write_runs(known_run())
    path = raw / "pipe/p1-fork/r1" / store.RUN_FILE
    store.write_json(path, json.loads(path.read_text()) | {"treatment": "t9"})
    with pytest.raises(StoreError, match="treatment is 't9', the plan has 'p1-fork'"):
        read_first(plan, raw)


def test_a_run_of_another_specification_than_the_plans_is_an_error(write_runs, known_run):
    plan, raw = write_runs(known_run())
    plan["treatments"]["pipe/p1-fork"]["specification"]["tasks"] = 3
    with pytest.raises(
        StoreError, match="measured with a specification that is not the plan's; remove the folder"
    ):
        read_first(plan, raw)


def test_a_task_of_a_stage_that_the_run_does_not_have_is_an_error(write_runs, known_run, make_task):
    plan, raw = write_runs(known_run(tasks=(make_task(0, "sort", (10, 11, 12, 13)),)))
    with pytest.raises(
        StoreError, match=r"tasks.csv: unknown stages \['sort'\]; the run has \['work', 'save'\]"
    ):
        read_first(plan, raw)


def test_the_head_of_a_trace_is_its_run_without_the_records(run_trace):
    whole = run_trace()
    assert whole.head.key == whole.key
    assert whole.head.specification == whole.specification
    assert not hasattr(whole.head, "samples")


def test_a_span_is_missing_when_either_end_is():
    assert span_s(None, 5) is None
    assert span_s(5, None) is None
    assert span_s(500_000_000, 2_000_000_000) == 1.5


def test_a_run_of_another_protocol_is_an_error_that_names_its_folder(write_runs, known_run):
    plan, raw = write_runs(known_run(), known_run(treatment="t1", baseline=False))
    plan["treatments"]["pipe/t1"]["specification"]["protocol"] = 4
    with pytest.raises(StoreError, match="pipe/t1/r1: measured by protocol 1, the plan has 4"):
        [read_trace(request, raw) for request in list_requests(plan)]


def test_a_run_of_another_schema_is_an_error_that_names_its_folder(write_runs, known_run):
    plan, raw = write_runs(known_run(run={"schema_version": 3}))
    with pytest.raises(StoreError, match=r"pipe/p1-fork/r1/run\.json: schema_version is 3"):
        [read_trace(request, raw) for request in list_requests(plan)]


def ok_makespans(traces):
    return [makespan_s(trace) if trace.is_ok else None for trace in traces]


def shown(traces):
    return choose_shown(traces, ok_makespans(traces))


def ratios(traces):
    return makespan_ratios(traces, ok_makespans(traces))


def replicates(known_run, *factors, **values):
    return [
        known_run(replicate=index + 1, start=20 * index, **values).stretched(factor)
        for index, factor in enumerate(factors)
    ]


def test_the_run_of_median_makespan_is_shown(traces, known_run):
    assert shown(traces(*replicates(known_run, 3, 1, 2))) == [False, False, True]


def test_of_two_runs_the_faster_is_shown(traces, known_run):
    assert shown(traces(*replicates(known_run, 2, 1))) == [False, True]


def test_a_failed_run_is_never_shown(traces, known_run):
    runs = [
        known_run(replicate=1, status="timed_out"),
        known_run(replicate=2).stretched(4),
        known_run(replicate=3, status="tasks_failed"),
    ]
    assert shown(traces(*runs)) == [False, True, False]


def test_a_makespan_is_divided_by_the_baselines_in_the_same_block(traces, known_run):
    base = replicates(known_run, 1, 2)
    other = replicates(known_run, 3, 3, treatment="t2", baseline=False)
    assert ratios(traces(*base, *other)) == pytest.approx([1, 1, 3, 1.5])


def test_a_block_whose_baseline_failed_has_no_ratio(traces, known_run):
    runs = [
        known_run(status="timed_out"),
        known_run(treatment="t2", baseline=False),
    ]
    assert ratios(traces(*runs)) == [None, None]


def test_an_experiment_without_a_baseline_has_no_ratio(traces, known_run):
    assert ratios(traces(known_run(baseline=False))) == [None]


def test_baselines_of_other_experiments_do_not_count(traces, known_run):
    runs = [known_run(), known_run(experiment="other", treatment="t2", baseline=False)]
    assert ratios(traces(*runs)) == [1, None]


def test_started_ranks_number_the_starts(traces, known_run):
    starts = (40, 0, 20)
    runs = [known_run(replicate=n + 1, start=start) for n, start in enumerate(starts)]
    assert started_ranks(traces(*runs)) == [2, 0, 1]


def test_runs_that_lived_at_once_overlap(traces, known_run):
    starts = (0, 5, 20)
    runs = [known_run(replicate=n + 1, start=start) for n, start in enumerate(starts)]
    assert count_overlaps(traces(*runs)) == [1, 1, 0]


def test_runs_before_and_after_a_boot_do_not_overlap(traces, known_run):
    later = {"started_at": "2026-11-24T07:00:00+00:00"}
    assert count_overlaps(traces(known_run(), known_run(replicate=2, run=later))) == [0, 0]


def test_a_clock_that_was_set_back_makes_no_overlap(traces, known_run):
    back = {"started_at": "2026-11-23T07:00:00+00:00"}
    assert count_overlaps(traces(known_run(), known_run(replicate=2, start=60, run=back))) == [0, 0]


def test_overlap_is_unknown_for_a_run_that_never_started_its_process(traces, known_run):
    runs = [known_run(), known_run(replicate=2, run={"exec_ns": None}, status="crashed")]
    assert count_overlaps(traces(*runs)) == [0, None]


def test_runs_of_two_campaigns_have_no_ratio(traces, known_run):
    runs = [
        known_run(run={"campaign": "2026-11-23T07:00:00"}),
        known_run(treatment="t2", baseline=False, run={"campaign": "2026-11-24T07:00:00"}),
    ]
    assert ratios(traces(*runs)) == [1, None]


def describe(raw, folder="pipe/p1-fork/r1"):
    """Add to a run's record what its files are now, as the supervisor does."""
    path = raw / folder / store.RUN_FILE
    files = store.describe_files(path.parent)
    store.write_json(path, json.loads(path.read_text()) | {"files": files})


def halve(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: 1 + len(lines) // 2]))


WITH_ROWS = [
    *(store.TASKS_FILE, store.WORKERS_FILE, store.EVENTS_FILE, store.PROCESSES_FILE),
    *(store.SWEEPS_FILE, store.SAMPLES_FILE),
]


@pytest.mark.parametrize("status", ["ok", "crashed"])
@pytest.mark.parametrize("name", WITH_ROWS)
def test_a_file_that_was_cut_after_the_run_is_an_error(write_runs, known_run, name, status):
    plan, raw = write_runs(known_run(status=status))
    describe(raw)
    assert read_first(plan, raw).tasks
    halve(raw / "pipe/p1-fork/r1" / name)
    with pytest.raises(StoreError, match=rf"{name}: .* bytes, but .* were written; remove the fol"):
        read_first(plan, raw)


def test_a_file_that_was_edited_to_the_same_length_is_an_error(write_runs, known_run):
    plan, raw = write_runs(known_run())
    describe(raw)
    path = raw / "pipe/p1-fork/r1" / store.TASKS_FILE
    path.write_text(path.read_text().replace("16000000000", "15000000000"))
    with pytest.raises(StoreError, match=r"tasks\.csv: not the content that was written"):
        read_first(plan, raw)


def test_a_file_that_was_added_after_the_run_is_an_error(write_runs, known_run):
    plan, raw = write_runs(known_run(status="crashed"))
    path = raw / "pipe/p1-fork/r1" / store.TASKS_FILE
    whole = path.read_text()
    path.unlink()
    describe(raw)
    assert read_first(plan, raw).tasks == ()
    path.write_text(whole)
    with pytest.raises(StoreError, match=r"tasks\.csv: \d+ bytes, but 0 were written"):
        read_first(plan, raw)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (store.TASKS_FILE, "only 2 of 4 planned tasks and stages have a record"),
        (store.EVENTS_FILE, "the process did not record its end"),
        (store.PROCESSES_FILE, "sampled processes have no record"),
        (store.SWEEPS_FILE, "the samples are not those of the sweeps"),
        (store.SAMPLES_FILE, "the samples are not those of the sweeps"),
    ],
)
def test_an_ok_run_without_checksums_must_agree_with_itself(write_runs, known_run, name, words):
    plan, raw = write_runs(known_run())
    halve(raw / "pipe/p1-fork/r1" / name)
    with pytest.raises(StoreError, match=f"r1: recorded as ok, but {words}: .*; remove the folder"):
        read_first(plan, raw)


def test_an_ok_run_without_checksums_has_no_line_that_is_cut_off(write_runs, known_run):
    plan, raw = write_runs(known_run())
    path = raw / "pipe/p1-fork/r1" / store.WORKERS_FILE
    path.write_text(path.read_text()[:-3])
    with pytest.raises(StoreError, match=r"workers\.csv: its last line is cut off; remove the fol"):
        read_first(plan, raw)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (
            1,
            r"tasks\.csv, line 6: task, stage, attempt as in line 2; expected once; remove the fol",
        ),
        (2, "5 records of 4 planned tasks and stages"),
    ],
)
def test_a_task_that_is_recorded_twice_is_an_error(write_runs, known_run, attempt, words):
    tasks = known_run().tasks
    plan, raw = write_runs(known_run(tasks=(*tasks, replace(tasks[0], attempt=attempt))))
    with pytest.raises(StoreError, match=words):
        read_first(plan, raw)


def test_what_was_imported_is_known_by_stage(run_trace, known_run):
    imports = {"work": Imports(0, 1, 412, ("pandas",)), "save": Imports(1, 1, 2, ())}
    trace = run_trace(known_run(imports=imports))
    assert trace.imports == {stage: [found] for stage, found in imports.items()}
    assert IMPORTED not in trace.events


@pytest.mark.parametrize("detail", ["", "0 1", "0 1 many"])
def test_imports_that_cannot_be_read_name_their_file(known_run, write_runs, monkeypatch, detail):
    monkeypatch.setattr(Imports, "write", lambda _: detail)
    plan, raw = write_runs(known_run(imports={"work": Imports(0, 1, 412, ("pandas",))}))
    with pytest.raises(StoreError, match=r"events\.csv: detail of 'imported' is "):
        read_first(plan, raw)


def on(node):
    return {"environment": FACTS["run"]["environment"] | {"node": node}}


def test_runs_at_one_time_on_two_nodes_do_not_overlap(traces, known_run):
    runs = [
        known_run(run=on("n1")),
        known_run(replicate=2, start=3, run=on("n2")),
        known_run(replicate=3, start=5, run=on("n1")),
    ]
    assert count_overlaps(traces(*runs)) == [1, 0, 1]


def test_runs_of_a_block_on_two_nodes_have_no_ratio(traces, known_run):
    runs = [known_run(run=on("n1")), known_run(treatment="t2", baseline=False, run=on("n2"))]
    assert ratios(traces(*runs)) == [1, None]


def test_a_run_of_before_nodes_were_recorded_has_none(traces, known_run):
    assert [one.node for one in traces(known_run(), known_run(replicate=2, run=on("n1")))] == [
        "",
        "n1",
    ]
