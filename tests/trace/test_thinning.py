"""What is written of a long trace: little, and enough for the same bracket of its peak."""

import random
from dataclasses import replace

from tests.trace.test_recording import MIB, sample, sweep

from stagebench.records import TransitionRecord
from stagebench.trace.thinning import ADVANCE_BYTES, BYTES_PER_HOUR, Thinning

HOUR_MS = 3_600_000
SETTINGS = {"interval_s": 0.01, "cpu_budget": 0.01}


def thin(records):
    """Return the sweeps and samples that are written of pairs of a sweep and its samples."""
    sweeps, samples = [], []
    thinning = Thinning(SETTINGS, sweeps.append, samples.append)
    for each, own in records:
        thinning.add(each, own, main=10)
    thinning.flush()
    return sweeps, samples


def length_of(records):
    return sum(len(",".join(map(str, vars_of(each)))) + 1 for each in records)


def vars_of(record):
    return [getattr(record, name) for name in record.__slots__]


def test_an_idle_tenth_of_an_hour_is_a_few_lines_a_second_and_keeps_its_first_and_last_sweep():
    records = [(sweep(0, 0), [sample(0, 10, 5)])]
    records += [(sweep(n, 10 * n, "held"), []) for n in range(1, HOUR_MS // 100)]
    sweeps, samples = thin(records)
    assert (sweeps[0], sweeps[-1]) == (records[0][0], records[-1][0])
    assert len(samples) == 1
    assert len(sweeps) < 5_000


def busy(processes, hours, per_s):
    rss = dict.fromkeys(range(10, 10 + processes), 20)
    number = random.Random(1)
    for n in range(int(hours * 3600 * per_s)):
        for pid in rss:
            rss[pid] = max(5, rss[pid] + number.randint(-3, 3))
        yield sweep(n, n * 1000 // per_s), [sample(n, pid, mib) for pid, mib in rss.items()]


def test_a_busy_hour_stays_within_its_bytes_and_keeps_its_peak_within_a_hundredth():
    sums = {}

    def watched():
        for each, samples in busy(30, hours=1, per_s=1):
            sums[each.sweep] = sum(one.pss_bytes for one in samples)
            yield each, samples

    sweeps, samples = thin(watched())
    assert length_of(sweeps) + length_of(samples) < ADVANCE_BYTES + BYTES_PER_HOUR
    written = {each.sweep for each in sweeps}
    assert max(sums[n] for n in written) * 1.01 >= max(sums.values())
    assert {one.sweep for one in samples} == written


def test_a_held_sweep_follows_the_sweep_that_it_holds():
    records = []
    for n, (each, samples) in enumerate(busy(100, hours=0.2, per_s=2)):
        records += [(sweep(2 * n, each.ended_ns // 10**6), list(samples))]
        records += [(sweep(2 * n + 1, each.ended_ns // 10**6 + 10, "held"), [])]
    sweeps, _ = thin(records)
    held = [(one.sweep, n) for n, one in enumerate(sweeps) if one.kind == "held"]
    assert held
    assert all(sweeps[n - 1].sweep == number - 1 for number, n in held)
    assert len(sweeps) < len(records)


def test_a_mark_that_a_dropped_sweep_reset_is_in_the_next_record_of_its_process():
    samples, sweeps = [], []
    thinning = Thinning(SETTINGS, sweeps.append, samples.append)
    thinning.add(sweep(0, 0), [sample(0, 10, 5), sample(0, 11, 5)], main=10)
    thinning._bytes = 2 * ADVANCE_BYTES
    spike = {"high_water_bytes": 900 * MIB, "mark_reset": 1}
    both = [replace(sample(1, pid, 5), **spike) for pid in (10, 11)]
    thinning.add(sweep(1, 10), both, main=10)
    exit_ = TransitionRecord(
        pid=11,
        kind="exit",
        time_ns=sweep(1, 15).ended_ns,
        rss_bytes=5 * MIB,
        rss_anon_bytes=5 * MIB,
        high_water_bytes=6 * MIB,
        faults=1,
        rss_shmem_bytes=0,
    )
    assert thinning.count(exit_).high_water_bytes == 900 * MIB
    thinning.add(sweep(2, 20), [sample(2, 10, 9)], main=10)
    assert [each.sweep for each in sweeps] == [0, 2]
    assert samples[-1].high_water_bytes == 900 * MIB
