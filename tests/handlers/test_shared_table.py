import os
import tracemalloc

import pytest
from tests.runner.conftest import FORK, KINDS, SPAWN, THREAD, errors, run, stage, statuses

from stagebench.errors import UnsupportedError
from stagebench.handlers import shared_table as module
from stagebench.handlers.shared_table import make_entries, shared_table, sum_entries

SMALL = {"size_mib": 0.05, "reads": 700}
WAYS = ["global", "fork", "shared_memory", "path"]


def find_shared():
    """Return the shared memory of the whole machine, as far as the standard library made it."""
    return {name for name in os.listdir("/dev/shm") if name.startswith("psm_")}


def sums(sink):
    return statuses(sink, "read")


def read(kind, **parameters):
    return stage("read", shared_table, kind, parameters=SMALL | parameters)


def can_inherit(kind):
    return KINDS[kind].get("start_method", "fork") == "fork"


@pytest.mark.parametrize("entries", [1, 2, 10, 1000])
@pytest.mark.parametrize("reads", [1, 2, 9, 10, 11, 1000, 2500])
def test_entries_are_read_as_often_as_asked_and_evenly(entries, reads):
    class Noting(list):
        def __getitem__(self, place):
            taken.append(place)
            return super().__getitem__(place)

    taken = []
    assert sum_entries(Noting(range(entries)), reads) == sum(taken)
    assert len(taken) == reads
    assert entries - max(taken) <= -(-entries // reads)
    often = [taken.count(place) for place in set(taken)]
    assert max(often) - min(often) <= 1


@pytest.mark.parametrize("of", ["numbers", "objects"])
def test_both_tables_hold_the_same_numbers_in_memory_of_the_size_asked_for(of):
    tracemalloc.start()
    try:
        table = make_entries(of, module.count_entries(of, 4))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert list(table[1000:1003]) == [1000, 1001, 1002]
    assert held == pytest.approx(4 * module.MIB, rel=0.15)
    assert module.memory_need(size_mib=4).working_bytes == 4 * module.MIB


def test_a_changed_entry_is_noticed():
    with pytest.raises(ArithmeticError, match="of 3 entries is 3, computed 4"):
        sum_entries([0, 1, 3], 3)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("by", WAYS)
def test_every_worker_reads_the_same_table_and_nothing_is_left(by, name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = find_shared()
    if by == "fork" and not can_inherit(name):
        with pytest.raises(UnsupportedError, match=f"started by {name} inherits no objects"):
            run([read(KINDS[name], by=by)], 1)
    else:
        sink = run([read(KINDS[name], by=by)], 6)
        assert sums(sink) == ["ok"] * 6, errors(sink, "read")
    assert not [
        path for path in tmp_path.iterdir() if path.is_file()
    ]  # multiprocessing has folders
    assert find_shared() <= before
    assert module._tables == {}


@pytest.mark.parametrize("by", ["global", "fork"])
@pytest.mark.parametrize("kind", [THREAD, FORK])
def test_objects_are_read_as_numbers_are(by, kind):
    assert sums(run([read(kind, by=by, of="objects")], 3)) == ["ok"] * 3


@pytest.mark.parametrize("by", ["shared_memory", "path"])
def test_objects_cannot_be_mapped(by):
    with pytest.raises(UnsupportedError, match="a block of memory holds numbers"):
        run([read(FORK, by=by, of="objects")], 1)


@pytest.mark.parametrize(
    ("kind", "by", "workers"),
    [(THREAD, "global", 1), (FORK, "fork", 1), (FORK, "global", 2), (SPAWN, "global", 2)],
)
def test_a_table_is_made_in_main_or_in_each_process_as_by_says(kind, by, workers, tmp_path):
    assert len(run_noting(kind, by, tmp_path)) == workers


def run_noting(kind, by, folder):
    """Run some tasks on two workers; return the processes in which a table was made."""
    own = stage("read", NotingTable(str(folder)), kind, parameters={"by": by})
    sink = run([own], 8)
    assert sums(sink) == ["ok"] * 8, errors(sink, "read")
    return {path.name for path in folder.iterdir()}


class NotingTable:
    """Notes each process in which the entries of a table are made."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, *, by):
        return self.table(by=by, **SMALL)

    def begin_stage(self, *, parameters, **others):
        self.watch()
        self.table = module.begin_stage(parameters={**parameters, **SMALL}, **others)
        return self

    def begin_worker(self):
        self.watch()
        self.table.begin_worker()

    def end_worker(self):
        self.table.end_worker()

    def end_stage(self):
        self.table.end_stage()
        module.make_entries = make_entries

    def watch(self):
        def note(of, entries):
            open(f"{self.folder}/{os.getpid()}", "w").close()
            return make_entries(of, entries)

        module.make_entries = note


@pytest.mark.parametrize("given", [{"size_mib": 0.06}, {"by": "global"}, {"of": "objects"}])
def test_a_task_cannot_have_another_table_than_its_stage(given):
    sink = run([read(THREAD, by="path")], [{"read": {"reads": 5}}, {"read": given}])
    assert sums(sink) == ["ok", "failed"]
    assert "allowed for a task: reads" in errors(sink, "read")[1]


def test_a_call_outside_a_stage_makes_a_table_for_itself():
    assert shared_table(by="path", size_mib=0.05, reads=2) == sum_entries(range(6553), 2)
