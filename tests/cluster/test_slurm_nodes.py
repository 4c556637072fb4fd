"""What is checked of real nodes of Slurm before a study's first run."""

import json
import os
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.cluster.slurm_study import start_study, write_profile, write_study
from tests.cluster.two_nodes import NODES, PARTITION

from stagebench.cluster.node import NOTE
from stagebench.cluster.slurm_nodes import SlurmRequest, check_nodes
from stagebench.design.config import load_study
from stagebench.errors import ConfigError

CAMPAIGN = "2026-11-23T07:00:00+00:00"
CORES = os.cpu_count()


def make_request(folder, treatments=(), **resources):
    given = {"slurm_partition": PARTITION, "cpus_per_task": CORES} | resources
    results = folder / "results" / "waits"
    results.mkdir(parents=True, exist_ok=True)
    return SlurmRequest(results, CAMPAIGN, treatments, False, given, len(NODES))


def problems_of(request):
    with pytest.raises(ConfigError) as caught:
        check_nodes(request)
    return caught.value.problems


def unshare(command):
    """Return a wrapper that runs a command in a view of the file system of its own."""
    return ("unshare", "--mount", "sh", "-c", f'{command} && exec "$@"', "sh")


@pytest.fixture
def other_node(cluster):
    """Return a function that restarts the second node, with a wrapper; undone after the test."""
    yield lambda command: cluster.restart_node(NODES[1], *unshare(command))
    cluster.restart_node(NODES[1])


@pytest.mark.usefixtures("cluster")
def test_nodes_that_are_alike_pass_and_nothing_but_the_note_is_left(tmp_path):
    request = make_request(tmp_path)
    assert check_nodes(request) == []
    assert [path.name for path in request.results.iterdir()] == [NOTE]


@pytest.mark.usefixtures("cluster")
def test_fewer_cores_than_a_node_has_are_a_warning_that_names_each_node(tmp_path):
    warnings = check_nodes(make_request(tmp_path, cpus_per_task=CORES - 1 or None))
    assert [warning.split(" ")[0] for warning in warnings] == list(NODES)
    assert all(f"has {CORES} cores" in warning for warning in warnings)


@pytest.mark.usefixtures("cluster")
def test_cores_that_no_node_has_are_an_error_of_the_treatment(tmp_path):
    write_study(tmp_path, process={"cpus": [4096]})
    treatments = load_study(tmp_path / "study.yaml").treatments
    problems = problems_of(make_request(tmp_path, treatments))
    assert len(problems) == len(NODES) * len(treatments)
    assert all("no CPU 4096 for process.cpus" in problem for problem in problems)
    assert {problem.split(":")[0] for problem in problems} == set(NODES)


@pytest.mark.usefixtures("cluster")
def test_an_unknown_partition_is_named_with_those_that_there_are(tmp_path):
    (problem,) = problems_of(make_request(tmp_path, slurm_partition="nowhere"))
    assert "invalid partition" in problem.lower()
    assert problem.endswith(f"allowed for slurm_partition: {PARTITION}")


def test_a_folder_that_a_node_does_not_see_ends_the_study_before_anything_runs(
    other_node, tmp_path
):
    write_study(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    other_node(f"mount -t tmpfs none {results}")
    with start_study(tmp_path) as study:
        output, _ = study.communicate(timeout=60)
    assert study.returncode == 1
    assert f"{NODES[1]} does not see {results / 'waits'}" in output
    assert f"{NODES[0]} does not see" not in output
    assert "Traceback" not in output
    assert not (results / "waits" / "raw").exists()
    assert not (results / "waits" / "plan.json").exists()


def test_what_a_node_writes_must_be_seen_here(other_node, tmp_path):
    request = make_request(tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    # A copy that is made once is not a shared folder.
    link = f"mount --bind {own} {request.results}"
    (own / NOTE).write_text(json.dumps({"campaign": CAMPAIGN}))
    other_node(link)
    (problem,) = problems_of(request)
    assert problem.startswith(f"what {NODES[1]} writes into {request.results} is not seen here")


def test_a_clock_that_differs_is_named_with_what_it_differs_by_at_least(other_node, tmp_path):
    packages = Path(sysconfig.get_path("purelib"))
    startup = next(packages.glob("*.pth"))
    # Python on that node starts with another clock; the node itself keeps its own.
    shifted = tmp_path / "shifted.pth"
    ahead = "(lambda was=time.time: was() + 3600)"
    lines = f"import time; time.time = getattr(time, 'ahead', {ahead}); time.ahead = time.time"
    shifted.write_text(f"{startup.read_text()}\n{lines}\n")
    other_node(f"mount --bind {shifted} {startup}")
    (problem,) = problems_of(make_request(tmp_path))
    assert problem.startswith(f"the clock of {NODES[1]} is at least 3,")
    assert " s ahead of " in problem
    assert "allowed: 1 s" in problem


def test_a_node_without_this_environment_is_named(other_node, tmp_path):
    other_node(f"mount -t tmpfs none {sys.prefix}")
    (problem,) = problems_of(make_request(tmp_path))
    assert NODES[1] in problem
    assert f"allowed: nodes that see this Python environment, {sys.prefix}" in problem


def test_an_unknown_profile_is_named_before_anything_else(tmp_path):
    write_study(tmp_path)
    (tmp_path / "profile" / "config.yaml").unlink()
    with start_study(tmp_path) as study:
        output, _ = study.communicate(timeout=60)
    assert study.returncode == 2
    assert "--profile profile: no config.yaml there; allowed: the folder of a profile" in output
    assert not (tmp_path / "results").exists()


def test_the_shipped_profile_has_all_values_that_a_cluster_must_replace(tmp_path):
    write_profile(tmp_path)
    assert (tmp_path / "profile" / "config.yaml").read_text().count("slurm_partition=debug") == 1
