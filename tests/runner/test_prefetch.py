"""Tasks that are in a worker's pipe before it needs them, and workers that serve so many."""

import itertools
import os
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.runner import workloads
from tests.runner.checks import check_service
from tests.runner.conftest import FORK, KINDS, LOOP, SPAWN, THREAD, errors, run, stage, statuses
from tests.runner.test_unpickling import Doing, take_long

from stagebench.errors import WorkerLostError, WorkflowError
from stagebench.runner.sink import ListSink
from stagebench.runner.workflow import Workflow

PROCESSES = [name for name, kind in KINDS.items() if kind["executor"] == "process"]


def serve(*, seconds=0.001, deed="", task=0):
    time.sleep(seconds)
    if deed == "die":
        workloads.die()
    if deed == "raise":
        raise ValueError(f"refused {task}")
    return Doing(take_long, task) if deed == "long" else task


def tasks_of(deeds, **others):
    return [{"s": {"deed": deed, "task": task, **others}} for task, deed in enumerate(deeds)]


def run_kept(one, tasks):
    sink = ListSink()
    with Workflow([one], sink) as workflow:
        workflow.run(tasks)
        return sink, workflow.results("s")


@pytest.mark.parametrize("kind", PROCESSES)
@pytest.mark.parametrize("prefetch", [1, 5])
def test_every_task_gets_its_own_result(kind, prefetch):
    settings = {"workers": 3, "prefetch": prefetch, "retain": True}
    one = stage("s", workloads.return_later, KINDS[kind], **settings)
    sink, results = run_kept(one, [{"s": {"task": task}} for task in range(200)])
    assert results == {task: task for task in range(200)}
    assert len({record.pid for record in sink.tasks}) == 3


def test_workers_have_their_next_tasks_and_no_more():
    one = stage("s", serve, FORK, workers=2, prefetch=2, queue_size=1)
    sink = run([one], tasks_of([""] * 12, seconds=0.05))
    check_service(one, sink.tasks)
    most = max(len(waiting_with(record, sink.tasks)) for record in sink.tasks)
    assert most == 2 * 3 + 1
    assert statuses(sink, "s") == ["ok"] * 12


def waiting_with(record, records):
    """Return the tasks that were with workers, or on their way, when a task was submitted."""
    return [
        other for other in records if other.submitted_ns <= record.submitted_ns < other.received_ns
    ]


def test_a_worker_goes_on_while_main_is_busy():
    """Without the next task in its pipe it would wait for main, which holds the GIL."""
    gaps = {}
    for prefetch in (0, 4):
        one = stage("s", serve, FORK, workers=1, prefetch=prefetch)
        sink = SlowSink(0.02)
        run([one], tasks_of([""] * 8), sink)
        ordered = sorted(sink.tasks, key=lambda record: record.started_ns)
        pairs = itertools.pairwise(ordered)
        gaps[prefetch] = [later.started_ns - earlier.finished_ns for earlier, later in pairs]
    assert min(gaps[0][1:]) >= 20_000_000  # main records the last one first
    assert sum(gap < 20_000_000 for gap in gaps[4]) >= 4


class SlowSink(ListSink):
    """A sink that takes its time for each task."""

    def __init__(self, seconds):
        super().__init__()
        self._seconds = seconds

    def task(self, record):
        super().task(record)
        time.sleep(self._seconds)


def test_a_worker_that_dies_loses_only_the_task_that_it_served():
    one = stage("s", serve, FORK, workers=1, prefetch=3)
    sink = run([one], tasks_of(["", "die", "", "", "die", ""]))
    assert statuses(sink, "s") == ["ok", "lost", "ok", "ok", "lost", "ok"]


def test_only_the_task_that_is_served_can_time_out():
    one = stage("s", serve, FORK, workers=1, prefetch=5, timeout_s=0.5)
    tasks = [{"s": {"seconds": 0.2, "task": task}} for task in range(6)]
    tasks[2]["s"]["seconds"] = 20
    sink = run([one], tasks)
    assert statuses(sink, "s") == ["ok", "ok", "timed_out", "ok", "ok", "ok"]


