"""Timelines of known runs, of real ones, and of folders that are none."""

import gzip
import json
import shutil
import subprocess
from collections import Counter

import pytest
from tests.commands import run_command
from tests.export.trace_format import find_faults, span_of
from tests.study import STAGEBENCH

from stagebench import store
from stagebench.errors import OptionError, StoreError
from stagebench.handlers.source import source_hash
from stagebench.records import TaskRecord


def stage(name, handler, executor, *after, **others):
    return {
        "name": name,
        "handler": handler,
        "source": source_hash(handler),
        "executor": executor,
        "workers": 2,
        "retain": False,
        "parameters": {},
        "after": list(after),
        **others,
    }


STAGES = [
    stage("get", "wait", "thread", parameters={"delay_s": 0.01}),
    stage("ask", "wait_async", "asyncio", "get", workers=3, parameters={"delay_s": 0.03}),
    stage(
        "sum",
        "sum_squares_native",
        "process",
        "ask",
        start_method="fork",
        batch=3,
        parameters={"elements": 2_000},
    ),
    stage("join", "wait", "thread", "get", "sum", queue_size=1, parameters={"delay_s": 0.01}),
]
FAILING = stage("break", "flaky", "thread", retries=1, parameters={"fail_every": 3})


def export(folder, out):
    run_command("export", folder, "--perfetto", "--out", out)
    return json.loads(out.read_text())["traceEvents"]


def of_kind(events, phase, category=None):
    return [
        event for event in events if event["ph"] == phase and category in (None, event.get("cat"))
    ]


@pytest.fixture
def folder(write_runs, known_run):
    """Return the folder of a known run."""
    _, raw = write_runs(known_run())
    return raw / "pipe/p1-fork/r1"


def test_services_of_a_known_run_are_slices_of_their_workers_at_their_times(folder, tmp_path):
    events = export(folder, tmp_path / "known.json")
    assert find_faults(events) == []
    zero = int(json.loads((tmp_path / "known.json").read_text())["otherData"]["zero_ns"])
    found = {
        (event["args"]["task"], event["args"]["stage"]): (
            event["pid"],
            event["tid"],
            *(moment + zero for moment in span_of(event)),
        )
        for event in of_kind(events, "X", "service")
    }
    records = store.read_records(folder / store.TASKS_FILE, TaskRecord)
    assert found == {
        (one.task, one.stage): (one.pid, one.thread_id, one.started_ns, one.finished_ns)
        for one in records
    }


def test_each_task_has_an_arrow_to_the_next_stage_and_waits_where_it_waited(folder, tmp_path):
    events = export(folder, tmp_path / "known.json")
    assert len(of_kind(events, "s")) == len(of_kind(events, "f")) == 2
    waits = Counter(event["name"] for event in of_kind(events, "b", "waiting"))
    # The second task of `work` waits; its worker's start keeps the first one waiting.
    assert waits["waits for work"] == 2
    starts = {(event["pid"], event["tid"]) for event in of_kind(events, "X", "cold start")}
    assert starts == {(200, 1), (100, 7), (100, 8)}


def test_a_worker_is_started_from_its_request_unless_its_row_had_another_worker(
    write_runs, known_run, make_worker, tmp_path
):
    workers = (
        make_worker("work", 200, 1, 10, 10.75),
        make_worker("save", 100, 7, 13, 13.25),
        # The same id again, asked for while the first thread still lived.
        make_worker("save", 100, 7, 13.5, 14.25),
    )
    _, raw = write_runs(known_run(workers=workers))
    events = export(raw / "pipe/p1-fork/r1", tmp_path / "known.json")
    assert find_faults(events) == []
    starts = [event for event in of_kind(events, "X", "cold start") if event["tid"] == 1]
    assert [event["name"] for event in starts] == ["is started", "imports its handler"]


