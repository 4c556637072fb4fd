import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stagebench.sampler.procfs import (
    PAGE_BYTES,
    SPARE_DESCRIPTORS,
    MemoryFiles,
    Status,
    Vanished,
    list_children,
    parse_faults,
    parse_smaps_rollup,
    parse_status,
    read_anonymous_fault_bytes,
    read_children,
    read_command,
    read_counters,
    read_huge_faults,
    read_process,
)

ROLLUP = b"""\
55d0c0a00000-7ffd1c5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               13516 kB
Pss:               12528 kB
Pss_Dirty:          6000 kB
Pss_Anon:           5900 kB
Pss_File:           6628 kB
Pss_Shmem:             0 kB
Shared_Clean:       1000 kB
Shared_Dirty:          0 kB
Private_Clean:      6500 kB
Private_Dirty:      6016 kB
Referenced:        13516 kB
Anonymous:          5904 kB
Private_Hugetlb:    2048 kB
Swap:                  0 kB
"""


def test_a_rollup_is_read_in_bytes_and_uss_sums_the_private_parts():
    memory = parse_smaps_rollup(ROLLUP)
    assert memory.rss_bytes == 13516 * 1024
    assert memory.pss_bytes == 12528 * 1024
    assert memory.anon_bytes == 5900 * 1024
    assert memory.file_bytes == 6628 * 1024
    assert memory.rss_anon_bytes == 5904 * 1024
    assert (memory.shmem_bytes, memory.swap_bytes) == (0, 0)
    assert memory.uss_bytes == (6500 + 6016 + 2048) * 1024


def test_a_process_without_a_memory_map_counts_as_ended():
    with pytest.raises(Vanished):
        parse_smaps_rollup(b"")


def test_known_memory_of_this_process_is_seen():
    files = MemoryFiles()
    before, counters = files.read_memory(os.getpid()), files.read_counters(os.getpid())
    block = bytearray(os.urandom(1024)) * (64 * 1024)
    after = files.read_memory(os.getpid())
    for name in ("pss_bytes", "uss_bytes", "rss_bytes", "anon_bytes"):
        grown = getattr(after, name) - getattr(before, name)
        assert grown == pytest.approx(len(block), rel=0.05)
    # The cheap counter may lag behind by what each CPU has not yet added to it.
    later = files.read_counters(os.getpid())
    assert later.rss_bytes - counters.rss_bytes == pytest.approx(len(block), rel=0.05)
    assert later.rss_anon_bytes - counters.rss_anon_bytes == pytest.approx(len(block), rel=0.05)
    assert later.faults - counters.faults >= len(block) // (2 << 20)
    assert later.high_water_bytes >= later.rss_bytes
    files.forget(os.getpid())


def descriptors_on(pid):
    """Count this process's descriptors on the files of another."""
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(str(link).startswith(f"/proc/{pid}/") for link in links)


