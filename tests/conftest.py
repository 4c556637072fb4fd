"""Fixtures that measure real runs of a specification; see `known_studies` for made-up runs."""

import copy
import ctypes
import gc
import os
import signal

import pytest

from stagebench import store
from stagebench.cli import measured_program
from stagebench.handlers.source import source_hash
from stagebench.measure.process import PR_SET_CHILD_SUBREAPER
from stagebench.measure.supervisor import RunRequest, measure_run

pytest_plugins = ["tests.known_studies"]

SPECIFICATION = {
    "protocol": store.PROTOCOL,
    "experiment": "memory",
    "treatment": "t1",
    "factors": {},
    "stages": [
        {
            "name": "work",
            "handler": "payload",
            "source": source_hash("payload"),
            "executor": "thread",
            "workers": 1,
            "retain": False,
            "parameters": {"size_mib": 1, "delay_s": 0.01},
            "after": [],
        }
    ],
    "tasks": 2,
    "sampler": {"interval_s": 0.01, "cpu_budget": 1.0, "census": "auto"},
    "linger": {"before_start_s": 0.0, "before_close_s": 0.0, "after_close_s": 0.0},
    "process": {"environment": {}, "preload": [], "cpus": None, "blas_threads": 1},
}


def pytest_collection_finish():
    """Spare the garbage collector what the modules hold: a tenth of the time of what runs here."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def signals_are_answered():
    """Undo that background jobs and nohup ignore these signals, which every program inherits."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def specify(tmp_path):
    """Return a specification with changes of its only stage, its process and other keys.

    `program` becomes a module that the measured process imports before the workflow starts.
    """

    def make(stage=None, process=None, program=None, **others):
        specification = copy.deepcopy(SPECIFICATION) | others
        specification["stages"][0] |= stage or {}
        specification["process"] |= process or {}
        if program is not None:
            (tmp_path / "preloaded.py").write_text(program)
            specification["process"]["preload"] = ["preloaded"]
            paths = [str(tmp_path), os.environ.get("PYTHONPATH")]
            path = os.pathsep.join(filter(None, paths))
            specification["process"]["environment"]["PYTHONPATH"] = path
        return specification

    return make


def request_for(specification, time_limit_s=60.0, quiet_wait_s=0.0, beside=None):
    return RunRequest(
        study="tests",
        specification=specification,
        replicate=1,
        warm_up=False,
        seed=3,
        block=1,
        position=4,
        rank=5,
        time_limit_s=time_limit_s,
        quiet_wait_s=quiet_wait_s,
        campaign="2026-11-23T07:00:00+00:00",
        beside=beside,
        program=measured_program(specification),
    )


def release_orphans():
    """Undo what measuring sets for the whole process, or it would adopt later tests' orphans."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def measure(tmp_path):
    """Measure a specification in this process; return the run folder."""

    def make(specification, **limits):
        folder = tmp_path / "raw" / "r1"
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)}
        try:
            measure_run(request_for(specification, **limits), folder)
        finally:
            release_orphans()
            signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return folder

    return make
