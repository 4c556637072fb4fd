"""The programs of known memory read what they are built to hold."""

import json
import subprocess

import pytest
from tests.oracles.interpreter import environment
from tests.oracles.observe import KINDS

MIB = 1 << 20
OWN_MIB = 12
"""The memory of an interpreter itself, with copied pages; a thread or a child needs less."""


@pytest.fixture
def run(interpreter, tmp_path):
    """Run a program without a tracer; returns its truth."""

    def make(kind, seed, *options):
        truth = tmp_path / "truth.json"
        command = interpreter.program(kind, seed, truth, *options)
        done = subprocess.run(command, check=False, env=environment(), timeout=60)
        assert done.returncode == (-9 if kind == "killed_main" else 0)
        return json.loads(truth.read_text())

    return make


def test_the_anonymous_memory_read_is_the_allocated_and_the_interpreters_own(run, kind):
    truth = run(kind, 1)
    own = truth["tree_peak_anon_bytes"] - truth["anonymous_bytes"]
    assert 0 <= own <= OWN_MIB * MIB * truth["processes_at_peak"]


def test_the_parts_of_a_peak_add_up(run, kind):
    truth = run(kind, 2)
    peak = truth["tree_peak_pss_bytes"]
    assert truth["main_pss_at_peak_bytes"] + truth["children_pss_at_peak_bytes"] == peak
    parts = sum(truth[f"tree_peak_{part}_bytes"] for part in ("anon", "file", "shmem"))
    # Each of three parts of each process is rounded down to KiB.
    assert 0 <= peak - parts <= 3 * 1024 * truth["processes_at_peak"]


def test_a_shared_mapping_is_counted_once_however_many_share_it(run):
    truth = run("shared_mapping", 3)
    cut = 1024 * truth["processes_at_peak"]
    assert 0 <= truth["shared_mapping_bytes"] - truth["tree_peak_shmem_bytes"] <= cut


def test_a_program_is_repeatable_by_its_seed(run):
    first, second, other = (run("steady", seed) for seed in (4, 4, 5))
    assert first["parameters"] == second["parameters"] != other["parameters"]


def test_a_scale_multiplies_the_sizes(run):
    truth = run("double_fork", 1, "--scale", "4")
    assert truth["anonymous_bytes"] >= 80 * MIB
    assert truth["tree_peak_anon_bytes"] >= truth["anonymous_bytes"]


def test_a_large_parent_has_200_mib_and_several_children(run):
    truth = run("large_parent", 1)
    assert truth["anonymous_bytes"] >= 200 * MIB
    assert truth["processes_created"] >= 3


def test_churn_creates_as_many_children_as_asked_for(run):
    assert run("churn", 1, "--number", "7")["processes_created"] == 8


def test_every_kind_is_run(interpreter):
    program = [*interpreter.command, interpreter.folder / "program.py", "--list", "kinds"]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    assert tuple(done.stdout.split()) == KINDS
