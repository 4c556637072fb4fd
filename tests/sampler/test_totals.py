"""Cheap readings of the tree's total: by a group, by the counters, and a real tree with both."""

import errno
import mmap
import os
import statistics
import textwrap
from contextlib import nullcontext
from itertools import pairwise

import pytest

from stagebench import store
from stagebench.measure import supervisor
from stagebench.peak.bracket import find_brackets
from stagebench.peak.history import MemoryTrace
from stagebench.peak.timeline import draw_timeline
from stagebench.records import (
    MemorySample,
    ProcessRecord,
    ReadRecord,
    SweepRecord,
    TransitionRecord,
)
from stagebench.sampler import totals
from stagebench.sampler.group import V2, GroupReading
from stagebench.sampler.group import Group as ControlGroup
from stagebench.sampler.procfs import Counters, Sizes
from stagebench.sampler.totals import FOLDED_NS, Totals

MIB = 1 << 20
MS = 1_000_000
MAIN, CHILD, OTHER = 7, 8, 9


class Group:
    """A control group whose readings are set by the test; `gone` says that it was removed."""

    drift_bytes = MIB

    def __init__(self, clock):
        self.clock = clock
        self.now = {"anon": 0, "shmem": 0, "cache": 0, "peak": 0, "kernel_peak": 0}
        self.since_ns = clock()
        self.gone = self.closed = False

    def read(self):
        if self.gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        since_ns, self.since_ns = self.since_ns, self.clock()
        now = self.now
        return GroupReading(
            anon_bytes=now["anon"],
            shmem_bytes=now["shmem"],
            cache_bytes=now["cache"],
            kernel_bytes=None,
            peak_bytes=now["peak"],
            peak_since_ns=since_ns,
            kernel_peak_bytes=now["kernel_peak"],
        )

    def close(self):
        self.closed = True


class Scene:
    """A clock, processes with sizes in MiB, and perhaps a group, for `Totals` to read.

    `sizes` has (anonymous, shared) of each process, or a list of them for successive looks, of
    which the last one stays. One look at a process takes `look_ns`.
    """

    def __init__(self, *, group=False, look_ns=0):
        self.now_ns = 0
        self.look_ns = look_ns
        self.sizes = {MAIN: (10, 2)}
        self.shmem = {}
        self.faults = {}
        self.changes = 0
        self.written = []
        self.group = Group(lambda: self.now_ns) if group else None
        self.totals = Totals(self, MAIN, self.written.extend, self.group, self.clock, self.clock)

    def read_sizes(self, pid):
        self.now_ns += self.look_ns
        if pid not in self.sizes:
            raise ProcessLookupError
        sizes = self.sizes[pid]
        if isinstance(sizes, list):
            sizes = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        anon, shared = sizes
        return Sizes(round(anon * MIB), round(shared * MIB))

    def clock(self):
        return self.now_ns

    def sleep(self, duration_ns):
        self.now_ns += duration_ns

    def read_faults(self, pid):
        if pid not in self.sizes:
            raise ProcessLookupError
        return self.faults.get(pid, 0)

    def read_counters(self, pid):
        anon, shared = self.read_sizes(pid)
        shmem = round(self.shmem.get(pid, 0) * MIB)
        return Counters(anon + shared, anon, 0, 0, shmem)

    def walk(self, number=0):
        """Walk all processes, in no time."""
        self.totals.read(set(self.sizes), self.changes, whole=True)
        self.totals.begin_walk()
        self.totals.read(set(self.sizes), self.changes, whole=True)
        self.totals.note_walk(number, is_whole=True)

    def charge(self, **sizes):
        self.group.now |= {name: round(size * MIB) for name, size in sizes.items()}

    def read(self, after_ms=10, owners=None):
        self.now_ns += after_ms * MS
        self.totals.read(set(self.sizes) if owners is None else owners, self.changes)

    def transition(self, pid, kind, anon, shared=0):
        self.totals.note_transition(
            TransitionRecord(
                pid=pid,
                kind=kind,
                time_ns=self.now_ns,
                rss_bytes=(anon + shared) * MIB,
                rss_anon_bytes=anon * MIB,
                high_water_bytes=0,
                faults=0,
                rss_shmem_bytes=0,
            )
        )
        self.changes += 1

    @property
    def reads(self):
        """All readings, those that were kept back included."""
        self.totals.flush()
        return self.written