def test_descriptors_stay_open_until_they_are_forgotten_which_an_exec_requires():
    program = "import os; print(1, flush=True); input(); os.execlp('cat', 'cat')"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen([sys.executable, "-c", program], **pipes)
    assert child.stdout.readline() == b"1\n"
    files = MemoryFiles()
    first = files.read_memory(child.pid)
    assert descriptors_on(child.pid) == 1
    child.stdin.write(b"\n")
    child.stdin.flush()
    while read_command(child.pid) != "cat":
        assert child.poll() is None
    child.stdin.write(b"x\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"x\n"
    files.forget(child.pid)
    assert descriptors_on(child.pid) == 0
    assert 0 < files.read_memory(child.pid).rss_bytes < first.rss_bytes
    files.forget(child.pid)
    child.communicate()


def test_a_status_has_process_and_memory_but_a_zombies_has_none():
    memory = b"VmHWM:\t  20 kB\nVmRSS:\t3 kB\nRssAnon:\t 2 kB\nRssFile:\t 0 kB\nRssShmem:\t 1 kB\n"
    text = b"Name:\tx\nTgid:\t7\nPid:\t8\nVmPeak:\t1 kB\n" + memory
    assert parse_status(text) == Status(7, 3 * 1024, 2 * 1024, 20 * 1024, 1024)
    assert parse_status(b"Name:\tzombie\nTgid:\t9\n") is None


def test_minor_and_major_faults_are_added_whatever_the_name_of_the_program():
    text = b"7 (a) b) S 1 7 7 0 -1 4194560 120 5 30 2 0 0 0 0 20 0 1 0 100 0 0"
    assert parse_faults(text) == 150


def test_counters_of_a_thread_are_those_of_its_process():
    thread = threading.get_native_id()
    assert read_process(thread) == os.getpid()
    assert read_counters(thread).rss_anon_bytes > 2**20


def test_a_mark_is_reset_to_the_rss():
    program = "block = bytearray(50 << 20); del block; print(1, flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen([sys.executable, "-c", program], **pipes)
    assert child.stdout.readline() == b"1\n"
    files = MemoryFiles()
    before = files.read_counters(child.pid)
    assert files.reset_mark(child.pid)
    after = files.read_counters(child.pid)
    files.forget(child.pid)
    child.communicate(b"\n")
    # The kernel may lag behind a little in noting it: see `counter_drift_bytes`.
    assert before.high_water_bytes - before.rss_bytes >= 49 << 20
    assert after.high_water_bytes - after.rss_bytes < 2**20


def test_huge_pages_are_counted_and_a_fault_maps_at_least_one_page():
    assert read_huge_faults() is None or read_huge_faults() >= 0
    assert read_anonymous_fault_bytes() % PAGE_BYTES == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set groups")
def test_memory_is_read_behind_a_long_list_of_groups():
    command = ["setpriv", "--groups", ",".join(map(str, range(2**31, 2**31 + 5000))), "cat"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdin.write(b"x\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"x\n"
    files = MemoryFiles()
    counters = files.read_counters(child.pid)
    files.forget(child.pid)
    child.communicate()
    assert 0 < counters.rss_anon_bytes < counters.rss_bytes <= counters.high_water_bytes


def states_of_threads(pid):
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return sorted(stat.read_text().rpartition(")")[2].split()[0] for stat in stats)


def test_a_process_is_read_after_its_first_thread_has_ended():
    program = """
import ctypes, threading
def work():
    block = bytearray(50 << 20)
    print(1, flush=True)
    input()
thread = threading.Thread(target=work)
thread.start()
ctypes.CDLL(None).pthread_exit(None)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen(command := [sys.executable, "-c", program], **pipes)
    files = MemoryFiles()
    files.read_counters(child.pid)  # its files are open before its first thread ends
    assert child.stdout.readline() == b"1\n"
    while states_of_threads(child.pid) != ["S", "Z"]:  # the other one waits for its input
        assert child.poll() is None
    memory, counters = files.read_memory(child.pid), files.read_counters(child.pid)
    files.forget(child.pid)
    assert files.read_memory(child.pid).rss_bytes == memory.rss_bytes > 50 << 20
    assert counters.high_water_bytes >= counters.rss_bytes > 50 << 20
    assert counters.faults > 0
    assert read_command(child.pid) == " ".join(command)
    assert files.reset_mark(child.pid)
    child.communicate(b"\n")
    with pytest.raises(Vanished):
        files.read_counters(child.pid)
    files.forget(child.pid)
    assert descriptors_on(child.pid) == 0


def test_files_are_read_without_being_kept_open_where_few_may_be():
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SPARE_DESCRIPTORS + 1, most))
    files = MemoryFiles()
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    before = files.read_counters(child.pid)
    assert files.read_memory(child.pid).rss_bytes > 0
    assert files.reset_mark(child.pid)
    assert files.read_counters(child.pid).faults >= before.faults
    assert descriptors_on(child.pid) == 1
    files.forget(child.pid)
    assert descriptors_on(child.pid) == 0
    child.communicate()


def test_a_child_forked_by_a_thread_is_found_under_its_process():
    started = []

    command = [sys.executable, "-c", "print(1, flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    thread = threading.Thread(target=lambda: started.append(subprocess.Popen(command, **pipes)))
    thread.start()
    thread.join()
    (child,) = started
    # Wait for its output: for a moment after exec the command line is empty.
    assert child.stdout.readline() == b"1\n"
    assert child.pid in read_children(os.getpid())
    assert child.pid in list_children()[os.getpid()]
    assert read_command(child.pid) == " ".join(command)
    child.communicate(b"\n")


def test_a_process_that_has_ended_has_no_children_no_command_and_no_memory():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert read_children(child.pid) == []
    assert read_command(child.pid) == ""
    with pytest.raises(Vanished):
        MemoryFiles().read_memory(child.pid)


def test_a_zombie_has_no_memory():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(Vanished):
        MemoryFiles().read_memory(child.pid)
    child.wait()
