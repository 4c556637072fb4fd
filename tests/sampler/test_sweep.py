import os
import subprocess
import sys

from stagebench.sampler.procfs import Memory
from stagebench.sampler.sweep import sweep_tree, walk_tree

TREE = {1: [2, 3], 2: [4], 4: [5]}


def test_a_walk_finds_every_descendant_after_its_parent():
    found = list(walk_tree(1, lambda pid: TREE.get(pid, [])))
    assert sorted(found) == [(2, 1), (3, 1), (4, 2), (5, 4)]
    order = [pid for pid, _ in found]
    assert order.index(2) < order.index(4) < order.index(5)


def test_a_process_that_ends_during_a_sweep_is_marked_and_the_others_are_read():
    memory = Memory(4, 3, 2, 1)

    def read(pid):
        if pid == 4:
            raise ProcessLookupError
        return memory

    ticks = iter([100, 200])
    sweep = sweep_tree(
        1, clock=lambda: next(ticks), children=lambda pid: TREE.get(pid, []), memory=read
    )
    assert (sweep.started_ns, sweep.ended_ns) == (100, 200)
    assert {r.pid: r.memory for r in sweep.readings} == {
        2: memory,
        3: memory,
        4: None,
        5: memory,
    }


def test_a_sweep_reads_a_real_grandchild():
    grandchild = "print(1, flush=True); input()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{grandchild}'])"
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"1\n"
    sweep = sweep_tree(os.getpid())
    child.communicate(b"\n")
    readings = [r for r in sweep.readings if child.pid in {r.pid, r.parent_pid}]
    assert len(readings) == 2
    assert all(r.memory.pss_bytes > 0 for r in readings)


def test_strangers_and_what_is_below_them_are_left_out():
    found = walk_tree(1, lambda pid: TREE.get(pid, []), frozenset({2}))
    assert list(found) == [(3, 1)]