def anon(scene):
    return [read.anon_bytes / MIB for read in scene.reads]


def test_a_reading_has_what_the_group_was_charged_for():
    scene = Scene(group=True)
    scene.charge(anon=30, shmem=4, cache=5, peak=50, kernel_peak=3)
    scene.read()
    (read,) = scene.reads
    assert (read.anon_bytes, read.shmem_bytes, read.cache_bytes) == (30 * MIB, 4 * MIB, 5 * MIB)
    assert (read.peak_bytes, read.kernel_peak_bytes, read.peak_since_ns) == (50 * MIB, 3 * MIB, 0)
    assert (read.main_anon_bytes, read.mapped_bytes, read.unmapped_bytes) == (10 * MIB, 2 * MIB, 0)
    assert (read.processes, scene.totals.reads) == (1, 1)


def test_beside_a_group_single_processes_are_read_only_as_often_as_their_share_allows():
    cost_ns = 100_000
    scene = Scene(group=True, look_ns=cost_ns)
    pause_ms = 2 * cost_ns / totals.PROCESSES_SHARE / MS  # main is looked at twice
    for number in range(30):
        scene.charge(anon=number)  # else readings would be folded
        scene.read(10)
    complete = [read.started_ns / MS for read in scene.reads if read.mapped_bytes is not None]
    assert len(scene.reads) == 30
    assert complete[0] == 10
    assert all(late - early >= pause_ms for early, late in pairwise(complete))
    assert len(complete) >= 300 / (pause_ms + 10)


def test_the_last_reading_looks_at_no_process_and_is_complete():
    scene = Scene(group=True, look_ns=1_000_000)
    scene.read()
    del scene.sizes[MAIN]
    scene.read(1, owners=set())
    last = scene.reads[-1]
    assert (last.mapped_bytes, last.unmapped_bytes) == (2 * MIB, 2 * MIB)


def test_readings_that_say_the_same_are_written_only_now_and_then():
    scene = Scene(group=True, look_ns=1)
    scene.charge(anon=5, peak=6)
    for _ in range(40):
        scene.read(10)
    assert scene.totals.reads == 40
    ended = [read.ended_ns for read in scene.reads]
    assert len(ended) <= 1 + 400 * MS / FOLDED_NS + 1
    gaps = [late - early for early, late in pairwise(ended)]
    assert max(gaps) <= FOLDED_NS + 11 * MS


def test_the_last_of_equal_readings_is_written_before_one_that_differs():
    scene = Scene(group=True)
    scene.charge(anon=5, peak=6)
    for _ in range(4):
        scene.read(10)
    scene.charge(anon=9, peak=10)
    scene.read(10)
    assert [(read.ended_ns / MS, read.anon_bytes / MIB) for read in scene.reads] == [
        (10, 5),  # which looked at what the machine paged, too
        (20, 5),
        (40, 5),
        (50, 9),
    ]


def test_the_peak_of_a_written_reading_counts_since_the_one_written_before():
    scene = Scene(group=True, look_ns=1000)
    for size, times in ((5, 4), (9, 9), (5, 1), (6, 2), (7, 30)):
        scene.charge(anon=size, peak=size + 1)
        for _ in range(times):
            scene.read(10)
    reads = scene.reads
    assert len(reads) < 46
    for before, read in pairwise(reads):
        assert read.peak_since_ns <= before.ended_ns


def test_a_reading_that_differs_only_in_what_was_mapped_is_written():
    scene = Scene(group=True)
    scene.read(10)
    scene.read(10)
    scene.sizes[MAIN] = (10, 3)
    scene.read(10)
    assert [read.mapped_bytes / MIB for read in scene.reads] == [2, 2, 3]


def test_paging_is_read_only_where_something_came_and_went():
    scene = Scene(group=True)
    scene.charge(anon=5, peak=6)
    scene.read()
    scene.read()
    scene.charge(anon=6, peak=60, kernel_peak=1, cache=2)
    scene.read()
    scene.charge(anon=6, peak=60, kernel_peak=1, cache=53)
    scene.read()
    known = [read.paged_bytes is not None for read in scene.reads]
    assert known == [True, False, True, False]


