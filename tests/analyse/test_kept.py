"""What a torn sweep tells for certain, by hand: sizes in MiB, one fault is a page of 4 KiB."""

import pytest

from stagebench.analyse.bounds import Kernel
from stagebench.analyse.kept import Kept, kept_by, kept_by_tree
from stagebench.records import MemorySample

MIB = 1024 * 1024
PER_MIB = 256  # faults
KERNEL = Kernel(drift=MIB, page=4096, anonymous_fault=4096)


def sample(*, uss=60, file=10, after=80, faults=0):
    """80 MiB of anonymous memory, 20 of them shared, and 10 of files that it may have alone."""
    return MemorySample(
        sweep=0,
        pid=1,
        rss_bytes=90 * MIB,
        rss_anon_bytes=80 * MIB,
        rss_after_bytes=(after + 10) * MIB,
        rss_anon_after_bytes=after * MIB,
        high_water_bytes=90 * MIB,
        mark_reset=0,
        faults_before=7,
        faults=7 + faults,
        pss_bytes=None if uss is None else 80 * MIB,
        anon_bytes=None if uss is None else 70 * MIB,
        file_bytes=None if uss is None else file * MIB,
        shmem_bytes=None if uss is None else 0,
        uss_bytes=None if uss is None else uss * MIB,
        swap_bytes=0,
    )


def in_mib(kept):
    return tuple(size / MIB for size in kept)


def test_what_stands_still_is_kept_whole_but_for_files():
    assert in_mib(kept_by(sample(), KERNEL)) == (50, 80)


@pytest.mark.parametrize(
    ("after", "faults", "lost"),
    [
        pytest.param(70, 0, 10 + 1, id="what the RSS fell by, and the drift of the counters"),
        pytest.param(80, 5 * PER_MIB, 5 + 1, id="what may have come in its place"),
        pytest.param(90, 10 * PER_MIB, 0 + 1, id="nothing, where all that came made it grow"),
        pytest.param(90, 12 * PER_MIB, 2 + 1, id="what came beside the growth"),
        pytest.param(75, 3 * PER_MIB, 5 + 3 + 1, id="what the RSS fell by, and what came besides"),
    ],
)
def test_what_may_have_gone_is_taken_off(after, faults, lost):
    kept = kept_by(sample(after=after, faults=faults), KERNEL)
    assert in_mib(kept) == (50 - lost, 80 - lost)


def test_no_more_than_all_can_be_lost():
    assert kept_by(sample(after=0, faults=10_000_000), KERNEL) == Kept(0, 0)


def test_a_process_of_which_only_counters_were_read_tells_nothing():
    assert kept_by(sample(uss=None), KERNEL) == Kept(0, 0)


def test_of_shared_memory_one_process_counts():
    tree = [Kept(50, 80), Kept(10, 35), Kept(0, 20)]
    assert kept_by_tree(tree) == 50 + 10 + 0 + 30
    assert kept_by_tree([]) == 0
