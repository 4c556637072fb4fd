"""Memory is touched before a run: as much as it will need, outside of it, and freed again."""

import ast
import json
import os
import resource
import subprocess
import sys

import pytest
from tests.conftest import release_orphans, request_for

from stagebench import store
from stagebench.measure import touch, warm
from stagebench.measure.machine import (
    parse_swap,
    read_memory_settings,
    reclaims_idle_memory,
    reports_free_pages,
)
from stagebench.measure.supervisor import measure_run
from stagebench.records import EventRecord, ProcessRecord
from stagebench.units import GIB, MIB

ALWAYS = {
    "transparent_huge_pages": "madvise",
    "page_reporting": True,
    "idle_memory_reclaim": False,
}
NEVER_DEAR = ALWAYS | {"page_reporting": False}


def order(**changes):
    plain = {"probe_bytes": 4 * MIB, "touch_bytes": 0, "longest_s": 10, "huge": False}
    return {**plain, "always": True, **changes}


def life(pid, started, ended, high_water_mib):
    return ProcessRecord(
        pid=pid,
        parent_pid=None,
        role="worker",
        birth=None,
        since_ns=started,
        started_ns=started,
        ended_ns=ended,
        exit_status=0,
        high_water_bytes=None if high_water_mib is None else high_water_mib * MIB,
        max_rss_bytes=None,
        execs=0,
        samples=1,
        command="",
    )


def write_run(folder, specification, peak_mib, status="ok", written=0):
    folder.mkdir(parents=True)
    run = {
        "schema_version": store.SCHEMA_VERSION,
        "status": status,
        "specification": specification,
        "cgroup": {"reason": "none"} if peak_mib is None else {"peak_bytes": peak_mib * MIB},
    }
    store.write_json(folder / "run.json", run)
    with store.RecordWriter(folder / "processes.csv", ProcessRecord) as writer:
        writer.write(life(1, 0, None, 7))
    os.utime(folder / "run.json", (written, written))


def write_plan(study, specification, estimate):
    key = f"{specification['experiment']}/{specification['treatment']}"
    own = {"specification": specification, "estimated_memory_bytes": estimate}
    store.write_json(study / "plan.json", {"treatments": {key: own}})


def test_the_helper_touches_what_it_is_asked_to_and_tells_what_pages_cost():
    found = touch.carry_out(order(touch_bytes=5 * MIB + 1))
    assert found["touched_bytes"] == 5 * MIB + 1
    assert found["cpu_s"] > 0
    assert found["slowest_page_ns"] > 0
    assert found["used_page_ns"] > 0
    assert found["fresh_page_ns"] > 0


