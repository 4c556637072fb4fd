"""Workflows with subinterpreters, each an act of a program that a Python of 3.13 or later runs.

    python tests/runner/interpreter_acts.py ACT

A program of its own, because pytest runs on an older one. Each act asserts, and prints "done".
"""

import os
import sys
import threading
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

from tests.runner import interpreter_handlers as handlers  # noqa: E402
from tests.runner import private_interpreters  # noqa: E402

from stagebench.errors import UnsupportedError  # noqa: E402 - the path comes first
from stagebench.handlers.shared_counter import shared_counter  # noqa: E402
from stagebench.handlers.shared_table import shared_table  # noqa: E402
from stagebench.handlers.sum_squares_native import sum_squares_native  # noqa: E402
from stagebench.runner.sink import ListSink  # noqa: E402
from stagebench.runner.stage import Stage  # noqa: E402
from stagebench.runner.workflow import Workflow  # noqa: E402


def run(stages, tasks):
    sink = ListSink()
    with Workflow(stages, sink) as workflow:
        workflow.run(tasks)
    return sink


def stage(name, handler, *, executor="interpreter", workers=2, **others):
    return Stage(name=name, handler=handler, executor=executor, workers=workers, **others)


def refused(stages):
    try:
        run(stages, 1)
    except UnsupportedError as error:
        return str(error)
    raise AssertionError("it ran")


def records():
    """Every task has one record, with times in order, by a worker that is a thread of its own."""
    one = stage("square", sum_squares_native, parameters={"elements": 20_000})
    sink = run([one], 12)
    assert [record.status for record in sink.tasks] == ["ok"] * 12
    for r in sink.tasks:
        assert r.submitted_ns <= r.started_ns <= r.finished_ns <= r.received_ns
        assert 0 < r.cpu_ns <= (r.finished_ns - r.started_ns) * 1.1 + 1e6
        assert r.pid == os.getpid()
    assert len(sink.workers) == 2
    assert {r.thread_id for r in sink.tasks} <= {worker.thread_id for worker in sink.workers}


class Keeping:
    """A handler of threads that keeps what it gets."""

    def __init__(self):
        self.kept = []

    def __call__(self, *, upstream):
        self.kept.append(upstream)


def run_keeping(first, tasks):
    """Run a stage and return its results."""
    keeping = Keeping()
    last = stage("keep", keeping, executor="thread", workers=1, after=(first.name,))
    sink = run([first, last], tasks)
    assert {r.status for r in sink.tasks} == {"ok"}, [r.error for r in sink.tasks]
    return keeping.kept


def apart():
    """Workers have modules of their own: what one counts, the others and main do not see."""
    kept = run_keeping(stage("count", handlers.count_calls, workers=3), 30)
    assert handlers.calls == []
    for thread in {thread for thread, _ in kept}:
        counts = sorted(count for one, count in kept if one == thread)
        assert counts == list(range(1, len(counts) + 1))


def handover():
    """Results go to and from stages of other kinds, in any order, and batches come back whole."""
    kinds = [{"executor": "thread"}, {"executor": "process", "start_method": "spawn"}]
    for kind in kinds:
        stages = [
            stage("first", handlers.double, parameters={"value": 21}, batch=3),
            Stage(
                name="second",
                handler=handlers.double_again,
                workers=2,
                after=("first",),
                **kind,
            ),
            stage("third", handlers.expect, after=("second",), parameters={"value": 84}),
        ]
        sink = run(stages, 9)
        assert [r.status for r in sink.tasks] == ["ok"] * 27, [r.error for r in sink.tasks]


def errors():
    """A task that raises, and a result that cannot be pickled, fail alone and say why."""
    tasks = [{"s": {"what": what}} for what in ("fine", "raise", "exit", "lambda", "fine")]
    sink = run([stage("s", handlers.misbehave)], tasks)
    found = {r.task: (r.status, (r.error or "").strip().rpartition("\n")[2]) for r in sink.tasks}
    assert [found[task][0] for task in range(5)] == ["ok", "failed", "failed", "failed", "ok"]
    assert found[1][1] == "ValueError: as asked"
    assert found[2][1] == "SystemExit: 3"
    assert "a function, cannot be sent to main" in found[3][1], found[3]


def hooks():
    """A handler's hooks are called: the stage's in main, the worker's in each subinterpreter."""
    for by in ("global", "shared_memory", "path"):
        one = stage("read", shared_table, parameters={"by": by, "size_mib": 0.05, "reads": 700})
        sink = run([one], 6)
        assert [r.status for r in sink.tasks] == ["ok"] * 6, (by, [r.error for r in sink.tasks])
    rounds = {"by": "file", "steps": 100, "rounds": 5}
    kept = run_keeping(stage("count", shared_counter, parameters=rounds), 8)
    assert len(set(kept)) == 8
    assert max(kept) == 40


def unsupported():
    """What cannot run in a subinterpreter says so, with the reason, and nothing is left."""
    text = refused([stage("s", handlers.refuse_import)])
    assert "refuse_import cannot run in a subinterpreter" in text, text
    assert "ImportError: not more than once in a process" in text, text
    text = refused([stage("s", lambda: None)])
    assert "cannot run in a subinterpreter" in text, text
    text = refused([stage("s", shared_table, parameters={"by": "fork"})])
    assert text == "by fork: a subinterpreter inherits no objects from main"
    text = refused([stage("s", shared_counter, parameters={"by": "thread"})])
    assert "subinterpreters share no such lock" in text


ACTS = (records, apart, handover, errors, hooks, unsupported)

if __name__ == "__main__":
    private_interpreters.install()
    {act.__name__: act for act in ACTS}[sys.argv[1]]()
    assert threading.active_count() == 1, threading.enumerate()
    print("done")
