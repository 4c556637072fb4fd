"""The trace of a program of known memory is true: its bracket, and its number of processes."""

import pytest
from tests.oracles.observe import judge_bracket, observe_creation, observe_program

from stagebench.records import MemorySample, ReadRecord, SweepRecord
from stagebench.store import READS_FILE, SAMPLES_FILE, SWEEPS_FILE, read_records

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def observe(interpreter, tmp_path_factory):
    """Trace a program; all tests of the same kind and seed share one trace."""
    made = {}

    def make(kind, seed):
        if (kind, seed) not in made:
            folder = tmp_path_factory.mktemp(kind) / "run"
            made[kind, seed] = observe_program(interpreter, kind, seed, folder)
        return made[kind, seed]

    return make


@pytest.mark.parametrize("seed", SEEDS)
def test_no_sweep_finds_more_than_the_true_peak(observe, kind, seed):
    truth, summary, _ = observe(kind, seed)
    assert judge_bracket(truth, summary["peak"]["tree"]) != "below lower"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_upper_bound_is_no_less_than_the_true_peak(observe, kind, seed):
    truth, summary, _ = observe(kind, seed)
    assert summary["peak"]["tree"]["upper_bytes"] is not None
    assert judge_bracket(truth, summary["peak"]["tree"]) != "above upper"


@pytest.mark.parametrize("seed", SEEDS)
def test_every_process_is_counted_once(observe, kind, seed):
    truth, summary, _ = observe(kind, seed)
    assert summary["processes"]["created"] == truth["processes_created"]


def test_a_shared_mapping_is_found_at_its_size_while_it_is_held(observe):
    errors = []
    for seed in SEEDS:
        truth, _, folder = observe("shared_mapping", seed)
        for samples in whole_sweeps(folder / "trace", *truth["held_ns"]):
            tree = sum(sample.pss_bytes for sample in samples)
            mapping = sum(sample.shmem_bytes for sample in samples)
            errors.append(
                max(
                    abs(tree / truth["tree_peak_pss_bytes"] - 1),
                    abs(mapping / truth["shared_mapping_bytes"] - 1),
                )
            )
        errors += [
            abs(read.shmem_bytes / truth["shared_mapping_bytes"] - 1)
            for read in read_records(folder / "trace" / READS_FILE, ReadRecord)
            if read.shmem_bytes is not None
            and truth["held_ns"][0] <= read.started_ns
            and read.ended_ns <= truth["held_ns"][1]
        ]
    assert errors
    assert sum(error <= 0.01 for error in errors) >= 0.99 * len(errors)


def whole_sweeps(folder, since_ns, until_ns):
    """Yield the samples of each untorn PSS sweep between two moments."""
    samples = read_records(folder / SAMPLES_FILE, MemorySample)
    for sweep in read_records(folder / SWEEPS_FILE, SweepRecord):
        if sweep.kind != "pss" or sweep.torn:
            continue
        if since_ns <= sweep.started_ns and sweep.ended_ns <= until_ns:
            yield [sample for sample in samples if sample.sweep == sweep.sweep]


@pytest.mark.parametrize(
    "way", ["fork", "fork_in_thread", "double_fork", "subprocess", "posix_spawn", "pool_fork"]
)
def test_no_child_is_missed_whatever_creates_it(tmp_path, way):
    truth, summary, _ = observe_creation(way, 60, tmp_path / way)
    assert summary["processes"]["created"] == truth["processes_created"]
