"""A cluster of two nodes for a file of tests; they are skipped where none can be started."""

from importlib.util import find_spec

import pytest
from tests.cluster.two_nodes import two_nodes, why_not


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two idle nodes of a real Slurm; a test leaves them so.

    Of a module, because another process of the tests may wait for it to end.
    """
    reason = why_not()
    if reason is None and find_spec("snakemake_executor_plugin_slurm") is None:
        reason = "snakemake-executor-plugin-slurm: not installed (make slurm)"
    if reason is not None:
        pytest.skip(reason)
    with two_nodes(tmp_path_factory.mktemp("cluster") / "two_nodes") as cluster:
        yield cluster
