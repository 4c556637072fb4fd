"""Where a control group is made: every kind of place, in folders that look like mounted groups."""

import os
import stat
from pathlib import Path

import pytest

from stagebench.sampler import places
from stagebench.sampler.places import NoPlaceError, find_place

PID = os.getpid()


class Tree:
    """A folder that looks like a mounted root of groups of version 2, with /proc beside it."""

    def __init__(self, folder):
        self.root = folder / "tree"
        self.root.mkdir()
        self.proc = folder / "proc"
        self.proc.mkdir()
        (self.proc / "mounts").write_text(f"cgroup2 {self.root} cgroup2 rw 0 0\n")
        (self.root / "cgroup.controllers").write_text("cpu memory\n")
        (self.root / "cgroup.subtree_control").write_text("memory\n")

    def add(self, path, counts="", pids=(), **limits):
        folder = self.root / path
        folder.mkdir(parents=True)
        (folder / "cgroup.type").write_text("domain\n")
        (folder / "cgroup.controllers").write_text("memory\n")
        (folder / "cgroup.subtree_control").write_text(counts)
        (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        for name, text in limits.items():
            (folder / name.replace("_", ".")).write_text(text)
        return folder

    def enter(self, path):
        (self.proc / "cgroup").write_text(f"0::/{path}\n")
        return self.proc


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.fixture(autouse=True)
def without_systemd(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "SYSTEMD", tmp_path / "no systemd")


@pytest.fixture
def systemd(monkeypatch, tmp_path):
    """Let systemd run, and busctl answer as `answers` says; return the calls of busctl."""
    (tmp_path / "systemd").mkdir()
    monkeypatch.setattr(places, "SYSTEMD", tmp_path / "systemd")
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    calls = tmp_path / "calls"

    def answer(script):
        program = programs / "busctl"
        program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{script}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return calls

    return answer


def refusal(proc, **options):
    with pytest.raises(NoPlaceError) as error:
        find_place(proc, **options)
    return str(error.value)


def test_version_1_is_preferred_and_needs_no_search(tmp_path):
    (tmp_path / "cgroup").write_text("4:memory:/a/b\n0::/c\n")
    (tmp_path / "mounts").write_text(
        "cgroup2 /sys/two cgroup2 rw 0 0\ncgroup /sys/one cgroup rw,memory 0 0\n"
    )
    assert find_place(tmp_path) == (1, Path("/sys/one/a/b"))


def test_a_process_in_the_root_of_all_groups_makes_its_groups_there(tree):
    assert find_place(tree.enter("")) == (2, tree.root)


def test_a_group_is_made_beside_the_own_one_if_the_one_above_counts_memory(tree):
    above = tree.add("lab", counts="memory\n")
    tree.add("lab/shell", pids=[PID, 1])
    assert find_place(tree.enter("lab/shell")) == (2, above)


@pytest.mark.parametrize(
    "limit",
    [
        {"memory_max": "1048576\n"},
        {"memory_high": "1048576\n"},
        {"cpu_max": "50000 100000\n"},
        {"cpuset_cpus": "0-1\n"},
    ],
    ids=lambda limit: next(iter(limit)),
)
def test_a_run_does_not_escape_a_limit_of_the_own_group(tree, limit):
    tree.add("lab", counts="memory\n")
    tree.add("lab/shell", pids=[PID, 1], **limit)
    assert "lab/shell has other processes, too" in refusal(tree.enter("lab/shell"))


def test_what_is_not_limited_does_not_hinder(tree):
    above = tree.add("lab", counts="memory\n")
    unlimited = {"memory_max": "max\n", "cpu_max": "max 100000\n", "cpuset_cpus": "\n"}
    tree.add("lab/shell", pids=[PID, 1], **unlimited)
    assert find_place(tree.enter("lab/shell")) == (2, above)


def test_a_process_that_is_alone_makes_room_in_its_own_group(tree):
    own = tree.add("lab", pids=[PID])
    # An ordinary folder has no file of processes until somebody writes one.
    inner = own / f"stagebench-{PID}-supervisor"
    inner.mkdir()
    (inner / "cgroup.procs").write_text("")
    assert find_place(tree.enter("lab")) == (2, own)
    assert (inner / "cgroup.procs").read_text() == str(PID)
    assert (own / "cgroup.subtree_control").read_text() == "+memory"


def test_a_held_child_may_be_moved_with_this_process(tree):
    own = tree.add("lab", pids=[PID, 77])
    inner = own / f"stagebench-{PID}-supervisor"
    inner.mkdir()
    (inner / "cgroup.procs").write_text("")
    assert "has other processes" in refusal(tree.enter("lab"))
    assert find_place(tree.enter("lab"), movable=[77]) == (2, own)


def test_a_group_without_the_memory_controller_is_named(tree):
    own = tree.add("lab", pids=[PID])
    (own / "cgroup.controllers").write_text("cpu\n")
    assert f"{own} cannot count memory" in refusal(tree.enter("lab"))


def test_a_group_that_is_not_mounted_here_is_named(tree):
    assert "lost does not exist" in refusal(tree.enter("lost"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_group_of_another_user_is_not_used(tree):
    own = tree.add("lab", pids=[PID])
    (own / "cgroup.procs").chmod(0o444)
    assert f"{own} is not delegated to this process" in refusal(tree.enter("lab"))


# ---- systemd


@pytest.mark.parametrize("unit", ["user.slice", "run-5.scope", "a.service"])
def test_the_groups_of_systemd_are_not_used_unless_delegated(tree, systemd, unit):
    systemd("echo 'Failed to connect to bus' >&2; exit 1")
    tree.add(unit, counts="memory\n")
    tree.add(f"{unit}/shell.scope", pids=[PID])
    reason = refusal(tree.enter(f"{unit}/shell.scope"))
    assert "shell.scope is not delegated to this process; " in reason
    assert reason.endswith("delegate one (busctl: Failed to connect to bus)")


def test_a_scope_that_was_made_for_this_process_is_used_again(tree, systemd):
    systemd("exit 1")
    scope = tree.add("user.slice/stagebench-5.scope", counts="memory\n")
    tree.add("user.slice/stagebench-5.scope/stagebench-5-supervisor", pids=[PID])
    proc = tree.enter("user.slice/stagebench-5.scope/stagebench-5-supervisor")
    assert find_place(proc) == (2, scope)


def enter_scope(tree, scope):
    """Return what a manager does that is asked for a scope: it moves the process."""
    own, inner = tree.root / scope, f"stagebench-{PID}-supervisor"
    return f"""
case "$*" in
*ControlGroup*) echo 's "/user.slice/user@5.service"'; exit;;
esac
: > {tree.root}/user.slice/shell.scope/cgroup.procs
mkdir -p {own}/{inner}
echo memory > {own}/cgroup.controllers
echo memory > {own}/cgroup.subtree_control
echo domain > {own}/cgroup.type
echo {PID} > {own}/cgroup.procs
: > {own}/{inner}/cgroup.procs
echo 0::/{scope} > {tree.proc}/cgroup
"""


def test_an_ordinary_user_gets_a_scope_of_the_users_manager(tree, systemd, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 5)
    scope = f"user.slice/user@5.service/app.slice/stagebench-{PID}.scope"
    calls = systemd(enter_scope(tree, scope))
    tree.add("user.slice")
    tree.add("user.slice/shell.scope", pids=[PID, 1])
    assert find_place(tree.enter("user.slice/shell.scope")) == (2, tree.root / scope)
    asked, started = calls.read_text().splitlines()
    assert asked.startswith("--user get-property ")
    assert started.startswith("--user call org.freedesktop.systemd1 ")
    assert started.endswith(
        f"StartTransientUnit ssa(sv)a(sa(sv)) stagebench-{PID}.scope fail 3 PIDs au 1 {PID}"
        " Delegate b true CollectMode s inactive-or-failed 0"
    )


def test_root_gets_a_scope_in_the_slice_that_it_is_in(tree, systemd, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    scope = f"user.slice/stagebench-{PID}.scope"
    calls = systemd(enter_scope(tree, scope))
    tree.add("user.slice")
    tree.add("user.slice/shell.scope", pids=[PID, 1])
    assert find_place(tree.enter("user.slice/shell.scope")) == (2, tree.root / scope)
    (started,) = calls.read_text().splitlines()
    assert started.startswith("--system call ")
    assert " fail 4 " in started
    assert started.endswith(" Slice s user.slice 0")


def test_no_scope_is_asked_for_if_a_limit_would_not_hold_there(tree, systemd, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 5)
    calls = systemd("echo 's \"/user.slice/user@5.service\"'")
    tree.add("user.slice")
    job = tree.add("jobs", memory_max="1048576\n")
    tree.add("jobs/step.scope", pids=[PID])
    reason = refusal(tree.enter("jobs/step.scope"))
    assert f"the limit in {job}/memory.max would not hold in a group elsewhere" in reason
    assert "StartTransientUnit" not in calls.read_text()


def test_a_manager_that_moves_nothing_is_not_waited_for_forever(tree, systemd, monkeypatch):
    monkeypatch.setattr(places, "PATIENCE_S", 0.05)
    systemd("exit 0")
    tree.add("shell.scope", pids=[PID])
    assert "did not move this process within 0.05 s" in refusal(tree.enter("shell.scope"))


def test_a_manager_that_does_not_answer_is_given_up(tree, systemd, monkeypatch):
    monkeypatch.setattr(places, "PATIENCE_S", 0.2)
    systemd("exec sleep 60")
    tree.add("shell.scope", pids=[PID])
    assert "did not answer within 0.2 s" in refusal(tree.enter("shell.scope"))


def test_without_busctl_systemd_cannot_be_asked(tree, systemd, monkeypatch):
    systemd("exit 0")
    monkeypatch.setattr(places.shutil, "which", lambda _: None)
    tree.add("shell.scope", pids=[PID])
    assert "busctl, to ask systemd for one, is not installed" in refusal(tree.enter("shell.scope"))


def test_without_systemd_the_reason_says_so(tree):
    tree.add("lab", pids=[PID, 1])
    reason = refusal(tree.enter("lab"))
    assert reason.endswith(
        "has other processes, too; systemd, which could delegate one, does not run here"
    )


def test_an_error_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        places.write(tmp_path / "cgroup.procs", "5")
    assert (
        places.describe_error(error.value) == f"No such file or directory: {tmp_path}/cgroup.procs"
    )
