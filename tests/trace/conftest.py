"""Real traces for the tests: the command line, in a process of its own."""

import subprocess

import pytest
from tests.trace.tracing import TRACE


@pytest.fixture
def trace(tmp_path):
    """Trace a command to its end in an empty folder; returns the completed process."""

    def make(*command, options=("--no-figure",), **settings):
        defaults = {"cwd": tmp_path, "text": True, "errors": "surrogateescape", "timeout": 120}
        defaults |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*TRACE, *options, "--", *command]
        return subprocess.run(command, check=False, **defaults | settings)

    return make


@pytest.fixture
def start(tmp_path):
    """Start to trace a command into the folder `out`; it is killed when the test ends."""
    started = []

    def make(*command, options=("--no-figure",), **settings):
        defaults = {"cwd": tmp_path, "text": True, "stdin": subprocess.PIPE}
        defaults |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*TRACE, "--out", "out", *options, "--", *command]
        process = subprocess.Popen(command, **defaults | settings)
        started.append(process)
        return process

    yield make
    for process in started:
        process.kill()
        process.communicate()
