"""Control groups: a real one where this machine lets us make one, and every reason why not."""

import os
import subprocess
import sys

import pytest

from stagebench.measure.cgroup import control_group

MIB = 1024 * 1024


def describe(folder, cgroup, mounts):
    folder.mkdir(exist_ok=True)
    (folder / "cgroup").write_text(cgroup)
    (folder / "mounts").write_text(mounts)
    return folder


def test_a_groups_peak_holds_what_its_processes_allocated():
    program = "input(); block = bytearray(80 << 20); block[::4096] = bytes(len(block) // 4096)"
    with control_group() as group:
        if group.reason:
            pytest.skip(group.reason)
        child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
        group.add(child.pid)
        child.communicate(b"\n")
        charged = group.read()
    assert 80 * MIB <= charged.peak_bytes <= 120 * MIB
    assert charged.cache_bytes < charged.peak_bytes
    assert charged.kernel_peak_bytes is None or charged.kernel_peak_bytes > 0


def test_a_group_is_gone_when_the_block_ends():
    with control_group() as group:
        if group.reason:
            pytest.skip(group.reason)
        folder = group.folder
        assert folder.is_dir()
    assert not folder.exists()


def test_without_a_mounted_group_of_memory_the_reason_is_told(tmp_path):
    proc = describe(tmp_path / "none", "0::/\n", "proc /proc proc rw 0 0\n")
    with control_group(proc) as group:
        group.add(os.getpid())
        assert group.read() is None
        assert group.reason == "no control group of memory is mounted"


def test_a_group_that_does_not_tell_its_peak_is_not_used(tmp_path):
    (tmp_path / "tree/own").mkdir(parents=True)
    mounts = f"cgroup2 {tmp_path}/tree cgroup2 rw 0 0\n"
    with control_group(describe(tmp_path / "v2", "0::/own\n", mounts)) as group:
        assert group.read() is None
        assert group.reason == "memory.peak is not told for a group of its own"
    assert list((tmp_path / "tree/own").iterdir()) == []


def test_a_group_that_may_not_be_made_is_told_with_its_place(tmp_path):
    mounts = f"cgroup {tmp_path}/tree cgroup rw,memory 0 0\n"
    proc = describe(tmp_path / "v1", "4:memory:/nowhere\n", mounts)
    with control_group(proc) as group:
        assert group.reason.startswith("No such file or directory: ")
        assert "nowhere/stagebench-" in group.reason
