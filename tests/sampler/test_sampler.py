from stagebench.sampler.procfs import Memory
from stagebench.sampler.sampler import SETTLING_NS, Sampler
from stagebench.sampler.sweep import Reading, Sweep

MEMORY = Memory(pss_bytes=4, uss_bytes=3, rss_bytes=5, anon_bytes=2)


class Scene:
    """A clock that the test moves, a tree and command lines that it sets, records kept."""

    def __init__(self, interval_ns=10, cost_ns=0, budget=1.0):
        self.now = 1000
        self.cpu = 0
        self.cost_ns = cost_ns
        self.tree = [(7, 1, MEMORY)]
        self.commands = {7: "main"}
        self.sweeps, self.samples = [], []
        self.sampler = Sampler(
            7,
            interval_ns,
            budget,
            self.sweep,
            write_sweep=self.sweeps.append,
            write_sample=self.samples.append,
            clock=lambda: self.now,
            cpu_clock=lambda: self.cpu,
            command=lambda pid: self.commands.get(pid, ""),
        )

    def sweep(self):
        started = self.now
        self.now += self.cost_ns
        self.cpu += self.cost_ns
        return Sweep(started, self.now, [Reading(*each) for each in self.tree])

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
    scene = Scene(interval_ns=10, cost_ns=25)
    scene.take_at(1000)
    assert scene.sampler.due_ns == 1030
    assert scene.sampler.use().sweeps == 1


def test_every_process_of_a_sweep_is_a_sample_of_it():
    scene = Scene()
    scene.tree.append((8, 7, MEMORY))
    scene.take_at(1000)
    scene.take_at(1010)
    assert [(s.sweep, s.pid) for s in scene.samples] == [(0, 7), (0, 8), (1, 7), (1, 8)]
    assert [s.processes for s in scene.sweeps] == [2, 2]
    assert scene.samples[0].pss_bytes == MEMORY.pss_bytes


def test_a_vanished_process_is_counted_and_gives_no_sample():
    scene = Scene()
    scene.tree.append((8, 7, None))
    scene.take_at(1000)
    assert [s.pid for s in scene.samples] == [7]
    assert scene.sweeps[0].vanished == scene.sampler.use().vanished == 1
    assert [p.pid for p in scene.sampler.processes()] == [7]


def test_a_role_is_that_after_exec_and_the_parent_that_of_birth():
    scene = Scene()
    scene.tree.append((8, 7, MEMORY))
    scene.commands[8] = "main"  # forked, not yet another program
    scene.take_at(1000)
    scene.commands[8] = "python -c from multiprocessing.resource_tracker import main"
    scene.tree[1] = (8, 1, MEMORY)  # and then adopted
    scene.take_at(1010)
    main, child = scene.sampler.processes()
    assert (main.role, child.role) == ("main", "resource_tracker")
    assert child.parent_pid == 7
    assert (child.first_seen_ns, child.last_seen_ns) == (1000, 1010)


def test_a_settled_process_keeps_its_role_and_its_last_sight_moves_on():
    scene = Scene()
    scene.take_at(1000)
    scene.commands[7] = "another"
    scene.take_at(1001 + SETTLING_NS)
    (main,) = scene.sampler.processes()
    assert main.command == "main"
    assert main.last_seen_ns == 1001 + SETTLING_NS


def test_gaps_are_told_and_are_missing_where_there_are_none():
    scene = Scene(interval_ns=10)
    scene.take_at(1000)
    assert scene.sampler.use().median_gap_s is None
    for now in (1010, 1020, 1100):
        scene.take_at(now)
    assert scene.sampler.use().median_gap_s == 10e-9
    assert scene.sampler.use().longest_gap_s == 80e-9


def test_sweeps_are_left_out_while_they_would_exceed_the_budget():
    # Each sweep takes 4 of every 10: a tenth of a core allows one in four.
    scene = Scene(interval_ns=10, cost_ns=4, budget=0.1)
    for instant in range(40):
        scene.take_at(1000 + 10 * instant)
    use = scene.sampler.use()
    assert use.sweeps == 10
    assert use.left_out == 30
    assert use.cpu_s <= 0.1 * 400e-9 + 4e-9


def test_the_first_sweep_is_always_taken():
    scene = Scene(cost_ns=1000, budget=0.001)
    scene.take_at(1000)
    assert scene.sampler.use().sweeps == 1
