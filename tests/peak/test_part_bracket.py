"""Peaks of the parts of a tree, on records whose truth is known by construction."""

from dataclasses import replace

from tests.peak.test_bracket import CHILD, MAIN, MIB, MS, PER_MIB, SAMPLER, Course

from stagebench.peak.history import MemoryTrace
from stagebench.peak.part_bracket import bracket_parts
from stagebench.records import ReadRecord

OTHER = 12


class Parts(Course):
    """Main and its children: the first one is a part of its own."""

    def __init__(self, until=1000):
        super().__init__()
        self.reads = []
        self.moved(MAIN, "exec", 0, 5)
        self.process(CHILD, 10, until, birth="vfork", execs=1)
        self.moved(CHILD, "exec", 11, 5)

    def read(self, at, anon, mapped=0):
        self.reads.append(
            ReadRecord(
                started_ns=at * MS,
                ended_ns=at * MS,
                processes=2,
                anon_bytes=anon * MIB,
                shmem_bytes=0,
                cache_bytes=0,
                peak_bytes=anon * MIB,
                peak_since_ns=(self.reads[-1].started_ns if self.reads else 0),
                kernel_peak_bytes=0,
                paged_bytes=0,
                main_anon_bytes=None,
                mapped_bytes=mapped * MIB,
                unmapped_bytes=0,
                most_mapped_bytes=0,
                left_bytes=0,
                left_since_sweep=None,
            )
        )

    def found(self, *parts, until=None, **sampler):
        trace = MemoryTrace(
            self.sweeps,
            self.samples,
            self.processes,
            self.transitions,
            SAMPLER | sampler,
            self.reads,
        )
        return {
            part: tuple(None if v is None else v / MIB for v in (b.lower_bytes, b.upper_bytes))
            for part, b in bracket_parts(trace, parts, None, until).items()
        }


def test_each_part_has_what_its_own_processes_hold():
    run = Parts()
    run.sweep(100, (MAIN, 40, 40, 40, 40, 0), (CHILD, 70, 70, 70, 70, 0))
    run.sweep(200, (MAIN, 10, 10, 10, 40, 0), (CHILD, 90, 90, 90, 90, 0))
    run.moved(CHILD, "exit", 999, 20, mark=90)
    run.moved(MAIN, "exit", 999, 10, mark=40)
    found = run.found(1, 2)
    assert [low for low, _ in found.values()] == [40, 90]
    assert all(low <= high for low, high in found.values())
    assert found[1][1] < 90


def test_a_page_that_two_parts_share_counts_for_both():
    run = Parts()
    run.sweep(100, (MAIN, 40, 20, 0, 40, 0), (CHILD, 40, 20, 0, 40, 0))
    run.samples = [replace(one, rss_anon_bytes=0, rss_anon_after_bytes=0) for one in run.samples]
    assert [low for low, _ in run.found(1, 2).values()] == [40, 40]


def test_forked_processes_of_a_part_may_share_all_that_they_have():
    run = Parts()
    run.process(OTHER, 20, 1000, birth="fork", execs=0)
    run.processes[-1] = replace(run.processes[-1], parent_pid=CHILD)
    both = (CHILD, 50, 25, 0, 50, 0), (OTHER, 50, 25, 0, 50, 0)
    run.sweep(100, (MAIN, 5, 5, 5, 5, 0), *both, kind="rss")
    assert run.found(1, 2, 2)[2][0] == 50


def test_a_torn_sweep_proves_nothing_of_a_part():
    run = Parts()
    run.sweep(100, (MAIN, 40, 40, 40, 40, 0), (CHILD, 70, 70, 70, 70, 0), torn=1)
    assert [low for low, _ in run.found(1, 2).values()] == [None, None]


def hold(*, faults):
    """Main holds 30 of 100 MiB; the child 60, which so many page faults may have brought."""
    run = Parts()
    run.read(50, 100)
    run.sweep(100, (MAIN, 30, 30, 30, 30, 0), (CHILD, 60, 60, 60, 60, 0))
    run.read(150, 100)
    run.sweep(200, (MAIN, 30, 30, 30, 900, 0), (CHILD, 60, 60, 60, 60, faults))
    run.read(250, 100)
    for pid, rss, mark in ((CHILD, 60, 60), (MAIN, 30, 900)):
        run.moved(pid, "exit", 999, rss, mark=mark, faults=faults)
    return run


def test_what_the_others_surely_hold_is_not_left_for_a_part():
    """A mark of 900 MiB leaves open how much main had, but the tree had no more than 100."""
    within = {"until": 190 * MS}
    run = hold(faults=0)
    assert run.found(1, 2, **within)[1] == (30, 100 - 60)
    run.reads.clear()
    assert run.found(1, 2, **within)[1] == (30, 900)


def test_faults_may_have_brought_what_the_others_hold_in_the_end():
    within = {"until": 190 * MS, "group_drift_bytes": 0}
    for faulted_mib in (1, 20, 60, 100):
        run = hold(faults=faulted_mib * PER_MIB)
        assert run.found(1, 2, **within)[1] == (30, 100 - max(0, 60 - faulted_mib))


def map_files(*, faults=0, mapped=0):
    """Each process has 30 MiB of its own and 30 of files, of which programs outside map most, too.

    Main may have done so much more with its page faults, but the tree `mapped` no more meanwhile.
    """
    run = Parts()
    for at, mark, faulted in ((50, 60, 0), (150, 900, faults), (250, 900, faults)):
        run.read(at, 60, 60 + mapped * (at > 50))
        run.sweep(at + 25, (MAIN, 60, 35, 30, mark, faulted), (CHILD, 60, 35, 30, mark, 0))
    run.samples = [
        replace(
            one,
            rss_anon_bytes=30 * MIB,
            rss_anon_after_bytes=30 * MIB,
            anon_bytes=30 * MIB,
            file_bytes=5 * MIB,
        )
        for one in run.samples
    ]
    for pid, faulted in ((CHILD, 0), (MAIN, faults)):
        run.moved(pid, "exit", 999, 60, mark=900, faults=faulted)
    return list(run.found(1, 2, until=190 * MS).values())


def test_files_that_programs_outside_the_tree_map_count_in_full():
    assert map_files() == [(60, 60), (60, 60)]


def test_no_process_mapped_more_of_files_than_the_tree_did():
    """Faults may have brought all that main has of its own: then it is not sure what it had."""
    faults = 30 * PER_MIB
    assert map_files(faults=faults) == [(60, 60), (60, 60 + 30)]
    assert map_files(faults=faults, mapped=5) == [(60, 60 + 5), (60, 60 + 30)]


def test_nothing_is_bounded_where_faults_are_not_counted():
    assert Parts().found(1, 2, counts_faults=False) == {1: (None, None), 2: (None, None)}
