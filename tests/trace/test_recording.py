"""Reading the folder of a trace, whole or cut off, and summarising it."""

import pytest

from stagebench import store
from stagebench.errors import StoreError
from stagebench.records import MemorySample, ProcessRecord, SweepRecord, TransitionRecord
from stagebench.trace.recording import read_recording
from stagebench.trace.summary import build_timeline, summarise_recording

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
    assert sampler == {name: RUN["sampler"][name] for name in sampler}
    assert (sampler["sweeps"], sampler["torn"], sampler["cpu_s"]) == (4, 1, 0.001)


def test_a_timeline_has_the_sweeps_for_pss_and_the_processes_of_the_census(write):
    timeline = build_timeline(read_recording(write()))
    assert timeline.time_s == [0.011, 0.021, 0.031, 0.051]
    assert [size // MIB for size in timeline.pss_bytes["tree"]] == [10, 42, 95, 95]
    assert [size // MIB for size in timeline.pss_bytes["children"]] == [0, 30, 90, 90]
    assert timeline.changed_s == [0, 0.015, 0.04, 0.041, 0.06, 0.1]
    assert timeline.alive == [1, 2, 3, 2, 1, 0]


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
    assert build_timeline(recording).alive == [1, 2, 2, 2, 2]


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
    build_timeline(recording)


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
