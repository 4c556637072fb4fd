"""A small real study that diagnoses its treatments; made-up runs are in `tests.known_studies`."""

import json
import subprocess

import pytest
from tests.study import STAGEBENCH, checkout, made_once, snakemake

REST = {"name": "get", "handler": "wait", "executor": "thread", "workers": "{workers}"}
SUMS = {
    "name": "sum",
    "after": ["get"],
    "handler": "sum_squares_native",
    "executor": "process",
    "start_method": "fork",
    "workers": 1,
    "parameters": {"elements": 20_000},
}
ASK = {"name": "ask", "handler": "wait_async", "executor": "asyncio", "workers": 2}
BREAK = {"name": "break", "handler": "flaky", "executor": "thread", "workers": 1}
LIST = {"name": "get", "handler": "wait", "executor": "thread", "workers": 3}

STUDY = {
    "study": "small",
    "seed": 1,
    "replicates": 1,
    "time_limit_s": 20,
    "quiet_wait_s": 0,
    "warm_memory": "16 MiB",
    "workflows": [
        {"name": "grid", "stages": [REST | {"parameters": {"delay_s": 0.1}}, SUMS]},
        {"name": "ask", "stages": [ASK | {"parameters": {"delay_s": 0.1}}]},
        {"name": "list", "stages": [LIST | {"parameters": {"delay_s": 0.05}}]},
        {"name": "broken", "stages": [BREAK | {"parameters": {"fail_every": 2}}]},
    ],
    "experiments": [
        {
            "name": "grid",
            "workflow": "grid",
            "tasks": 6,
            "factors": {"workers": [1, 3]},
            "baseline": {"workers": 1},
        },
        {"name": "ask", "workflow": "ask", "tasks": 6},
        {
            "name": "list",
            "workflow": "list",
            "tasks": [{"get": {"delay_s": 1.0}}, {}, {"get": {"delay_s": 0.3}}, {}, {}],
        },
        {"name": "broken", "workflow": "broken", "tasks": 3},
    ],
}


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Return the folder of a real study's results; tests must not write to it.

    Two treatments of a pipeline, coroutines, a list of tasks, and runs of which a task fails.
    """
    with made_once(tmp_path_factory, "small") as (folder, is_made):
        if not is_made:
            measure_small(checkout(folder))
    return folder / "results" / "small"


def measure_small(folder):
    config = folder / "config" / "small.yaml"
    config.write_text(json.dumps(STUDY))  # JSON is YAML
    until = ("--until", "design", "measure", "diagnose")
    done = snakemake(folder, *until, config="config/small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results" / "small"
    files = ["--plan", results / "plan.json", "--raw", results / "raw"]
    command = [STAGEBENCH, "analyse", *files, "--out", results / "tables"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def call():
    """Call the command; return its exit code, what it prints, and its errors."""

    def run(*arguments):
        command = [STAGEBENCH, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run