def test_the_helper_makes_all_pages_resident():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import touch, resource;"
        "touch.carry_out({'probe_bytes': 0, 'touch_bytes': 200 << 20, 'longest_s': 60,"
        " 'huge': False, 'always': True});"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(warm.HELPER.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 >= 200 * MIB


def test_the_helper_stops_when_its_time_is_up():
    assert touch.carry_out(order(touch_bytes=8 * MIB, longest_s=0))["touched_bytes"] == 0


@pytest.mark.parametrize(("fresh", "touched"), [(149, 0), (150, MIB)])
def test_nothing_is_touched_where_a_fresh_page_is_not_dearer(monkeypatch, fresh, touched):
    costs = {"fresh_page_ns": fresh, "used_page_ns": 100}
    monkeypatch.setattr(touch, "measure_pages", lambda *_, **__: costs)
    assert touch.carry_out(order(touch_bytes=MIB, always=False))["touched_bytes"] == touched


def test_a_probe_without_room_knows_nothing_and_touches_only_if_told_to():
    unknown = {"probe_bytes": 0, "touch_bytes": MIB}
    found = touch.carry_out(order(**unknown, always=False))
    assert (found["fresh_page_ns"], found["touched_bytes"]) == (None, 0)
    assert touch.carry_out(order(**unknown))["touched_bytes"] == MIB


def test_the_need_is_the_peak_of_the_last_good_run_of_the_same_specification(tmp_path):
    own, other = {"experiment": "e", "treatment": "t"}, {"experiment": "e", "treatment": "u"}
    folder = tmp_path / "study" / "raw" / "e" / "t"
    target = folder / "r6"
    assert warm.find_need(own, target) == (0, "unknown")
    write_plan(tmp_path / "study", {**own, "stages": []}, 90 * MIB)
    assert warm.find_need(own, target) == (0, "unknown"), "the plan is of something else"
    write_run(folder / "r1", own, 100, written=10)
    write_run(folder / "w2", own, 200, written=30)
    write_run(folder / "r3", own, 300, written=20)
    write_run(folder / "r4", own, 400, written=40, status="crashed")
    write_run(folder / "r5", other, 500, written=50)
    write_run(target, own, 600, written=60)
    (folder / "r7").mkdir()
    (folder / "r8").mkdir()
    (folder / "r8" / "run.json").write_text("{")
    assert warm.find_need(own, target) == (200 * MIB, "last run")


def test_a_run_that_diagnoses_needs_what_the_runs_of_its_treatment_take(tmp_path):
    own = {"experiment": "e", "treatment": "t"}
    diagnosing = own | {"diagnose": {"spinner": False}}
    target = tmp_path / "study" / "diagnosis" / "treatments" / "e" / "t"
    assert warm.find_need(diagnosing, target) == (0, "unknown")
    write_run(tmp_path / "study" / "raw" / "e" / "t" / "r1", own, 100)
    assert warm.find_need(diagnosing, target) == (100 * MIB, "last run")
    assert warm.find_need(diagnosing | {"tasks": 9}, target) == (0, "unknown")


def test_a_run_that_diagnoses_needs_its_own_estimate_if_there_is_no_other_run(tmp_path):
    stages = [{"executor": "thread", "workers": 2}]
    own = {"experiment": "e", "treatment": "e-1", "stages": stages, "diagnose": {"spinner": False}}
    planned = {"name": "pipelines/e-1/pair", "estimated_memory_bytes": 200 * MIB}
    plan = {"treatments": {}, "diagnoses": [planned | {"specification": own}]}
    store.write_json(tmp_path / "study" / "plan.json", plan)
    folder = tmp_path / "study" / "diagnosis" / "pipelines" / "e-1"
    assert warm.find_need(own, folder / "pair") == ((200 + 32) * MIB, "estimate")
    assert warm.find_need(own, folder / "alone") == (0, "unknown")


def test_without_a_group_the_need_is_what_processes_had_at_once(tmp_path):
    own = {"experiment": "e", "treatment": "t"}
    write_run(tmp_path / "r1", own, None)
    assert warm.find_need(own, tmp_path / "r2") == (7 * MIB, "last run")
    lives = [life(1, 0, None, 10), life(2, 1, 3, 20), life(3, 3, 4, 20), life(4, 2, 9, None)]
    assert warm.add_marks(lives) == 30 * MIB
    assert warm.add_marks([]) == 0


def test_without_a_run_the_need_is_the_estimate_and_its_interpreters(tmp_path):
    stages = [
        {"executor": "process", "workers": 3},
        {"executor": "thread", "workers": 5},
        {"executor": "process", "workers": 1},
    ]
    own = {"experiment": "e", "treatment": "t", "stages": stages}
    target = tmp_path / "study" / "raw" / "e" / "t" / "r1"
    write_plan(tmp_path / "study", own, 1000 * MIB)
    assert warm.find_need(own, target) == ((1000 + 5 * 32) * MIB, "estimate")
    (tmp_path / "study" / "plan.json").write_text('["no plan"]')
    assert warm.find_need(own, target) == (0, "unknown")


@pytest.mark.parametrize(
    ("need", "bound", "left", "size", "reason"),
    [
        (5, GIB, 4 * GIB, 5 + 512 * MIB, None),
        (5, 10, 100, 10, None),
        (20, 10, 100, 10, "the run needs more than warm_memory allows"),
        (20, 10, 8, 4, "the run needs more than half of the memory that is available"),
        (5, 0, 100, 0, "switched off (warm_memory: false)"),
        (0, 10, 100, 0, "it is not known how much the run needs"),
        (10, 10, 20, 10, None),
    ],
)
def test_what_is_touched_is_bounded(need, bound, left, size, reason):
    assert warm.bound_size(warm.Need(need, "estimate"), bound, left) == (size, reason)


def test_a_group_leaves_its_limit_less_what_it_uses_but_for_idle_cache(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (groups / "a").mkdir(parents=True)
    proc.mkdir()
    (proc / "cgroup").write_text("0::/a\n")
    (proc / "mounts").write_text(f"none {groups} cgroup2 rw 0 0\n")
    assert warm.memory_left_bytes(proc) > 16 * MIB, "no group reports a limit"
    for name, text in (
        ("memory.stat", "anon 5\ninactive_file 2000\n"),
        ("memory.current", "5000\n"),
        ("memory.max", "10000\n"),
    ):
        (groups / "a" / name).write_text(text)
    assert warm.memory_left_bytes(proc) == 7000
    (groups / "a" / "memory.max").write_text("max\n")
    assert warm.memory_left_bytes(proc) > 16 * MIB


def test_a_run_is_preceded_by_its_warmth_and_says_so(tmp_path, specify):
    specification = specify(tasks=2)
    target = tmp_path / "study" / "raw" / "tests" / "t1" / "r1"
    specification |= {"experiment": "tests", "treatment": "t1"}
    write_plan(tmp_path / "study", specification, 40 * MIB)
    request = request_for(specification)
    children_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    try:
        measure_run(request, target)
        off = store.read_run(target)
        changed = {"warm_memory_bytes": 256 * MIB}
        fields = {name: getattr(request, name) for name in request.__slots__}
        measure_run(type(request)(**fields | changed), target.with_name("r2"))
        on = store.read_run(target.with_name("r2"))
    finally:
        release_orphans()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime >= children_s
    assert off["warmed"]["touched_bytes"] == 0
    assert off["warmed"]["reason"] == "switched off (warm_memory: false)"
    assert (on["status"], on["warmed"]["needed_by"]) == ("ok", "last run")
    assert on["warmed"]["took_s"] > 0
    touched, reason = on["warmed"]["touched_bytes"], on["warmed"]["reason"]
    assert touched >= on["warmed"]["needed_bytes"] if reason is None else touched == 0
    for run in (off, on):
        before = run["machine_before"]
        assert before["used_page_ns"] > 0
        assert before["settings"].keys() >= {"page_reporting", "idle_memory_reclaim", "swap_bytes"}
        assert before["settings"].keys() == run["machine_after"]["settings"].keys()
    # The helper was no process of the run: its census and CPU time have the same parts as before.
    assert on["census"] == off["census"]
    (started,) = (
        event.time_ns
        for event in store.read_records(target.with_name("r2") / "events.csv", EventRecord)
        if event.event == "ready"
    )
    assert on["machine_before"]["time_ns"] < started


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "the helper ended with 3: no message"),
        ("raise MemoryError('no room')", "the helper ended with 1: MemoryError: no room"),
        ("print('no json')", "the helper cannot be run: Expecting value"),
        ("import time; time.sleep(60)", "the helper did not end within 0.3 s"),
    ],
)
def test_a_helper_that_fails_is_a_reason_not_an_error(tmp_path, monkeypatch, code, reason):
    (tmp_path / "helper.py").write_text(code)
    monkeypatch.setattr(warm, "HELPER", tmp_path / "helper.py")
    if "sleep" in code:
        monkeypatch.setattr(warm, "LONGEST_S", 0.1)
        monkeypatch.setattr(warm, "PATIENCE_S", 0.2)
    warmed, pages = warm.warm_memory(GIB, {}, tmp_path / "raw" / "r1", ALWAYS)
    assert warmed.reason.startswith(reason)
    assert (warmed.touched_bytes, pages) == (0, (None, None))


