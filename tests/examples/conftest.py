import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

POOLS = {
    "threads": ("--executor", "thread"),
    "processes": ("--executor", "process", "--start-method", "spawn"),
}


def run_script(path, *options):
    """Run a script as its reader would; return what it prints."""
    command = [sys.executable, EXAMPLES / path, "--workers", "2", *options]
    # Readers do not have the PYTHONPATH of the tests.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fits_a_terminal(text):
    return max(len(line) for line in text.splitlines()) <= 80


@pytest.fixture(scope="module", params=POOLS.values(), ids=POOLS)
def pool(request):
    return request.param
