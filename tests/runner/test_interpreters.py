"""The contract of workers in subinterpreters, on every Python of this machine that has them.

Python 3.13 has them behind a private module alone: see private_interpreters.py.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runner import interpreter_acts
from tests.runner.conftest import run, stage

from stagebench import subinterpreter
from stagebench.errors import UnsupportedError, WorkflowError
from stagebench.handlers.wait import wait
from stagebench.runner.sink import ListSink
from stagebench.runner.workflow import Workflow

INTERPRETER = {"executor": "interpreter"}
ACTS = Path(interpreter_acts.__file__)
VERSIONS = ["3.13", "3.14", "3.15"]


def start(version, *arguments):
    """Start a Python; with pyenv, a name on the PATH is that of the version that is chosen."""
    return subprocess.run(
        [f"python{version}", *arguments],
        env={**os.environ, "PYENV_VERSION": version},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module", params=VERSIONS)
def version(request):
    if not shutil.which(f"python{request.param}") or start(request.param, "-c", "").returncode:
        pytest.skip(f"there is no Python {request.param}")
    return request.param


@pytest.mark.parametrize("act", [act.__name__ for act in interpreter_acts.ACTS])
def test_workers_in_subinterpreters_do_what_all_workers_do(act, version):
    done = start(version, str(ACTS), act)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.skipif(sys.version_info >= subinterpreter.FIRST, reason="this Python has them")
def test_an_older_python_says_so():
    have = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with pytest.raises(UnsupportedError, match=rf"needs Python 3\.14 or later, and this is {have}"):
        run([stage("s", wait, INTERPRETER, parameters={"delay_s": 0})], 1)


@pytest.mark.parametrize(
    ("version", "is_refused"), [((3, 11), True), ((3, 13), True), ((3, 14), False), ((4, 0), False)]
)
def test_a_version_is_refused_before_the_first_that_has_them(version, is_refused):
    assert bool(subinterpreter.why_none(version)) is is_refused


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"start_method": "fork"}, "start_method is 'fork'; subinterpreters have none"),
        ({"timeout_s": 1}, "timeout_s is 1; a task in a subinterpreter cannot be ended"),
        ({"prefetch": 1}, "prefetch is 1; only processes"),
        ({"max_tasks_per_worker": 1}, "max_tasks_per_worker is 1; only processes"),
        ({"parameters": {"delay_s": lambda: 1}}, "parameter 'delay_s' cannot be sent"),
    ],
)
def test_settings_that_subinterpreters_cannot_have_are_refused(settings, text):
    with pytest.raises(WorkflowError, match=text):
        Workflow([stage("s", wait, INTERPRETER, **settings)], ListSink())
