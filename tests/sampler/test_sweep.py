import subprocess
import sys

from stagebench.sampler.procfs import Counters, Memory, MemoryFiles
from stagebench.sampler.sweep import Reading, Sweep, complete_readings, read_counters_of, walk_tree

TREE = {1: [2, 3], 2: [4], 4: [5]}
MEMORY = Memory(100, 80, 20, 0, 90, 100, 0, 70)
COUNTERS = Counters(rss_bytes=100, rss_anon_bytes=70, high_water_bytes=100, faults=5)


class Files:
    """Fake files: process 4 has ended, 6 ends while it is walked, and 8 does not permit a walk."""

    def read_memory(self, pid):
        if pid in {4, 6}:
            raise ProcessLookupError
        if pid == 8:
            raise PermissionError
        return MEMORY

    def read_counters(self, pid):
        if pid == 4:
            raise FileNotFoundError
        return COUNTERS

    def reset_mark(self, pid):
        raise AssertionError(f"the mark of {pid} equals its RSS and needs no reset")


def test_a_walk_finds_every_descendant_after_its_parent():
    found = list(walk_tree(1, lambda pid: TREE.get(pid, [])))
    assert sorted(found) == [(2, 1), (3, 1), (4, 2), (5, 4)]
    order = [pid for pid, _ in found]
    assert order.index(2) < order.index(4) < order.index(5)


def test_strangers_and_their_descendants_are_left_out():
    found = walk_tree(1, lambda pid: TREE.get(pid, []), frozenset({2}))
    assert list(found) == [(3, 1)]


def test_processes_that_end_during_a_sweep_are_absent_and_the_others_are_read():
    counters = read_counters_of([2, 4, 6], Files())
    assert counters == {2: COUNTERS, 6: COUNTERS}
    readings = complete_readings(counters, Files(), walk=True)
    assert readings == [Reading(2, COUNTERS, MEMORY, COUNTERS, was_reset=False)]


def test_a_process_that_does_not_permit_a_walk_is_read_by_its_counters():
    readings = complete_readings({8: COUNTERS}, Files(), walk=True)
    assert readings == [Reading(8, COUNTERS, None, COUNTERS, was_reset=False)]


def test_without_a_walk_the_counters_are_used_for_both_readings():
    readings = complete_readings({2: COUNTERS}, Files(), walk=False)
    assert readings == [Reading(2, COUNTERS, None, COUNTERS, was_reset=False)]


def sweep_of(*readings, kind="pss", vanished=0, changed=False):
    return Sweep(kind, 1, 2, list(readings), vanished, changed)


def reading(memory=MEMORY, **after):
    return Reading(2, COUNTERS, memory, COUNTERS._replace(**after), was_reset=False)


def test_a_sweep_is_torn_when_a_process_left_the_census_changed_or_an_rss_did():
    assert not sweep_of(reading()).is_torn
    assert sweep_of(reading(), vanished=1).is_torn
    assert sweep_of(reading(), changed=True).is_torn
    assert sweep_of(reading(rss_bytes=101)).is_torn
    assert sweep_of(reading(MEMORY._replace(rss_bytes=99))).is_torn


def test_a_sweep_is_still_if_no_page_came_or_went():
    assert sweep_of(reading()).is_still
    assert sweep_of(reading(high_water_bytes=90)).is_still
    assert not sweep_of(reading(faults=6)).is_still
    assert not sweep_of(reading(rss_anon_bytes=71)).is_still
    assert not sweep_of(reading(None), kind="rss").is_still


def test_a_sweep_reads_a_real_process():
    program = "block = bytearray(50 << 20); print(1, flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"1\n"
    files = MemoryFiles()
    (reading,) = complete_readings(read_counters_of([child.pid], files), files, walk=True)
    child.communicate(b"\n")
    assert reading.memory.anon_bytes >= 50 << 20
    assert reading.memory.rss_bytes >= reading.memory.pss_bytes >= reading.memory.anon_bytes
    assert reading.memory.rss_anon_bytes >= reading.memory.anon_bytes
    assert reading.kept_still
