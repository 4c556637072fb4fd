"""A study of waits on two nodes, and a profile for the cluster of the tests."""

import subprocess

import yaml
from tests.cluster.two_nodes import PARTITION
from tests.study import ROOT, STAGEBENCH

PROFILE = ROOT / "workflow" / "profiles" / "slurm"


def write_study(folder, delay_s=0.01, treatments=2, process=None):
    """Write a study whose runs wait, one block for each node, and its profile."""
    stage = {
        "name": "wait",
        "handler": "wait",
        "executor": "thread",
        "workers": "{workers}",
        "parameters": {"delay_s": delay_s},
    }
    experiment = {
        "name": "waiting",
        "workflow": "waits",
        "tasks": 1,
        "process": process or {},
        "sampler": {"interval_s": 0.05, "cpu_budget": 0.5},
        "factors": {"workers": list(range(1, treatments + 1))},
        "baseline": {"workers": 1},
    }
    config = {
        "study": "waits",
        "seed": 1,
        "replicates": 2,
        "time_limit_s": 60,
        "quiet_wait_s": 0,
        "warm_memory": "1 MiB",
        "reference": None,
        "diagnose": False,
        "workflows": [{"name": "waits", "stages": [stage]}],
        "experiments": [experiment],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    write_profile(folder)


def write_profile(folder, **resources):
    """Write the shipped profile with the values of this cluster, and short waits."""
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    given = dict(one.split("=", 1) for one in profile["default-resources"])
    given |= {"slurm_partition": PARTITION, "cpus_per_task": "1"} | resources
    profile["default-resources"] = [f"{name}={value}" for name, value in given.items()]
    profile |= {"slurm-init-seconds-before-status-checks": 1, "latency-wait": 5, "jobs": 2}
    (folder / "profile").mkdir(exist_ok=True)
    (folder / "profile" / "config.yaml").write_text(yaml.safe_dump(profile))


def start_study(folder):
    """Start `stagebench run` on the cluster."""
    return subprocess.Popen(
        [STAGEBENCH, "run", "study.yaml", "--profile", "profile"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def runs_there(folder, block="?"):
    """Return the runs that are there, with the time at which each was written."""
    raw = folder / "results" / "waits" / "raw"
    return {
        path.parent.relative_to(raw).as_posix(): path.stat().st_mtime_ns
        for path in raw.glob(f"waiting/*/r{block}/run.json")
    }
