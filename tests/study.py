"""A checkout of its own for a test's study, and the real Snakemake in it."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from stagebench import store

ROOT = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
STAGEBENCH = Path(sys.executable).with_name("stagebench")
MEASURED = ("--until", "design", "measure")
"""Arguments that end a study with its last run, where no table or report is looked at."""


@contextlib.contextmanager
def made_once(tmp_path_factory, name):
    """Yield a folder for what all processes of the tests share, and whether it is there already."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    done = folder.with_name(f"{name}-made")
    with folder.with_name(f"{name}-lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, done.exists()
        done.touch()


def checkout(folder):
    """Copy what a study needs, so that a test's results are its own."""
    folder.mkdir(exist_ok=True)
    for name in ("Snakefile", "workflow", "config", "src"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def snakemake(folder, *arguments, config="config/smoke.yaml", cores=2, own_code=False):
    """Run Snakemake in a checkout; with `own_code` by the checkout's source, not the installed."""
    command = [SNAKEMAKE, "--cores", str(cores), "--configfile", config, *arguments]
    own = {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": ""}
    environment = os.environ | (own if own_code else {})
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def count_jobs(output):
    """Return how many jobs each rule has, except `all`, by the table that a dry run prints."""
    found = re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)
    return {rule: int(number) for rule, number in found if rule not in ("all", "total")}


def edit_config(folder, *changes):
    config = yaml.safe_load((folder / "config" / "smoke.yaml").read_text())
    for change in changes:
        change(config)
    (folder / "config" / "mine.yaml").write_text(yaml.safe_dump(config))
    return "config/mine.yaml"


def experiment(config, name):
    return next(one for one in config["experiments"] if one["name"] == name)


def shrink(config):
    """Leave one treatment of a pipeline, two of a payload and one sampled both ways: 8 runs."""
    config["experiments"] = [
        experiment(config, name) for name in ("runtime", "memory", "published_sampling")
    ]
    runtime = experiment(config, "runtime")
    runtime["factors"] = {"workers": [1], "executor": ["process"], "start_method": ["fork"]}
    del runtime["exclude"], runtime["baseline"]


def read_runs(folder, study="smoke"):
    plan = json.loads((folder / "results" / study / "plan.json").read_text())
    raw = folder / "results" / study / "raw"
    runs = [
        store.read_run(raw / run["experiment"] / run["treatment"] / f"r{run['replicate']}")
        for run in plan["runs"]
    ]
    return plan, runs
