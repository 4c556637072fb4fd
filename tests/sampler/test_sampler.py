import pytest

from stagebench.sampler import sweep
from stagebench.sampler.processes import Life
from stagebench.sampler.procfs import Counters, Memory
from stagebench.sampler.sampler import Sampler

MEMORY = Memory(
    rss_bytes=9,
    pss_bytes=8,
    anon_bytes=5,
    file_bytes=2,
    shmem_bytes=1,
    uss_bytes=4,
    swap_bytes=0,
    rss_anon_bytes=6,
)
COUNTERS = Counters(rss_bytes=9, rss_anon_bytes=6, high_water_bytes=9, faults=3)


class Scene:
    """Fakes the sampler's clock, census and memory files, and keeps its records.

    `counters` lists the next readings of each process; the last one is repeated. With `news`, the
    census reports a change at each instant; otherwise sweeps are held.
    """

    metric = "pss"
    counts_faults = True
    means = "ptrace"

    def __init__(self, interval_ns=10, walk_cost_ns=0, cost_ns=0, budget=1.0, advance_s=0):
        self.now = 1000
        self.cpu = 0
        self.costs = {"walk": walk_cost_ns, "counters": cost_ns}
        self.changes = 0
        self.news = True
        self.alive = {}
        self.counters = {}
        self.gone = set()
        self.forgotten, self.reset = [], []
        self.sweeps, self.samples = [], []
        self.add(7, parent=None)
        self.settings = interval_ns, budget, advance_s
        self.sampler = self.make_sampler()

    def make_sampler(self, totals=None):
        interval_ns, budget, advance_s = self.settings
        return Sampler(
            self,
            interval_ns,
            budget,
            advance_s=advance_s,
            write_sweep=self.sweeps.append,
            write_sample=self.samples.append,
            totals=totals,
            files=self,
            clock=lambda: self.now,
            cpu_clock=lambda: self.cpu,
        )

    # The census of the scene …
    def update(self):
        """Do nothing: the test sets the census itself."""

    # … and its files.
    def read_memory(self, pid):
        self._spend("walk", pid)
        return MEMORY

    def read_counters(self, pid):
        self._spend("counters", pid)
        values = self.counters.setdefault(pid, [COUNTERS])
        return values.pop(0) if len(values) > 1 else values[0]

    def reset_mark(self, pid):
        self.reset.append(pid)
        return True

    def forget(self, pid):
        self.forgotten.append(pid)

    def _spend(self, kind, pid):
        self.now += self.costs[kind]
        self.cpu += self.costs[kind]
        if pid in self.gone:
            raise ProcessLookupError

    def add(self, pid, parent=7):
        self.alive[pid] = Life(pid=pid, parent_pid=parent, since_ns=0, started_ns=0, command="main")

    def take_at(self, now):
        self.now = now
        self.changes += self.news
        self.sampler.take()


def test_due_times_are_multiples_of_the_interval_however_late_a_sweep_begins():
    scene = Scene(interval_ns=10)
    scene.take_at(1003)
    assert scene.sampler.due_ns == 1010
    scene.take_at(1019)
    assert scene.sampler.due_ns == 1020


def test_instants_missed_during_a_slow_sweep_are_skipped():
    scene = Scene(interval_ns=10, walk_cost_ns=25)
    scene.take_at(1000)
    assert scene.sampler.due_ns == 1030
    assert scene.sampler.use().sweeps == 1


def test_every_process_of_a_sweep_is_a_sample_of_it():
    scene = Scene()
    scene.add(8)
    scene.take_at(1000)
    scene.take_at(1010)
    assert [(s.sweep, s.pid) for s in scene.samples] == [(0, 7), (0, 8), (1, 7), (1, 8)]
    assert [(s.processes, s.torn) for s in scene.sweeps] == [(2, 0), (2, 0)]
    assert scene.samples[0].pss_bytes == MEMORY.pss_bytes
    assert [life.samples for life in scene.alive.values()] == [2, 2]


def test_a_vanished_process_is_counted_has_no_sample_and_tears_its_sweep():
    scene = Scene()
    scene.add(8)
    scene.gone.add(8)
    scene.take_at(1000)
    assert [s.pid for s in scene.samples] == [7]
    assert (scene.sweeps[0].vanished, scene.sweeps[0].torn) == (1, 1)
    assert scene.sampler.use().vanished == 1
    assert scene.alive[8].samples == 0


def test_a_change_of_rss_during_a_sweep_tears_it():
    scene = Scene()
    scene.counters[7] = [COUNTERS, COUNTERS._replace(rss_bytes=10), COUNTERS]
    scene.take_at(1000)
    scene.take_at(1010)
    assert [s.torn for s in scene.sweeps] == [1, 0]
    assert scene.sampler.use().torn == 1


