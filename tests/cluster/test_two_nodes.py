"""The cluster of the tests ends all that it has started, and leaves another one alone."""

import tempfile
from pathlib import Path

import pytest
from tests.cluster import two_nodes
from tests.cluster.two_nodes import CONFIG, NODES, call, why_not


def processes_in(folder):
    """Return the processes whose current folder is below a folder."""
    links = Path("/proc").glob("[0-9]*/cwd")
    return [link.parent.name for link in links if link.resolve().is_relative_to(folder)]


@pytest.fixture
def short_path():
    """A folder with a short name: the sockets of slurmd lie below it, whose paths have a limit."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_all_daemons_and_steps_end_with_the_cluster_and_so_does_its_configuration(short_path):
    if reason := why_not():
        pytest.skip(reason)
    with two_nodes.two_nodes(short_path / "cluster") as cluster:
        call("sbatch", "--nodes=2", "--output=/dev/null", "--wrap=srun sleep 600")
        cluster._await(lambda: len(call("squeue", "--steps", "--noheader").splitlines()) > 1, "it")
        assert all(len(cluster.find(node)) > 1 for node in NODES)
        assert len(processes_in(short_path)) > 4
    assert processes_in(short_path) == []
    assert not CONFIG.exists()


def test_a_cluster_that_the_machine_has_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(two_nodes, "CONFIG", tmp_path / "slurm.conf")
    monkeypatch.setattr(two_nodes, "PROGRAMS", ())
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert why_not() is None
    (tmp_path / "slurm.conf").write_text("ClusterName=theirs\n")
    assert "which tests leave alone" in why_not()
