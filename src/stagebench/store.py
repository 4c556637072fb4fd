"""The on-disk contract of a run: files, columns, version; atomic write, checked read.

A run is one folder, `results/<study>/raw/<experiment>/<treatment>/r<k>/` (`w<k>/` of a warm-up):

| file            | one row or value a …                                   |
|-----------------|--------------------------------------------------------|
| `run.json`      | run: specification, status, times, environment, state of the machine |
| `tasks.csv`     | task and stage: how it ended there (`TaskRecord`)      |
| `attempts.csv`  | attempt after which a task was tried again (`TaskRecord`) |
| `workers.csv`   | worker that could serve (`WorkerRecord`)               |
| `events.csv`    | moment of the measured process (`EventRecord`)         |
| `processes.csv` | process that lived in the tree (`ProcessRecord`)       |
| `transitions.csv` | birth, exec or exit of a process (`TransitionRecord`) |
| `sweeps.csv`    | sweep (`SweepRecord`)                                  |
| `samples.csv`   | process and sweep (`MemorySample`)                     |
| `emulated.csv`  | reading of the published way (`EmulatedRecord`); only where it is emulated |
| `output.txt`    | what the measured process printed, if anything         |

The trace of any other command is a folder with the same `run.json` (of kind "trace"),
`processes.csv`, `sweeps.csv` and `samples.csv`, and what they come to: `summary.json`, `trace.png`.
It is written in place: one that was cut off can be read up to there.

CSV files hold a header and one line a record, written as it is made; a last line that was cut off
is dropped on reading. Line breaks inside a text are stored as backslash and n.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import threading
import time
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from stagebench.errors import StoreError
from stagebench.locks import YieldingLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

SCHEMA_VERSION = 5
"""Version of the files named above; a reader refuses another one."""

PROTOCOL = 6
"""Version of what a measurement means. It is part of every specification: raising it after a
change of the sampler or the runner makes every run of every study be measured anew.

tests/protocol.txt records it with a hash of all code that decides about a measurement, and a test
fails when that has changed. Raise PROTOCOL if what a measurement means has changed, too; in either
case record the new hash with `make protocol`."""

RUN_FILE = "run.json"
TASKS_FILE = "tasks.csv"
ATTEMPTS_FILE = "attempts.csv"
WORKERS_FILE = "workers.csv"
EVENTS_FILE = "events.csv"
PROCESSES_FILE = "processes.csv"
TRANSITIONS_FILE = "transitions.csv"
SWEEPS_FILE = "sweeps.csv"
SAMPLES_FILE = "samples.csv"
EMULATED_FILE = "emulated.csv"
OUTPUT_FILE = "output.txt"
SUMMARY_FILE = "summary.json"
TRACE_FIGURE_FILE = "trace.png"

FLUSH_S = 0.01
"""A record that was written in a burst is on disk after this, at the latest."""

Record = TypeVar("Record")


class RecordWriter(Generic[Record]):
    """Streams records of one type to a CSV file, a line each; safe to call from several threads.

    Every line is written through at once, so that what was observed before a kill is on disk. With
    `in_bursts`, lines that come fast share one call of the system, and are there within `FLUSH_S`.
    """

    def __init__(self, path: Path, record_type: type[Record], *, in_bursts: bool = False) -> None:
        columns = fields(record_type)  # type: ignore[arg-type]
        names = [field.name for field in columns]
        self._values = attrgetter(*names)
        self._texts = [i for i, field in enumerate(columns) if field.type in _TEXTS]
        self._file = path.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._lock = YieldingLock()
        self._in_bursts = in_bursts
        self._flushed_s = 0.0
        self._is_late = threading.Event()
        self._flusher: threading.Thread | None = None
        try:
            self._csv.writerow(names)
            self._file.flush()
        except OSError:
            # Python 3.13 tells what fails when a file is dropped that was not closed.
            with contextlib.suppress(OSError):
                self._file.close()
            raise

    def write(self, record: Record) -> None:
        """Append one record."""
        row = list(self._values(record))
        for place in self._texts:
            text = row[place]
            if text is not None and not text.isalnum():
                row[place] = _encode(text)
        with self._lock:
            self._csv.writerow(row)
            if not self._in_bursts:
                self._file.flush()
                return
            now_s = time.monotonic()
            if now_s - self._flushed_s >= FLUSH_S:
                self._file.flush()
                self._flushed_s = now_s
            elif not self._is_late.is_set():
                self._flush_later()

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        with self._lock:
            self._file.close()
            self._is_late.set()

    def _flush_later(self) -> None:
        self._is_late.set()
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush, name="records", daemon=True)
            self._flusher.start()

    def _flush(self) -> None:
        """Flush what nothing followed that would have flushed it."""
        while self._is_late.wait():
            time.sleep(FLUSH_S)
            with self._lock:
                if self._file.closed:
                    return
                self._is_late.clear()
                try:
                    self._file.flush()
                except OSError:
                    # A full disk: the next record, or closing the file, raises it where it counts.
                    return
                self._flushed_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_records(path: Path, record_type: type[Record], records: Iterable[Record]) -> None:
    """Write all records to `path`."""
    with RecordWriter(path, record_type) as writer:
        for record in records:
            writer.write(record)


def read_records(path: Path, record_type: type[Record], *, cut_off: bool = False) -> list[Record]:
    """Read the whole lines of a file that `RecordWriter` wrote.

    Raises StoreError when the file is missing or its columns are not those of `record_type`. What
    was `cut_off` may not have come as far as the file or its first line: then there are none.
    """
    columns = fields(record_type)  # type: ignore[arg-type]
    names = [field.name for field in columns]
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except OSError as error:
        if cut_off and isinstance(error, FileNotFoundError):
            return []
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    if cut_off and not lines:
        return []
    rows = csv.reader(lines)
    header = next(rows, [])
    if header != names:
        raise StoreError(f"{path}: columns are {header}, expected {names}")
    decoders = [_DECODERS[str(field.type)] for field in columns]
    return [
        record_type(**{n: d(v) for n, d, v in zip(names, decoders, row, strict=True)})
        for row in rows
    ]


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, indented, keys in their order, atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON value; raises StoreError when the file is missing or cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise StoreError(f"{path}: not whole JSON (line {error.lineno}: {error.msg})") from error


def read_run(folder: Path) -> dict[str, Any]:
    """Read `run.json` of one run folder, checked for its version."""
    run = read_json(folder / RUN_FILE)
    version = run.get("schema_version") if isinstance(run, dict) else None
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{folder / RUN_FILE}: schema_version is {version!r}, this program reads"
            f" {SCHEMA_VERSION}; remove the folder to measure the run anew"
        )
    return dict(run)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: readers see the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give a fresh folder beside `target` that replaces it when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
        if target.exists():
            shutil.rmtree(target)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_abandoned(target: Path) -> None:
    """Remove what writers of `target` left that were killed: their process is no more."""
    for partial in target.parent.glob(f".{target.name}.*.partial"):
        writer = partial.name.split(".")[-2]
        if not os.path.exists(f"/proc/{writer}") or writer == str(os.getpid()):  # one stat
            shutil.rmtree(partial, ignore_errors=True)


def canonical_json(value: Any) -> str:
    """Give the one text that stands for a JSON value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _encode(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _decode_text(text: str) -> str:
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)


_TEXTS = ("str", "str | None")
_DECODERS: dict[str, Callable[[str], object]] = {
    "int": int,
    "str": _decode_text,
    "int | None": lambda text: int(text) if text else None,
    "str | None": lambda text: _decode_text(text) if text else None,
}