def test_a_machine_whose_fresh_pages_are_cheap_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "helper.py").write_text(
        'print(\'{"touched_bytes": 0, "fresh_page_ns": 2, "used_page_ns": 2, "cpu_s": 0,'
        ' "slowest_page_ns": null}\')'
    )
    monkeypatch.setattr(warm, "HELPER", tmp_path / "helper.py")
    monkeypatch.setattr(warm, "find_need", lambda *_: warm.Need(MIB, "last run"))
    warmed, pages = warm.warm_memory(GIB, {}, tmp_path / "r1", NEVER_DEAR)
    assert warmed.reason == "a fresh page costs no more than a used one"
    assert pages == (2, 2)


def test_what_a_helper_is_told_depends_on_the_machine(tmp_path, monkeypatch):
    orders = []
    monkeypatch.setattr(warm, "_run_helper", lambda told: orders.append(told) or "")
    monkeypatch.setattr(warm, "find_need", lambda *_: warm.Need(MIB, "last run"))
    for change in (
        {},
        {"page_reporting": None},
        {"page_reporting": False, "idle_memory_reclaim": True},
        {"transparent_huge_pages": "never"},
        {"transparent_huge_pages": None},
        {"transparent_huge_pages": "always"},
    ):
        warm.warm_memory(GIB, {}, tmp_path / "r1", ALWAYS | change)
    assert [told["always"] for told in orders] == [True, False, True, True, True, True]
    assert [told["huge"] for told in orders] == [True, True, True, False, False, True]
    assert {told["touch_bytes"] for told in orders} == {MIB + warm.SPARE_BYTES}