def test_a_tree_that_was_never_read_or_has_moved_and_rests_is_worth_a_walk():
    scene = Scene(group=True)
    assert scene.totals.tells_new()
    scene.charge(anon=100)
    scene.read()
    scene.walk()
    for _ in range(20):
        scene.read()
        assert not scene.totals.tells_new()
    scene.charge(anon=150)
    news = []
    for _ in range(4):
        scene.read()
        news.append(scene.totals.tells_new())
    assert news == [False, False, True, True]  # three readings in a row are a plateau
    scene.walk()
    assert not scene.totals.tells_new()


def test_a_small_change_is_no_news():
    scene = Scene(group=True)
    for size in (100, 100.5, 100.9):
        scene.charge(anon=size)
        scene.read()
        scene.walk()
    scene.charge(anon=101.5)
    for _ in range(9):
        scene.read()
    assert not scene.totals.tells_new()


def test_files_that_were_mapped_are_news_though_no_level_has_them():
    scene = Scene(group=True)
    scene.charge(anon=100)
    for _ in range(5):
        scene.read()
    scene.walk()
    scene.sizes[MAIN] = (10, 2.5)
    scene.read()
    assert not scene.totals.tells_new()
    scene.sizes[MAIN] = (10, 32)
    scene.read()
    assert scene.totals.tells_new()
    scene.walk()
    assert not scene.totals.tells_new()
    scene.sizes[MAIN] = (10, 2)
    scene.read()
    assert scene.totals.tells_new()


def test_what_moves_during_a_walk_is_news():
    scene = Scene(group=True)
    scene.charge(anon=100)
    for _ in range(5):
        scene.read()
    scene.totals.begin_walk()
    scene.sizes[MAIN] = (10, 32)
    scene.totals.read({MAIN}, 0, whole=True)
    scene.totals.note_walk(0, is_whole=True)
    scene.read()
    assert scene.totals.tells_new()


def test_a_whole_reading_looks_at_every_process_whatever_it_costs():
    scene = Scene(group=True, look_ns=1_000_000)
    scene.read()
    scene.totals.read({MAIN}, 0, whole=True)
    assert [read.mapped_bytes for read in scene.reads] == [2 * MIB] * 2


def test_shared_memory_that_the_group_is_charged_for_is_no_file():
    scene = Scene(group=True)
    scene.charge(anon=10, shmem=30)
    scene.read()  # from here on it is known that there is some
    scene.sizes[MAIN], scene.shmem[MAIN] = (10, 2 + 30), 30
    scene.read()
    assert [read.mapped_bytes for read in scene.reads] == [2 * MIB] * 2


def test_without_a_group_shared_memory_counts_as_a_file():
    scene = Scene()
    scene.read()
    scene.sizes[MAIN], scene.shmem[MAIN] = (10, 2 + 30), 30
    scene.read()
    assert [read.mapped_bytes for read in scene.reads] == [2 * MIB, 32 * MIB]


def test_what_those_lost_that_were_walked_is_told_apart():
    scene = Scene(group=True)
    scene.sizes[CHILD] = (1, 5)
    scene.read()
    scene.walk(number=4)
    scene.sizes[OTHER] = (1, 9)
    scene.read()
    del scene.sizes[OTHER]
    scene.sizes[CHILD] = (1, 2)
    scene.read()
    first, last = scene.reads[0], scene.reads[-1]
    assert (first.left_bytes, first.left_since_sweep) == (None, None)
    assert (last.mapped_bytes, last.unmapped_bytes) == (16 * MIB, 12 * MIB)
    assert (last.left_bytes, last.left_since_sweep) == (3 * MIB, 4)
    assert max(read.most_mapped_bytes for read in scene.reads) == 16 * MIB


def test_after_a_birth_the_tree_gets_time_to_come_to_rest():
    scene = Scene(group=True)
    for _ in range(5):
        scene.read()
    scene.walk()
    scene.transition(CHILD, "birth", 3)
    scene.read(after_ms=1)
    assert not scene.totals.tells_new()
    scene.read(after_ms=totals.SETTLING_NS / MS - 2)
    assert not scene.totals.tells_new()
    scene.read(after_ms=3)
    assert scene.totals.tells_new()


def test_a_tree_that_never_rests_is_walked_now_and_then():
    scene = Scene(group=True)
    scene.read()
    scene.walk()
    began_ns = scene.now_ns
    for size in range(0, 4000, 50):
        scene.charge(anon=size)
        scene.read()
        if scene.totals.tells_new():
            break
    assert scene.now_ns - began_ns == totals.IMPATIENT_NS


