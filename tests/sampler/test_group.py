"""A control group as an instrument: real ones where this machine permits it, else made-up files."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.groups import MIB, hold, holds, tell

from stagebench.sampler.group import (
    RESET,
    V1,
    V2,
    GroupReader,
    GroupReading,
    control_group,
    group_around,
    stat_drift_bytes,
)
from stagebench.sampler.places import INNER, find_group, write
from stagebench.sampler.procfs import PAGE_BYTES


@pytest.fixture
def group():
    with control_group() as made:
        if made.reason:
            pytest.skip(made.reason)
        yield made


def describe(folder, cgroup, mounts):
    folder.mkdir(exist_ok=True)
    (folder / "cgroup").write_text(cgroup)
    (folder / "mounts").write_text(mounts)
    return folder


def make_tree(tmp_path):
    """Make a folder that looks like a mounted root of version 2; return it with its /proc."""
    own = tmp_path / "tree"
    own.mkdir()
    (own / "cgroup.subtree_control").write_text("memory\n")
    mounts = f"cgroup2 {own} cgroup2 rw 0 0\n"
    return own, describe(tmp_path / "v2", "0::/\n", mounts)


# ---- making and removing


def test_a_groups_peak_holds_what_its_processes_allocated(group):
    program = "input(); block = bytearray(80 << 20); block[::4096] = bytes(len(block) // 4096)"
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


def test_a_group_is_removed_with_those_that_its_processes_made_in_it():
    with control_group() as group:
        if group.reason:
            pytest.skip(group.reason)
        (group.folder / INNER / "deeper" / "still").mkdir(parents=True)
    assert not group.folder.exists()


def test_without_a_mounted_memory_group_the_reason_is_reported(tmp_path):
    proc = describe(tmp_path / "none", "0::/\n", "proc /proc proc rw 0 0\n")
    with control_group(proc) as group:
        group.add(os.getpid())
        assert group.read() is None
        assert group.open_reader() is None
        assert group.reason == "no control group of memory is mounted"


def test_the_group_of_a_killed_supervisor_is_removed(tmp_path):
    own, proc = make_tree(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (ended.pid, os.getppid()):
        (own / f"stagebench-{pid}" / INNER).mkdir(parents=True)
    with control_group(proc):
        pass
    assert [path.name for path in own.iterdir() if path.is_dir()] == [f"stagebench-{os.getppid()}"]


def test_the_group_of_a_killed_supervisor_with_the_same_process_id_is_replaced(tmp_path):
    own, proc = make_tree(tmp_path)
    (own / f"stagebench-{os.getpid()}" / INNER).mkdir(parents=True)
    with control_group(proc) as group:
        assert group.reason == "memory.peak does not exist in a new group"


def test_a_group_without_a_peak_is_not_used(tmp_path):
    own, proc = make_tree(tmp_path)
    with control_group(proc) as group:
        assert group.read() is None
        assert group.reason == "memory.peak does not exist in a new group"
    assert [path for path in own.iterdir() if path.is_dir()] == []


def test_a_group_that_cannot_be_created_is_reported_with_its_path(tmp_path):
    mounts = f"cgroup {tmp_path}/tree cgroup rw,memory 0 0\n"
    proc = describe(tmp_path / "v1", "4:memory:/nowhere\n", mounts)
    with control_group(proc) as group:
        assert group.reason.startswith("No such file or directory: ")
        assert "nowhere/stagebench-" in group.reason


def test_a_process_that_cannot_be_added_leaves_no_group_and_a_reason(group):
    folder = group.folder
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    group.add(ended.pid)
    assert group.reason.startswith("No such process: ")
    assert group.folder is None
    assert group.read() is None
    assert not folder.exists()


ORDINARY = """
import os
os.setgroups([]); os.setgid(65534); os.setuid(65534)
from stagebench.sampler.group import control_group
with control_group() as group:
    group.add(os.getpid())
    print(group.folder, group.reason, group.read(), group.open_reader())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_without_a_group_has_a_reason_of_one_sentence():
    version, _, _ = find_group("memory", Path("/proc/self"))
    # The interpreter and the modules may lie where only root may read: import them before.
    program = "import stagebench.sampler.group\n" + ORDINARY
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith("None ")
    assert done.stdout.endswith(" None None\n")
    words = "root gave to this user" if version == 1 else "not delegated to this process"
    assert words in done.stdout