def balloon(root, features, device="0x0005"):
    folder = root / "sys/bus/virtio/devices/virtio0"
    folder.mkdir(parents=True)
    (folder / "device").write_text(f"{device}\n")
    if features is not None:
        (folder / "features").write_text(f"{features}\n")


@pytest.mark.parametrize(
    ("features", "device", "expected"),
    [
        ("011001" + "0" * 58, "0x0005", True),
        ("011110" + "0" * 58, "0x0005", False),
        ("011001" + "0" * 58, "0x0002", False),
        (None, "0x0005", None),
    ],
)
def test_a_balloon_tells_whether_it_reports_free_pages(tmp_path, features, device, expected):
    balloon(tmp_path, features, device)
    assert reports_free_pages(tmp_path) is expected


def test_a_machine_without_virtio_reports_none_and_that_of_hyper_v_is_unknown(tmp_path):
    assert reports_free_pages(tmp_path) is None
    (tmp_path / "sys/bus/pci").mkdir(parents=True)
    assert reports_free_pages(tmp_path) is False
    (tmp_path / "sys/module/hv_balloon").mkdir(parents=True)
    assert reports_free_pages(tmp_path) is None


def test_damon_tells_whether_it_pages_out_idle_memory(tmp_path):
    assert reclaims_idle_memory(tmp_path) is None
    (tmp_path / "sys/kernel/mm").mkdir(parents=True)
    assert reclaims_idle_memory(tmp_path) is False
    damon = tmp_path / "sys/kernel/mm/damon/admin/kdamonds"
    scheme = damon / "0/contexts/0/schemes/0"
    scheme.mkdir(parents=True)
    assert reclaims_idle_memory(tmp_path) is None, "it may not be read"
    (damon / "nr_kdamonds").write_text("1\n")
    (damon / "0/state").write_text("on\n")
    (scheme / "action").write_text("pageout\n")
    assert reclaims_idle_memory(tmp_path) is True
    (damon / "0/state").write_text("off\n")
    assert reclaims_idle_memory(tmp_path) is False
    module = tmp_path / "sys/module/damon_reclaim/parameters"
    module.mkdir(parents=True)
    (module / "enabled").write_text("Y\n")
    assert reclaims_idle_memory(tmp_path) is True


def test_swap_is_known_with_its_use():
    assert parse_swap("MemTotal: 9 kB\nSwapTotal:  8 kB\nSwapFree:   5 kB\n") == (8192, 3072)
    assert parse_swap("MemTotal: 9 kB\n") == parse_swap(None) == (None, None)


def test_this_machine_reports_its_memory_settings():
    found = read_memory_settings()
    assert found.keys() == ALWAYS.keys()
    json.dumps(found)


def test_the_helper_imports_only_what_comes_with_the_interpreter():
    tree = ast.parse(warm.HELPER.read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names = (node.names for node in ast.walk(tree) if isinstance(node, ast.Import))
    modules |= {alias.name for found in names for alias in found}
    assert modules <= sys.stdlib_module_names
