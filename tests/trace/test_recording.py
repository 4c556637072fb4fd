"""Reading the folder of a trace, whole or cut off, and summarising it."""

import math

import pytest

from stagebench import store
from stagebench.errors import StoreError
from stagebench.records import (
    CpuRecord,
    MemorySample,
    ProcessRecord,
    ReadRecord,
    SweepRecord,
    TransitionRecord,
)
from stagebench.trace.curves import SHOWN, build_curves, find_gaps
from stagebench.trace.recording import read_recording
from stagebench.trace.summary import summarise_recording
from stagebench.trace.tracer import ADVANCE_S

MS = 1_000_000
START = 5_000 * MS
MIB = 1 << 20


def sweep(number, at_ms, kind="pss", torn=0, processes=2):
    started = START + at_ms * MS
    return SweepRecord(
        sweep=number,
        kind=kind,
        started_ns=started,
        ended_ns=started + MS,
        processes=processes,
        vanished=0,
        torn=torn,
        huge_faults=None,
    )


def sample(number, pid, mib):
    size = None if mib is None else mib * MIB
    parts = dict.fromkeys(("anon_bytes", "file_bytes", "shmem_bytes", "swap_bytes"), 0)
    return MemorySample(
        sweep=number,
        pid=pid,
        rss_bytes=200 * MIB,
        rss_anon_bytes=200 * MIB,
        rss_after_bytes=200 * MIB,
        rss_anon_after_bytes=200 * MIB,
        high_water_bytes=200 * MIB,
        mark_reset=0,
        faults_before=1,
        faults=1,
        pss_bytes=size,
        uss_bytes=size,
        **parts,
    )


def process(pid, role, lived_ms, samples, mark):
    start_ms, end_ms = lived_ms
    return ProcessRecord(
        pid=pid,
        parent_pid=None,
        role=role,
        birth=None,
        since_ns=START + start_ms * MS,
        max_rss_bytes=None,
        started_ns=START + start_ms * MS,
        ended_ns=START + end_ms * MS,
        exit_status=0,
        high_water_bytes=mark * MIB,
        execs=1,
        samples=samples,
        command=f"{role} {pid}",
    )


SWEEPS = [
    sweep(0, 10, processes=1),
    sweep(1, 20),
    sweep(2, 25, kind="rss"),
    sweep(3, 30, torn=1),
    sweep(4, 50, kind="held"),
]
SAMPLES = [
    sample(0, 7, 10),
    sample(1, 7, 12),
    sample(1, 8, 30),
    sample(2, 7, None),
    sample(2, 8, None),
    sample(3, 7, 5),
    sample(3, 8, 90),
]
PROCESSES = [
    process(7, "main", (-1, 100), 4, 15),
    process(8, "worker", (15, 60), 3, 95),
    process(9, "worker", (40, 41), 0, 97),
]
RUN = {
    "schema_version": store.SCHEMA_VERSION,
    "kind": "trace",
    "command": ["work", "two words"],
    "started_at": "2026-11-23T10:00:00+00:00",
    "main": 7,
    "exec_ns": START,
    "status": "complete",
    "detail": "",
    "exited_ns": START + 100 * MS,
    "exit_code": 3,
    "instrument_cpu_s": 0.002,
    "stayed": [{"pid": 8, "command": "worker 8"}],
    "census": {"means": "ptrace", "created": 3, "sampled": 2, "bounded_only": 1},
    "sampler": {
        "interval_s": 0.01,
        "cpu_budget": 0.01,
        "sweeps": 4,
        "torn": 1,
        "median_gap_s": 0.01,
        "p99_gap_s": 0.02,
        "counts_faults": True,
        "counter_drift_bytes": 0,
        "page_bytes": 4096,
        "anonymous_fault_bytes": 4096,
        "huge_faults_before": None,
        "huge_faults": None,
        "cpu_s": 0.001,
        "census_cpu_s": 0.0004,
        "read_cpu_s": 0.0002,
        "reads": 30,
        "group_drift_bytes": 1 << 20,
        "group_failure": None,
    },
    "environment": {},
}
CUT = {name: RUN[name] for name in RUN if name not in {"exited_ns", "exit_code", "stayed"}} | {
    "status": "running",
    "census": {"means": "ptrace"},
    "sampler": {"interval_s": 0.01, "cpu_budget": 0.01},
    "instrument_cpu_s": None,
}


