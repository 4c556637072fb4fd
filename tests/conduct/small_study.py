"""A study of short waits in a folder of its own, and `stagebench run` on it."""

import subprocess

import yaml
from tests.study import STAGEBENCH

STEPS = """\
import os


def step(data: object = None, *, fault: str) -> int:
    with open(COUNT, "a") as file:
        file.write("x")
    if fault == "always" or (fault == "later" and os.path.getsize(COUNT) > 1):
        raise ValueError("no such file: \\x1b[31m<b>evil</b> {{7*7}} " + 500 * "long ")
    return 1


COUNT = os.path.join(os.path.dirname(__file__), "count.txt")
"""


def write_study(folder, levels, replicates=2, workers=(1,)):
    """Write a study whose treatments differ by a fault of their handler, the first the baseline."""
    (folder / "steps.py").write_text(STEPS)
    stages = [
        {
            "name": "fetch",
            "handler": "wait",
            "executor": "thread",
            "workers": "{workers}",
            "parameters": {"delay_s": 0.005},
        },
        {
            "name": "parse",
            "handler": "steps:step",
            "executor": "thread",
            "workers": 1,
            "after": ["fetch"],
            "parameters": {"fault": "{fault}"},
        },
    ]
    experiment = {
        "name": "tried",
        "workflow": "pipeline",
        "tasks": 2,
        "sampler": {"interval_s": 0.05, "cpu_budget": 0.5},
        "factors": {"fault": list(levels), "workers": list(workers)},
        "baseline": {"fault": levels[0], "workers": workers[0]},
    }
    config = {
        "study": "small",
        "seed": 1,
        "replicates": replicates,
        "time_limit_s": 20,
        "quiet_wait_s": 0,
        "warm_memory": "1 MiB",
        "reference": None,
        "diagnose": False,
        "workflows": [{"name": "pipeline", "stages": stages}],
        "experiments": [experiment],
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def run_study(folder, *arguments, config="study.yaml"):
    return subprocess.run(
        [STAGEBENCH, "run", config, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def count_runs_there(folder):
    return len(list((folder / "results/small/raw").glob("*/*/r*/run.json")))
