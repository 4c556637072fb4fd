"""Commands that real use brings, and that no well-behaved test does."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys

import pytest
from tests.trace.tracing import (
    CALLS,
    PYTHON,
    TRACE,
    go_on_without_descriptors,
    refuse,
)

from stagebench import store
from stagebench.sampler.processes import share_memory
from stagebench.units import MIB

SHOW = (sys.executable, "-m", "stagebench", "show", "out")
EVERY_BYTE = bytes(range(1, 256)).replace(b"/", b"")


def test_a_command_line_of_any_length_is_read_back(trace, tmp_path):
    done = trace("sh", "-c", "/bin/true $(seq 1 25000); exit 3", options=("--out", "out"))
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert subprocess.run(SHOW, cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize("name", [EVERY_BYTE[:120], EVERY_BYTE[120:], "一".encode() * 80])
def test_a_name_may_have_every_byte_and_any_length(tmp_path, name):
    os.symlink("/bin/sh", program := os.fsencode(tmp_path) + b"/" + name)
    command = [*TRACE, "--no-figure", "--", program, b"-c", b"exit 3", EVERY_BYTE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (3, False)
    (folder,) = [each for each in tmp_path.iterdir() if each.is_dir()]
    narrow = os.environ | {"PYTHONIOENCODING": "latin-1"}
    shown = subprocess.run([*SHOW[:-1], folder], env=narrow, check=False, capture_output=True)
    assert (shown.returncode, shown.stderr) == (0, b"")


needs_seccomp = pytest.mark.skipif(not CALLS, reason="numbers of system calls are not known here")
needs_kcmp = pytest.mark.skipif(
    share_memory(os.getpid(), os.getpid()) is None, reason="kcmp(2) is not permitted here"
)


def test_many_children_are_traced_where_few_files_may_be_open(trace, tmp_path):
    program = "for i in $(seq 40); do sleep 0.5 & done; sleep 0.4; exit 4"
    options = ("--out", "out", "--no-figure", "--cpu-budget", "1")
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))}
    done = trace("sh", "-c", program, options=options, **limit)
    assert done.returncode == 4
    run = store.read_run(tmp_path / "out")
    assert (run["status"], run["detail"]) == ("complete", "")


def test_the_end_of_a_command_is_true_after_its_tracer_has_failed(start, tmp_path):
    program = """
import os, time
print(os.getpid(), flush=True)
input()
os.system("true")
input()
print(time.monotonic_ns(), flush=True)
os._exit(5)
"""
    tracer = start(*PYTHON, program)
    main = int(tracer.stdout.readline())
    go_on_without_descriptors(tracer, main)
    output, _ = tracer.communicate("end\n")
    run = store.read_run(tmp_path / "out")
    assert (run["status"], run["exit_code"], tracer.returncode) == ("truncated", 5, 5)
    assert run["exited_ns"] >= int(output.split()[0])
    summary = store.read_json(tmp_path / "out" / "summary.json")
    assert summary["duration_s"] > summary["recorded_s"]


def can_unshare():
    command = ["unshare", "--mount", "--pid", "--fork", "true"]
    return shutil.which("unshare") and subprocess.run(command, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="this user may not create namespaces")
@pytest.mark.parametrize(
    ("namespace", "words"),
    [
        ("exec unshare --pid --fork", "another PID namespace"),
        ("umount --lazy /proc; exec", "does not show this process"),
    ],
)
def test_a_proc_that_is_not_ours_is_reported_before_anything_starts(tmp_path, namespace, words):
    script = f'{namespace} "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *TRACE, "--", "touch", "ran"]
    # With a variable of Python, stagebench starts itself again, by what /proc says of it.
    theirs = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=theirs, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not can_unshare(), reason="this user may not mount /proc")
@pytest.mark.parametrize("census", ["auto", "poll"])
def test_a_proc_that_shows_processes_alone_is_enough(tmp_path, census):
    script = 'mount -t proc -o subset=pid proc /proc && exec "$@"'
    command = [*TRACE, "--census", census, "--out", "out", "--", "sh", "-c", "sleep 0.2; exit 3"]
    mounted = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    done = subprocess.run(mounted, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["exit_code"] == 3
    assert summary["peak"]["tree"]["lower_bytes"] > 0


SHARE = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
CLONE_VM, CLONE_VFORK, SIGCHLD, WALL = 0x100, 0x4000, 17, 0x40000000
block = bytearray(b"x") * (60 << 20)
stacks = []
def clone(flags=CLONE_VM | SIGCHLD):
    stacks.append(ctypes.create_string_buffer(1 << 16))
    top = (ctypes.addressof(stacks[-1]) + (1 << 16)) & ~15
    return libc.clone(libc.usleep, ctypes.c_void_p(top), flags, ctypes.c_void_p(150_000))
"""
"""`clone` creates a process that shares this one's memory for 0.15 s; its block is of 60 MiB."""

