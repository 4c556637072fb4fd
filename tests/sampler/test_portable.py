"""Memory by psutil, on real processes."""

import os
import subprocess
import sys

import pytest

from stagebench.sampler.portable import PortableFiles, open_files
from stagebench.sampler.procfs import MemoryFiles, Vanished
from stagebench.sampler.sweep import Sweep, complete_readings, read_counters_of, record_sample


def test_the_rollup_is_read_where_it_exists(tmp_path):
    assert isinstance(open_files(), MemoryFiles)
    assert isinstance(open_files(tmp_path / "smaps_rollup"), PortableFiles)


def test_psutils_best_metric_here_is_pss_and_agrees_with_the_kernels():
    files = PortableFiles()
    assert files.metric == "pss"
    assert not files.counts_faults
    ours = MemoryFiles().read_memory(os.getpid())
    theirs = files.read_memory(os.getpid())
    assert theirs.pss_bytes == pytest.approx(ours.pss_bytes, rel=0.05)
    assert theirs.anon_bytes is None
    counters = files.read_counters(os.getpid())
    assert counters.rss_bytes == pytest.approx(ours.rss_bytes, rel=0.05)
    assert not files.reset_mark(os.getpid())


def test_a_process_that_has_ended_vanishes():
    child = subprocess.Popen([sys.executable, "-c", ""])
    files = PortableFiles()
    child.wait()
    with pytest.raises(Vanished):
        files.read_memory(child.pid)
    with pytest.raises(Vanished):
        files.read_counters(child.pid)


def test_what_psutil_does_not_report_is_missing_in_the_sample():
    files = PortableFiles()
    readings = complete_readings(read_counters_of([os.getpid()], files), files, walk=True)
    sweep = Sweep("pss", 1, 2, readings, 0, changed=False)
    sample = record_sample(0, sweep.readings[0])
    assert sample.pss_bytes > 2**20
    assert (sample.file_bytes, sample.shmem_bytes) == (None, None)
