"""A study on two nodes of which one dies: what is kept, what is made again, and what is said."""

import json
import time

import pytest
from tests.cluster.slurm_study import runs_there, start_study, write_study
from tests.cluster.two_nodes import NODES, call

DELAY_S = 1.0


def await_kept_run(folder, study):
    """Wait until a block has one of its runs; return the block and the node that measures it."""
    while study.poll() is None:
        for block in (1, 2):
            if len(runs_there(folder, block)) == 1:
                return block, find_node(block)
        time.sleep(0.05)
    pytest.fail(f"the study ended too early:\n{study.stdout.read()}")


def find_node(block):
    jobs = dict(
        line.split("|") for line in call("squeue", "--noheader", "--format=%k|%N").splitlines()
    )
    assert set(jobs.values()) == set(NODES), jobs
    return jobs[f"rule_r{block}_measure"]


@pytest.fixture(scope="module")
def lost(cluster, tmp_path_factory):
    """A study of two treatments in two blocks; a node dies when its block has its first run."""
    folder = tmp_path_factory.mktemp("lost")
    write_study(folder, DELAY_S, treatments=2)
    with start_study(folder) as study:
        block, node = await_kept_run(folder, study)
        cluster.lose_node(node)
        output, _ = study.communicate(timeout=120)
    kept = runs_there(folder)
    cluster.restart_node(node)
    with start_study(folder) as again:
        resumed, _ = again.communicate(timeout=120)
    return folder, block, study.returncode, output, kept, again.returncode, resumed


def test_the_other_node_goes_on_to_the_end_of_its_block(lost):
    _, block, _, _, kept, _, _ = lost
    assert sum(name.endswith(f"/r{3 - block}") for name in kept) == 2


def test_the_lost_block_is_named_and_the_study_ends_with_1_and_says_how_to_go_on(lost):
    _, block, code, output, kept, _, _ = lost
    assert code == 1
    assert f"LOST    block {block}: " in output
    assert f"{len(kept)} of 4 runs are there; start it again to go on:" in output
    assert "stagebench run study.yaml --profile profile" in output
    assert "Traceback" not in output
    assert "FAILED" not in output


def test_the_same_command_makes_only_what_is_missing_and_the_report(lost):
    folder, _, _, _, kept, code, resumed = lost
    assert code == 0, resumed
    assert f"resuming: {len(kept)} of 4 runs are there" in resumed
    assert len(runs_there(folder)) == 4
    assert {name: runs_there(folder)[name] for name in kept} == kept
    assert (folder / "results/waits/report.md").stat().st_size


def test_runs_of_a_block_follow_each_other_in_their_order(lost):
    folder, block, *_ = lost
    whole = 3 - block
    runs = [
        json.loads(path.read_text())
        for path in (folder / "results/waits/raw").glob(f"waiting/*/r{whole}/run.json")
    ]
    ordered = sorted(runs, key=lambda run: run["started_at"])
    assert [run["rank"] for run in ordered] == sorted(run["rank"] for run in runs)
    assert len(ordered) == 2


@pytest.mark.usefixtures("lost")
def test_nothing_is_left_on_the_cluster():
    assert not call("squeue", "--noheader")