def test_failures_and_retries_stay_with_their_tasks():
    one = stage("s", serve, FORK, workers=2, prefetch=2, retries=1)
    sink = run([one], tasks_of(["", "raise", "", "raise", "", ""]))
    assert statuses(sink, "s") == ["ok", "failed", "ok", "failed", "ok", "ok"]
    refused = [f"ValueError: refused {task}" if task in (1, 3) else "" for task in range(6)]
    assert errors(sink, "s") == refused
    assert sorted(record.task for record in sink.attempts) == [1, 3]


def test_what_cannot_be_sent_fails_alone():
    first = stage("t", make_lock, THREAD, workers=1)
    second = stage("s", take_lock, FORK, workers=1, prefetch=2, after=("t",))
    sink = run([first, second], [{"t": {"which": task % 2}} for task in range(6)])
    assert statuses(sink, "s") == ["ok", "failed"] * 3


def make_lock(*, which):
    return workloads.return_lock() if which else "no lock"


def take_lock(*, upstream):
    return upstream


@pytest.mark.parametrize("place", [0, 1, 3])
def test_results_after_one_that_is_long_to_unpickle_are_those_of_their_tasks(place):
    deeds = ["long" if task == place else "" for task in range(6)]
    one = stage("s", serve, FORK, workers=1, prefetch=3, retain=True)
    _, results = run_kept(one, tasks_of(deeds))
    assert results == {task: task for task in range(6)}


def test_large_results_and_inputs_pass_while_pipes_are_full():
    one = stage("s", repeat, FORK, workers=2, prefetch=3)
    two = stage("t", count, SPAWN, workers=2, prefetch=3, after=("s",), retain=True)
    with Workflow([one, two], ListSink()) as workflow:
        workflow.run([{"s": {"content": bytes([task]) * 300_000}} for task in range(20)])
        results = workflow.results("t")
    assert results == {task: (300_000, task) for task in range(20)}


def repeat(*, content):
    return content


def count(*, upstream):
    return len(upstream), upstream[0]


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_workers_are_replaced_after_so_many_tasks(kind, most):
    settings = {"workers": 2, "max_tasks_per_worker": most, "retain": True}
    one = stage("s", workloads.return_later, KINDS[kind], **settings)
    sink, results = run_kept(one, [{"s": {"task": task}} for task in range(8)])
    assert results == {task: task for task in range(8)}
    served = Counter(record.pid for record in sink.tasks)
    assert max(served.values()) <= most
    assert len(served) >= 8 // most
    for pid in served:
        assert not Path(f"/proc/{pid}").exists()


def test_a_worker_that_dies_is_replaced_whatever_it_may_serve():
    one = stage("s", serve, FORK, workers=1, max_tasks_per_worker=2)
    sink = run([one], tasks_of(["", "die", "", "", "die", ""]))
    assert statuses(sink, "s") == ["ok", "lost", "ok", "ok", "lost", "ok"]


class Opened:
    """A handler that opens something once in each worker."""

    def __init__(self, folder, raises=""):
        self.folder, self.raises = folder, raises
        self.opened = None

    def begin_worker(self):
        if self.raises == "begin":
            raise OSError("no connection")
        self.opened = time.monotonic_ns()
        self.note("began")

    def end_worker(self):
        self.note("ended")
        if self.raises == "end":
            raise OSError("closed already")

    def note(self, what):
        path = Path(self.folder, f"{os.getpid()}-{what}-{time.monotonic_ns()}")
        path.write_text("")

    def __call__(self):
        assert self.opened is not None
        time.sleep(0.02)


class OpenedLater(Opened):
    """The same for coroutines."""

    async def __call__(self):
        assert self.opened is not None


