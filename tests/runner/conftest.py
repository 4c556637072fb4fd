"""Kinds of workers, helpers that make and run stages, and the number of random workflows.

The suite runs the same few every time. To run a thousand others:

    pytest tests/runner/test_graphs.py --hypothesis-profile=thousand
"""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Stage
from stagebench.runner.workflow import Workflow

KINDS = {
    "thread": {"executor": "thread"},
    "fork": {"executor": "process", "start_method": "fork"},
    "forkserver": {"executor": "process", "start_method": "forkserver"},
    "spawn": {"executor": "process", "start_method": "spawn"},
}
THREAD, FORK, SPAWN = KINDS["thread"], KINDS["fork"], KINDS["spawn"]
LOOP = {"executor": "asyncio"}

# A workflow takes as long as its handlers do; the test itself detects hangs.
PATIENT = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("suite", max_examples=100, derandomize=True, database=None, **PATIENT)
settings.register_profile("thousand", max_examples=1000, print_blob=True, **PATIENT)
settings.load_profile("suite")


@pytest.fixture
def short_path():
    """A temporary folder with room for the path of a socket in it: about a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="short-") as folder:
        yield Path(folder)


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def stage(name, handler, kind, *, workers=2, **others):
    return Stage(name=name, handler=handler, workers=workers, **kind, **others)


def run(stages, tasks, sink=None, **settings):
    sink = sink or ListSink()
    arrival = settings.pop("arrival", None)
    with Workflow(stages, sink, **settings) as workflow:
        workflow.run(tasks, *([arrival] if arrival else []))
    return sink


def statuses(sink, name):
    """Return how each task ended in a stage, in the order of tasks."""
    own = sorted((r.task, r.status) for r in sink.tasks if r.stage == name)
    return [status for _, status in own]


def errors(sink, name):
    """Return the last line of each task's error in a stage, in the order of tasks."""
    own = sorted((r.task, r.error) for r in sink.tasks if r.stage == name)
    return [(error or "").strip().rpartition("\n")[2] for _, error in own]