def test_a_birth_during_a_sweep_tears_it():
    scene = Scene()
    updates = iter([1, 2])
    scene.update = lambda: setattr(scene, "changes", next(updates))
    scene.take_at(1000)
    assert scene.sweeps[0].torn == 1


def test_a_sweep_is_held_while_no_counter_changes_and_walks_no_page_table():
    scene = Scene(walk_cost_ns=5)
    scene.news = False
    scene.take_at(1000)
    for now in (1010, 1020):
        scene.take_at(now)
    assert [sweep.kind for sweep in scene.sweeps] == ["pss", "held", "held"]
    assert [sample.sweep for sample in scene.samples] == [0]
    assert (scene.cpu, scene.sampler.use().held, scene.sampler.use().sweeps) == (5, 2, 3)


def test_no_sweep_is_held_if_faults_are_not_counted():
    scene = Scene()
    scene.counts_faults = scene.news = False
    scene.take_at(1000)
    scene.take_at(1010)
    assert [sweep.kind for sweep in scene.sweeps] == ["pss", "pss"]


@pytest.mark.parametrize(
    "news", [{"faults": 4}, {"rss_bytes": 10}, {"rss_anon_bytes": 7}, {"high_water_bytes": 10}]
)
def test_a_sweep_is_not_held_when_any_counter_changed(news):
    scene = Scene()
    scene.news = False
    scene.take_at(1000)
    scene.counters[7] = [COUNTERS._replace(**news)]
    scene.take_at(1010)
    assert [sweep.kind for sweep in scene.sweeps] == ["pss", "pss"]


def test_a_sweep_is_not_held_after_a_census_change_or_page_faults_during_the_last():
    scene = Scene()
    scene.news = False
    scene.take_at(1000)
    scene.changes += 1
    scene.take_at(1010)
    assert scene.sweeps[1].kind == "pss"
    more = COUNTERS._replace(faults=4)
    scene.counters[7] = [COUNTERS, more, more]
    scene.changes += 1
    for now in (1020, 1030):
        scene.take_at(now)
    assert [(sweep.kind, sweep.torn) for sweep in scene.sweeps[2:]] == [("pss", 0), ("pss", 0)]


def test_a_mark_well_above_the_rss_is_reset_and_the_higher_of_both_readings_is_recorded():
    scene = Scene()
    high = COUNTERS._replace(high_water_bytes=9 + 200_000)
    scene.counters[7] = [high, COUNTERS]
    scene.take_at(1000)
    assert scene.reset == [7]
    assert (scene.samples[0].high_water_bytes, scene.samples[0].mark_reset) == (200_009, 1)
    assert scene.alive[7].high_water_bytes == 200_009
    scene.counters[7] = [COUNTERS._replace(high_water_bytes=9 + 100_000)]
    scene.take_at(1010)
    assert scene.reset == [7]


def test_memory_that_may_belong_to_the_parent_is_not_read():
    scene = Scene()
    scene.add(8)
    scene.alive[8].owns_memory = False
    scene.take_at(1000)
    scene.alive[8].owns_memory = True
    scene.take_at(1010)
    assert [(sample.sweep, sample.pid) for sample in scene.samples] == [(0, 7), (1, 7), (1, 8)]


def test_if_the_budget_is_too_small_for_a_walk_counters_are_read_or_the_sweep_is_left_out():
    # A walk costs 36 ns, and reading the counters 2, once before and once after. The budget is 1 ns
    # per interval of 10: 0.75 for walks and 0.25 for counters alone.
    scene = Scene(interval_ns=10, walk_cost_ns=36, cost_ns=2, budget=0.1)
    for instant in range(400):
        if scene.now <= 1000 + 10 * instant:
            scene.take_at(1000 + 10 * instant)
    use = scene.sampler.use()
    elapsed = 4000e-9
    assert use.cpu_s <= 0.1 * elapsed + 42e-9
    assert use.cpu_s >= 0.08 * elapsed
    assert 6 <= use.sweeps <= 9
    assert 40 <= use.rss_sweeps + use.sweeps <= 60
    assert use.left_out > 200
    assert {s.kind for s in scene.sweeps} == {"pss", "rss"}
    only_counters = [s for s in scene.samples if s.pss_bytes is None]
    assert len(only_counters) == use.rss_sweeps
    assert {s.rss_bytes for s in only_counters} == {9}


def test_a_part_of_the_budget_may_be_spent_in_advance():
    scene = Scene(walk_cost_ns=30, budget=0.1, advance_s=1000e-9)
    for instant in range(10):
        scene.take_at(1000 + 50 * instant)
    # A tenth of 1,000 is 100; walks may take three quarters of it, enough for two and a half.
    assert [sweep.kind for sweep in scene.sweeps[:4]] == ["pss"] * 3 + ["rss"]


