"""Standard output and error of worker processes, whatever main has put in their place."""

import contextlib
import io
import logging
import os
import sys
import threading

import pytest
from tests.runner.conftest import FORK, run, stage, statuses

HELD = []
"""What a module of the user's own may hold: main's output."""

LINES = [f"line {number}" for number in range(2000)]


def print_beside_a_file(path):
    with open(path, "w") as file:
        for line in LINES:
            print(line)
        file.write("data")


def check_that_nothing_is_mixed(tmp_path):
    data = tmp_path / "data.txt"
    sink = run([stage("s", print_beside_a_file, FORK, workers=1, parameters={"path": data})], 1)
    sys.stdout.close()
    assert statuses(sink, "s") == ["ok"]
    assert data.read_text() == "data"
    assert (tmp_path / "log.txt").read_text().splitlines() == LINES


@pytest.mark.parametrize("mode", ["w", "w+", "a"])
@pytest.mark.parametrize("buffering", [-1, 1, 100_000])
def test_a_worker_prints_into_the_file_that_main_has_made_its_output(
    tmp_path, monkeypatch, mode, buffering
):
    # Nothing else holds the file: a worker that puts another object in its place frees it.
    log = tmp_path / "log.txt"
    monkeypatch.setattr(sys, "stdout", open(log, mode, buffering))  # noqa: SIM115 - closed below
    check_that_nothing_is_mixed(tmp_path)


def close_and_print(path):
    HELD.pop().close()
    with open(path, "w") as file, contextlib.suppress(ValueError):
        print("for nobody", flush=True)
        file.write("mixed")
    with open(path, "a") as file:
        file.write("data")


def test_a_worker_that_has_closed_its_output_prints_into_no_other_file(tmp_path, monkeypatch):
    data = tmp_path / "data.txt"
    with open(tmp_path / "log.txt", "w") as log:
        monkeypatch.setattr(sys, "stdout", log)
        HELD.append(log)
        run([stage("s", close_and_print, FORK, workers=1, parameters={"path": data})], 1)
    assert data.read_text() == "data"


class Tee(io.TextIOBase):
    """Shows text in two places, under the descriptor of the first."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self):
        for stream in self.streams:
            stream.flush()

    def fileno(self):
        return self.streams[0].fileno()


def test_a_worker_prints_into_both_files_of_a_tee(tmp_path, monkeypatch):
    with open(tmp_path / "log.txt", "w") as first, open(tmp_path / "copy.txt", "w") as second:
        monkeypatch.setattr(sys, "stdout", Tee(first, second))
        check_that_nothing_is_mixed(tmp_path)
    assert (tmp_path / "copy.txt").read_text().splitlines() == LINES


def test_a_worker_logs_through_the_stream_that_main_gave_to_logging(tmp_path, monkeypatch):
    """It holds the stream itself, so another object in its place would not help."""
    ended, logger = threading.Event(), logging.getLogger("tests.runner.test_streams")

    def talk():
        while not ended.is_set():
            print("x" * 1000, file=sys.stderr)

    with open(tmp_path / "log.txt", "w", buffering=1) as log:
        monkeypatch.setattr(sys, "stderr", log)
        monkeypatch.setattr(logger, "handlers", [logging.StreamHandler()])
        talkers = [threading.Thread(target=talk) for _ in range(2)]
        for talker in talkers:
            talker.start()
        try:
            told = {"msg": "logged"}
            sink = run(
                [stage("s", logger.warning, FORK, workers=20, timeout_s=5, parameters=told)], 20
            )
        finally:
            ended.set()
            for talker in talkers:
                talker.join()
    assert statuses(sink, "s") == ["ok"] * 20


def write_what_is_left():
    sys.stdout.flush()
    return os.getpid()


def test_a_worker_does_not_write_again_what_main_has_yet_to_write(tmp_path, monkeypatch):
    with open(tmp_path / "log.txt", "w") as log:
        monkeypatch.setattr(sys, "stdout", log)
        monkeypatch.setattr("multiprocessing.util._flush_std_streams", lambda: log.write("once"))
        run([stage("s", write_what_is_left, FORK, workers=3)], 3)
    assert (tmp_path / "log.txt").read_text() == "once" * 3