def test_queues_and_memory_are_counters_that_end_where_their_process_ends(
    write_runs, known_run, tmp_path
):
    _, raw = write_runs(known_run(lives={200: (10, 16), 201: (13, 14)}))
    events = export(raw / "pipe/p1-fork/r1", tmp_path / "known.json")
    counters = of_kind(events, "C")
    queue = [event["args"] for event in counters if event["name"] == "queue of work"]
    assert queue[-1] == {"waiting": 0, "in service": 0}
    assert max(state["waiting"] for state in queue) == 2
    worker = [event for event in counters if event["pid"] == 200]
    assert [event["args"]["PSS"] for event in worker] == [8, 14, 4, 0]


def test_the_same_records_make_the_same_bytes_compressed_or_not(folder, tmp_path):
    for name in ("a.json", "b.json", "a.json.gz", "b.json.gz"):
        run_command("export", folder, "--perfetto", "--out", tmp_path / name)
    plain, small = ((tmp_path / f"a.{end}").read_bytes() for end in ("json", "json.gz"))
    assert plain == (tmp_path / "b.json").read_bytes() == gzip.decompress(small)
    assert small == (tmp_path / "b.json.gz").read_bytes()


def test_a_real_run_of_threads_coroutines_and_batches_is_valid(specify, measure, tmp_path):
    specification = specify() | {"stages": STAGES, "tasks": 7}
    folder = measure(specification)
    assert store.read_run(folder)["status"] == "ok"
    events = export(folder, tmp_path / "real.json")
    assert find_faults(events) == []
    services = Counter(event["args"]["stage"] for event in of_kind(events, "X", "service"))
    assert services == {"get": 7, "ask": 7, "sum": 7, "join": 7}
    arrows = 4 * 7  # get → ask → sum → join, and get → join
    assert len(of_kind(events, "s")) == arrows
    names = {
        event["args"]["name"] for event in of_kind(events, "M") if event["name"] == "thread_name"
    }
    # Coroutines share one thread: each that was busy at the same time has a row of its own.
    assert {"ask 1", "ask 2", "ask 3", "get 1", "sum 1", "join 1"} <= names
    pids = {event["pid"] for event in of_kind(events, "X", "service")}
    roles = {event["name"].split()[0] for event in of_kind(events, "b", "process")}
    assert len(pids) >= 2
    assert {"main", "worker"} <= roles


def test_attempts_that_failed_are_named_with_their_error(specify, measure, tmp_path):
    folder = measure(specify() | {"stages": [FAILING], "tasks": 4})
    events = export(folder, tmp_path / "failed.json")
    assert find_faults(events) == []
    services = of_kind(events, "X", "service")
    failed = [event for event in services if event["args"]["status"] == "failed"]
    assert failed
    assert all("failed" in event["name"] and event["args"]["error"] for event in failed)


def test_what_a_run_that_was_ended_never_recorded_is_said_to_be_missing(
    write_runs, known_run, make_task, tmp_path
):
    tasks = (
        make_task(0, "work", (10, 11, None, None), status="lost"),
        make_task(
            0, "save", (None, None, None, None), worker=(None, None), status="skipped", due=10
        ),
    )
    _, raw = write_runs(known_run(status="worker_lost", tasks=tasks, tasks_planned=1))
    events = export(raw / "pipe/p1-fork/r1", tmp_path / "lost.json")
    assert find_faults(events) == []
    (service,) = of_kind(events, "X", "service")
    assert service["name"] == "task 0: lost"
    assert service["args"]["end"] == "not recorded"


def test_hostile_texts_reach_the_viewer_as_visible_text(write_runs, known_run, make_task, tmp_path):
    error = "ValueError: \x1b[31m</script>{{7*7}}\ud800" + "x" * 50_000
    tasks = tuple(
        make_task(0, name, (10 + at, 11 + at, 12 + at, 12 + at), status="failed", error=error)
        for at, name in enumerate(("work", "save"))
    )
    _, raw = write_runs(known_run(status="tasks_failed", tasks=tasks, tasks_planned=1))
    out = tmp_path / "hostile.json"
    events = export(raw / "pipe/p1-fork/r1", out)
    assert find_faults(events) == []
    text = out.read_bytes()
    assert b"\x1b" not in text
    assert b"\\ud800" not in text.replace(b"\\\\ud800", b"")
    assert len(text) < 50_000