# ---- reading

TOUCH = f"""
import mmap, sys
print("ready", flush=True)
sys.stdin.readline()
block = mmap.mmap(-1, {64 * MIB}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
block[::4096] = bytes(len(block) // 4096)
print("taken", flush=True)
sys.stdin.readline()
block.close()
print("given back", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def child(group):
    process = hold(TOUCH)
    group.add(process.pid)
    assert tell(process) == b"ready\n"
    yield process
    process.communicate()


@pytest.fixture
def reader(group):
    """Open the group; it is closed with it."""
    return group.open_reader()


def test_a_reading_follows_anonymous_memory_within_the_drift(child, reader):
    before = reader.read()
    tell(child)
    taken = reader.read()
    tell(child)
    given_back = reader.read()
    drift = reader.drift_bytes
    assert abs(taken.anon_bytes - before.anon_bytes - 64 * MIB) <= drift + 256 * 1024
    assert abs(given_back.anon_bytes - before.anon_bytes) <= drift + 256 * 1024
    assert taken.shmem_bytes == before.shmem_bytes


def test_a_peak_between_two_readings_is_in_the_second_only(child, reader):
    if not reader.resets_peak:
        pytest.skip("this kernel cannot set a peak back")
    reader.read()
    tell(child)
    tell(child)
    with_peak = reader.read()
    # One reading later, the other peak has been set back, too.
    after = reader.read()
    assert with_peak.anon_bytes < 32 * MIB
    assert with_peak.peak_bytes >= 64 * MIB
    assert after.peak_bytes < 48 * MIB


def test_the_times_of_peaks_leave_no_gap(reader):
    moments = []
    for _ in range(50):
        before_ns = time.monotonic_ns()
        reading = reader.read()
        moments.append((reading.peak_since_ns, before_ns, time.monotonic_ns()))
    for (_, before_ns, after_ns), (since_ns, _, _) in itertools.pairwise(moments):
        assert before_ns <= since_ns <= after_ns


def test_a_peak_is_never_below_what_was_read_before_or_after_it(group):
    # Many short spikes: whenever a reading falls among them, none is lost between two peaks.
    program = f"""
