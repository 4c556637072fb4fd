"""What a run leaves in memory and on disk is removed, however it ended."""

import fcntl
import os
import signal
import tempfile
from pathlib import Path

import pytest
from tests.measure.test_supervisor import KINDS, start_supervisor, wait_for_tree

from stagebench import store
from stagebench.handlers.source import source_hash
from stagebench.measure.leftovers import LONGEST_FOLDER, PREFIX, SHARED_MEMORY, own_variables

LEAVE_MUCH = """
import multiprocessing.shared_memory, os, tempfile, time

def make():
    return bytes(1 << 20)

def share(upstream):
    segment = multiprocessing.shared_memory.SharedMemory(create=True, size=1 << 20)
    note(segment.name)
    leave(upstream)

def note(name):
    with open(os.path.join(os.path.dirname(__file__), "names.txt"), "a") as file:
        file.write(name + "\\n")

def leave(upstream):
    note(os.environ["STAGEBENCH_PREFIX"])
    tempfile.mkdtemp()
    open(os.path.join(tempfile.mkdtemp(), "data"), "w").write("x")
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A temporary directory of the test's own, as the caller of the supervisor has one."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    monkeypatch.undo()


def in_memory():
    return {path.name for path in SHARED_MEMORY.iterdir()}


def left_in_memory(tmp_path):
    """What is still there of what the run of `LEAVE_MUCH` noted; others share this machine."""
    names = tuple((tmp_path / "names.txt").read_text().split())
    assert any(name.startswith(PREFIX) for name in names)
    return {name for name in in_memory() if name.startswith(names)}


def leaving(specify, tmp_path, kind, transport, handler="share"):
    """Specify a run whose second stage hangs with all that the first one sent still there."""
    (tmp_path / "mine_left.py").write_text(LEAVE_MUCH)
    specification = specify(tasks=3)
    shared = {**specification["stages"][0], **KINDS[kind], "parameters": {}}
    shared["source"] = source_hash("mine_left:make", tmp_path)
    specification["stages"] = [
        shared | {"name": "make", "handler": "mine_left:make", "transport": transport},
        shared | {"name": "leave", "handler": f"mine_left:{handler}", "after": ["make"]},
    ]
    return specification


@pytest.mark.parametrize(
    ("kind", "transport"), [("fork", "shared_memory"), ("forkserver", "path"), ("spawn", "path")]
)
def test_a_run_that_timed_out_leaves_nothing(specify, measure, tmp_path, folder, kind, transport):
    specification = leaving(specify, tmp_path, kind, transport)
    run = store.read_run(measure(specification, beside=tmp_path, time_limit_s=1.0))
    assert run["status"] == "timed_out"
    assert left_in_memory(tmp_path) == set()
    assert list(folder.iterdir()) == []


def start_leaving(specify, tmp_path, folder, transport):
    """Start a run that leaves much, wait until it has, and give its supervisor and its prefix."""
    specification = leaving(specify, tmp_path, "fork", transport, handler="leave")
    supervisor = start_supervisor(specification, tmp_path / "raw" / "killed", beside=tmp_path)
    wait_for_tree(supervisor, 3)
    while not (own := list(folder.glob(f"{PREFIX}*/tmp*"))):
        assert supervisor.poll() is None
    return supervisor, own[0].parent.name


def test_an_interrupted_run_leaves_nothing(specify, tmp_path, folder):
    supervisor, _ = start_leaving(specify, tmp_path, folder, "shared_memory")
    supervisor.send_signal(signal.SIGINT)
    supervisor.communicate()
    assert left_in_memory(tmp_path) == set()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("transport", ["shared_memory", "path"])
def test_what_a_killed_supervisor_left_is_removed_by_the_next(
    specify, measure, tmp_path, folder, transport
):
    supervisor, name = start_leaving(specify, tmp_path, folder, transport)
    if transport == "shared_memory":
        assert any(each.startswith(name) for each in in_memory())
    supervisor.kill()
    supervisor.communicate()
    measure(specify())
    assert list(folder.iterdir()) == []
    assert not any(each.startswith(name) for each in in_memory())


def test_the_place_of_a_run_that_goes_on_is_left_alone(folder):
    with own_variables({}) as variables, own_variables({}) as others:
        assert {path.name for path in folder.iterdir()} == {
            variables["STAGEBENCH_PREFIX"],
            others["STAGEBENCH_PREFIX"],
        }
        assert Path(variables["TMPDIR"]).resolve().parent == folder
    assert list(folder.iterdir()) == []


def test_a_place_is_in_the_temporary_directory_that_a_study_names(tmp_path, folder):
    named = tmp_path / "n"
    named.mkdir()
    with own_variables({"TMPDIR": str(named)}) as variables:
        assert Path(variables["TMPDIR"]).resolve().parent == named
    with own_variables({"TMPDIR": str(tmp_path / "missing")}) as variables:
        assert Path(variables["TMPDIR"]).resolve().parent == folder
    assert list(named.iterdir()) == []


def test_a_place_with_a_long_name_is_reached_by_a_short_one(tmp_path):
    named = tmp_path / ("n" * LONGEST_FOLDER)
    named.mkdir()
    with own_variables({"TMPDIR": str(named)}) as variables:
        place = Path(variables["TMPDIR"])
        assert len(str(place)) <= LONGEST_FOLDER  # or multiprocessing's sockets would not fit
        assert place.resolve().parent == named
    assert not place.is_symlink()
    assert list(named.iterdir()) == []


def test_a_folder_of_somebody_else_is_left_alone(folder):
    locked, linked, other = (folder / f"{PREFIX}{name}" for name in "abc")
    locked.mkdir()
    (folder / "other").mkdir()
    linked.symlink_to(folder / "other")
    other.write_text("no folder")
    descriptor = os.open(locked, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with own_variables({}):
        pass
    os.close(descriptor)
    assert {path.name for path in folder.iterdir()} >= {locked.name, linked.name, other.name}
