import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from tests.groups import limited_group

from stagebench import store
from stagebench.analyse.run_file import check_run
from stagebench.handlers.source import source_hash
from stagebench.measure import supervisor
from stagebench.measure.supervisor import (
    LONGEST_DETAIL,
    LONGEST_OUTPUT,
    judge_memory,
    judge_outcome,
)
from stagebench.peak.bracket import find_brackets
from stagebench.peak.history import MemoryTrace
from stagebench.records import (
    EventRecord,
    MemorySample,
    ProcessRecord,
    ReadRecord,
    SweepRecord,
    TaskRecord,
    TransitionRecord,
    WorkerRecord,
)
from stagebench.sampler.procfs import read_children
from stagebench.task_list import hash_bytes

KINDS = {
    "thread": {"executor": "thread"},
    "fork": {"executor": "process", "start_method": "fork"},
    "forkserver": {"executor": "process", "start_method": "forkserver"},
    "spawn": {"executor": "process", "start_method": "spawn"},
}
FORK = KINDS["fork"]

DIE_AS_A_WORKER = """
import multiprocessing, os, signal
def die():
    os.kill(os.getpid(), signal.SIGKILL)
if multiprocessing.parent_process() is not None:
    die()
os.register_at_fork(after_in_child=die)
"""


def alive(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # has ended, or was reaped while it was read
        return False
    return status != "Z"


def peak_pss(folder, role):
    """Return the PSS that main, or its children together, have certainly reached."""
    files = {"sweeps": SweepRecord, "samples": MemorySample, "processes": ProcessRecord}
    files |= {"transitions": TransitionRecord, "reads": ReadRecord}
    records = {n: store.read_records(folder / f"{n}.csv", kind) for n, kind in files.items()}
    trace = MemoryTrace(**records, sampler=store.read_run(folder)["sampler"])
    return find_brackets(trace)["main" if role == "main" else "children"].lower_bytes or 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_a_folder_of_whole_records(specify, measure, kind):
    before = read_children(os.getpid())
    folder = measure(specify(stage={**KINDS[kind], "workers": 2}, tasks=4))
    # Processes of another test may end meanwhile.
    assert set(read_children(os.getpid())) <= set(before)
    run = store.read_run(folder)
    assert (run["status"], run["detail"], run["exit_code"]) == ("ok", "", 0)
    assert (run["seed"], run["block"], run["position"], run["rank"]) == (3, 1, 4, 5)
    assert run["survivors"] == 0
    tasks = store.read_records(folder / "tasks.csv", TaskRecord)
    assert sorted(task.task for task in tasks) == [0, 1, 2, 3]
    workers = store.read_records(folder / "workers.csv", WorkerRecord)
    assert {w.pid for w in workers} == {t.pid for t in tasks}
    events = store.read_records(folder / "events.csv", EventRecord)
    assert [event.event for event in events] == [
        "ready",
        "workflow_started",
        "workflow_finished",
        "pools_closing",
        "pools_closed",
        "finished",
    ]
    moments = [run["supervisor_started_ns"], run["exec_ns"]]
    moments += [event.time_ns for event in events]
    moments += [run["exited_ns"], run["supervisor_ended_ns"]]
    assert moments == sorted(moments)
    sweeps = store.read_records(folder / "sweeps.csv", SweepRecord)
    samples = store.read_records(folder / "samples.csv", MemorySample)
    counted = defaultdict(int)
    for sample in samples:
        counted[sample.sweep] += 1
    read = {s.sweep: s.processes for s in sweeps if s.processes and s.kind != "held"}
    assert read == counted
    processes = store.read_records(folder / "processes.csv", ProcessRecord)
    assert run["census"] == {
        "means": "ptrace",
        "created": len(processes),
        "sampled": sum(process.samples > 0 for process in processes),
        "bounded_only": sum(process.samples == 0 for process in processes),
    }
    assert all(process.ended_ns is not None for process in processes)
    assert {t.pid for t in tasks} <= {process.pid for process in processes}


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_allocation_is_found_in_the_process_that_makes_it(specify, measure, kind):
    elements = 2_000_000
    specification = specify(
        stage={
            **KINDS[kind],
            "handler": "sum_squares_native",
            "parameters": {"elements": elements},
        },
        tasks=1,
    )
    folder = measure(specification)
    known = elements * 32  # a pointer and a float object each
    role, other = ("main", "worker") if kind == "thread" else ("worker", "main")
    assert known <= peak_pss(folder, role) <= known * 1.1 + 40e6
    assert peak_pss(folder, other) < 40e6


@pytest.mark.parametrize("kind", KINDS)
def test_retained_payloads_stay_in_main_and_consumed_ones_do_not(specify, measure, kind):
    def end_of_main(*, retain):
        folder = measure(
            specify(
                stage={
                    **KINDS[kind],
                    "retain": retain,
                    "parameters": {"size_mib": 10, "delay_s": 0.0},
                },
                tasks=8,
                linger={"before_start_s": 0, "before_close_s": 0, "after_close_s": 0.4},
            )
        )
        events = store.read_records(folder / "events.csv", EventRecord)
        closed_ns, ended_ns = (
            next(each.time_ns for each in events if each.event == name)
            for name in ("pools_closed", "finished")
        )
        reads = store.read_records(folder / "reads.csv", ReadRecord)
        # A reading has the most that main can have had, whose slack depends on how long it took.
        return min(
            each.main_anon_bytes
            for each in reads
            if closed_ns <= each.started_ns
            and each.ended_ns <= ended_ns
            and each.main_anon_bytes is not None
        )

    difference = end_of_main(retain=True) - end_of_main(retain=False)
    # Eight payloads, give or take one that the allocator keeps of the consumed ones, and some
    # pages. From processes they arrive pickled, and the allocator does not return all memory of
    # the pickles.
    most = 90 if kind == "thread" else 160
    assert 69 * 2**20 <= difference <= most * 2**20


def test_a_process_that_cannot_be_followed_is_not_left_behind(specify, measure, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(supervisor, "open_totals", refuse)
    before = set(read_children(os.getpid()))
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        measure(specify())
    assert set(read_children(os.getpid())) <= before


def test_a_task_that_fails_is_a_result(specify, measure):
    folder = measure(specify(stage={"parameters": {"size_mib": -1}}))
    run = store.read_run(folder)
    assert run["status"] == "tasks_failed"
    assert run["detail"] == "2 of 2 tasks and stages not ok"
    tasks = store.read_records(folder / "tasks.csv", TaskRecord)
    assert all("ValueError" in task.error for task in tasks)


def test_what_cannot_run_is_unsupported_with_its_reason_and_not_failed(specify, measure, tmp_path):
    (tmp_path / "mine_absent.py").write_text(
        "from stagebench.errors import UnsupportedError\n"
        "raise UnsupportedError('no such\\nengine')\n"
    )
    run = store.read_run(measure(specify(process={"preload": ["mine_absent"]}), beside=tmp_path))
    assert (run["status"], run["detail"]) == ("unsupported", "no such engine")


@pytest.mark.parametrize("text", ["raise SystemExit(69)", "import os\nos._exit(69)"])
def test_the_exit_code_alone_does_not_make_a_run_unsupported(specify, measure, tmp_path, text):
    (tmp_path / "mine_leaves.py").write_text(text)
    run = store.read_run(measure(specify(process={"preload": ["mine_leaves"]}), beside=tmp_path))
    assert run["status"] == "crashed"


def test_a_run_over_its_time_limit_is_a_result_and_leaves_no_process(specify, measure):
    specification = specify(stage={**FORK, "parameters": {"delay_s": 60}})
    folder = measure(specification, time_limit_s=0.7)
    run = store.read_run(folder)
    assert run["status"] == "timed_out"
    assert "time limit of 0.7 s" in run["detail"]
    processes = store.read_records(folder / "processes.csv", ProcessRecord)
    assert {process.role for process in processes} == {"main", "worker"}
    assert not any(alive(process.pid) for process in processes)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_killed_worker_fails_the_run_and_does_not_hang_it(specify, measure, tmp_path, method):
    (tmp_path / "mine_killed.py").write_text(
        "import os\n\ndef leave():\n    os.kill(os.getpid(), 9)\n"
    )
    stage = {**KINDS[method], "handler": "mine_killed:leave", "parameters": {}}
    run = store.read_run(measure(specify(stage=stage), beside=tmp_path))
    assert run["status"] == "worker_lost"
    assert "stage 'work'" in run["detail"]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_killed_while_it_starts_ends_the_run(specify, measure, method):
    stage = {**KINDS[method], "parameters": {"delay_s": 30}}
    run = store.read_run(measure(specify(stage=stage, program=DIE_AS_A_WORKER, tasks=1)))
    assert run["status"] == "crashed"
    assert "stage 'work': worker process" in run["detail"]
    assert "ended (signal SIGKILL) before it was ready" in run["detail"]


def test_a_crash_of_the_measured_process_is_a_result(specify, measure):
    program = "import sys; print('about to go'); sys.stdout.flush(); import os; os._exit(9)"
    folder = measure(specify(program=program))
    run = store.read_run(folder)
    assert (run["status"], run["exit_code"]) == ("crashed", 9)
    assert "about to go" in run["detail"]
    assert (folder / "output.txt").read_text() == "about to go\n"


def test_a_module_that_cannot_be_preloaded_is_named(specify, measure):
    run = store.read_run(measure(specify(process={"preload": ["no_such_module"]})))
    assert run["status"] == "crashed"
    assert "no_such_module" in run["detail"]


LEAVE_AFTER_TWO = """
import os

def leave(seen=[]):
    seen.append(1)
    if len(seen) == 3:
        os._exit(0)
"""

ENDS = {
    "a handler": (None, "mine_leave:leave", " of 5 planned tasks and stages have a record"),
    "a preload": ("import sys\nsys.exit(0)\n", "wait", "only 0 of 5 planned tasks and stages"),
    "a thread": (
        "import os, threading\nthreading.Timer(0.5, os._exit, [0]).start()\n",
        *("wait", "the process did not record its end"),
    ),
}


@pytest.mark.parametrize(("program", "handler", "words"), ENDS.values(), ids=ENDS)
def test_a_run_whose_process_ends_itself_early_is_not_ok(
    specify, measure, tmp_path, program, handler, words
):
    (tmp_path / "mine_leave.py").write_text(LEAVE_AFTER_TWO)
    parameters = {"delay_s": 0.0} if handler == "wait" else {}
    linger = {"before_start_s": 0.0, "before_close_s": 60.0, "after_close_s": 0.0}
    stage = {"handler": handler, "parameters": parameters}
    folder = measure(specify(stage=stage, tasks=5, program=program, linger=linger), beside=tmp_path)
    run = store.read_run(folder)
    assert (run["status"], run["exit_code"]) == ("crashed", 0)
    assert words in run["detail"]


def test_a_run_records_size_and_checksum_of_its_files(specify, measure):
    folder = measure(specify())
    files = store.read_run(folder)["files"]
    assert set(files) == {path.name for path in folder.iterdir()} - {store.RUN_FILE}
    for name, written in files.items():
        store.check_file(folder / name, (folder / name).read_bytes(), written)


TEXTS = {
    "a long text": (
        "'x' * 3_000_000",
        "tasks_failed",
        r"x \[\.\.\. 2,99\d,\d{3} characters left out",
    ),
    "many lines": ("'line\\n' * 200_000", "tasks_failed", r"99\d,\d{3} characters left out"),
    "half a surrogate pair": ("'\\ud800 in a text'", "tasks_failed", r"\\ud800 in a text"),
    "every byte": ("''.join(map(chr, range(256)))", "tasks_failed", "\xfe\xff"),
}


@pytest.mark.parametrize(("text", "status", "kept"), TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("kind", ["thread", "fork"])
def test_any_text_of_an_exception_is_kept_within_bounds(
    specify, measure, tmp_path, kind, text, status, kept
):
    (tmp_path / "mine_text.py").write_text(f"def fail():\n    raise ValueError({text})\n")
    stage = {**KINDS[kind], "handler": "mine_text:fail", "parameters": {}}
    folder = measure(specify(stage=stage), beside=tmp_path)
    assert store.read_run(folder)["status"] == status
    tasks = store.read_records(folder / "tasks.csv", TaskRecord)
    assert len(tasks) == 2
    for task in tasks:
        assert re.search(kept, task.error)
        assert len(task.error) <= store.LONGEST_ERROR + 100


def test_a_long_reason_of_a_lost_worker_is_kept_within_bounds(tmp_path):
    lost = TaskRecord(
        task=0,
        stage="work",
        attempt=1,
        status="lost",
        error="x" * 200_000,
        **dict.fromkeys(("due_ns", "submitted_ns", "started_ns", "finished_ns", "received_ns")),
        **dict.fromkeys(("cpu_ns", "pid", "thread_id")),
    )
    store.write_records(tmp_path / "tasks.csv", TaskRecord, [lost])
    specification = {"tasks": 1, "stages": [{"name": "work"}]}
    status, detail = judge_outcome(tmp_path, specification, 0, None)
    assert status == "worker_lost"
    assert len(detail) < 2 * store.LONGEST_ERROR


def test_of_a_long_output_the_beginning_and_the_end_are_kept(specify, measure):
    program = (
        "import sys\n"
        "print('first')\n"
        "for _ in range(100):\n"
        "    sys.stdout.write('a line\\n' * 10_000)\n"
        "sys.stdout.flush()\n"
        "raise ValueError('x' * 3_000_000 + 'last')\n"
    )
    folder = measure(specify(program=program))
    run = store.read_run(folder)
    output = (folder / "output.txt").read_text()
    assert len(output) <= LONGEST_OUTPUT + 100
    assert output.startswith("first\na line\n")
    assert re.search(r"\n\[\.\.\. [\d,]+ bytes left out \.\.\.\]\nx", output)
    assert output.rstrip().endswith("xlast")
    assert run["status"] == "crashed"
    assert run["detail"].endswith("last")
    assert len(run["detail"]) <= LONGEST_DETAIL + 100


def test_a_file_that_the_run_itself_spoiled_is_a_crash(specify, measure):
    program = (
        "import os, sys, threading\n"
        "def spoil():\n"
        "    with open(os.path.join(sys.argv[1], 'tasks.csv'), 'w') as file:\n"
        "        file.write('my,own,table\\n')\n"
        "threading.Timer(0.1, spoil).start()\n"
    )
    stage = {"handler": "wait", "parameters": {"delay_s": 0.3}}
    run = store.read_run(measure(specify(stage=stage, program=program)))
    assert run["status"] == "crashed"
    assert "tasks.csv: columns are ['my', 'own', 'table']" in run["detail"]


def test_an_orphan_is_sampled_and_ended(specify, measure):
    program = (
        "import os, subprocess\n"
        "if os.fork() == 0:\n"
        "    subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    folder = measure(specify(program=program, stage={"parameters": {"delay_s": 0.1}}))
    run = store.read_run(folder)
    assert (run["status"], run["survivors"]) == ("ok", 1)
    assert run["detail"] == "left behind and ended: sleep 600"
    processes = store.read_records(folder / "processes.csv", ProcessRecord)
    (orphan,) = [process for process in processes if process.command == "sleep 600"]
    assert orphan.role == "other"
    assert not alive(orphan.pid)


def test_settings_reach_the_measured_process(specify, measure, monkeypatch):
    monkeypatch.setenv("STAGEBENCH_REMOVED", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("PYTHONMALLOC", "debug")
    program = "import os; print(sorted(os.sched_getaffinity(0)), dict(os.environ), flush=True)"
    settings = {
        "cpus": [0],
        "blas_threads": 3,
        "environment": {"STAGEBENCH_SET": "x", "STAGEBENCH_REMOVED": None},
    }
    folder = measure(specify(program=program, process=settings))
    output = (folder / "output.txt").read_text()
    assert output.startswith("[0] ")
    assert "'STAGEBENCH_SET': 'x'" in output
    assert "'OMP_NUM_THREADS': '3'" in output
    for name in ("STAGEBENCH_REMOVED", "PYTHONMALLOC"):
        assert name not in output


@pytest.mark.parametrize(("level", "output"), [(None, "None\n"), ("65536", "65536\n")])
def test_a_variable_of_the_caller_is_overwritten_or_removed(
    specify, measure, monkeypatch, level, output
):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "4096")
    program = "import os; print(os.environ.get('MALLOC_MMAP_THRESHOLD_'), flush=True)"
    settings = {"environment": {"MALLOC_MMAP_THRESHOLD_": level}}
    folder = measure(specify(program=program, process=settings))
    assert (folder / "output.txt").read_text() == output


@pytest.mark.parametrize(
    ("settings", "interval_s"), [({"switch_interval_s": 0.25}, 0.25), ({}, 0.005)]
)
def test_the_switch_interval_holds_in_main_and_in_a_spawned_worker(
    specify, measure, settings, interval_s
):
    program = "import sys; print(sys.getswitchinterval(), flush=True)"
    folder = measure(specify(stage=KINDS["spawn"], program=program, process=settings))
    assert (folder / "output.txt").read_text() == f"{interval_s}\n" * 2


def test_cpu_time_of_the_whole_tree_is_counted(specify, measure):
    stage = {
        **FORK,
        "workers": 2,
        "handler": "sum_squares_native",
        "parameters": {"elements": 1_000_000},
    }
    folder = measure(specify(stage=stage, tasks=4))
    run = store.read_run(folder)
    tasks = store.read_records(folder / "tasks.csv", TaskRecord)
    served = sum(task.cpu_ns for task in tasks) / 1e9
    assert run["cpu_user_s"] + run["cpu_system_s"] >= served


def start_supervisor(specification, folder, beside=None, group=None):
    """Start a supervisor, in a control group if one is given."""
    join = (
        [] if group is None else ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    )
    command = [*join, sys.executable, "-m", "stagebench", "measure", "--study", "tests"]
    command += ["--specification", json.dumps(specification), "--out", str(folder)]
    for name in ("replicate", "seed", "block", "position", "rank"):
        command += [f"--{name}", "1"]
    command += [] if beside is None else ["--beside", str(beside)]
    return subprocess.Popen(
        [*command, "--time-limit", "60", "--quiet-wait", "0"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for_tree(supervisor, size):
    """Wait until main and its workers run, and return their pids."""
    while supervisor.poll() is None:
        pids = read_children(supervisor.pid)
        pids += [child for pid in pids for child in read_children(pid)]
        if len(pids) >= size:
            return pids
        time.sleep(0.01)
    raise AssertionError(supervisor.stderr.read())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_supervisor_leaves_no_process_and_no_folder(specify, tmp_path, number):
    specification = specify(stage={**FORK, "workers": 2, "parameters": {"delay_s": 60}})
    supervisor = start_supervisor(specification, tmp_path / "raw" / "r1")
    pids = wait_for_tree(supervisor, 3)
    supervisor.send_signal(number)
    _, errors = supervisor.communicate()
    assert supervisor.returncode == 1
    assert b"interrupted" in errors
    assert b"Traceback" not in errors
    assert not any(alive(pid) for pid in pids)
    assert list((tmp_path / "raw").iterdir()) == []


def test_nothing_of_a_run_outlives_a_killed_supervisor(specify, tmp_path):
    specification = specify(stage={**FORK, "workers": 2, "parameters": {"delay_s": 60}})
    supervisor = start_supervisor(specification, tmp_path / "raw" / "r1")
    pids = wait_for_tree(supervisor, 3)
    supervisor.kill()
    supervisor.communicate()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("means", ["ptrace", "poll"])
def test_main_is_not_sampled_before_it_runs_its_own_program(specify, measure, means):
    ballast = bytearray(200 << 20)  # would be sampled in a fork of this process
    sampler = {"interval_s": 0.001, "cpu_budget": 1.0, "census": means}
    folder = measure(specify(sampler=sampler))
    assert peak_pss(folder, "main") < 60 << 20
    assert len(ballast) == 200 << 20


def test_a_census_by_polling_is_labelled(specify, measure):
    sampler = {"interval_s": 0.01, "cpu_budget": 1.0, "census": "poll"}
    folder = measure(specify(stage={**FORK, "workers": 2}, tasks=4, sampler=sampler))
    run = store.read_run(folder)
    assert (run["status"], run["census"]["means"], run["exit_code"]) == ("ok", "poll", 0)
    roles = [p.role for p in store.read_records(folder / "processes.csv", ProcessRecord)]
    assert sorted(roles) == ["main", "worker", "worker"]


def test_a_run_records_the_machine_before_and_after_it(specify, measure):
    run = store.read_run(measure(specify(), quiet_wait_s=0.3))
    assert run["quiet"]["waited_s"] >= 0.2
    assert 0 <= run["quiet"]["idle_share"] <= 1
    before, after = run["machine_before"], run["machine_after"]
    assert before["time_ns"] <= run["exec_ns"] < run["exited_ns"] <= after["time_ns"]
    assert before["settings"] == after["settings"]
    switches = run["context_switches_voluntary"], run["context_switches_involuntary"]
    assert 0 < sum(switches) <= after["context_switches"] - before["context_switches"]
    assert run["campaign"] == "2026-11-23T07:00:00+00:00"


def test_sleeping_is_counted_as_voluntary_context_switches(specify, measure):
    few = store.read_run(measure(specify(tasks=1)))["context_switches_voluntary"]
    program = "import time\nfor _ in range(200):\n    time.sleep(0)\n    time.sleep(0.0001)\n"
    many = store.read_run(measure(specify(tasks=1, program=program)))["context_switches_voluntary"]
    assert many - few >= 150


def test_the_census_counts_processes_that_the_sampler_misses(specify, measure):
    program = "import os\nfor _ in range(100):\n    os.fork() or os._exit(0)\n    os.wait()\n"
    sampler = {"interval_s": 30.0, "cpu_budget": 0.01, "census": "ptrace"}
    census = store.read_run(measure(specify(program=program, sampler=sampler)))["census"]
    assert census == {"means": "ptrace", "created": 101, "sampled": 1, "bounded_only": 100}


def test_two_supervisors_measure_one_after_the_other(specify, tmp_path):
    specification = specify(stage={"parameters": {"delay_s": 0.3}})
    folders = [tmp_path / name for name in ("a", "b")]
    supervisors = [start_supervisor(specification, folder) for folder in folders]
    for each in supervisors:
        each.communicate()
    first, second = sorted(map(store.read_run, folders), key=lambda run: run["exec_ns"])
    assert first["exited_ns"] <= second["exec_ns"]
    assert second["lock_wait_s"] > first["lock_wait_s"]


def test_the_leftovers_of_a_killed_supervisor_are_removed_by_the_next(specify, measure, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    abandoned = tmp_path / "raw" / f".r1.{ended.pid}.partial"
    abandoned.mkdir(parents=True)
    measure(specify())
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["r1"]


def test_a_child_that_the_supervisor_had_before_is_neither_sampled_nor_ended(specify, measure):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        folder = measure(specify())
        assert stranger.poll() is None
        stranger.kill()
    processes = store.read_records(folder / "processes.csv", ProcessRecord)
    assert [process.role for process in processes] == ["main"]
    assert store.read_run(folder)["survivors"] == 0


def specify_changing(specify, folder):
    """Specify a handler beside the config, with two tasks of a file that it can change itself."""
    (folder / "mine_changing.py").write_text(
        "import pathlib, time\n\n"
        "def work(path=None, text=None, delay_s=0.0):\n"
        "    if path:\n"
        "        pathlib.Path(path).write_text(text)\n"
        "    time.sleep(delay_s)\n"
    )
    (folder / "tasks.csv").write_text("work.delay_s\n0.01\n0.02\n")
    tasks = {
        "file": "tasks.csv",
        "sha256": hash_bytes((folder / "tasks.csv").read_bytes()),
        "number": 2,
        "columns": {"work.delay_s": ["float"]},
    }
    source = source_hash("mine_changing:work", folder)
    stage = {"handler": "mine_changing:work", "source": source, "parameters": {}}
    return specify(stage=stage, tasks=tasks)


def refused(specification, folder):
    """Call the supervisor, which writes nothing; gives what it said."""
    supervisor = start_supervisor(specification, folder / "raw" / "r1", beside=folder)
    _, errors = supervisor.communicate()
    assert supervisor.returncode == 1
    assert b"Traceback" not in errors
    assert list((folder / "raw").iterdir()) == []
    return errors.decode()


def test_a_file_of_tasks_that_changed_before_the_run_is_refused(specify, tmp_path):
    specification = specify_changing(specify, tmp_path)
    (tmp_path / "tasks.csv").write_text("work.delay_s\n9\n9\n")
    assert "tasks.csv: edited after the study was started" in refused(specification, tmp_path)
    (tmp_path / "tasks.csv").unlink()
    assert "tasks.csv: cannot be read: No such file" in refused(specification, tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tasks.csv", "tasks.csv: edited after the study was started; start it again"),
        ("mine_changing.py", "'mine_changing:work' was edited after the study was started"),
    ],
)
def test_a_file_that_changes_during_the_run_discards_it(specify, tmp_path, name, words):
    specification = specify_changing(specify, tmp_path)
    parameters = {"path": str(tmp_path / name), "text": "x = 1\n"}
    specification["stages"][0]["parameters"] = parameters
    assert words in refused(specification, tmp_path)


UNSHARED = ("unshare", "--mount")


def can_mount():
    command = [*UNSHARED, "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") and subprocess.run(command, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="this user may not mount a small disk")
def test_a_full_disk_ends_a_run_with_an_error_and_leaves_nothing(specify, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    specification = store.canonical_json(
        specify(sampler={"interval_s": 0.001, "cpu_budget": 1.0, "census": "auto"})
    )
    measure = [sys.executable, "-m", "stagebench", "measure", "--study", "full"]
    for name in ("replicate", "seed", "block", "position", "rank"):
        measure += [f"--{name}", "1"]
    measure += ["--time-limit", "60", "--quiet-wait", "0"]
    measure += ["--specification", specification, "--out", "disk/r1"]
    mount = 'mount -t tmpfs -o size=8k none disk; "$@"; code=$?; ls -A disk; exit $code'
    done = subprocess.run(
        [*UNSHARED, "sh", "-c", mount, "sh", *measure],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "stagebench: disk/r1: cannot be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(not can_mount(), reason="this user may not mount /proc")
def test_where_proc_shows_processes_alone_the_machine_is_unknown(specify, tmp_path):
    folder = tmp_path / "raw/r1"
    measure = [sys.executable, "-m", "stagebench", "measure", "--study", "alone"]
    for name in ("replicate", "seed", "block", "position", "rank"):
        measure += [f"--{name}", "1"]
    measure += ["--time-limit", "60", "--quiet-wait", "60"]
    large = {**FORK, "parameters": {"size_mib": 20, "delay_s": 0.1}}
    measure += ["--specification", store.canonical_json(specify(stage=large)), "--out", str(folder)]
    mount = 'mount -t proc -o subset=pid proc /proc && exec "$@"'
    subprocess.run([*UNSHARED, "sh", "-c", mount, "sh", *measure], check=True)
    run = store.read_run(folder)
    assert run["status"] == "ok"
    check_run(folder, run)
    assert set(run["noise"].values()) == {None}
    assert (run["quiet"]["idle_share"], run["quiet"]["quiet"]) == (None, None)
    names = ("cpu_model", "memory_bytes")
    assert [run["environment"][name] for name in names] == [None, None]
    assert run["machine_after"]["steal_s"] is None
    assert peak_pss(folder, "worker") > 0


HUNGRY = """
def fill(size_mib):
    return len(bytearray(b"x") * (size_mib << 20))
"""


@pytest.mark.parametrize("kind", ["thread", "fork"])
def test_a_run_that_hits_a_limit_of_memory_is_out_of_memory_and_says_where(specify, tmp_path, kind):
    (tmp_path / "mine_hungry.py").write_text(HUNGRY)
    handler = "mine_hungry:fill"
    stage = {**KINDS[kind], "handler": handler, "source": source_hash(handler, tmp_path)}
    stage["parameters"] = {"size_mib": 400}
    with limited_group(300 << 20) as outer:
        supervisor = start_supervisor(specify(stage=stage), tmp_path / "r1", tmp_path, outer.folder)
        _, errors = supervisor.communicate()
        assert errors == b""
    run = store.read_run(tmp_path / "r1")
    assert run["status"] == "out_of_memory"
    assert run["cgroup"]["oom_kills"] >= 1
    assert run["detail"].startswith("the kernel killed ")
    assert f" at the memory limit of 300 MiB in {outer.limit}; " in run["detail"]
    if kind == "thread":
        assert "ended by signal SIGKILL" in run["detail"]


def test_a_measured_process_is_killed_before_its_supervisor_if_memory_runs_out(specify, measure):
    program = "print(open('/proc/self/oom_score_adj').read())"
    output = (measure(specify(program=program)) / store.OUTPUT_FILE).read_text()
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(output) == min(1000, own + 500)


def test_a_run_within_a_limit_is_ok(specify, tmp_path):
    with limited_group(300 << 20) as outer:
        supervisor = start_supervisor(specify(), tmp_path / "r1", None, outer.folder)
        supervisor.communicate()
    run = store.read_run(tmp_path / "r1")
    assert (run["status"], run["cgroup"]["oom_kills"]) == ("ok", 0)
    assert run["cgroup"]["out_of_memory"] is None


KILLED = "the kernel killed 1 process"


@pytest.mark.parametrize(
    ("cgroup", "status", "expected"),
    [
        ({"version": 2, "out_of_memory": None}, "crashed", ("crashed", "exit code -9")),
        (
            {"version": 1, "out_of_memory": KILLED},
            "ok",
            ("out_of_memory", f"{KILLED}; exit code -9"),
        ),
        (
            {"reason": "denied", "out_of_memory": KILLED},
            "worker_lost",
            ("out_of_memory", f"{KILLED}; exit code -9"),
        ),
        # The kernel may have killed another process of the supervisor's group.
        ({"reason": "denied", "out_of_memory": KILLED}, "ok", ("ok", "exit code -9")),
    ],
    ids=["no kill", "own group", "lost in the supervisor's group", "whole"],
)
def test_a_kill_decides_a_run_if_it_was_one_of_its_processes(cgroup, status, expected):
    assert judge_memory(cgroup, status, "exit code -9") == expected


def test_a_run_whose_group_is_taken_away_ends_as_before_and_says_so(specify, measure):
    program = """
import os, pathlib
for line in open("/proc/self/cgroup"):
    number, controllers, path = line.strip().split(":")
    if controllers == "memory":
        inner = pathlib.Path("/sys/fs/cgroup/memory" + path)
        if inner.name == "processes" and os.access(inner.parent.parent, os.W_OK):
            (inner.parent.parent / "cgroup.procs").write_text(str(os.getpid()))
            inner.rmdir()
            inner.parent.rmdir()
            print("gone")
"""
    folder = measure(specify(program=program))
    run = store.read_run(folder)
    if "gone" not in (folder / store.OUTPUT_FILE).read_text():
        pytest.skip("there was no group of version 1 to take away")
    assert run["status"] == "ok"
    assert run["cgroup"]["reason"].startswith("it was taken away during the run: ")
