"""The on-disk format of a run: files, columns, version; atomic writes, checked reads.

A run is one folder, `results/<study>/raw/<experiment>/<treatment>/r<k>/` (`w<k>/` for a warm-up),
or one below `results/<study>/diagnosis/` if it diagnoses:

| file            | one row or value for each …                            |
|-----------------|--------------------------------------------------------|
| `run.json`      | run: specification, status, times, environment, state of machine, files |
| `tasks.csv`     | task and stage: how it ended there (`TaskRecord`)      |
| `attempts.csv`  | attempt that was followed by a retry (`TaskRecord`)    |
| `workers.csv`   | worker that became ready (`WorkerRecord`)              |
| `events.csv`    | moment of the measured process (`EventRecord`)         |
| `processes.csv` | process of the tree (`ProcessRecord`)                  |
| `transitions.csv` | birth, exec or exit of a process (`TransitionRecord`) |
| `reads.csv`     | cheap reading of the tree's total (`ReadRecord`)       |
| `sweeps.csv`    | sweep (`SweepRecord`)                                  |
| `samples.csv`   | process and sweep (`MemorySample`)                     |
| `emulated.csv`  | reading of the published way (`EmulatedRecord`); only if it is emulated |
| `diagnosis.csv` | call of a handler (`DiagnosisRecord`); only if the run diagnoses |
| `loaded.csv`    | process that ended by itself: what it had imported (`LoadedRecord`) |
| `output.txt`    | run: what the measured process printed, if anything    |
| `error.txt`     | run: the error that ended the measured process; only if there was one |
| `server.txt`    | run: what the server beside it printed; only if it had one |

The trace of any other command is a folder with the same `run.json` (of kind "trace"),
`processes.csv`, `transitions.csv`, `sweeps.csv` and `samples.csv`; with `cpu.csv`, the CPU time of
each process (`CpuRecord`); and with the results: `summary.json` and `trace.png`. It is written in
place: a trace that was cut off can be read up to that point.

`run.json` is written last and has the size and the SHA-256 of every other file. Runs that were
measured before it had them are whole if their records agree with each other.

CSV files hold a header and one line for each record, written as it is made; an incomplete last line
is dropped on reading. A line break inside a text is stored as a backslash and an n.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import sys
import threading
import time
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Self, TypeVar

from stagebench.errors import StoreError
from stagebench.locks import YieldingLock
from stagebench.records import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

SCHEMA_VERSION = 6
"""Version of the files named above; readers reject any other."""

PROTOCOL = 8
"""Version of what a measurement means. It is part of every specification: raising it after a change
of the sampler or the runner means that every run of every study is measured again.

tests/protocol.txt records it with a hash of all code that affects measurements, and a test fails
when that code changes. Raise PROTOCOL if the meaning of a measurement has changed, too; in either
case, record the new hash with `make protocol`."""

RUN_FILE = "run.json"
TASKS_FILE = "tasks.csv"
ATTEMPTS_FILE = "attempts.csv"
WORKERS_FILE = "workers.csv"
EVENTS_FILE = "events.csv"
PROCESSES_FILE = "processes.csv"
TRANSITIONS_FILE = "transitions.csv"
READS_FILE = "reads.csv"
SWEEPS_FILE = "sweeps.csv"
SAMPLES_FILE = "samples.csv"
CPU_FILE = "cpu.csv"
EMULATED_FILE = "emulated.csv"
DIAGNOSIS_FILE = "diagnosis.csv"
DIAGNOSIS_FOLDER = "diagnosis"
"""The folder beside `raw` of the runs that diagnose."""
LOADED_FILE = "loaded.csv"
OUTPUT_FILE = "output.txt"
ERROR_FILE = "error.txt"
SERVER_FILE = "server.txt"
PORT = "PORT"
"""The variable by which a server, and the run beside it, find a port that was free."""
SUMMARY_FILE = "summary.json"
TRACE_FIGURE_FILE = "trace.png"

MEASURE_AGAIN = "remove the folder to measure the run again"
"""The remedy for a run whose folder is not what the study planned or what was written."""

START_AGAIN = "start the study again: what is there is kept, and what is missing is made"
"""The remedy for files that were removed by somebody else while they were needed."""

FLUSH_S = 0.01
"""A record written in a burst reaches the disk within this time."""

LONGEST_ERROR = 10_000
"""Characters of a task's error that are written; of a longer one, its beginning and its end."""

