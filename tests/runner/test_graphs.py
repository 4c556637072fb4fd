"""Any workflow, whatever its handlers do, ends, records everything, and leaves nothing behind.

pytest tests/runner/test_graphs.py --hypothesis-profile=thousand
"""

import faulthandler
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runner import acts, leftovers
from tests.runner.checks import check_run
from tests.runner.graphs import Tasks, cases

from stagebench.runner.sink import ListSink
from stagebench.runner.workflow import Workflow

LIMIT_S = 45
"""Far longer than any of these workflows takes: one that is not done by then hangs."""


class Hung(BaseException):
    """The workflow did not end; standard error shows where all threads were."""


@contextmanager
def limited(case):
    """Raise Hung in the block when it takes too long, and every 10 s after that."""

    def stop(_number, _frame):
        sys.__stderr__.write(f"{case}\n")
        faulthandler.dump_traceback(file=sys.__stderr__)
        raise Hung

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S, 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class FaultySink(ListSink):
    """Keeps the records of a run; at one of them it raises, or sends Ctrl-C."""

    def __init__(self, case):
        super().__init__()
        self._case = case

    def begin(self):
        """Forget the previous run, but not its workers, which continue."""
        self.tasks, self.attempts, self.events = [], [], []
        self._left = self._case.fault_at

    def task(self, record):
        super().task(record)
        self._left -= 1
        if self._left:
            return
        if self._case.fault == "sink":
            raise OSError("no space left")
        if self._case.fault == "interrupt":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory):
    """Start the helpers that multiprocessing keeps, and use a separate temporary folder."""
    resource_tracker.ensure_running()
    forkserver.ensure_running()
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = before


@given(st.data())
def test_any_workflow_ends_records_everything_and_leaves_nothing(data):
    acts.RELEASED.clear()
    with tempfile.TemporaryDirectory() as folder:
        case = data.draw(cases(folder))
        before = leftovers.look()
        with limited(case):
            run(case)
            acts.RELEASED.set()
            assert leftovers.wait_for_none(before) == {}


def run(case):
    """Run a case as often as it asks for, and check the records each time."""
    sink = FaultySink(case)
    with Workflow(case.stages, sink, in_flight=case.in_flight) as workflow:
        for _ in range(case.runs):
            sink.begin()
            acts.forget(case.stages[0].parameters["plan"])
            tasks = Tasks(case)
            is_cut = run_once(case, workflow, tasks)
            check_run(case, count_begun(case, tasks, sink, is_cut=is_cut), sink, is_cut=is_cut)
            if is_cut:
                return
        check_results(case, workflow, sink)


def run_once(case, workflow, tasks):
    """Run all tasks; return whether the run was cut off."""
    try:
        workflow.run(list(tasks) if case.is_sized else tasks, case.arrival)
    except (OSError, LookupError, KeyboardInterrupt):
        assert case.fault
        return True
    return False


def count_begun(case, tasks, sink, *, is_cut):
    """Return the number of tasks that must have records: all, or those begun by an iterator."""
    if case.is_sized or not is_cut:
        return case.tasks
    begun = len({record.task for record in sink.tasks})
    assert tasks.given - 1 <= begun <= tasks.given
    return begun


def check_results(case, workflow, sink):
    """Check that the last run's retained results are there."""
    for stage in case.stages:
        if stage.retain:
            results = workflow.results(stage.name)
            done = {r.task for r in sink.tasks if r.stage == stage.name and r.status == "ok"}
            assert done <= set(results)
            assert case.runs > 1 or done == set(results)
            plan = stage.parameters["plan"]
            assert all(acts.is_result(results[task], plan, task) for task in done)
