"""The most that processes can have held between two readings: made-up trees of known memory."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stagebench.records import TransitionRecord
from stagebench.sampler.ceilings import Ceilings
from stagebench.sampler.procfs import Counters, Sizes
from stagebench.units import HUGE_PAGE_BYTES, MIB

PAGE = 4096
MAIN, CHILD = 7, 8
DRIFT = 10 * PAGE


def transition(kind, pid=MAIN, anon=0, faults=0):
    return TransitionRecord(
        pid=pid,
        kind=kind,
        time_ns=0,
        rss_bytes=anon,
        rss_anon_bytes=anon,
        high_water_bytes=0,
        faults=faults,
        rss_shmem_bytes=0,
    )


class Machine:
    """Counts huge pages for `Ceilings`, and reads its trees."""

    def __init__(self):
        self.huge = 0
        self.ceilings = Ceilings(PAGE, DRIFT, lambda: self.huge)
        self.ceilings.note_transition(transition("exec", anon=10 * MIB, faults=5))

    def read(self, faults, sizes, counters=None, *, slack=0):
        """Read the tree; returns the bound of the span that ends now."""
        moved = self.ceilings.note_faults(faults)
        known = {pid: counters[pid] for pid in moved if counters and pid in counters}
        bound = self.ceilings.bound(sizes.keys(), known)
        self.ceilings.renew({pid: Sizes(*size) for pid, size in sizes.items()}, slack)
        return bound


def test_a_process_can_have_had_a_page_more_for_every_fault():
    machine = Machine()
    assert machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)}) == 10 * MIB
    assert machine.read({MAIN: 105}, {MAIN: (3 * MIB, 0)}) == 10 * MIB + 100 * PAGE
    assert machine.read({MAIN: 105}, {MAIN: (3 * MIB, 0)}) == 10 * MIB + 100 * PAGE  # while it read
    assert machine.read({MAIN: 105}, {MAIN: (3 * MIB, 0)}) == 3 * MIB


def test_what_was_filled_while_a_reading_went_on_is_added_to_the_span_before():
    machine = Machine()
    machine.read({MAIN: 5}, {MAIN: (2 * MIB, 0)}, slack=30 * PAGE)
    assert machine.read({MAIN: 25}, {MAIN: (2 * MIB, 0)}, slack=0) == 10 * MIB + 20 * PAGE
    machine = Machine()
    machine.read({MAIN: 5}, {MAIN: (2 * MIB, 0)}, slack=30 * PAGE)
    assert machine.read({MAIN: 95}, {MAIN: (2 * MIB, 0)}, slack=0) == 10 * MIB + 30 * PAGE


def counters(*, rss, anon, mark):
    return Counters(rss, anon, mark, 0)


def test_a_mark_bounds_a_process_that_fills_the_same_memory_again_and_again():
    machine = Machine()
    machine.read({MAIN: 5}, {MAIN: (10 * MIB, 4 * MIB)})
    read = {MAIN: counters(rss=15 * MIB, anon=11 * MIB, mark=20 * MIB)}
    again = {MAIN: 5 + 10_000}, {MAIN: (11 * MIB, 4 * MIB)}
    assert machine.read(*again, read) == 16 * MIB + DRIFT


def test_a_mark_that_was_reset_bounds_only_what_came_after():
    machine = Machine()
    machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)})
    machine.ceilings.note_reset([MAIN])
    read = {MAIN: counters(rss=10 * MIB, anon=10 * MIB, mark=10 * MIB)}
    assert machine.read({MAIN: 5 + 2560}, {MAIN: (10 * MIB, 0)}, read) == 20 * MIB
    assert machine.read({MAIN: 5 + 5120}, {MAIN: (10 * MIB, 0)}, read) == 20 * MIB
    assert machine.read({MAIN: 5 + 7680}, {MAIN: (10 * MIB, 0)}, read) == 10 * MIB + DRIFT


def test_huge_pages_went_to_one_of_those_that_had_a_fault():
    machine = Machine()
    machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)})
    machine.huge += 3
    assert machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)}) == 10 * MIB
    machine = Machine()
    machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)})
    machine.huge += 3
    bound = machine.read({MAIN: 6}, {MAIN: (10 * MIB, 0)})
    assert bound == 10 * MIB + PAGE + 3 * HUGE_PAGE_BYTES
    machine.read({MAIN: 6}, {MAIN: (10 * MIB, 0)})
    machine.huge += 30  # more than its mark allows: another program had them
    read = {MAIN: counters(rss=12 * MIB, anon=12 * MIB, mark=14 * MIB)}
    assert machine.read({MAIN: 7}, {MAIN: (12 * MIB, 0)}, read) == 14 * MIB + DRIFT


def test_what_a_child_inherits_counts_once_it_was_read():
    machine = Machine()
    machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)})
    machine.ceilings.note_transition(transition("birth", CHILD, anon=10 * MIB))
    both = {MAIN: (10 * MIB, 0), CHILD: (10 * MIB, 0)}
    assert machine.read({MAIN: 5, CHILD: 20}, both) == 10 * MIB + 20 * PAGE
    assert machine.read({MAIN: 5, CHILD: 20}, both) == 20 * MIB


def test_a_child_that_borrows_memory_fills_that_of_its_parent():
    machine = Machine()
    machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)})
    machine.ceilings.note_transition(transition("birth", CHILD, anon=10 * MIB))
    for _ in range(2):  # it is no owner
        bound = machine.read({MAIN: 5, CHILD: 20}, {MAIN: (10 * MIB, 0)})
    assert bound == 10 * MIB + 20 * PAGE
    machine.ceilings.note_transition(transition("exec", CHILD, anon=MIB, faults=30))
    bound = machine.read({MAIN: 5, CHILD: 40}, {MAIN: (10 * MIB, 0), CHILD: (2 * MIB, 0)})
    assert bound == 11 * MIB + 20 * PAGE  # until its exec it may have filled memory of its parent


def test_a_process_counts_until_its_exit_and_its_faults_are_known_from_there():
    machine = Machine()
    machine.ceilings.note_transition(transition("birth", CHILD))
    machine.read({MAIN: 5, CHILD: 0}, {MAIN: (10 * MIB, 0), CHILD: (MIB, 0)})
    machine.ceilings.note_transition(transition("exit", CHILD, faults=7))
    assert machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)}) == 11 * MIB + 7 * PAGE
    machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)})
    assert machine.ceilings.processes == {MAIN}


def test_of_a_process_that_vanished_or_was_never_announced_nothing_is_known():
    machine = Machine()
    machine.ceilings.note_transition(transition("birth", CHILD))
    both = {MAIN: (10 * MIB, 0), CHILD: (MIB, 0)}
    machine.read({MAIN: 5, CHILD: 0}, both)
    assert machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)}) is None
    assert machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)}) is None  # while the last one read
    assert machine.read({MAIN: 5}, {MAIN: (10 * MIB, 0)}) == 10 * MIB
    assert machine.read({MAIN: 5, CHILD: 0}, both) is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fill", "free", "fork", "end", "exec", "read", "reset"]),
        st.integers(0, 4),
        st.integers(0, 600),
    ),
    max_size=60,
)


class Forest:
    """Acts on processes with pages of known owners, and has `Ceilings` read them now and then."""

    def __init__(self):
        self.pages = iter(range(10**9))
        self.processes = {MAIN: {next(self.pages) for _ in range(50)}}
        self.faults = dict.fromkeys(self.processes, 50)
        self.marks = {MAIN: 50}
        self.ceilings = Ceilings(PAGE, 0, lambda: 0)
        self.ceilings.note_transition(transition("exec", anon=50 * PAGE, faults=50))
        self.most, self.bounds = [0], []
        self.watch()

    def watch(self):
        """Note the sum of all processes, where what a child inherits counts from then on."""
        distinct = len(set().union(*self.processes.values()))
        self.most[-1] = max(self.most[-1], distinct)
        for pid, pages in self.processes.items():
            self.marks[pid] = max(self.marks[pid], len(pages))

    def act(self, step, which, size):
        pid = sorted(self.processes)[which % len(self.processes)]
        pages = self.processes[pid]
        tell = self.ceilings.note_transition
        if step == "fill":
            pages |= {next(self.pages) for _ in range(size)}
            self.faults[pid] += size
        elif step == "free":
            self.processes[pid] = set(sorted(pages)[size:])
        elif step == "fork":
            child = max(self.processes) + 1
            self.processes[child], self.faults[child] = set(pages), 0
            self.marks[child] = len(pages)
            tell(transition("birth", child, anon=len(pages) * PAGE))
        elif step == "end" and pid != MAIN:
            tell(transition("exit", pid, faults=self.faults[pid]))
            del self.processes[pid]
        elif step == "exec":
            self.processes[pid] = {next(self.pages) for _ in range(size)}
            self.faults[pid] += size
            self.marks[pid] = size
            tell(transition("exec", pid, anon=size * PAGE, faults=self.faults[pid]))
        elif step == "reset":
            self.marks[pid] = len(pages)
            self.ceilings.note_reset([pid])
        elif step == "read":
            self.read()
        self.watch()

    def read(self):
        alive = {pid: self.faults[pid] for pid in self.processes}
        counters = {
            pid: Counters(
                len(self.processes[pid]) * PAGE,
                len(self.processes[pid]) * PAGE,
                self.marks[pid] * PAGE,
                0,
            )
            for pid in self.ceilings.note_faults(alive)
            if pid in alive
        }
        self.bounds.append(self.ceilings.bound(alive.keys(), counters))
        sizes = {pid: Sizes(len(pages) * PAGE, 0) for pid, pages in self.processes.items()}
        self.ceilings.renew(sizes, 0)
        self.most.append(0)


@given(steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_the_tree_never_has_more_whatever_its_processes_do(steps):
    forest = Forest()
    for step in steps:
        forest.act(*step)
    forest.read()
    for bound, most in zip(forest.bounds, forest.most, strict=False):
        assert bound >= most * PAGE