LONGEST_QUOTED = 60
"""Characters of an unexpected value that an error quotes."""

MOST_DIGITS = 18
"""So that every number fits into 64 bits."""

LINES_AT_ONCE = 4096
"""As many lines of a file are read together."""

Record = TypeVar("Record")


class RecordWriter(Generic[Record]):
    """Streams records of one type to a CSV file, one line each; thread-safe.

    Every line is written to the file at once, so nothing observed before a kill is lost. With
    `in_bursts`, lines in quick succession share one system call and are written within `FLUSH_S`.
    """

    def __init__(self, path: Path, record_type: type[Record], *, in_bursts: bool = False) -> None:
        columns = fields(record_type)  # type: ignore[arg-type]
        names = [field.name for field in columns]
        self._values = attrgetter(*names)
        self._texts = [i for i, field in enumerate(columns) if field.type in _TEXTS]
        self._error = names.index("error") if "error" in names else None
        # Half a surrogate pair, which an exception's text may contain, is not valid UTF-8.
        self._file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
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
            # Python 3.13 reports errors of files that are dropped without being closed.
            with contextlib.suppress(OSError):
                self._file.close()
            raise

    def write(self, record: Record) -> None:
        """Append one record."""
        row = list(self._values(record))
        for place in self._texts:
            text = row[place]
            if text is not None and place == self._error:
                text = row[place] = shorten(text, LONGEST_ERROR)
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

    def write_all(self, records: Iterable[Record]) -> None:
        """Append several records with one system call; they hold no texts."""
        with self._lock:
            self._csv.writerows(map(self._values, records))
            self._file.flush()

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
        """Flush the end of a burst, which no later record flushes."""
        while self._is_late.wait():
            time.sleep(FLUSH_S)
            with self._lock:
                if self._file.closed:
                    return
                self._is_late.clear()
                try:
                    self._file.flush()
                except OSError:
                    # A full disk: the next record, or `close`, raises the error in its caller.
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


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the size and the SHA-256 of every file of a folder, by name."""
    return {path.name: _describe_file(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _describe_file(path: Path) -> dict[str, Any]:
    import hashlib  # only when needed: it adds to the measured process's memory

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


NO_FILE = {"bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
"""A file that a run did not write, which is read as an empty one."""


def check_file(path: Path, data: bytes, written: Mapping[str, Any]) -> None:
    """Compare a file's content with what `describe_files` found; raises StoreError."""
    import hashlib  # only when needed, as above

    if len(data) != written["bytes"]:
        problem = f"{len(data):,} bytes, but {written['bytes']:,} were written"
    elif hashlib.sha256(data).hexdigest() != written["sha256"]:
        problem = "not the content that was written (its SHA-256 differs)"
    else:
        return
    raise StoreError(f"{path}: {problem}; {MEASURE_AGAIN}")


def read_file(path: Path, *, cut_off: bool = False) -> bytes:
    """Return a file's content; raises StoreError. With `cut_off`, a missing file is empty."""
    try:
        return path.read_bytes()
    except OSError as error:
        if cut_off and isinstance(error, FileNotFoundError):
            return b""
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error


def read_records(path: Path, record_type: type[Record], *, cut_off: bool = False) -> list[Record]:
    """Read the complete lines of a file that `RecordWriter` wrote.

    Raises StoreError if the file is missing, or, with line, column and what is expected, if a line
    is no record of `record_type` or contradicts `records.RULES`. With `cut_off`, a file that is
    missing or lacks its first line has no records.
    """
    data = read_file(path, cut_off=cut_off)
    return parse_records(path, data, record_type, cut_off=cut_off)


