"""The limits of control groups, and whether a real one was hit."""

import os
import subprocess
import sys

import pytest
from tests.groups import MIB, hold, limited_group

from stagebench.measure.cgroup import (
    Limits,
    OutOfMemory,
    machine_memory_bytes,
    read_limits,
)
from stagebench.sampler.group import V2, Group, control_group
from stagebench.sampler.places import INNER
from stagebench.sampler.places import write as write_to

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


def test_a_kill_at_a_limit_around_a_group_names_the_limit():
    with limited_group(40 * MIB) as outer, control_group(outer.proc) as group:
        watch = OutOfMemory(group, outer.proc)
        assert watch.describe() == {"oom_kills": 0, "out_of_memory": None}
        child = hold(f"bytearray(b'x') * {80 * MIB}")
        group.add(child.pid)
        reader = group.open_reader()
        child.communicate(b"\n")
        assert child.returncode == -9
        assert watch.describe() == {
            "oom_kills": 1,
            "out_of_memory": "the kernel killed 1 process at the memory limit of 40 MiB"
            f" in {outer.limit}",
        }
        reader.close()


def test_a_kill_in_the_group_of_this_process_is_seen_without_a_group_of_the_runs_own():
    with limited_group(40 * MIB) as outer:
        watch = OutOfMemory(Group(None, V2, "none"), outer.proc)
        child = hold(f"bytearray(b'x') * {80 * MIB}")
        write_to(outer.folder / "cgroup.procs", str(child.pid))
        child.communicate(b"\n")
        assert watch.describe()["oom_kills"] == 1
        assert str(outer.limit) in watch.describe()["out_of_memory"]


def make_watch(tmp_path, files):
    """Watch a group of version 2 of made-up files; return it with its folder."""
    folder = tmp_path / "tree/outer/stagebench-1"
    write(tmp_path / "tree/outer", {f"stagebench-1/{INNER}/memory.max": "max\n", **files})
    return OutOfMemory(Group(folder, V2)), tmp_path / "tree/outer"


def events(oom, kills):
    return f"low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {kills}\noom_group_kill 0\n"


EVENTS = f"stagebench-1/{INNER}/memory.events"


def test_the_limit_that_ran_out_is_the_lowest_one_that_was_hit_meanwhile(tmp_path):
    files = {"memory.max": "2097152\n", "memory.events": events(3, 0), EVENTS: events(0, 0)}
    files |= {"stagebench-1/memory.max": "1048576\n", "stagebench-1/memory.events": events(5, 0)}
    # The group's own limit was hit before the run, the one around it during the run.
    watch, outer = make_watch(tmp_path, files)
    write(outer, {EVENTS: events(1, 2), "memory.events": events(4, 2)})
    assert watch.describe() == {
        "oom_kills": 2,
        "out_of_memory": "the kernel killed 2 processes at the memory limit of 2 MiB"
        f" in {outer}/memory.max",
    }


def test_a_kill_without_a_limit_in_sight_is_told_as_one(tmp_path):
    watch, outer = make_watch(tmp_path, {EVENTS: events(0, 0)})
    write(outer, {EVENTS: events(0, 1)})
    assert watch.describe()["out_of_memory"] == (
        "the kernel killed 1 process because memory ran out, at no limit that can be seen from here"
    )


def test_without_a_count_nothing_is_known_about_kills(tmp_path):
    watch = OutOfMemory(Group(None, V2, "none"), tmp_path)
    assert watch.describe() == {"oom_kills": None, "out_of_memory": None}


def test_a_group_that_is_gone_has_an_unknown_number_of_kills(tmp_path):
    watch, outer = make_watch(tmp_path, {EVENTS: events(0, 0)})
    (outer / EVENTS).unlink()
    assert watch.describe() == {"oom_kills": None, "out_of_memory": None}
