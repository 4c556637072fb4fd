"""The end of programs and workers that use a workflow, and of workflows that are not closed."""

import os
import subprocess
import sys
import textwrap
from multiprocessing import util
from pathlib import Path

import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, run, stage, statuses

from stagebench.runner.sink import ListSink
from stagebench.runner.workflow import Workflow

ROOT = Path(__file__).parents[2]
LEAVING = """\
import os, sys, threading, time
from tests.runner import workloads
from stagebench import ListSink, Stage, Workflow

slow = [{{"slow": {{"seconds": 60}}}}]
if __name__ == "__main__":
    for method in {methods}:
        kind = {{"executor": "process", "start_method": method, "workers": 2}}
        large = {{"parameters": {{"size": 100_000}}, "retain": True}}
        stages = [
            Stage(name="path", handler=workloads.bytes_of, transport="path", **kind, **large),
            Stage(
                name="shm", handler=workloads.bytes_of, transport="shared_memory", **kind, **large
            ),
            Stage(name="slow", handler=workloads.take, parameters={{"seconds": 0}}, **kind),
        ]
        workflow = Workflow(stages, ListSink())
        workflow.run(2)
    print(os.getpid(), flush=True)
    {last}
"""
LAST = {
    "by itself": ("pass", 0),
    "by an error": ("raise ValueError", 1),
    "by sys.exit": ("sys.exit(3)", 3),
    "while a thread runs tasks": (
        "threading.Thread(target=workflow.run, args=(slow,), daemon=True).start(); time.sleep(0.3)",
        0,
    ),
}


def start(program, path):
    """Run a program in a temporary folder of its own; return its end, and what it leaves there.

    `path` is short: the fork server has a socket in that folder.
    """
    script, folder = path / "script.py", path / "temporary"
    folder.mkdir()
    script.write_text(textwrap.dedent(program))
    ended = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return ended, list(folder.glob("stagebench*"))


@pytest.mark.parametrize("how", LAST)
def test_a_program_that_does_not_close_its_workflow_ends_and_leaves_nothing(short_path, how):
    last, code = LAST[how]
    methods = ["fork", "forkserver", "spawn"] if how == "by an error" else ["fork"]
    ended, left = start(LEAVING.format(methods=methods, last=last), short_path)
    assert ended.returncode == code, ended.stderr
    assert not left
    assert not list(Path("/dev/shm").glob(f"stagebench_{int(ended.stdout)}_*"))
    assert "leaked" not in ended.stderr


def run_and_leave_open(mark):
    util.Finalize(None, Path(mark).touch, exitpriority=-1)  # after processes have been waited for
    workflow = Workflow([stage("inner", workloads.double, FORK, retain=True)], ListSink())
    workflow.run(2)
    return workflow.results("inner")


def test_a_worker_that_does_not_close_a_workflow_of_its_own_ends_by_itself(tmp_path):
    given = {"mark": tmp_path / "mark"}
    sink = run([stage("outer", run_and_leave_open, FORK, workers=1, parameters=given)], 1)
    assert statuses(sink, "outer") == ["ok"]
    assert given["mark"].exists()