def test_the_first_sweep_is_always_taken():
    scene = Scene(walk_cost_ns=1000, budget=0.001)
    scene.take_at(1000)
    assert scene.sampler.use().sweeps == 1


class Reading:
    """Notes when the total is read, in place of `Totals`; every walk tells something new."""

    group = drift_bytes = group_failure = None

    def __init__(self, scene):
        self.scene = scene
        self.calls, self.reset, self.shared = [], [], []
        self.reads = 0

    def read(self, *_tree, whole=False):
        self.reads += 1
        self.calls.append(("whole" if whole else "read", self.scene.now))

    def begin_walk(self):
        self.calls.append(("begin", self.scene.now))

    def note_reset(self, pids):
        self.reset += pids

    def note_walk(self, sweep, *, is_whole, is_torn, shared):
        assert not is_torn
        self.shared.append(shared)
        self.calls.append((f"walked {sweep} {is_whole}", self.scene.now))

    def note_held(self):
        self.calls.append(("held", self.scene.now))

    def note_ended(self, alive):
        """Do nothing."""

    def tells_new(self):
        return True


def test_a_walk_lies_between_two_readings_of_all_processes():
    scene = Scene(walk_cost_ns=7)
    totals = Reading(scene)
    scene.sampler = scene.make_sampler(totals)
    scene.take_at(1000)
    assert totals.calls == [
        ("read", 1000),
        ("whole", 1000),
        ("begin", 1000),
        ("whole", 1007),
        ("walked 0 True", 1007),
    ]
    assert totals.shared == [{7: 6 - 5}]
    (sweep,) = scene.sweeps
    assert (sweep.started_ns, sweep.ended_ns) == (1000, 1007)


def test_what_is_swapped_out_may_be_shared_with_others():
    memory = {7: MEMORY, 8: MEMORY._replace(swap_bytes=1)}
    readings = [sweep.Reading(pid, COUNTERS, memory[pid], COUNTERS, False) for pid in memory]
    assert sweep.find_shared(readings[:1]) == {7: 1}
    assert sweep.find_shared(readings) == {}


def test_a_reset_mark_is_told_to_who_reads_the_total():
    scene = Scene()
    scene.counters[7] = [COUNTERS._replace(high_water_bytes=10**9)]
    totals = Reading(scene)
    scene.sampler = scene.make_sampler(totals)
    scene.take_at(1000)
    assert totals.reset == scene.reset == [7]


def test_a_walk_that_tells_nothing_new_is_not_made():
    scene = Scene(walk_cost_ns=7)
    totals = Reading(scene)
    totals.tells_new = lambda: False
    scene.sampler = scene.make_sampler(totals)
    for now in (1000, 1010, 1020):
        scene.take_at(now)
    assert [sweep.kind for sweep in scene.sweeps] == ["pss", "rss", "rss"]  # the first is free
    assert totals.reads == 2 + 3


def test_files_of_ended_processes_are_closed():
    scene = Scene()
    scene.add(8)
    scene.take_at(1000)
    del scene.alive[8]
    scene.forgotten.clear()
    scene.sampler.update()
    assert scene.forgotten == [8]


def test_gaps_are_reported_and_missing_if_there_are_none():
    scene = Scene(interval_ns=10)
    scene.take_at(1000)
    assert scene.sampler.use().median_gap_s is None
    for now in (1010, 1020, 1100):
        scene.take_at(now)
    assert scene.sampler.use().median_gap_s == 10e-9
    assert scene.sampler.use().longest_gap_s == 80e-9


def test_files_of_a_process_are_reopened_after_an_exec():
    scene = Scene()
    scene.alive[7].execs = 1
    scene.take_at(1000)
    scene.take_at(1010)
    assert scene.forgotten == []
    scene.alive[7].execs = 2
    scene.take_at(1020)
    assert scene.forgotten == [7]


def test_no_file_stays_open_if_the_census_does_not_see_execs():
    scene = Scene()
    scene.take_at(1000)
    scene.take_at(1010)
    assert scene.forgotten == [7, 7]


@pytest.mark.parametrize(("reads", "walks"), [(True, 3), (False, 1)])
def test_a_busy_census_uses_up_no_budget_of_walks_where_the_total_is_read(reads, walks):
    scene = Scene(walk_cost_ns=1, budget=0.5)

    def update():
        scene.cpu += 1000

    scene.update = update
    scene.sampler = scene.make_sampler(Reading(scene)) if reads else scene.sampler
    for now in (1000, 1010, 1020):
        scene.take_at(now)
    assert [sweep.kind for sweep in scene.sweeps].count("pss") == walks