def test_without_a_group_main_counts_in_full_and_files_do_not():
    scene = Scene()
    scene.read()
    (read,) = scene.reads
    assert (read.anon_bytes, read.main_anon_bytes) == (10 * MIB, 10 * MIB)
    assert (read.mapped_bytes, read.unmapped_bytes) == (2 * MIB, 0)
    unknown = (read.shmem_bytes, read.cache_bytes, read.peak_bytes, read.peak_since_ns)
    assert unknown == (None,) * 4
    assert (read.kernel_peak_bytes, read.paged_bytes) == (None, None)


def test_pages_that_a_child_inherited_do_not_count_again():
    scene = Scene()
    scene.transition(CHILD, "birth", 10)
    scene.sizes[CHILD] = (10, 2)
    scene.read()
    scene.sizes[CHILD] = (16, 2)  # six of its own, or copies of inherited ones and others gone
    scene.read()
    scene.sizes[CHILD] = (4, 2)
    scene.read()
    assert anon(scene) == [10, 16, 10]


def test_a_walk_finds_out_how_much_is_shared_and_only_later_births_add_to_it():
    scene = Scene()
    scene.transition(CHILD, "birth", 10)
    scene.sizes = {MAIN: (10, 2), CHILD: (12, 2)}
    scene.read()
    scene.totals.note_walk(0, is_whole=True, shared={MAIN: 2 * MIB, CHILD: 2 * MIB})
    scene.read()
    scene.transition(OTHER, "birth", 5)
    scene.sizes[OTHER] = 6, 2
    scene.read()
    scene.totals.flush()
    assert [read.anon_bytes / MIB for read in scene.written] == [10 + 2, 22 - 4, 22 - 4 + 1]


def test_without_a_group_a_reading_bounds_what_the_processes_had_since_the_one_before():
    scene = Scene()
    scene.transition(MAIN, "exec", 8)
    scene.read()
    scene.faults[MAIN] = 100
    scene.read()
    scene.totals.flush()
    first, second = scene.written
    assert (first.peak_bytes, first.peak_since_ns) == (8 * MIB, None)
    assert (second.peak_bytes, second.peak_since_ns) == (10 * MIB + 100 * 4096, first.started_ns)


def test_a_polled_census_tells_of_no_births_so_that_there_is_no_upper_end():
    scene = Scene()
    scene.read()
    scene.read()
    scene.totals.flush()
    assert {read.peak_bytes for read in scene.written} == {None}


def test_a_reading_that_was_interrupted_is_made_again():
    scene = Scene(look_ns=100)
    scene.transition(MAIN, "exec", 10)
    looks = iter([5 * MS])
    look = scene.read_sizes
    scene.read_sizes = lambda pid: (scene.sleep(next(looks, 0)), look(pid))[1]
    scene.sizes |= {CHILD: (10, 2)}
    scene.transition(CHILD, "birth", 0)
    scene.read()
    scene.totals.flush()
    (read,) = scene.written
    slack = 2 * 2 * 100 * totals.FILL_BYTES_PER_NS * totals.CPUS
    assert read.anon_bytes >= 20 * MIB - slack


def test_a_new_program_inherited_nothing():
    scene = Scene()
    scene.transition(CHILD, "birth", 10)
    scene.transition(CHILD, "exec", 1)
    scene.sizes[CHILD] = (16, 2)
    scene.read()
    assert anon(scene) == [26]


def test_a_process_whose_birth_was_not_seen_may_have_inherited_all_that_it_has():
    scene = Scene()
    scene.sizes[OTHER] = (40, 0)
    scene.read()
    scene.sizes[OTHER] = (43, 0)
    scene.read()
    assert anon(scene) == [10, 13]


def test_memory_that_one_process_hands_over_to_another_between_two_looks_counts_once():
    scene = Scene()
    scene.transition(CHILD, "exec", 0)
    # Main frees 50 MiB after the first look at it; the child fills as much before the second.
    scene.sizes = {MAIN: [(60, 0), (10, 0)], CHILD: [(0, 0), (50, 0)]}
    scene.read()
    assert anon(scene) == [10]


def test_what_was_filled_anew_between_both_looks_was_perhaps_not_there():
    look_ns = 50_000
    scene = Scene(look_ns=look_ns)
    scene.transition(CHILD, "exec", 0)
    scene.sizes = {MAIN: (60, 0), CHILD: (50, 0)}
    scene.read()
    filled = 4 * look_ns * totals.FILL_BYTES_PER_NS * totals.CPUS
    assert anon(scene) == [110 - filled / MIB]