def test_waits_of_very_many_tasks_at_once_are_left_out_and_said_to_be(
    write_runs, known_run, make_task, tmp_path, capsys
):
    number = 300
    tasks = [make_task(n, "work", (10, 11 + n, 11.9 + n, 12 + n)) for n in range(number)]
    tasks += [
        make_task(n, "save", (12 + n, 12 + n, 12.1 + n, 12.1 + n), worker=(100, 7))
        for n in range(number)
    ]
    _, raw = write_runs(known_run(tasks=tuple(tasks), tasks_planned=number))
    events = export(raw / "pipe/p1-fork/r1", tmp_path / "many.json")
    assert find_faults(events) == []
    assert all(event["name"] != "waits for work" for event in events)
    assert "left out: waits for work: 300 tasks at once" in capsys.readouterr().out
    queue = [event["args"] for event in events if event["name"] == "queue of work"]
    assert max(state["waiting"] for state in queue) == number


def test_a_trace_of_any_command_has_its_processes_and_memory(tmp_path):
    traced = tmp_path / "traced"
    command = ["sh", "-c", "sleep 0.05 & wait; echo $((1+1)) > /dev/null"]
    options = ["--out", str(traced), "--no-figure", "--quiet", "--"]
    subprocess.run([STAGEBENCH, "trace", *options, *command], check=True)
    events = export(traced, tmp_path / "trace.json")
    assert find_faults(events) == []
    assert len(of_kind(events, "b", "process")) >= 2
    assert any("PSS" in event["args"] for event in of_kind(events, "C"))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (shutil.rmtree, "does not exist; expected the folder of a run"),
        (lambda folder: (folder / store.RUN_FILE).unlink(), "has not finished: it has no run.json"),
        (lambda folder: (folder / store.RUN_FILE).write_text("{"), "run.json: invalid JSON"),
        (lambda folder: (folder / store.TASKS_FILE).write_text("x\n"), "tasks.csv: columns are"),
    ],
    ids=["missing", "unfinished", "broken", "changed"],
)
def test_a_folder_that_is_no_whole_run_is_an_error(folder, tmp_path, break_it, message):
    break_it(folder)
    with pytest.raises(StoreError, match=message):
        export(folder, tmp_path / "out.json")
    assert list(tmp_path.glob("*out.json*")) == []


def test_a_study_a_file_and_an_empty_folder_are_no_runs(folder, tmp_path):
    study = folder.parents[3]
    with pytest.raises(StoreError, match=r"a study, not a run; expected"):
        export(study, tmp_path / "out.json")
    with pytest.raises(StoreError, match=r"is no folder"):
        export(folder / store.RUN_FILE, tmp_path / "out.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"no run: it has no run.json"):
        export(tmp_path / "empty", tmp_path / "out.json")


def test_a_run_that_crashed_before_its_first_record_has_nothing_to_draw(folder, tmp_path):
    for path in folder.glob("*.csv"):
        path.unlink()
    run = json.loads((folder / store.RUN_FILE).read_text())
    gone = {"status": "crashed", "detail": "no such module", "exec_ns": None, "exited_ns": None}
    (folder / store.RUN_FILE).write_text(json.dumps(run | gone | {"files": {}}))
    with pytest.raises(StoreError, match="no records to draw; it ended with crashed: no such mod"):
        export(folder, tmp_path / "out.json")


def test_a_file_that_exists_is_kept(folder, tmp_path):
    out = tmp_path / "out.json"
    out.write_text("mine")
    with pytest.raises(OptionError, match="exists already; remove it, or name another file"):
        export(folder, out)
    assert out.read_text() == "mine"
    with pytest.raises(OptionError, match="there is no folder"):
        export(folder, tmp_path / "nowhere" / "out.json")
