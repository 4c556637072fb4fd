"""The lower and the upper line, on readings and walks whose bounds follow by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from stagebench.sampler.moves import Moves

MIB = 1024 * 1024
MS = 1_000_000
MAIN = 10
DRIFT = 2
SAMPLER = {
    "counts_faults": True,
    "counter_drift_bytes": 0,
    "page_bytes": 4096,
    "anonymous_fault_bytes": 4096,
    "huge_faults_before": 0,
    "huge_faults": 0,
}


def mib(size):
    return None if size is None else round(size * MIB)


class Course:
    """The records of one run, added one by one; sizes in MiB, times in ms.

    `drift` is how far the group's counts may lag behind; None stands for a run without a group.
    """

    def __init__(self, drift=0):
        self.drift = drift
        self.reads, self.sweeps, self.samples, self.processes = [], [], [], []
        self.transitions = []
        self.process(MAIN, 0)

    def process(self, pid, start, end=None):
        self.processes.append(
            ProcessRecord(
                pid=pid,
                parent_pid=None if pid == MAIN else MAIN,
                role="main" if pid == MAIN else "worker",
                birth=None if pid == MAIN else "fork",
                since_ns=start * MS,
                started_ns=start * MS,
                ended_ns=None if end is None else end * MS,
                exit_status=None,
                high_water_bytes=None,
                max_rss_bytes=None,
                execs=0,
                samples=0,
                command="python",
            )
        )

    def read(
        self, at, anon=0, *, moves=None, most=None, left=None, since=None, main=None, **charged
    ):
        """Add a reading; `moves` are what was mapped and unmapped so far.

        `most` is the largest difference of both since the last such reading, and `left` is how much
        the processes of the last walk have lost since then.
        `charged` has shmem, cache, peak, kernel and paged. With a group, the peak is of the time
        since the reading before, unless `since` says otherwise.
        """
        sizes = {"shmem": 0, "cache": 0} | charged
        is_charged = self.drift is not None and sizes["shmem"] is not None
        if is_charged or "peak" in charged:
            since = (self.reads[-1].ended_ns / MS if self.reads else 0) if since is None else since
            sizes.setdefault("peak", anon + (sizes["shmem"] or 0))
        mapped, unmapped = moves or (None, None)
        if moves is not None and most is None:
            most = mapped - unmapped
        self.reads.append(
            ReadRecord(
                started_ns=at * MS,
                ended_ns=at * MS,
                processes=len(self.processes),
                anon_bytes=mib(anon),
                shmem_bytes=mib(sizes["shmem"]) if is_charged else None,
                cache_bytes=mib(sizes["cache"]) if is_charged else None,
                peak_bytes=mib(sizes.get("peak")),
                peak_since_ns=None if since is None else round(since * MS),
                kernel_peak_bytes=mib(charged.get("kernel")),
                paged_bytes=mib(charged.get("paged")),
                main_anon_bytes=mib(main),
                mapped_bytes=mib(mapped),
                unmapped_bytes=mib(unmapped),
                most_mapped_bytes=mib(most),
                left_bytes=mib(left),
                left_since_sweep=None if left is None else len(self.sweeps) - 1,
            )
        )

    def lose_group(self, at, anon, moves):
        """Add a reading from after the group was taken away: all that is certain is `anon`."""
        self.read(at, anon, moves=moves, shmem=None)

    def walk(self, at, files, shmem=0, *, missing=0):
        number = len(self.sweeps)
        self.sweeps.append(
            SweepRecord(
                sweep=number,
                kind="pss",
                started_ns=at * MS,
                ended_ns=at * MS,
                processes=1 + missing,
                vanished=0,
                torn=0,
                huge_faults=0,
            )
        )
        pss = mib(files + shmem)
        self.samples.append(
            MemorySample(
                sweep=number,
                pid=MAIN,
                rss_bytes=pss,
                rss_anon_bytes=0,
                rss_after_bytes=pss,
                rss_anon_after_bytes=0,
                high_water_bytes=pss,
                mark_reset=0,
                faults_before=0,
                faults=0,
                pss_bytes=pss,
                anon_bytes=0,
                file_bytes=mib(files),
                shmem_bytes=mib(shmem),
                uss_bytes=pss,
                swap_bytes=0,
            )
        )

    @property
    def trace(self):
        sampler = SAMPLER | {"group_drift_bytes": mib(self.drift)}
        return MemoryTrace(
            self.sweeps, self.samples, self.processes, self.transitions, sampler, self.reads
        )

    def bounds(self, *names):
        """Return columns of the timeline in MiB, one tuple per reading."""
        return [
            tuple(getattr(moment, name) / MIB for name in names)
            for moment in draw_timeline(self.trace)
        ]


def test_without_readings_there_is_no_line():
    course = Course()
    course.walk(10, files=5)
    assert draw_timeline(course.trace) == []


def test_a_reading_stands_for_the_span_since_the_one_before():
    course = Course()
    for at in (10, 20, 50):
        course.read(at, 1)
    spans = [(each.began_ns / MS, each.ended_ns / MS) for each in draw_timeline(course.trace)]
    assert spans == [(0, 10), (10, 20), (20, 50)]


def test_anonymous_and_shared_memory_are_the_charge_less_its_lag_and_at_most_the_peak():
    course = Course(drift=DRIFT)
    course.read(10, 30, shmem=12, cache=9, peak=55, moves=(0, 0))
    course.read(20, 1, peak=3, moves=(0, 0))
    assert course.bounds("lower", "reached", "upper") == [(40, 40, 55), (0, 0, 3)]


def test_files_between_two_walks_are_bounded_by_what_was_mapped_and_unmapped():
    course = Course()
    course.read(10, moves=(50, 0))
    course.walk(15, files=50)
    course.read(20, moves=(50, 0))
    course.read(30, moves=(70, 0))
    course.read(40, moves=(70, 10))
    course.read(50, moves=(75, 30))
    course.walk(55, files=45)
    course.read(60, moves=(75, 30))
    assert course.bounds("lower", "upper") == [
        (0, 50),  # before the first walk: at most all that was mapped by then
        (50, 50),
        (50, 70),  # since the first walk 20 may have come
        (40, 70),  # 10 went; towards the second walk only 5 more came, so 40 were there
        (40, 65),  # until then 20 more will go, which bounds it from above
        (45, 45),
    ]


def test_the_nearer_walk_bounds_better():
    course = Course()
    for at, moves in ((10, (50, 0)), (20, (50, 0)), (30, (90, 0)), (40, (90, 0))):
        course.read(at, moves=moves)
    course.walk(15, files=50)
    course.walk(35, files=52)  # of the 40 that were mapped, 38 were mapped by others already
    assert course.bounds("lower", "upper")[2] == (50, 52)
    assert course.bounds("lower", "upper")[3] == (52, 52)


def test_a_process_that_came_and_went_after_a_walk_has_taken_nothing_of_what_was_walked():
    course = Course()
    course.read(10, moves=(50, 0))
    course.walk(15, files=50)
    course.read(20, moves=(50, 0), left=0)
    course.read(30, moves=(80, 0), most=80, left=0)  # a new process maps 30
    course.read(40, moves=(80, 30), most=80, left=0)  # and ends
    course.read(50, moves=(80, 30), most=50, left=0)
    assert course.bounds("lower", "upper")[2:] == [(50, 80), (50, 80), (50, 50)]


def test_what_those_lost_that_were_walked_may_have_been_replaced_by_other_files():
    course = Course()
    course.read(10, moves=(50, 0))
    course.walk(15, files=40)  # of 50 that are mapped, 10 are mapped twice
    course.read(20, moves=(50, 0), left=0)
    course.read(30, moves=(50, 8), most=50, left=8)
    course.read(40, moves=(60, 8), most=52, left=8)
    # At most 52 are mapped at once, so at most 2 + 8 are others than those of the walk.
    assert course.bounds("lower", "upper")[2:] == [(32, 40), (32, 50)]


def test_what_was_left_since_another_walk_says_nothing_about_this_one():
    course = Course()
    course.read(10, moves=(50, 0))
    course.walk(15, files=50)
    course.read(20, moves=(50, 0), left=0)
    course.walk(22, files=50)  # of which some process forbade to be walked
    course.samples.pop()
    course.read(30, moves=(80, 30), most=80, left=0)
    assert course.bounds("lower", "upper")[2] == (20, 80)


def test_what_moves_during_a_walk_widens_its_bounds():
    course = Course()
    course.read(10, moves=(110, 100))
    course.walk(15, files=9)
    course.read(20, moves=(114, 103))
    course.read(30, moves=(124, 103))
    moved = 4 + 3
    assert course.bounds("lower", "upper")[1:] == [
        (9 - moved, 9 + moved),
        (9 - moved, 9 + moved + 10),
    ]


def test_readings_that_left_out_children_take_the_moves_of_their_neighbours():
    course = Course()
    course.read(10, moves=(20, 0))
    course.walk(12, files=20)
    course.read(15, moves=(20, 0))
    course.read(20)
    course.read(30)
    course.read(40, moves=(25, 8))
    course.read(50, moves=(25, 8))
    assert course.bounds("lower", "upper")[2:] == [(12, 25)] * 3 + [(12, 25)]


def test_after_the_last_reading_of_all_processes_anything_may_have_been_mapped():
    course = Course()
    course.read(10, 5, moves=(20, 0))
    course.read(20, 5)
    assert course.bounds("lower", "upper") == [(5, 25), (5, math.inf)]
    assert find_brackets(course.trace)["tree"].lower_bytes == 5 * MIB


def test_two_walks_that_contradict_each_other_bound_what_lies_between_them():
    course = Course()
    for at in (10, 20, 30, 40):
        course.read(at, moves=(60, 0))
    course.walk(15, files=5)
    course.walk(35, files=45)  # another program has unmapped what the tree maps
    assert course.bounds("lower", "upper")[2] == (5, 45)


def test_without_any_walk_files_count_from_0_to_all_that_was_mapped():
    course = Course()
    course.read(10, 5, moves=(20, 0))
    course.read(20, 7, moves=(30, 15))
    assert course.bounds("lower", "upper") == [(5, 25), (7, 37)]


def test_a_walk_that_missed_a_process_or_lies_outside_of_the_readings_bounds_nothing():
    for place, missing in ((5, 0), (15, 1), (25, 0)):
        course = Course()
        course.read(10, moves=(20, 0))
        course.read(20, moves=(20, 0))
        course.walk(place, files=18, missing=missing)
        assert course.bounds("lower", "upper") == [(0, 20), (0, 20)]


def test_shared_memory_that_another_group_was_charged_for_counts_above_and_not_below():
    course = Course()
    course.read(10, shmem=20, moves=(30, 0))
    course.walk(15, files=4, shmem=30)
    course.read(20, shmem=25, moves=(30, 0))
    course.read(30, shmem=25, moves=(30, 0))
    assert course.bounds("lower", "upper")[2] == (25 + 4, 25 + 4 + 10)


def test_without_a_group_shared_memory_counts_as_far_as_it_is_mapped():
    course = Course(drift=None)
    course.read(10, 3, moves=(34, 0))
    course.walk(15, files=4, shmem=30)
    course.read(20, 3, moves=(34, 0))
    course.read(30, 3, moves=(34, 10))
    lower, reached, upper = course.bounds("lower", "reached", "upper")[2]
    assert (lower, reached) == (3 + 34 - 10,) * 2
    assert math.isnan(upper)


def test_without_a_group_the_upper_end_of_the_peak_is_that_of_marks_and_faults():
    course = Course(drift=None)
    course.read(10, 3, moves=(34, 0))
    course.walk(15, files=4, shmem=30)
    course.read(20, 50, moves=(34, 0))
    with_readings = find_brackets(course.trace)["tree"]
    without = find_brackets(course.trace._replace(reads=()))["tree"]
    assert with_readings.upper_bytes == without.upper_bytes
    assert (without.lower_bytes, with_readings.lower_bytes) == (34 * MIB, 84 * MIB)


def share(course, at, excess, *, swapped=0, pids=(MAIN, 8)):
    """Walk two processes whose anonymous RSS is together by `excess` larger than their PSS."""
    course.walk(at, files=0)
    first = course.samples.pop()
    for pid in pids:
        course.samples.append(
            replace(
                first,
                pid=pid,
                rss_anon_bytes=mib(10),
                anon_bytes=mib(10 - excess / 2),
                swap_bytes=mib(swapped),
            )
        )


def birth(course, at, inherited, pid=8):
    course.process(pid, at)
    course.transitions.append(
        TransitionRecord(
            pid=pid,
            kind="birth",
            time_ns=at * MS,
            rss_bytes=mib(inherited),
            rss_anon_bytes=mib(inherited),
            high_water_bytes=0,
            faults=0,
            rss_shmem_bytes=0,
        )
    )


def test_without_a_group_the_sum_of_all_processes_is_too_large_by_what_the_next_walk_finds_shared():
    course = Course(drift=None)
    birth(course, 1, 9)
    for at, peak in ((10, 30), (20, 40), (40, 50), (60, 50)):
        course.read(at, 3, peak=peak, moves=(0, 0))
    share(course, 30, excess=8)
    share(course, 50, excess=6)
    assert [upper for (upper,) in course.bounds("anon_upper")] == [
        30,
        40 - 8,
        50 - 6,
        50,
    ]  # it was born in the first span


def test_what_is_born_before_the_next_walk_was_not_shared_before():
    course = Course(drift=None)
    for at in (10, 20, 30):
        course.read(at, 3, peak=40, moves=(0, 0))
    birth(course, 15, 5)
    share(course, 30, excess=8)
    assert [upper for (upper,) in course.bounds("anon_upper")] == [40 - 3, 40 - 3, 40 - 8]


def test_while_memory_is_swapped_out_nothing_is_known_to_be_shared():
    course = Course(drift=None)
    course.read(10, 3, peak=40, moves=(0, 0))
    share(course, 30, excess=8, swapped=1)
    assert course.bounds("anon_upper") == [(40,)]


def test_where_readings_have_no_upper_end_that_of_marks_and_faults_holds():
    course = Course(drift=None)
    course.read(10, 3, peak=12, moves=(0, 0))
    course.read(20, 3, peak=12, moves=(0, 0))
    course.process(8, 12, end=14)
    known = find_brackets(course.trace)["tree"].upper_bytes
    course.reads[-1] = replace(course.reads[-1], peak_bytes=None)
    assert (known, find_brackets(course.trace)["tree"].upper_bytes) == (12 * MIB, None)


def spiky(**changes):
    """A course whose last reading saw a large charge that had gone when it read."""
    course = Course(drift=DRIFT)
    course.read(5, 20, cache=7, peak=30, kernel=1, paged=1000, moves=(0, 0))
    course.read(10, 20, cache=7, peak=30, kernel=1, moves=(0, 0))
    course.read(
        20, 20, moves=(0, 0), **{"cache": 9, "peak": 100, "kernel": 5, "paged": 1003} | changes
    )
    return course


def test_a_spike_is_the_largest_charge_less_kernel_memory_cache_and_what_was_paged():
    # The lag counts for the cache, and half as much for the pages that are in stock.
    assert spiky().bounds("lower", "reached", "upper")[-1] == (18, 100 - 5 - 7 - 3 - 2 - 1, 100)


def test_a_spike_may_be_all_cache():
    assert spiky(paged=1000 + 90).bounds("reached")[-1] == (18,)


@pytest.mark.parametrize("unknown", ["kernel", "paged"])
def test_where_kernel_memory_or_paging_is_not_counted_no_spike_is_certain(unknown):
    assert spiky(**{unknown: None}).bounds("reached", "upper")[-1] == (18, 100)


@pytest.mark.parametrize("paged", [None, 1025])
def test_what_was_paged_counts_since_a_reading_before_that_of_the_cache(paged):
    course = Course(drift=DRIFT)
    course.read(10, 20, peak=30, kernel=1, paged=1000, moves=(0, 0))
    # What was paged after this reading looked at the cache, but before it looked at the machine,
    # is in neither.
    course.read(20, 20, cache=7, peak=30, kernel=1, paged=paged, moves=(0, 0))
    course.read(30, 20, peak=100, kernel=5, paged=1030, moves=(0, 0))
    assert course.bounds("reached")[1:] == [(18,), (100 - 5 - 7 - 30 - 2 - 1,)]


def test_a_peak_that_cannot_be_set_back_is_an_upper_end_for_every_span():
    course = Course()
    for at, anon, peak in ((10, 5, 8), (20, 30, 41), (30, 5, 41)):
        course.read(at, anon, peak=peak, since=1, moves=(0, 0))
    assert course.bounds("lower", "upper") == [(5, 8), (30, 41), (5, 41)]
    assert find_brackets(course.trace)["tree"][::2] == (30 * MIB, 41 * MIB)


def test_in_a_gap_that_no_peak_covers_the_upper_end_is_unknown():
    course = Course()
    course.read(10, 5, moves=(0, 0))
    course.read(40, 5, since=30, moves=(0, 0))
    course.read(50, 5, moves=(0, 0))
    uppers = [upper for (upper,) in course.bounds("upper")]
    assert [math.isnan(upper) for upper in uppers] == [False, True, False]
    # And so is that of the peak, unless marks and faults bound it.
    assert find_brackets(course.trace)["tree"].lower_bytes == 5 * MIB


def test_in_a_gap_that_a_peak_covers_it_holds_throughout():
    course = Course()
    course.read(10, 5, moves=(0, 0))
    course.read(400, 5, peak=77, moves=(0, 0))
    assert course.bounds("upper")[1] == (77,)


def test_a_group_that_is_taken_away_counts_until_then_with_its_lag():
    course = Course(drift=DRIFT)
    course.read(10, 30, shmem=10, peak=44, moves=(0, 0))
    course.lose_group(20, 25, moves=(0, 0))
    found = course.bounds("lower", "reached", "upper")
    assert found[0] == (38, 38, 44)
    assert found[1][:2] == (25, 25)
    assert math.isnan(found[1][2])
    assert find_brackets(course.trace)["tree"].lower_bytes == 38 * MIB


def test_the_lower_end_of_main_is_that_of_the_tree_while_it_is_alone():
    course = Course()
    course.process(11, 21, 29)
    for at in (10, 20, 30, 40):
        course.read(at, at, moves=(0, 0))
    assert course.bounds("main_reached") == [(10,), (20,), (0,), (40,)]


def test_shared_memory_that_nobody_maps_is_not_mains():
    course = Course()
    course.read(10, 5, shmem=7, moves=(0, 0))
    assert course.bounds("main_reached", "reached") == [(0, 12)]


def test_children_have_what_main_has_not():
    course = Course(drift=DRIFT)
    course.read(10, 50, main=20, moves=(0, 0))
    course.read(20, 50, moves=(0, 0))
    assert course.bounds("children_reached") == [(28,), (0,)]


def test_the_peak_of_the_tree_is_what_was_charged_though_marks_say_less():
    course = Course(drift=DRIFT)
    course.read(10, 20, shmem=500, peak=530, moves=(5, 0))
    course.walk(15, files=5)
    course.read(20, 20, moves=(5, 0))
    bracket = find_brackets(course.trace)["tree"]
    # Nobody maps the shared memory, so that no mark of a process has it.
    assert bracket[::2] == (518 * MIB, 535 * MIB)
    assert bracket.lower_ns == 10 * MS


def test_only_spans_within_the_time_asked_for_count():
    course = Course()
    for at, anon in ((10, 90), (20, 30), (30, 40), (40, 80)):
        course.read(at, anon, moves=(0, 0))
    assert find_brackets(course.trace, 25 * MS, 29 * MS)["tree"][::2] == (40 * MIB, 40 * MIB)


# A made-up tree whose memory is known at every moment. Sizes are in MiB.

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["anon", "shared", "cache", "kernel", "map", "unmap", "fork", "end"]
            + ["read", "read all", "walk", "lone walk"] * 2
        ),
        st.integers(0, 5),
        st.integers(0, 40),
    ),
    min_size=3,
    max_size=60,
)


class Tree:
    """Acts on a tree of processes, and records it as the sampler would; keeps what is true.

    Files have pages that several processes can map. Between two readings of all processes, none
    both maps and unmaps: what comes and goes unseen is a limit of the method.
    """

    def __init__(self, is_charged, draw):
        self.course = Course(drift=DRIFT if is_charged else None)
        self.draw = draw
        self.now = 0
        self.anon, self.shared, self.cache, self.kernel, self.paged = 20, 0, 0, 0, 0
        self.processes = {MAIN: set(range(8))}
        self.directions = {}
        self.walked = False
        self.moves = Moves()
        self.moves.note(MAIN, 8 * MIB)
        self.highest = self.highest_kernel = 0
        self.truth = []
        self.note()

    def note(self):
        files = len(set().union(*self.processes.values()))
        held = self.shared if self.course.drift is not None else 0
        self.truth.append((self.now * MS, (self.anon + held + files) * MIB))
        self.highest = max(self.highest, self.anon + self.shared + self.cache + self.kernel)
        self.highest_kernel = max(self.highest_kernel, self.kernel)

    def act(self, action, which, size):
        self.now += 1
        pid = sorted(self.processes)[which % len(self.processes)]
        if action in ("anon", "shared", "kernel"):
            setattr(self, action, size)
        elif action == "cache":
            self.paged += max(0, size - self.cache)
            self.cache = size
        elif action in ("map", "unmap") and self.directions.setdefault(pid, action) == action:
            pages = set(range(which, which + size))
            old = self.processes[pid]
            self.processes[pid] = old | pages if action == "map" else old - pages
        elif action == "fork" and self.directions.get(pid) != "unmap":
            child = max(self.processes) + 1
            self.processes[child] = set(self.processes[pid])
            self.moves.note(child, len(self.processes[child]) * MIB)
        elif action == "end" and len(self.processes) > 1 and pid != MAIN:
            self.moves.note(pid, len(self.processes.pop(pid)) * MIB)
        self.note()
        if action.startswith("read"):
            self.read(is_whole=action == "read all")
        elif action == "lone walk":
            self.course.walk(self.now, len(set().union(*self.processes.values())))
            self.walked = False
        elif action == "walk":
            self.read(is_whole=True)
            self.now += 1
            self.course.walk(self.now, len(set().union(*self.processes.values())))
            self.now += 1
            self.read(is_whole=True)
            self.moves.note_walk()
            self.walked = True
        self.now += 1

    def read(self, *, is_whole):
        moves = most = left = None
        if is_whole:
            for pid, pages in self.processes.items():
                self.moves.note(pid, len(pages) * MIB)
            for pid in self.moves.processes - self.processes.keys():
                self.moves.end(pid)
            moves = self.moves.mapped / MIB, self.moves.unmapped / MIB
            most = self.moves.take_most() / MIB
            left = self.moves.left / MIB if self.walked else None
            self.directions.clear()
        sums = {"moves": moves, "most": most, "left": left}
        if self.course.drift is None:
            self.course.read(self.now, self.draw(st.integers(0, self.anon)), **sums)
            return
        lag = self.draw(st.integers(-DRIFT, DRIFT))
        in_stock = self.draw(st.integers(0, DRIFT // 2))
        known = self.draw(st.booleans())
        self.course.read(
            self.now,
            max(0, self.anon + lag),
            shmem=self.shared,
            cache=self.cache,
            peak=self.highest + in_stock,
            kernel=self.highest_kernel,
            paged=self.paged if known else None,
            **sums,
        )
        self.highest = self.anon + self.shared + self.cache + self.kernel
        self.highest_kernel = self.kernel


@given(actions=ACTIONS, is_charged=st.booleans(), data=st.data())
@settings(max_examples=300, deadline=None)
def test_the_truth_lies_between_both_lines_whatever_the_tree_does(actions, is_charged, data):
    tree = Tree(is_charged, data.draw)
    for action in actions:
        tree.act(*action)
    tree.act("read all", 0, 0)
    for moment in draw_timeline(tree.course.trace):
        within = [size for at, size in tree.truth if moment.began_ns <= at <= moment.ended_ns]
        at_end = [size for at, size in tree.truth if at <= moment.ended_ns][-1]
        before = [size for at, size in tree.truth if at <= moment.began_ns]
        within += before[-1:]
        assert moment.lower <= at_end
        assert moment.lower <= moment.reached <= max(within)
        if is_charged:
            assert moment.reached <= max(within) <= moment.upper
        else:
            assert math.isnan(moment.upper)


SIZES = st.integers(0, 90)
MAYBE = st.none() | SIZES


@given(
    reads=st.lists(
        st.fixed_dictionaries(
            {
                "anon": SIZES,
                "shmem": SIZES,
                "cache": SIZES,
                "peak": SIZES,
                "kernel": MAYBE,
                "paged": MAYBE,
                "main": MAYBE,
                "moves": st.none() | st.tuples(SIZES, SIZES),
                "most": MAYBE,
                "left": MAYBE,
                "since": st.integers(0, 100),
            }
        ),
        max_size=8,
    ),
    walks=st.lists(st.tuples(st.integers(1, 90), SIZES, SIZES), max_size=3),
    drift=st.sampled_from([None, 0, DRIFT]),
)
@settings(deadline=None)
def test_the_lines_never_cross_whatever_was_recorded(reads, walks, drift):
    course, sums = Course(drift=drift), (0, 0)
    for place, read in enumerate(reads):
        if read["moves"] is not None:  # which only ever grow
            sums = tuple(map(sum, zip(sums, read["moves"], strict=True)))
            read["moves"] = sums
        course.read(10 * (place + 1), **read)
    for at, files, shmem in sorted(walks):
        course.walk(at, files, shmem)
    for moment in draw_timeline(course.trace):
        assert 0 <= moment.lower <= moment.reached
        assert moment.anon_reached <= moment.reached
        assert math.isnan(moment.upper) or moment.reached <= moment.upper
        assert math.isnan(moment.anon_upper) or moment.anon_reached <= moment.anon_upper
    find_brackets(course.trace)