@pytest.fixture
def write(tmp_path):
    """Write the folder of a trace."""

    def make(run=RUN, processes=PROCESSES, sweeps=SWEEPS):
        store.write_json(tmp_path / store.RUN_FILE, run)
        store.write_records(tmp_path / store.SWEEPS_FILE, SweepRecord, sweeps)
        store.write_records(tmp_path / store.SAMPLES_FILE, MemorySample, SAMPLES)
        store.write_records(tmp_path / store.READS_FILE, ReadRecord, [])
        store.write_records(tmp_path / store.TRANSITIONS_FILE, TransitionRecord, [])
        if processes:
            store.write_records(tmp_path / store.PROCESSES_FILE, ProcessRecord, processes)
        return tmp_path

    return make


def test_the_summary_of_a_whole_trace_agrees_with_its_records(write):
    summary = summarise_recording(read_recording(write()))
    assert summary["command"] == ["work", "two words"]
    assert (summary["status"], summary["exit_code"], summary["duration_s"]) == ("complete", 3, 0.1)
    assert {part: peak["lower_bytes"] for part, peak in summary["peak"].items()} == {
        "tree": 42 * MIB,
        "main": 12 * MIB,
        "children": 30 * MIB,
    }
    assert summary["peak"]["tree"]["lower_s"] == 0.021
    assert summary["processes"] == RUN["census"]
    assert summary["roles"] == {
        "main": {"created": 1, "sampled": 1, "high_water_bytes": 15 * MIB},
        "worker": {"created": 2, "sampled": 1, "high_water_bytes": 97 * MIB},
    }
    assert summary["stayed"] == RUN["stayed"]
    sampler = summary["sampler"]
    by_group = sampler.pop("by_group")
    assert sampler.pop("advance_s") == ADVANCE_S
    assert by_group == (RUN["sampler"]["group_drift_bytes"] is not None)
    assert sampler == {name: RUN["sampler"][name] for name in sampler}
    assert (sampler["sweeps"], sampler["torn"], sampler["cpu_s"]) == (4, 1, 0.001)


