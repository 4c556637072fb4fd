"""Names on this machine: whoever did not make a segment, file or worker never removes it."""

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from tests.runner import workloads
from tests.runner.conftest import FORK, THREAD, run, stage, statuses

from stagebench.errors import WorkflowError
from stagebench.runner.sink import ListSink
from stagebench.runner.transport import Parcels, discard, pack, unpack
from stagebench.runner.workflow import Workflow

LARGE = 100_000


def wait_or_return(*, seconds):
    time.sleep(seconds)
    return bytes(LARGE)


@pytest.fixture
def foreign_segments():
    """Segments of a program with our pid, such as one in another container, with counted names."""
    first = next(Parcels._numbers)
    prefix = f"/dev/shm/stagebench_{os.getpid()}_"
    paths = [Path(f"{prefix}{number}") for number in range(first, first + 20)]
    for path in paths:
        path.write_bytes(b"live")
    yield paths
    for path in paths:
        path.unlink(missing_ok=True)


def test_segments_of_another_program_with_the_same_pid_are_not_touched(foreign_segments):
    tasks = [{"s": {"seconds": seconds}} for seconds in (0, 0, 30, 0)]
    make = stage("s", wait_or_return, FORK, transport="shared_memory", timeout_s=0.3)
    measure = stage("t", workloads.length_of, FORK, after=("s",))
    sink = run([make, measure], tasks)
    assert statuses(sink, "s") == ["ok", "ok", "timed_out", "ok"]
    assert statuses(sink, "t") == ["ok", "ok", "skipped", "ok"]
    assert [path.read_bytes() for path in foreign_segments] == [b"live"] * 20


def test_no_two_runs_use_the_same_names():
    workflows = [Parcels() for _ in range(50)]
    for parcels in workflows:
        parcels.open()
    heads = {parcels.issue("shared_memory").rpartition("_")[0] for parcels in workflows}
    assert len(heads) == 50


@pytest.mark.parametrize("transport", ["shared_memory", "path"])
def test_what_exists_already_is_neither_overwritten_nor_removed(transport, tmp_path):
    name = f"stagebench_{os.getpid()}_there"
    path = Path("/dev/shm", name) if transport == "shared_memory" else tmp_path / "there"
    path.write_bytes(b"live")
    try:
        with pytest.raises(FileExistsError):
            pack(bytes(LARGE), transport, name if transport == "shared_memory" else str(path))
        assert path.read_bytes() == b"live"
    finally:
        path.unlink()


def exit_code_of(function):
    """Run a function in a forked child; return the child's exit code."""
    child = os.fork()
    if not child:
        code = 1
        signal.alarm(10)
        with contextlib.suppress(BaseException):
            function()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_segment_that_cannot_be_mapped_is_left_to_the_others():
    packed = pack(bytes(16 << 20), "shared_memory", f"stagebench_{os.getpid()}_full")

    def read_without_memory():
        resource.setrlimit(resource.RLIMIT_AS, (1, 1))
        with pytest.raises(OSError, match="memory"):
            unpack(packed)

    try:
        assert exit_code_of(read_without_memory) == 0
        assert unpack(packed) == bytes(16 << 20)
    finally:
        discard("shared_memory", packed.name)


@pytest.mark.parametrize("kind", [THREAD, FORK], ids=["thread", "fork"])
def test_a_forked_child_ends_and_removes_nothing_of_its_parent(kind):
    stages = [
        stage("s", workloads.bytes_of, FORK, transport="shared_memory", retain=True),
        stage("t", workloads.length_of, kind, after=("s",)),
    ]
    sink = ListSink()
    with Workflow(stages, sink) as workflow:
        workflow.run([{"s": {"size": LARGE}}] * 2)

        def run_again():
            with pytest.raises(WorkflowError, match="belongs to the parent process"), workflow:
                workflow.run(1)

        assert exit_code_of(run_again) == 0
        assert exit_code_of(workflow.close) == 0
        assert workflow.results("s") == dict.fromkeys(range(2), bytes(LARGE))
        before = len(sink.workers)
        workflow.run([{"s": {"size": LARGE}}] * 2)
    assert len(sink.workers) == before, "the child ended workers of its parent"
