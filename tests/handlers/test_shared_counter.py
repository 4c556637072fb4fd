import threading

import pytest
from tests.runner.conftest import FORK, KINDS, THREAD, errors, run, stage, statuses

from stagebench.errors import UnsupportedError
from stagebench.handlers import shared_counter as module
from stagebench.handlers.shared_counter import shared_counter

TASKS, ROUNDS = 8, 25
WORK = {"steps": 2000, "share": 0.5, "rounds": ROUNDS}
POSSIBLE = [
    *(("thread", by) for by in ("thread", "process", "manager", "file")),
    *(("fork", by) for by in ("process", "manager", "file")),
    *((kind, by) for kind in ("forkserver", "spawn") for by in ("manager", "file")),
]
IMPOSSIBLE = [
    *((kind, "thread") for kind in ("fork", "forkserver", "spawn")),
    *((kind, "process") for kind in ("forkserver", "spawn")),
]


def counting(kind, **parameters):
    return stage("count", shared_counter, kind, retain=True, parameters=WORK | parameters)


@pytest.mark.parametrize(("name", "by"), POSSIBLE)
def test_no_count_is_lost_and_nothing_is_left(name, by, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    results = []
    own = counting(KINDS[name], by=by)
    keep = stage("keep", Keeping(results), THREAD, workers=1, after=("count",))
    sink = run([own, keep], TASKS)
    assert statuses(sink, "count") == ["ok"] * TASKS, errors(sink, "count")
    assert len(set(results)) == TASKS
    assert max(results) == TASKS * ROUNDS
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
    assert module._inherited == {}


class Keeping:
    """A handler that keeps what it gets; for threads alone."""

    def __init__(self, results):
        self.results = results

    def __call__(self, *, upstream):
        self.results.append(upstream)


@pytest.mark.parametrize(("name", "by"), IMPOSSIBLE)
def test_workers_that_cannot_share_a_lock_are_refused_with_the_reason(name, by):
    with pytest.raises(UnsupportedError, match=rf"by {by}: .*manager or file"):
        run([counting(KINDS[name], by=by)], 1)


@pytest.mark.parametrize(("by", "kind"), [("thread", THREAD), ("process", FORK)])
def test_one_worker_at_a_time_holds_the_lock(by, kind):
    counter = module.begin_stage(
        executor=kind["executor"],
        start_method=kind.get("start_method"),
        parameters={"by": by},
    )._counter
    entered = threading.Event()
    with counter.lock:
        other = threading.Thread(target=lambda: (counter.lock.__enter__(), entered.set()))
        other.start()
        assert not entered.wait(0.05)
    other.join()
    assert entered.is_set()
    counter.remove()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 1.0])
@pytest.mark.parametrize("rounds", [1, 3, 7, 100])
def test_the_share_of_the_work_is_done_with_the_lock_held(share, rounds, monkeypatch):
    held, free = [], []
    counter = module._ThreadCounter()

    def note(steps):
        (held if counter.lock.locked() else free).append(steps)

    monkeypatch.setattr(module, "work", note)
    assert module.count_rounds(counter, 1000, share, rounds) == rounds
    assert sum(held) == round(1000 * share)
    assert sum(free) == round(1000 * (1 - share))
    assert len(held) == len(free) == rounds
    assert max(held) - min(held) <= 1


def test_a_task_cannot_have_another_counter_than_its_stage():
    sink = run([counting(THREAD, by="file")], [{"count": {"by": "thread"}}])
    assert "not the stage's own, file" in errors(sink, "count")[0]


def test_a_call_outside_a_stage_counts_for_itself():
    assert shared_counter(by="process", steps=10, rounds=3) == 3
    assert shared_counter(by="process", steps=10, rounds=3) == 3