import mmap
print("ready", flush=True)
while True:
    block = mmap.mmap(-1, {16 * MIB}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block[::4096] = bytes(len(block) // 4096)
    block.close()
"""
    process = hold(program)
    group.add(process.pid)
    tell(process)
    reader = group.open_reader()
    time.sleep(0.1)
    reader.read()
    readings = []
    for _ in range(200):
        time.sleep(0.002)
        readings.append(reader.read())
    process.kill()
    process.communicate()
    reader.close()
    for reading in readings:
        assert reading.peak_bytes >= reading.anon_bytes - reader.drift_bytes
    assert group.read().peak_bytes >= 16 * MIB


def test_shared_memory_is_told_from_other_page_cache(group, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    program = f"""
import os, sys
block = os.memfd_create("segment")
os.write(block, bytes({8 * MIB}))
print("ready", flush=True)
sys.stdin.readline()
with open({str(tmp_path / "file")!r}, "wb") as file:
    file.write(bytes({16 * MIB}))
print("written", flush=True)
sys.stdin.readline()
"""
    process = hold(program)
    group.add(process.pid)
    tell(process)
    reader = group.open_reader()
    before = reader.read()
    tell(process)
    after = reader.read()
    reader.close()
    process.communicate()
    drift = reader.drift_bytes
    assert 8 * MIB - drift <= before.shmem_bytes <= 9 * MIB + drift
    assert abs(after.shmem_bytes - before.shmem_bytes) <= drift
    if os.statvfs(tmp_path).f_fsid != os.statvfs("/dev/shm").f_fsid:
        grown = after.cache_bytes - before.cache_bytes
        assert 16 * MIB - drift <= grown <= 18 * MIB + drift


def test_a_summary_has_the_peak_that_was_set_back(group, child, reader):
    tell(child)
    tell(child)
    for _ in range(3):
        reader.read()
    charged = group.read()
    assert 64 * MIB <= charged.peak_bytes <= 100 * MIB


def test_the_group_holds_its_processes_only(group, child):
    assert holds(group, child.pid)
    assert not holds(group, os.getpid())
    assert not holds(group, 2**22 + 1)


def test_a_process_that_somebody_moves_away_is_missed(group, child):
    write(group.folder.parent / "cgroup.procs", str(child.pid))
    assert not holds(group, child.pid)


def test_a_group_that_is_taken_away_is_an_error_for_the_reader_and_a_reason_in_the_end(
    group, child
):
    reader = group.open_reader()
    reader.read()
    write(group.folder.parent / "cgroup.procs", str(child.pid))
    (group.folder / INNER).rmdir()
    group.folder.rmdir()
    with pytest.raises(OSError, match="No such device"):
        reader.read()
    assert group.read() is None
    assert group.reason.startswith("it was taken away during the run: No such file or directory: ")


def test_a_closed_reader_keeps_no_file_open(group):
    before = set(os.listdir("/proc/self/fd"))
    reader = group.open_reader()
    assert len(os.listdir("/proc/self/fd")) > len(before)
    reader.close()
    reader.close()
    assert set(os.listdir("/proc/self/fd")) == before


# ---- version 2, in files that look like it

STAT_V2 = """anon 1048576
file 524288
kernel 262144
kernel_stack 16384
pagetables 8192
sec_pagetables 0
percpu 1440
sock 0
vmalloc 0
shmem 131072
zswap 0
inactive_anon 999
active_anon 0
"""


def make_files(folder, stat=STAT_V2):
    for path, peak in ((folder, 3 * MIB), (folder / INNER, 2 * MIB)):
        path.mkdir()
        (path / "memory.stat").write_text(stat)
        (path / "memory.peak").write_text(f"{peak}\n")
        (path / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 7\n")
    return folder


def test_version_2_is_read_line_by_line(tmp_path, monkeypatch):
    # Ordinary files cannot be set back: here, that is refused as by Linux before 6.12.
    monkeypatch.setattr(os, "pwrite", refuse)
    reader = GroupReader(make_files(tmp_path / "group"), V2)
    reading = reader.read()
    assert reading == GroupReading(
        anon_bytes=1048576,
        shmem_bytes=131072,
        cache_bytes=393216,
        kernel_bytes=262144,
        peak_bytes=3 * MIB,
        peak_since_ns=reading.peak_since_ns,
        kernel_peak_bytes=None,
    )
    assert reader.read() == reading
    assert not reader.resets_peak
    reader.close()


def refuse(*_arguments):
    raise OSError(22, "Invalid argument")


def test_version_2_without_a_line_for_kernel_memory_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", refuse)
    stat = STAT_V2.replace("kernel 262144\n", "")
    reader = GroupReader(make_files(tmp_path / "group", stat), V2)
    assert reader.read().kernel_bytes is None
    assert reader.read().shmem_bytes == 131072
    reader.close()


def test_a_memory_stat_without_a_line_that_is_needed_is_an_error(tmp_path):
    stat = STAT_V2.replace("shmem 131072\n", "")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=r"no line shmem: 'memory\.stat'"):
        GroupReader(make_files(tmp_path / "group", stat), V2)
    assert os.listdir("/proc/self/fd") == before


def test_peaks_take_turns(tmp_path, monkeypatch):
    reader = GroupReader(make_files(tmp_path / "group"), V2)
    assert reader.resets_peak
    assert (tmp_path / "group/memory.peak").read_bytes().startswith(RESET)
    for path, peak in (("memory.peak", 5), (f"{INNER}/memory.peak", 6)):
        (tmp_path / "group" / path).write_text(f"{peak:>9}\n")
    done = []
    monkeypatch.setattr(os, "pwrite", lambda file, *_: done.append(("reset", name_of(file))))
    read = os.pread
    monkeypatch.setattr(
        os, "pread", lambda f, *o: (done.append(("read", name_of(f))), read(f, *o))[1]
    )
    assert [reader.read().peak_bytes for _ in range(3)] == [5, 6, 5]
    assert [what for what in done if not what[1].endswith("memory.stat")] == [
        ("reset", f"{INNER}/memory.peak"),
        ("read", "group/memory.peak"),
        ("reset", "group/memory.peak"),
        ("read", f"{INNER}/memory.peak"),
        ("reset", f"{INNER}/memory.peak"),
        ("read", "group/memory.peak"),
    ]
    assert reader.largest_bytes == 3 * MIB
    reader.close()


def name_of(file):
    return "/".join(os.readlink(f"/proc/self/fd/{file}").split("/")[-2:])


def test_swap_is_the_most_that_was_seen(tmp_path):
    lines = "total_cache 9\ntotal_rss 8\ntotal_rss_huge 0\ntotal_shmem 2\ntotal_swap {}\n"
    folder = tmp_path / "group"
    for path in (folder, folder / INNER):
        path.mkdir()
        (path / V1.kernel_peak).write_text("4\n")
        (path / "memory.stat").write_text("cache 1\nrss 1\nshmem 1\n" + lines.format(4096))
        (path / V1.peak).write_text("8\n")
        (path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    reader = GroupReader(folder, V1)
    assert reader.largest_swap_bytes is None
    first = reader.read()
    assert (first.anon_bytes, first.shmem_bytes, first.cache_bytes) == (8, 2, 7)
    assert (first.kernel_bytes, first.kernel_peak_bytes) == (None, 0)  # as it was set back
    assert reader.largest_kernel_bytes == 4
    (folder / INNER / "memory.stat").write_text(lines.format(0))
    reader.read()
    assert reader.largest_swap_bytes == 4096
    reader.close()


@pytest.mark.parametrize(
    ("release", "batches"),
    [("6.8.0", 2), ("6.12.117+deb13-cloud-amd64", 2), ("7.0-rc1", 2), ("6.1.0-50", 3), ("odd", 2)],
)
def test_memory_stat_lags_behind_by_some_batches_of_each_cpu(release, batches):
    assert stat_drift_bytes(2, release) == batches * 2 * 64 * PAGE_BYTES


# ---- around a process that outlives the block

GROUP_AROUND = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
sys.stdin.readline()
"""


def test_processes_that_still_live_are_given_back(group):
    group.remove()
    before = Path("/proc/self/cgroup").read_text()
    process = hold(GROUP_AROUND)
    with group_around(process.pid) as around:
        grandchild = int(tell(process))
        assert holds(around, process.pid)
        assert holds(around, grandchild)
    assert not around.folder.exists()
    for pid in (process.pid, grandchild):
        assert Path(f"/proc/{pid}/cgroup").read_text() == before
    os.kill(grandchild, 9)
    process.communicate()
    assert process.returncode == 0


def test_a_tree_that_forks_while_it_is_given_back_comes_home_whole(group):
    group.remove()
    before = Path("/proc/self/cgroup").read_text()
    program = """
import os, sys, time
print("ready", flush=True)
for _ in range(300):
    if os.fork() == 0:
        time.sleep(0.05)
        os._exit(0)
    time.sleep(0.001)
print("done", flush=True)
sys.stdin.readline()
"""
    process = hold(program)
    with group_around(process.pid) as around:
        tell(process)
        time.sleep(0.05)
    assert Path(f"/proc/{process.pid}/cgroup").read_text() == before
    assert process.stdout.readline() == b"done\n"
    around.remove()
    assert not around.folder.exists()
    process.communicate()


def test_without_a_group_the_process_runs_as_before(tmp_path):
    proc = describe(tmp_path / "none", "0::/\n", "proc /proc proc rw 0 0\n")
    process = hold("print(5)")
    with group_around(process.pid, proc) as around:
        assert around.reason == "no control group of memory is mounted"
        assert tell(process) == b"5\n"
    process.communicate()