SHARING = {
    "three": "for pid in [clone(), clone(), clone(CLONE_VM)]: os.waitpid(pid, WALL)",
    "by vfork": "os.waitpid(clone(CLONE_VM | CLONE_VFORK | SIGCHLD), 0)",
    "a copy by vfork": "os.waitpid(clone(CLONE_VFORK | SIGCHLD), 0)",
    "outlived": """
if os.fork() == 0:
    clone(), clone(), time.sleep(0.05), os._exit(0)
os.wait(), time.sleep(0.1)
""",
    "another program": "clone(); time.sleep(0.05); os.execlp('sleep', 'sleep', '0.1')",
}


def peak_of_sharing(trace, tmp_path, how, census, **settings):
    program = SHARE + SHARING[how]
    options = ("--out", "out", "--cpu-budget", "1", "--no-figure", "--census", census)
    done = trace(*PYTHON, program, options=options, **settings)
    assert done.returncode == 0, done.stderr
    return store.read_json(tmp_path / "out" / "summary.json")["peak"]["tree"]


@needs_kcmp
@pytest.mark.parametrize("how", SHARING)
def test_memory_that_processes_share_as_threads_do_counts_once(trace, tmp_path, how):
    peak = peak_of_sharing(trace, tmp_path, how, "ptrace")
    assert 60 * MIB <= peak["lower_bytes"] <= 80 * MIB
    assert peak["lower_bytes"] <= peak["upper_bytes"]
    if how in {"three", "by vfork", "a copy by vfork"}:
        assert peak["upper_bytes"] <= 95 * MIB


@needs_kcmp
@pytest.mark.parametrize("how", ["three", "outlived"])
def test_with_polling_shared_memory_counts_once_too(trace, tmp_path, how):
    peak = peak_of_sharing(trace, tmp_path, how, "poll")
    assert 60 * MIB <= peak["lower_bytes"] <= 80 * MIB


@needs_seccomp
@pytest.mark.parametrize("census", ["ptrace", "poll"])
def test_shared_memory_counts_once_where_processes_may_not_be_compared(trace, tmp_path, census):
    settings = {"preexec_fn": lambda: refuse(["kcmp"], errno.EPERM)}
    peak = peak_of_sharing(trace, tmp_path, "three", census, **settings)
    assert 60 * MIB <= peak["lower_bytes"] <= 80 * MIB


@needs_seccomp
@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.EINVAL, errno.EIO])
def test_the_tree_is_polled_by_whatever_error_ptrace_is_refused(trace, tmp_path, error):
    options = ("--quiet", "--no-figure", "--out", "out")
    refused = {"preexec_fn": lambda: refuse(["ptrace"], error)}
    done = trace("sh", "-c", "exit 6", options=options, **refused)
    assert done.returncode == 6, done.stderr
    assert store.read_run(tmp_path / "out")["census"]["means"] == "poll"


@needs_seccomp
def test_a_census_by_ptrace_is_refused_in_one_line_by_whatever_error(trace, tmp_path):
    refused = {"preexec_fn": lambda: refuse(["ptrace"], errno.ENOSYS)}
    done = trace("touch", "ran", options=("--census", "ptrace"), **refused)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "ptrace is not permitted here (Function not implemented)" in done.stderr
    assert list(tmp_path.iterdir()) == []


