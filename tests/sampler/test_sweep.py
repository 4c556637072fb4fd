import subprocess
import sys

from stagebench.sampler.procfs import Memory, MemoryFiles
from stagebench.sampler.sweep import sweep_pss, sweep_rss, walk_tree

TREE = {1: [2, 3], 2: [4], 4: [5]}
MEMORY = Memory(9, 8, 5, 2, 1, 4, 0)


class Files:
    """Memory files of processes of which number 4 has ended."""

    def read_memory(self, pid):
        if pid == 4:
            raise ProcessLookupError
        return MEMORY

    def read_rss(self, pid):
        if pid == 4:
            raise FileNotFoundError
        return 100 + pid


def test_a_walk_finds_every_descendant_after_its_parent():
    found = list(walk_tree(1, lambda pid: TREE.get(pid, [])))
    assert sorted(found) == [(2, 1), (3, 1), (4, 2), (5, 4)]
    order = [pid for pid, _ in found]
    assert order.index(2) < order.index(4) < order.index(5)


def test_strangers_and_what_is_below_them_are_left_out():
    found = walk_tree(1, lambda pid: TREE.get(pid, []), frozenset({2}))
    assert list(found) == [(3, 1)]


def test_a_process_that_ends_during_a_sweep_is_marked_and_the_others_are_read():
    ticks = iter([100, 200])
    sweep = sweep_pss([2, 4], Files(), clock=lambda: next(ticks))
    assert (sweep.kind, sweep.started_ns, sweep.ended_ns) == ("pss", 100, 200)
    assert [tuple(reading) for reading in sweep.readings] == [
        (2, 102, MEMORY, 102),
        (4, None, None, None),
    ]


def test_a_cheap_sweep_reads_rss_alone():
    sweep = sweep_rss([2, 4], Files())
    assert sweep.kind == "rss"
    assert [tuple(reading) for reading in sweep.readings] == [
        (2, 102, None, 102),
        (4, None, None, None),
    ]


def test_a_sweep_reads_a_real_process():
    program = "block = bytearray(50 << 20); print(1, flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"1\n"
    (reading,) = sweep_pss([child.pid], MemoryFiles()).readings
    child.communicate(b"\n")
    assert reading.memory.anon_bytes >= 50 << 20
    assert reading.memory.rss_bytes >= reading.memory.pss_bytes >= reading.memory.anon_bytes
    assert reading.before_bytes == reading.after_bytes