def test_a_timeline_has_the_sweeps_for_pss_and_the_processes_of_the_census(write):
    curves = build_curves(read_recording(write()))
    assert curves.time_s == [0.011, 0.021, 0.031, 0.051]
    assert [size // MIB for size in curves.pss_bytes["tree"]] == [10, 42, 95, 95]
    assert [size // MIB for size in curves.pss_bytes["children"]] == [0, 30, 90, 90]
    assert curves.changed_s == [0, 0.015, 0.04, 0.041, 0.06, 0.1]
    assert curves.alive == [1, 2, 3, 2, 1, 0]


def test_a_trace_that_was_cut_off_says_so_and_is_read_up_to_there(write):
    recording = read_recording(write(CUT, processes=None))
    summary = summarise_recording(recording)
    assert (summary["status"], summary["exit_code"], summary["duration_s"]) == ("cut", None, 0.051)
    assert summary["peak"]["children"]["lower_bytes"] == 30 * MIB
    assert summary["processes"] == {
        "means": "ptrace",
        "created": None,
        "sampled": 2,
        "bounded_only": None,
    }
    assert summary["roles"]["main"] == {"created": None, "sampled": 1, "high_water_bytes": None}
    sampler = summary["sampler"]
    assert (sampler["sweeps"], sampler["torn"], sampler["median_gap_s"]) == (4, 1, 0.01)
    assert sampler["cpu_s"] is None
    assert build_curves(recording).alive == [1, 2, 2, 2, 2]


@pytest.mark.parametrize("kept", range(0, 700, 23))
def test_a_trace_is_read_up_to_its_last_whole_sweep_wherever_its_files_end(write, kept):
    folder = write(CUT, processes=None)
    for name in (store.SWEEPS_FILE, store.SAMPLES_FILE):
        path = folder / name
        path.write_bytes(path.read_bytes()[:kept])
    recording = read_recording(folder)
    known = {sweep.sweep for sweep in recording.memory.sweeps}
    assert {sample.sweep for sample in recording.memory.samples} <= known
    assert summarise_recording(recording)["status"] == "cut"
    build_curves(recording)


def test_gaps_of_held_sweeps_that_were_not_written_are_known_from_their_numbers(write):
    sweeps = [sweep(0, 0), sweep(10, 100, "held"), sweep(12, 130)]
    sampler = summarise_recording(read_recording(write(CUT, None, sweeps)))["sampler"]
    assert (sampler["sweeps"], sampler["median_gap_s"]) == (12, 0.01)


def test_samples_can_be_read_repeatedly_and_are_not_kept(write):
    samples = read_recording(write()).memory.samples
    assert list(samples) == list(samples) == SAMPLES
    assert not hasattr(samples, "__len__")


def test_a_file_that_is_missing_from_a_whole_trace_is_named(write):
    folder = write()
    (folder / store.SAMPLES_FILE).unlink()
    with pytest.raises(StoreError, match=r"samples\.csv"):
        read_recording(folder)


CPU = [
    CpuRecord(pid=7, started_ns=START - MS, cpu_ns=40 * MS, is_final=1),
    CpuRecord(pid=8, started_ns=START + 15 * MS, cpu_ns=2_000 * MS, is_final=0),
    CpuRecord(pid=9, started_ns=START + 40 * MS, cpu_ns=None, is_final=0),
]


def test_cpu_time_that_may_have_been_more_is_a_bound_in_every_sum(write):
    folder = write()
    store.write_records(folder / store.CPU_FILE, CpuRecord, CPU)
    cpu = summarise_recording(read_recording(folder))["cpu"]
    assert cpu["tree"] == {"cpu_s": 2.04, "is_whole": False}
    assert cpu["roles"] == {
        "main": {"cpu_s": 0.04, "is_whole": True},
        "worker": {"cpu_s": 2.0, "is_whole": False},
    }
    assert [(each["pid"], each["cpu_s"]) for each in cpu["busiest"]] == [
        (8, 2.0),
        (7, 0.04),
        (9, None),
    ]
    assert cpu["others"]["processes"] == 0


def test_a_process_without_a_record_of_its_cpu_time_makes_the_sums_bounds(write):
    folder = write()
    store.write_records(folder / store.CPU_FILE, CpuRecord, CPU[:1])
    cpu = summarise_recording(read_recording(folder))["cpu"]
    assert cpu["tree"] == {"cpu_s": 0.04, "is_whole": False}
    assert cpu["roles"]["worker"] == {"cpu_s": None, "is_whole": False}


def test_cpu_time_is_unknown_where_no_census_recorded_it(write):
    assert summarise_recording(read_recording(write()))["cpu"] is None
    assert summarise_recording(read_recording(write(CUT, processes=None)))["cpu"] is None


def shown(sizes):
    return [None if math.isnan(size) else size // MIB for size in sizes]


def test_a_timeline_has_each_process_the_largest_first_and_nothing_where_no_sweep_read_it(write):
    larger, smaller = build_curves(read_recording(write())).courses
    assert (larger.name["pid"], smaller.name["pid"]) == (8, 7)
    assert shown(larger.pss_bytes) == [None, 30, 90, 90]
    assert shown(smaller.pss_bytes) == [10, 12, 5, 5]


def test_processes_beyond_those_shown_are_one_and_a_pid_that_was_reused_is_two(write):
    last = SHOWN + 3
    processes = [process(7, "main", (0, 100), 4, 15)]
    processes += [process(pid, "worker", (5, 15), 1, 9) for pid in range(20, 20 + last)]
    processes += [process(20, "other", (18, 60), 1, 9)]
    folder = write(processes=processes, sweeps=SWEEPS[:2])
    samples = [sample(0, 7, 40)]
    samples += [sample(0, 20 + place, 30 - place) for place in range(last)]
    samples += [sample(1, 7, 40), sample(1, 20, 39)]
    store.write_records(folder / store.SAMPLES_FILE, MemorySample, samples)
    curves = build_curves(read_recording(folder))
    names = [course.name and (course.name["pid"], course.name["role"]) for course in curves.courses]
    assert names[:3] == [(7, "main"), (20, "other"), (20, "worker")]
    others = curves.courses[SHOWN]
    assert (others.name, others.processes) == (None, len(processes) - SHOWN)
    assert shown(others.pss_bytes) == [sum(30 - place for place in range(SHOWN - 2, last)), None]
    stacked = [sum(shown(each.pss_bytes)[0] or 0 for each in curves.courses)]
    assert stacked == [curves.pss_bytes["tree"][0] // MIB]


@pytest.mark.parametrize(
    ("times", "held", "gaps"),
    [
        ([], (), set()),
        ([1.0], (), set()),
        ([0.1, 0.2, 0.3, 2.0, 2.1, 2.2], (), {3}),
        ([0.1, 0.2, 0.3, 2.0, 2.1, 2.2], (3,), set()),  # nothing changed until then
        ([0.1, 0.2, 0.3, 0.4, 0.7], (), set()),
        ([99.1, 99.101, 99.102, 99.9, 99.901, 100], (), set()),  # too short to be seen
    ],
)
def test_a_gap_is_a_pause_that_is_long_and_not_known_to_be_quiet(times, held, gaps):
    assert find_gaps(times, [place in held for place in range(len(times))]) == gaps