NO_CHILDREN_FILES = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
static int hidden(const char *path) {
    size_t length = strlen(path);
    errno = ENOENT;
    return !strncmp(path, "/proc/", 6) && length > 9 && !strcmp(path + length - 9, "/children");
}
#define HIDE(name, types, rest) int name types { \\
    int (*real) types = dlsym(RTLD_NEXT, #name); return hidden(path) ? -1 : real rest; }
HIDE(open64, (const char *path, int flags, int mode), (path, flags, mode))
HIDE(stat64, (const char *path, void *found), (path, found))
HIDE(stat, (const char *path, void *found), (path, found))
"""
"""Makes the kernel's lists of children invisible, as those of a kernel that has none."""


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_the_tree_is_polled_where_the_kernel_lists_no_children(trace, tmp_path):
    library = tmp_path / "hide.so"
    build = ["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"]
    subprocess.run(build, input=NO_CHILDREN_FILES.encode(), check=True)
    program = "(sleep 0.2; exit 3) & wait $!; exit $?"
    options = ("--quiet", "--no-figure", "--out", "out", "--census", "poll", "--cpu-budget", "1")
    environment = os.environ | {"LD_PRELOAD": os.fspath(library)}
    done = trace("sh", "-c", program, options=options, env=environment)
    assert done.returncode == 3, done.stderr
    assert store.read_run(tmp_path / "out")["census"]["sampled"] == 3


@pytest.fixture
def folders(tmp_path):
    """Folders that a PATH may list: each has a `prog` of its own kind."""
    (tmp_path / "folder" / "prog").mkdir(parents=True)
    kinds = {
        "bare": ("echo bare $1\n", 0o755),
        "first": ("#!/bin/sh\necho first $1\n", 0o755),
        "forbidden": ("#!/bin/sh\necho forbidden\n", 0o644),
        "binary": ("\x7fELF\0\0\0", 0o755),
    }
    for name, (text, mode) in kinds.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "prog").write_text(text)
        (tmp_path / name / "prog").chmod(mode)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "bare first",
        "first bare",
        "folder first",
        "forbidden first",
        "forbidden",
        "binary first",
        "none first",
        "none",
    ],
)
def test_the_program_is_the_one_that_a_shell_would_run(folders, path):
    listed = ":".join(os.fspath(folders / name) for name in path.split())
    environment = os.environ | {"PATH": f"{listed}:/usr/bin:/bin"}
    settings = {"env": environment, "cwd": folders, "capture_output": True, "text": True}
    bare = subprocess.run(["/bin/sh", "-c", "prog word"], check=False, **settings)
    command = [*TRACE, "--quiet", "--no-figure", "--out", "out", "--", "prog", "word"]
    done = subprocess.run(command, check=False, **settings)
    if path in {"binary first", "forbidden"}:  # not all shells tell these from others
        assert (done.returncode, done.stdout) == (126, "")
    else:
        assert (done.returncode, done.stdout) == (bare.returncode, bare.stdout)
    assert done.stderr.count("\n") == (done.returncode != 0)
    assert (folders / "out").exists() == (done.returncode == 0)


def test_a_command_without_a_name_is_not_found(trace, tmp_path):
    done = trace("")
    assert (done.returncode, done.stderr) == (127, "stagebench: '': command not found\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", [(), ("--out", "out")])
def test_a_command_that_removes_its_folder_costs_no_traceback(trace, tmp_path, out):
    (tmp_path / "work").mkdir()
    program = f"rm -r {tmp_path / 'work'}; exit 3"
    done = trace("sh", "-c", program, options=("--quiet", *out), cwd=tmp_path / "work")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert "was removed while the command ran" in done.stderr
    assert list(tmp_path.iterdir()) == []


READ_ONLY = 'mount -t tmpfs none "$0" && mkdir "$0/empty" && mount -o remount,ro "$0" && "$@"'


@pytest.mark.skipif(not can_unshare(), reason="this user may not mount")
@pytest.mark.parametrize("name", ["empty", "new", "none/new"])
def test_a_place_that_cannot_be_written_is_reported_in_one_line(tmp_path, name):
    place = tmp_path / "disk"
    place.mkdir()
    command = [*TRACE, "--out", place / name, "--", "touch", tmp_path / "ran"]
    mounted = ["unshare", "--mount", "sh", "-c", READ_ONLY, place, *command]
    done = subprocess.run(mounted, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert not (tmp_path / "ran").exists()


@needs_seccomp
@pytest.mark.parametrize(
    ("calls", "words"),
    [(["clone3"], "no thread can trace it"), (["clone3", "clone"], "no process can be started")],
)
def test_a_command_is_not_started_without_a_thread_to_trace_it(trace, tmp_path, calls, words):
    refused = {"preexec_fn": lambda: refuse(calls, errno.EAGAIN)}
    done = trace("touch", "ran", **refused)
    assert (done.returncode, done.stderr.count("\n")) == (126, 1), done.stderr
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_seccomp
def test_a_command_is_traced_where_pidfds_are_refused(trace):
    refused = {"preexec_fn": lambda: refuse(["pidfd_open"], errno.ENOSYS)}
    assert (
        trace("sh", "-c", "exit 3", options=("--no-figure", "--quiet"), **refused).returncode == 3
    )