def parse_records(
    path: Path, data: bytes, record_type: type[Record], *, cut_off: bool = False
) -> list[Record]:
    """Parse the content of a file as `read_records` does; errors name `path`."""
    return list(_parse_lines(path, io.BytesIO(data), record_type, cut_off=cut_off))


def stream_records(
    path: Path, record_type: type[Record], *, cut_off: bool = True
) -> Iterator[Record]:
    """Yield the records of a file as `read_records` does, without reading it as a whole."""
    try:
        with path.open("rb") as file:
            yield from _parse_lines(path, file, record_type, cut_off=cut_off)
    except OSError as error:
        if not (cut_off and isinstance(error, FileNotFoundError)):
            raise StoreError(f"{path}: cannot be read ({error.strerror})") from error


def _parse_lines(
    path: Path, file: BinaryIO, record_type: type[Record], *, cut_off: bool
) -> Iterator[Record]:
    names = [field.name for field in fields(record_type)]  # type: ignore[arg-type]
    first = file.readline()
    if cut_off and not first.endswith(b"\n"):
        return
    header = next(iter(_split(path, 1, [first])), [])
    if header != names:
        raise StoreError(f"{path}: columns are {header}, expected {names}")
    line = 2
    while lines := list(islice(file, LINES_AT_ONCE)):
        if not lines[-1].endswith(b"\n"):
            lines.pop()
        yield from _make_records(path, line, record_type, _split(path, line, lines))
        line += len(lines)


def _split(path: Path, first: int, lines: list[bytes]) -> list[list[str]]:
    """Split lines, of which the first has the number `first`, into the values of their columns."""
    try:
        with fields_of_any_length():
            rows = list(csv.reader((line.decode("utf-8") for line in lines), strict=True))
        problem = "a value over several lines"
    except (UnicodeDecodeError, csv.Error) as error:
        rows, problem = [], str(error)
    if len(rows) == len(lines):
        return rows
    if len(lines) > 1:
        half = len(lines) // 2
        return _split(path, first, lines[:half]) + _split(path, first + half, lines[half:])
    raise StoreError(f"{path}, line {first}: {problem}; expected one line of CSV in UTF-8")


def _make_records(
    path: Path, first: int, record_type: type[Record], rows: list[list[str]]
) -> Iterator[Record]:
    """Make records from rows, of which the first is of line `first`; reads column by column."""
    columns = fields(record_type)  # type: ignore[arg-type]
    for line, row in enumerate(rows, first):
        if len(row) != len(columns):
            raise StoreError(f"{path}, line {line}: {len(row)} values; expected {len(columns)}")
    names, rules = [field.name for field in columns], RULES[record_type]
    values: list[list[Any]] = []
    for field, texts in zip(columns, zip(*rows, strict=True), strict=False):
        try:
            signed = field.name in rules.signed
            values.append(_read_column(str(field.type), texts, signed=signed))
            _check_allowed(values[-1], rules.allowed.get(field.name))
        except _UnexpectedError as error:
            found = shorten(texts[error.place], LONGEST_QUOTED)
            raise StoreError(
                f"{path}, line {first + error.place}, column {field.name!r}: {found!r}; expected"
                f" {error.expected}"
            ) from None
    for line, given in enumerate(zip(*values, strict=True), first):
        record = record_type(**dict(zip(names, given, strict=True)))
        _check_order(path, line, record, rules.ordered)
        yield record


class _UnexpectedError(Exception):
    """A value of a column that is not what is expected there."""

    def __init__(self, place: int, expected: str) -> None:
        super().__init__(place, expected)
        self.place = place
        self.expected = expected