def test_a_single_process_is_looked_at_once():
    scene = Scene(look_ns=50_000)
    scene.read()
    assert anon(scene) == [10]
    assert scene.reads[0].ended_ns - scene.reads[0].started_ns == 50_000


def test_main_has_at_most_the_larger_of_two_looks_and_what_it_can_have_filled_between_them():
    look_ns = 1000
    scene = Scene(group=True, look_ns=look_ns)
    scene.sizes[MAIN] = [(30, 2), (10, 2)]
    scene.read()
    filled = 2 * look_ns * totals.FILL_BYTES_PER_NS * totals.CPUS
    assert scene.reads[0].main_anon_bytes == 30 * MIB + filled


def test_a_process_that_ends_between_both_looks_does_not_count():
    class Ending(Scene):
        looked = False

        def read_sizes(self, pid):
            if pid == CHILD and self.looked:
                raise ProcessLookupError
            self.looked |= pid == CHILD
            return super().read_sizes(pid)

    scene = Ending()
    scene.transition(CHILD, "exec", 0)
    scene.sizes[CHILD] = (50, 0)
    scene.read()
    assert anon(scene) == [10]


def test_a_process_id_that_is_used_again_inherits_anew():
    scene = Scene()
    scene.transition(CHILD, "exec", 1)
    scene.sizes[CHILD] = (30, 0)
    scene.read()
    del scene.sizes[CHILD]
    scene.read()
    scene.transition(CHILD, "birth", 10)
    scene.sizes[CHILD] = (11, 0)
    scene.read()
    assert anon(scene) == [40, 10, 11]


def test_a_group_that_is_taken_away_gives_way_to_the_counters():
    scene = Scene(group=True)
    scene.charge(anon=30, peak=40)
    scene.read()
    scene.group.gone = True
    scene.read(2)  # the processes were looked at a moment ago, but nothing else is left
    scene.read(100)
    first, *others = scene.reads
    assert first.shmem_bytes == 0
    assert [(read.anon_bytes, read.shmem_bytes) for read in others][-1] == (10 * MIB, None)
    assert scene.totals.group_failure == "taken away during the run (No such device)"
    assert scene.totals.drift_bytes == MIB  # the first reading has its lag
    assert scene.group.closed


# Real trees. Programs run when main has started; they note moments in a file.


@pytest.fixture
def run(specify, measure, tmp_path):
    """Run a program as a real run in a real control group; return its records and its notes."""

    def make(program, *, needs_group=True):
        notes = tmp_path / "notes.txt"
        head = f"""
            import mmap, os, time
            NOTES = {str(notes)!r}

            def note():
                with open(NOTES, "a") as file:
                    print(time.monotonic_ns(), file=file)

            def fill(size):
                block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                for at in range(0, size, mmap.PAGESIZE):
                    block[at] = 1
                return block
        """
        specification = specify(program=textwrap.dedent(head) + textwrap.dedent(program))
        folder = measure(specification)
        record = store.read_run(folder)
        assert record["status"] == "ok", record["detail"]
        if needs_group and record["sampler"]["group_drift_bytes"] is None:
            pytest.skip(f"no control group: {record['cgroup'].get('reason')}")
        files = (
            (store.SWEEPS_FILE, SweepRecord),
            (store.SAMPLES_FILE, MemorySample),
            (store.PROCESSES_FILE, ProcessRecord),
            (store.TRANSITIONS_FILE, TransitionRecord),
        )
        records = [store.read_records(folder / name, kind) for name, kind in files]
        reads = store.read_records(folder / store.READS_FILE, ReadRecord)
        trace = MemoryTrace(*records, record["sampler"], reads)
        return trace, [int(line) for line in notes.read_text().split()]

    return make