@pytest.mark.parametrize("raises", ["", "end"])
@pytest.mark.parametrize("name", [*KINDS, "asyncio"])
def test_a_handler_is_told_of_the_start_and_the_end_of_each_worker(name, raises, tmp_path, capfd):
    kind = KINDS.get(name, LOOP)
    handler = (OpenedLater if name == "asyncio" else Opened)(str(tmp_path), raises)
    sink = run([stage("s", handler, kind, workers=2)], 6)
    assert statuses(sink, "s") == ["ok"] * 6
    workers = 1 if name == "asyncio" else 2
    notes = Counter(path.name.split("-")[1] for path in tmp_path.iterdir())
    assert notes == {"began": workers, "ended": workers}
    if name != "forkserver":  # its standard error is that of the first test that used one
        assert ("closed already" in capfd.readouterr().err) is (raises == "end")


class Prepared:
    """A handler whose workers call what main has made for the stage."""

    def __init__(self, folder, raises=""):
        self.folder, self.raises = folder, raises

    def __call__(self, *, factor):
        raise AssertionError(f"workers call what begin_stage returns, not this with {factor}")

    def begin_stage(self, *, executor, start_method, parameters):
        if self.raises == "begin":
            raise OSError("no room")
        made = (executor, start_method, parameters["factor"])
        Path(self.folder, f"began-{os.getpid()}").write_text(str(made))
        return Made(self.folder, made, self.raises)


class Made:
    def __init__(self, folder, made, raises):
        self.folder, self.made, self.raises = folder, made, raises

    def __call__(self, *, factor):
        assert self.made[2] == factor
        Path(self.folder, f"served-{os.getpid()}").touch()

    def end_stage(self):
        Path(self.folder, f"ended-{os.getpid()}").write_text(
            " ".join(path.name for path in Path(self.folder).iterdir())
        )
        if self.raises == "end":
            raise OSError("gone already")


@pytest.mark.parametrize("raises", ["", "end"])
def test_workers_call_what_a_handler_makes_in_main_before_they_start(kind, raises, tmp_path, capfd):
    own = stage("s", Prepared(str(tmp_path), raises), kind, parameters={"factor": 3})
    sink = run([own], 4)
    assert statuses(sink, "s") == ["ok"] * 4
    began, ended = (tmp_path / f"{what}-{os.getpid()}" for what in ("began", "ended"))
    assert began.read_text() == str((kind["executor"], kind.get("start_method"), 3))
    assert "served" in ended.read_text()
    assert ("gone already" in capfd.readouterr().err) is (raises == "end")


def test_what_main_makes_for_a_stage_needs_the_parameters_of_the_stage(tmp_path):
    with pytest.raises(WorkflowError, match=r"'factor' of .* is missing"):
        run([stage("s", Prepared(str(tmp_path)), FORK)], [{"s": {"factor": 3}}])


def test_a_stage_that_cannot_be_begun_ends_the_run(kind, tmp_path):
    with pytest.raises(OSError, match="no room"):
        run([stage("s", Prepared(str(tmp_path), "begin"), kind, parameters={"factor": 3})], 2)


def test_a_worker_that_cannot_begin_ends_the_run(kind, tmp_path):
    with pytest.raises(WorkerLostError, match="no connection"):
        run([stage("s", Opened(str(tmp_path), "begin"), kind)], 2)


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        (THREAD, {"prefetch": 1}, "only processes have their next task sent ahead"),
        (LOOP, {"prefetch": 1}, "only processes have their next task sent ahead"),
        (FORK, {"prefetch": -1}, "prefetch is -1; allowed: a whole number >= 0"),
        (FORK, {"prefetch": 1, "batch": 2}, "prefetch is 1 and batch is 2; allowed: one of them"),
        (FORK, {"max_tasks_per_worker": 0}, "max_tasks_per_worker is 0; allowed"),
        (THREAD, {"max_tasks_per_worker": 2}, "only processes are replaced"),
        (FORK, {"max_tasks_per_worker": 2, "batch": 2}, "without prefetch and batch"),
    ],
)
def test_what_does_not_fit_is_rejected(kind, settings, text):
    with pytest.raises(WorkflowError, match=text):
        Workflow([stage("s", OpenedLater if kind is LOOP else serve, kind, **settings)], ListSink())