def _read_column(kind: str, texts: Sequence[str], *, signed: bool) -> list[Any]:
    """Return the values of a column of texts or of whole numbers; raises _UnexpectedError."""
    optional = kind.endswith("| None")
    if kind in _TEXTS:
        values = [_decode_text(text) if "\\" in text else text for text in texts]
        return [value or None for value in values] if optional else values
    digits = [(text.removeprefix("-") or text) if signed else text for text in texts]
    given = [text for text in digits if text] if optional else digits
    together = "".join(given)
    # Checks of the whole column take less time than one of every value.
    if not (
        all(given)
        and together.isascii()
        and (together.isdecimal() or not given)
        and max(map(len, given), default=0) <= MOST_DIGITS
    ):
        place = next(
            place
            for place, text in enumerate(digits)
            if not (_DIGITS.fullmatch(text) or (optional and not texts[place]))
        )
        least = "" if signed else " from 0"
        raise _UnexpectedError(
            place,
            f"a whole number{least} of at most {MOST_DIGITS} digits" + " or nothing" * optional,
        )
    return [int(text) if text else None for text in texts]


def _check_allowed(values: Sequence[Any], allowed: Sequence[Any] | None) -> None:
    if allowed is None or set(values) <= {*allowed}:
        return
    place = next(place for place, value in enumerate(values) if value not in allowed)
    names = ["nothing" if each is None else str(each) for each in allowed]
    raise _UnexpectedError(place, f"one of {', '.join(names)}")


def _check_order(path: Path, line: int, record: object, moments: Sequence[str]) -> None:
    last, last_ns = "", 0
    for name in moments:
        time_ns = getattr(record, name)
        if time_ns is None:
            continue
        if time_ns < last_ns:
            raise StoreError(
                f"{path}, line {line}, column {name!r}: {time_ns}; expected at least {last_ns},"
                f" which is {last}"
            )
        last, last_ns = name, time_ns


@contextlib.contextmanager
def fields_of_any_length() -> Iterator[None]:
    """Let `csv` read whatever was written: its limit of 128 KiB is less than a command line's."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def check_unique(path: Path, records: Sequence[object]) -> None:
    """Raise StoreError if two records of a file are of the same thing, by `records.RULES`."""
    key = RULES[type(records[0])].unique if records else ()
    if not key:
        return
    lines: dict[object, int] = {}
    for line, found in enumerate(map(attrgetter(*key), records), 2):
        if lines.setdefault(found, line) != line:
            raise StoreError(
                f"{path}, line {line}: {', '.join(key)} as in line {lines[found]}; expected once"
            )


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, indented, with its keys in their order."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON value; raises StoreError if the file is missing or cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise StoreError(f"{path}: invalid JSON (line {error.lineno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, a very long number, too deep
        raise StoreError(f"{path}: invalid JSON ({error})") from error


def read_run(folder: Path) -> dict[str, Any]:
    """Read `run.json` of a run folder; raises StoreError if it has another version."""
    run = read_json(folder / RUN_FILE)
    version = run.get("schema_version") if isinstance(run, dict) else None
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{folder / RUN_FILE}: schema_version is {version!r}, this program reads"
            f" {SCHEMA_VERSION}; {MEASURE_AGAIN}"
        )
    return dict(run)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: readers see the old file or the complete new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: its folder was removed meanwhile; {START_AGAIN}") from error
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target` that replaces it if the block ends without an error.

    Raises StoreError if somebody else removes it, whatever error that leads to.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
        if target.exists():
            shutil.rmtree(target)
        partial.replace(target)
    except (OSError, StoreError) as error:
        if partial.is_dir():
            raise
        raise StoreError(
            f"{target}: its folder was removed while it was being written; {START_AGAIN}"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_abandoned(target: Path) -> None:
    """Remove folders that writers of `target` left when they were killed."""
    for partial in target.parent.glob(f".{target.name}.*.partial"):
        writer = partial.name.split(".")[-2]
        if not os.path.exists(f"/proc/{writer}") or writer == str(os.getpid()):  # a single stat
            shutil.rmtree(partial, ignore_errors=True)


def canonical_json(value: Any) -> str:
    """Return the canonical text of a JSON value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def shorten(text: str, most: int) -> str:
    """Return a text, or the beginning and the end of one that has more than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} [... {len(text) - 2 * half:,} characters left out ...] {text[-half:]}"


def _encode(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _decode_text(text: str) -> str:
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)


_TEXTS = ("str", "str | None")
_DIGITS = re.compile(f"[0-9]{{1,{MOST_DIGITS}}}")
