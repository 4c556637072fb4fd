"""Control groups: a real one if this machine permits it, and every reason why it may not."""

import os
import subprocess
import sys

import pytest

from stagebench.measure.cgroup import Limits, machine_memory_bytes, read_limits
from stagebench.sampler.group import control_group

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


def test_without_a_mounted_memory_group_the_reason_is_reported(tmp_path):
    proc = describe(tmp_path / "none", "0::/\n", "proc /proc proc rw 0 0\n")
    with control_group(proc) as group:
        group.add(os.getpid())
        assert group.read() is None
        assert group.reason == "no control group of memory is mounted"


def test_the_group_of_a_killed_supervisor_is_removed(tmp_path):
    own = tmp_path / "tree/own"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (ended.pid, os.getppid()):
        (own / f"stagebench-{pid}").mkdir(parents=True)
    mounts = f"cgroup2 {tmp_path}/tree cgroup2 rw 0 0\n"
    with control_group(describe(tmp_path / "v2", "0::/own\n", mounts)):
        pass
    assert [folder.name for folder in own.iterdir()] == [f"stagebench-{os.getppid()}"]


def test_a_group_without_a_peak_is_not_used(tmp_path):
    (tmp_path / "tree/own").mkdir(parents=True)
    mounts = f"cgroup2 {tmp_path}/tree cgroup2 rw 0 0\n"
    with control_group(describe(tmp_path / "v2", "0::/own\n", mounts)) as group:
        assert group.read() is None
        assert group.reason == "memory.peak does not exist in a new group"
    assert list((tmp_path / "tree/own").iterdir()) == []


def test_a_group_that_cannot_be_created_is_reported_with_its_path(tmp_path):
    mounts = f"cgroup {tmp_path}/tree cgroup rw,memory 0 0\n"
    proc = describe(tmp_path / "v1", "4:memory:/nowhere\n", mounts)
    with control_group(proc) as group:
        assert group.reason.startswith("No such file or directory: ")
        assert "nowhere/stagebench-" in group.reason


MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def make_groups(tmp_path, kind, controllers, folder, files):
    """Write what /proc says about one mount of groups, and the files of the groups below it."""
    write(tmp_path, {"cgroup": f"4:{controllers}:{folder}\n"})
    options = f"rw,{controllers}" if controllers else "rw"
    (tmp_path / "mounts").write_text(f"none {tmp_path}/groups {kind} {options} 0 0\n")
    (tmp_path / "groups").mkdir()
    write(tmp_path / "groups", files)
    return tmp_path


@pytest.mark.parametrize("outer", [True, False])
def test_the_lowest_limit_of_a_group_and_those_around_it_counts(tmp_path, outer):
    files = {
        "a/cpu.max": "150000 100000" if outer else "max 100000",
        "a/b/cpu.max": "200000 100000",
        "a/memory.max": "max",
        "a/b/memory.max": "1048576",
        "a/b/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 7\nthrottled_usec 10\n",
    }
    proc = make_groups(tmp_path, "cgroup2", "", "/a/b", files)
    assert read_limits(proc) == Limits(1.5 if outer else 2.0, 1048576, 7)


def test_groups_of_version_1_have_limits(tmp_path):
    files = {
        "a/cpu.cfs_quota_us": "50000",
        "a/cpu.cfs_period_us": "100000",
        "a/memory.limit_in_bytes": "9223372036854771712",
        "a/cpu.stat": "nr_periods 0\nnr_throttled 1\n",
    }
    proc = make_groups(tmp_path, "cgroup", "cpu,memory", "/a", files)
    assert read_limits(proc) == Limits(0.5, "max", 1)


def test_without_groups_limits_are_unknown(tmp_path):
    assert read_limits(tmp_path) == Limits(None, None, None)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"a/b": "1000\n"}, 1000),
        ({"a": "2000\n", "a/b": "max\n"}, 2000),
        ({"a": "500\n", "a/b": "1000\n"}, 500),
        ({"a/b": "max\n"}, MACHINE),
        ({"a/b": f"{2**61}\n"}, MACHINE),
        ({}, MACHINE),
    ],
    ids=["own", "parent's", "the lower", "none", "above the machine", "no files"],
)
@pytest.mark.parametrize(
    "version",
    [
        ("cgroup2", "", "memory.max", "max\n"),
        ("cgroup", "memory", "memory.limit_in_bytes", "9223372036854771712\n"),
    ],
    ids=["version 2", "version 1"],
)
def test_memory_is_the_lowest_limit_of_either_version(tmp_path, version, limits, expected):
    kind, controllers, file, unset = version
    files = {f"{folder}/{file}": text.replace("max\n", unset) for folder, text in limits.items()}
    proc = make_groups(tmp_path, kind, controllers, "/a/b", files)
    assert machine_memory_bytes(proc) == expected


def test_a_container_of_version_1_sees_its_limit_where_groups_are_mounted(tmp_path):
    # Docker shows the host's path in /proc/self/cgroup and mounts that folder as the root.
    files = {"memory.limit_in_bytes": "1000\n"}
    proc = make_groups(tmp_path, "cgroup", "memory", "/docker/c0ffee", files)
    assert machine_memory_bytes(proc) == 1000


def test_a_machine_without_groups_has_all_its_memory(tmp_path):
    assert machine_memory_bytes(tmp_path) == MACHINE


def test_a_snakefile_that_asks_for_memory_imports_no_package(tmp_path):
    program = (
        "import sys; import stagebench.measure.cgroup as _;"
        "print([n for n in ('psutil', 'numpy', 'pandas', 'multiprocessing') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "[]\n"
