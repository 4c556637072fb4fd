"""A list of tasks as a CSV file beside a config: columns `stage.parameter`, one row for each task.

An empty cell keeps the parameter of the stage. A specification holds the file's name and hash, the
number of tasks, and the kinds of value that each column allows. So the measured process can read
the file without the signatures that it was checked against.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkflowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    Kinds = tuple[str, ...]

LARGEST_FILE = 50_000_000
"""Bytes."""

LARGEST_NUMBER = 2**63 - 1

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FIXED: dict[str, dict[str, bool | None]] = {
    "bool": {"true": True, "false": False},
    "null": {"null": None},
}


class TaskRows(Sequence["Mapping[str, Mapping[str, Any]]"]):
    """The tasks of a file, each built on access because there may be very many.

    `columns` are pairs of stage and parameter; each row has a value for every column, or `EMPTY`.
    """

    def __init__(self, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> None:
        self._columns = columns
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._make(row) for row in self._rows[index]]
        return self._make(self._rows[index])

    def _make(self, row: Sequence[Any]) -> dict[str, dict[str, Any]]:
        task: dict[str, dict[str, Any]] = {}
        for (stage, parameter), value in zip(self._columns, row, strict=True):
            if value is not EMPTY:
                task.setdefault(stage, {})[parameter] = value
        return task


EMPTY = object()
"""The value of an empty cell."""

UNREADABLE = object()
"""The value of a cell that its column does not allow."""


def count_tasks(tasks: int | Sequence[Any] | Mapping[str, Any]) -> int:
    """Return the number of tasks of a specification: a number, a list, or a reference to a file."""
    if isinstance(tasks, int):
        return tasks
    return len(tasks) if isinstance(tasks, Sequence) else int(tasks["number"])


def open_tasks(given: Mapping[str, Any], beside: Path) -> TaskRows:
    """Read the task file of a specification; raises WorkflowError if its hash differs."""
    data = _read_unchanged(given, beside)
    columns = [split_column(name) for name in given["columns"]]
    kinds = list(given["columns"].values())
    _, *rows = read_lines(data)
    values = ([read_cell(t, k) for t, k in zip(row, kinds, strict=True)] for row in rows)
    return TaskRows(columns, list(values))


def check_tasks(tasks: int | Sequence[Any] | Mapping[str, Any], beside: Path | None) -> None:
    """Compare the task file of a specification, if it has one, with its hash, as `open_tasks`."""
    if not isinstance(tasks, int | Sequence) and beside is not None:
        _read_unchanged(tasks, beside)


def _read_unchanged(given: Mapping[str, Any], beside: Path) -> bytes:
    path = beside / given["file"]
    data = read_bytes(path)
    if hash_bytes(data) != given["sha256"]:
        raise WorkflowError(f"{path}: edited after the study was started; start it again")
    return data


def read_bytes(path: Path) -> bytes:
    """Read a file; raises WorkflowError if it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise WorkflowError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise WorkflowError(f"{path}: too large; allowed: {LARGEST_FILE:,} bytes")
    return data


def hash_bytes(data: bytes) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    import hashlib  # only when needed: it adds to the measured process's memory

    return hashlib.sha256(data).hexdigest()


def read_lines(data: bytes) -> Iterator[list[str]]:
    """Yield the header and the rows of a CSV file, without empty lines; raises WorkflowError."""
    yield from (cells for _, cells in number_lines(data))


def number_lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with its line number, from 1; a row over several lines has its last line's."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WorkflowError(f"line {line}: not UTF-8 text: {error.reason}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise WorkflowError(f"line {reader.line_num}: invalid CSV: {error}") from error


def split_column(name: str) -> tuple[str, str]:
    """Split a column's name into stage and parameter; neither contains a dot."""
    stage, _, parameter = name.partition(".")
    return stage, parameter


def read_cell(text: str, kinds: Kinds) -> Any:
    """Return the value of a cell, read as the first kind that fits; else UNREADABLE.

    Kinds are bool, null, int, float, json (a list or a mapping) and text.
    """
    if not text:
        return EMPTY
    values = (_read_as(kind, text) for kind in kinds)
    return next((value for value in values if value is not UNREADABLE), UNREADABLE)


def _read_as(kind: str, text: str) -> Any:
    if kind == "text":
        return text
    if kind in _FIXED:
        return _FIXED[kind].get(text, UNREADABLE)
    if kind == "json":
        return _read_json(text)
    return _read_number(kind, text)


def _read_number(kind: str, text: str) -> Any:
    if not (_WHOLE if kind == "int" else _NUMBER).fullmatch(text):
        return UNREADABLE
    value = int(text) if kind == "int" else float(text)
    return value if math.isfinite(value) and abs(value) <= LARGEST_NUMBER else UNREADABLE


def _read_json(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return UNREADABLE
    return value if isinstance(value, list | dict) else UNREADABLE


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not valid JSON")
