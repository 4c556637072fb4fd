from stagebench.sampler.lives import Life
from stagebench.sampler.procfs import Memory
from stagebench.sampler.sampler import Sampler

MEMORY = Memory(
    rss_bytes=9,
    pss_bytes=8,
    anon_bytes=5,
    file_bytes=2,
    shmem_bytes=1,
    uss_bytes=4,
    swap_bytes=0,
)


class Scene:
    """A clock that the test moves, a census and memory that it sets, records kept."""

    def __init__(self, interval_ns=10, pss_cost_ns=0, rss_cost_ns=0, budget=1.0):
        self.now = 1000
        self.cpu = 0
        self.costs = {"pss": pss_cost_ns, "rss": rss_cost_ns}
        self.changes = 0
        self.alive = {7: Life(pid=7, parent_pid=None, started_ns=0, command="main")}
        self.rss = {7: [9]}
        self.gone = set()
        self.forgotten = []
        self.sweeps, self.samples = [], []
        self.sampler = Sampler(
            self,
            interval_ns,
            budget,
            write_sweep=self.sweeps.append,
            write_sample=self.samples.append,
            files=self,
            clock=lambda: self.now,
            cpu_clock=lambda: self.cpu,
        )

    # The census of the scene …
    def update(self):
        """Nothing happens but what the test sets."""

    # … and its files.
    def read_memory(self, pid):
        self.now += self.costs["pss"]
        self.cpu += self.costs["pss"]
        if pid in self.gone:
            raise ProcessLookupError
        return MEMORY

    def read_rss(self, pid):
        self.now += self.costs["rss"]
        self.cpu += self.costs["rss"]
        if pid in self.gone:
            raise ProcessLookupError
        values = self.rss.setdefault(pid, [9])
        return values.pop(0) if len(values) > 1 else values[0]

    def forget(self, pid):
        self.forgotten.append(pid)

    def add(self, pid):
        self.alive[pid] = Life(pid=pid, parent_pid=7, started_ns=0, command="main")

    def take_at(self, now):
        self.now = now
        self.sampler.take()


def test_due_times_are_multiples_of_the_interval_however_late_a_sweep_begins():
    scene = Scene(interval_ns=10)
    scene.take_at(1003)
    assert scene.sampler.due_ns == 1010
    scene.take_at(1019)
    assert scene.sampler.due_ns == 1020


def test_instants_that_a_slow_sweep_missed_are_left_out():
    scene = Scene(interval_ns=10, pss_cost_ns=25)
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


def test_a_vanished_process_is_counted_gives_no_sample_and_tears_its_sweep():
    scene = Scene()
    scene.add(8)
    scene.rss[8] = [9]
    scene.gone.add(8)
    scene.take_at(1000)
    assert [s.pid for s in scene.samples] == [7]
    assert (scene.sweeps[0].vanished, scene.sweeps[0].torn) == (1, 1)
    assert scene.sampler.use().vanished == 1
    assert scene.alive[8].samples == 0


def test_a_change_of_rss_during_a_sweep_tears_it():
    scene = Scene()
    scene.rss[7] = [9, 10]
    scene.take_at(1000)
    scene.take_at(1010)
    assert [s.torn for s in scene.sweeps] == [1, 0]
    assert scene.sampler.use().torn == 1


def test_a_birth_during_a_sweep_tears_it():
    scene = Scene()
    updates = iter([0, 1])
    scene.update = lambda: setattr(scene, "changes", next(updates))
    scene.take_at(1000)
    assert scene.sweeps[0].torn == 1


def test_where_pss_exceeds_the_budget_rss_is_read_and_where_that_does_nothing_is():
    # A PSS sweep costs 40 and an RSS sweep 2; of every 10 a tenth is 1: 0.75 for PSS, 0.25 for RSS.
    scene = Scene(interval_ns=10, pss_cost_ns=36, rss_cost_ns=2, budget=0.1)
    for instant in range(400):
        if scene.now <= 1000 + 10 * instant:
            scene.take_at(1000 + 10 * instant)
    use = scene.sampler.use()
    elapsed = 4000e-9
    assert use.cpu_s <= 0.1 * elapsed + 42e-9
    assert use.cpu_s >= 0.08 * elapsed
    assert 6 <= use.sweeps <= 9
    assert 40 <= use.rss_sweeps <= 51
    assert use.left_out > 200
    kinds = {s.kind for s in scene.sweeps}
    assert kinds == {"pss", "rss"}
    only_rss = [s for s in scene.samples if s.pss_bytes is None]
    assert len(only_rss) == use.rss_sweeps
    assert {s.rss_bytes for s in only_rss} == {9}


def test_the_first_sweep_is_always_taken():
    scene = Scene(pss_cost_ns=1000, budget=0.001)
    scene.take_at(1000)
    assert scene.sampler.use().sweeps == 1


def test_files_of_ended_processes_are_closed():
    scene = Scene()
    scene.add(8)
    scene.take_at(1000)
    del scene.alive[8]
    scene.forgotten.clear()
    scene.sampler.update()
    assert scene.forgotten == [8]


def test_gaps_are_told_and_are_missing_where_there_are_none():
    scene = Scene(interval_ns=10)
    scene.take_at(1000)
    assert scene.sampler.use().median_gap_s is None
    for now in (1010, 1020, 1100):
        scene.take_at(now)
    assert scene.sampler.use().median_gap_s == 10e-9
    assert scene.sampler.use().longest_gap_s == 80e-9


def test_files_of_a_process_that_execs_are_opened_anew():
    scene = Scene()
    scene.alive[7].execs = 1
    scene.take_at(1000)
    scene.take_at(1010)
    assert scene.forgotten == []
    scene.alive[7].execs = 2
    scene.take_at(1020)
    assert scene.forgotten == [7]


def test_without_news_of_execs_no_file_is_kept():
    scene = Scene()
    scene.take_at(1000)
    scene.take_at(1010)
    assert scene.forgotten == [7, 7]