def test_without_a_group_both_lines_enclose_what_a_forked_child_shares_and_fills(run, monkeypatch):
    monkeypatch.setattr(
        supervisor, "control_group", lambda: nullcontext(ControlGroup(None, V2, "switched off"))
    )
    trace, (noted_ns, *parts) = run(
        """
        def anonymous(pid):
            with open(f"/proc/{pid}/smaps_rollup") as file:
                return next(int(line.split()[1]) << 10 for line in file if "Pss_Anon" in line)

        block = fill(30 << 20)
        child = os.fork()
        if not child:
            own = fill(20 << 20)
            time.sleep(0.6)
            os._exit(0)
        time.sleep(0.3)
        note()
        with open(NOTES, "a") as file:
            print(anonymous(os.getpid()), anonymous(child), sep="\\n", file=file)
        os.waitpid(child, 0)
        """,
        needs_group=False,
    )
    assert trace.sampler["group_drift_bytes"] is None
    moments = [each for each in draw_timeline(trace) if each.began_ns <= noted_ns <= each.ended_ns]
    assert moments
    for moment in moments:
        assert moment.anon_reached <= sum(parts) <= moment.anon_upper
        # The parent's 30 MiB are counted once.
        assert moment.anon_upper - moment.anon_reached <= 12 * MIB
    bracket = find_brackets(trace)["tree"]
    assert bracket.lower_bytes <= bracket.upper_bytes
    assert sum(parts) <= bracket.upper_bytes


def within(trace, first, last):
    return [
        each for each in draw_timeline(trace) if first <= each.began_ns <= each.ended_ns <= last
    ]


def resting(trace, first, last):
    """Return bounds of the tree while it rests: the middle of the readings in that time."""
    moments = within(trace, first, last)
    return (
        statistics.median(getattr(each, name) for each in moments) for name in ("lower", "upper")
    )


def test_spikes_between_readings_are_inside_the_bracket(run):
    size = 50 * MIB
    trace, notes = run(
        f"""
        time.sleep(0.1)
        note()
        time.sleep(0.2)
        note()
        for _ in range(8):
            block = fill({size})
            time.sleep(0.005)
            block.close()
            time.sleep(0.05)
        note()
        """
    )
    rest_lower, rest_upper = resting(trace, *notes[:2])
    bracket = find_brackets(trace, *notes[1:])["tree"]
    # The true peak is what rested, and the block.
    assert bracket.lower_bytes <= rest_upper + size + MIB
    assert bracket.upper_bytes >= rest_lower + size
    assert bracket.upper_bytes <= rest_upper + size + 4 * MIB
    if all(read.kernel_peak_bytes is None for read in trace.reads):
        pytest.skip("this kernel reports no peak of kernel memory, so no spike is certain")
    assert bracket.lower_bytes >= rest_lower + size - 4 * MIB


def test_a_segment_in_shared_memory_counts_though_nobody_maps_it(run):
    size = 40 * MIB
    trace, notes = run(
        f"""
        time.sleep(0.1)
        note()
        time.sleep(0.2)
        note()
        path = f"/dev/shm/stagebench-test-{{os.getpid()}}"
        with open(path, "wb") as file:
            file.write(bytes({size}))
        time.sleep(0.05)
        note()
        time.sleep(0.2)
        note()
        os.unlink(path)
        """
    )
    rest_lower, rest_upper = resting(trace, *notes[:2])
    lower, upper = resting(trace, *notes[2:])
    assert rest_lower + size <= upper
    assert lower <= rest_upper + size
    assert upper - lower < 4 * MIB
    assert not any(sample.shmem_bytes for sample in trace.samples)


def test_a_file_that_several_processes_map_counts_once(run, tmp_path):
    size = 30 * MIB
    path = tmp_path / "mapped"
    path.write_bytes(os.urandom(mmap.PAGESIZE) * (size // mmap.PAGESIZE))
    trace, notes = run(
        f"""
        time.sleep(0.1)
        note()
        time.sleep(0.2)
        note()
        file = open({str(path)!r}, "rb")
        block = mmap.mmap(file.fileno(), {size}, prot=mmap.PROT_READ)

        def touch():
            return sum(block[at] for at in range(0, {size}, mmap.PAGESIZE))

        touch()
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                touch()
                time.sleep(0.6)
                os._exit(0)
            children.append(child)
        time.sleep(0.1)
        note()
        time.sleep(0.4)
        note()
        for child in children:
            os.waitpid(child, 0)
        """
    )
    rest_lower, rest_upper = resting(trace, *notes[:2])
    lower, upper = resting(trace, *notes[2:])
    walks = [s.sweep for s in trace.sweeps if s.kind == "pss" and s.started_ns <= notes[3]]
    mapped = [s.rss_bytes - s.rss_anon_bytes for s in trace.samples if s.sweep == walks[-1]]
    assert sum(mapped) > 4 * size
    assert rest_lower + size <= upper
    assert lower <= rest_upper + size + 8 * MIB  # the children's own memory
    assert upper - lower < 8 * MIB
