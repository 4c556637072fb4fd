"""Copied runs keep their relations in stretched studies of any size."""

from itertools import pairwise

from benchmarks.analysis import Clock

from stagebench.records import EventRecord, MemorySample, SweepRecord

SWEEP = SweepRecord(
    sweep=3,
    kind="pss",
    started_ns=1_100,
    ended_ns=1_120,
    processes=1,
    vanished=0,
    torn=0,
    huge_faults=None,
)


def test_moments_are_stretched_and_shifted():
    clock = Clock(origin_ns=1_000, stretch=3, shift_ns=50_000)
    event = EventRecord(event="ready", stage="", time_ns=1_100)
    assert [moved.time_ns for moved in clock.repeat(event)] == [51_300]
    assert clock.move({"cpu_ns": 7, "ended_ns": None}) == {"cpu_ns": 7, "ended_ns": None}


def test_a_sweep_becomes_as_many_as_its_run_is_longer_one_after_the_other():
    sweeps = list(Clock(origin_ns=1_000, stretch=3, shift_ns=0).repeat(SWEEP))
    assert [sweep.sweep for sweep in sweeps] == [9, 10, 11]
    assert all(sweep.ended_ns - sweep.started_ns == 20 for sweep in sweeps)
    assert all(one.ended_ns <= later.started_ns for one, later in pairwise(sweeps))


def test_samples_stay_with_their_sweep():
    sample = MemorySample(
        **dict.fromkeys(MemorySample.__dataclass_fields__, 5) | {"sweep": 3, "mark_reset": 0}
    )
    repeated = list(Clock(origin_ns=1_000, stretch=2, shift_ns=9).repeat(sample))
    assert [(one.sweep, one.rss_bytes) for one in repeated] == [(6, 5), (7, 5)]
