"""Make, write and read tables according to `schema`.

The same content gives the same bytes.
"""

from __future__ import annotations

import io
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from stagebench.errors import StoreError
from stagebench.records import NOT_FAILED, UNSUPPORTED
from stagebench.store import write_text
from stagebench.tables.quantities import COUNT, NUMBER
from stagebench.tables.schema import (
    CLAIM_TABLES,
    FLAG,
    LATER_COLUMNS,
    LATER_TABLES,
    REFERENCE_COLUMNS,
    TABLES,
    TEXT,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_DTYPES: dict[str, Any] = {TEXT: "str", COUNT: "Int64", NUMBER: "float64", FLAG: "boolean"}

FLOAT_FORMAT = "%.12g"
"""Enough digits for a nanosecond in a quarter of an hour and for a byte in a tebibyte."""


def make_table(name: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Make the table `name` from rows (column → value); columns that a row lacks are missing."""
    rows = list(rows)
    if not rows:
        return _make_empty(tuple(TABLES[name].items()))
    columns = TABLES[name]
    unknown = {key for row in rows for key in row} - columns.keys()
    if unknown:
        raise StoreError(f"table {name!r} has no column {sorted(unknown)}")
    return _make_table(columns, rows)


def _make_empty(columns: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    # A third of the tables of a small study are empty, and an empty one takes as long as another.
    return _keep_empty(columns).copy(deep=False)


@cache
def _keep_empty(columns: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    return _make_table(dict(columns), [])


def _make_table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    # Of arrays, and not of series: nothing has to be aligned.
    return pd.DataFrame(
        {
            column: pd.array([_cell(row.get(column), kind) for row in rows], dtype=_DTYPES[kind])
            for column, kind in columns.items()
        }
    )


def numbers(table: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return a column as floats, also a column of counts; missing values are NaN."""
    return table[column].astype("float64")


def find_failed(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that failed; an unsupported treatment has not."""
    return _select(runs, ~runs["status"].isin(NOT_FAILED))


def find_unsupported(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the first run of each treatment that cannot run, with the reason as `detail`."""
    found = _select(runs, runs["status"] == UNSUPPORTED)
    return found.drop_duplicates(["experiment", "treatment"])


def _select(table: pd.DataFrame, wanted: pd.Series[bool]) -> pd.DataFrame:
    # Mostly there are none, and to take no rows of a hundred columns takes as long as to take some.
    return table[wanted] if wanted.any() else table.iloc[:0]


def list_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as mappings of column → value."""
    names = [str(name) for name in table.columns]
    # `to_dict` looks every column up by its place, which takes most of its time in a small table.
    columns = [
        # A missing count or flag is None; a missing number is NaN already.
        [None if cell is pd.NA else cell for cell in column.tolist()]
        for _, column in table.items()
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table to the CSV file of its name; raises StoreError for wrong columns."""
    expected = list(TABLES[path.stem])
    if list(table.columns) != expected:
        raise StoreError(f"{path}: columns are {list(table.columns)}, expected {expected}")
    text = table.to_csv(index=False, float_format=FLOAT_FORMAT, lineterminator="\n")
    write_text(path, text)


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write every table into `folder`."""
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")


def read_table(path: Path) -> pd.DataFrame:
    """Read the table that a file is named after; raises StoreError if it is not that table."""
    later = LATER_COLUMNS.get(path.stem, ())
    return _read_csv(path, TABLES[path.stem], later)


def read_known(path: Path, needed: Iterable[str]) -> pd.DataFrame:
    """Read a table that another version may have written: columns that it lacks are missing.

    Columns that are not in the schema are left out. Raises StoreError if a needed one is missing.
    """
    columns = TABLES[path.stem]
    text = _read_text(path)
    header = text.partition("\n")[0].split(",")
    if missing := [name for name in needed if name not in header]:
        raise StoreError(f"{path}: without {', '.join(missing)}; this is no table {path.stem!r}")
    table = _parse(path, text, {name: columns[name] for name in header if name in columns})
    return _complete(table, path.stem)


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Read all tables of a study, except those of claims."""
    return read_some(folder, [name for name in TABLES if name not in CLAIM_TABLES])


def read_some(folder: Path, names: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Read some tables of a study; of `LATER_TABLES`, those that it lacks are empty."""
    paths = {name: folder / f"{name}.csv" for name in names}
    return {
        name: make_table(name, [])
        if name in LATER_TABLES and not path.exists()
        else read_table(path)
        for name, path in paths.items()
    }


def read_claims(folder: Path | None) -> dict[str, pd.DataFrame]:
    """Read the tables of judged claims; without a folder they are empty."""
    if folder is None:
        return {name: make_table(name, []) for name in CLAIM_TABLES}
    return {name: read_table(folder / f"{name}.csv") for name in CLAIM_TABLES}


def read_reference(path: Path) -> pd.DataFrame:
    """Read a file of published values; raises StoreError for wrong columns."""
    return _read_csv(path, REFERENCE_COLUMNS)


def _cell(value: Any, kind: str) -> Any:
    if kind == TEXT:
        # pandas takes a carriage return for the end of a row, and does not quote it.
        text = "" if value is None else str(value).replace("\r\n", "\n").replace("\r", "\n")
        # Names are in thousands of rows, and may have been read one by one.
        return sys.intern(text)
    return pd.NA if value is None and kind != NUMBER else value


MOST_COLUMNS = 5
"""Of more columns that are missing or unknown than this, some are named."""


MOST_ALLOWED = 10
"""Of more columns than this, not all are named: no person writes such a table."""


def _describe_columns(found: list[str], expected: list[str]) -> str:
    """Say how the columns of a file differ from what is expected."""
    texts = [
        f"{what} {', '.join(names[:MOST_COLUMNS])}{', …' if len(names) > MOST_COLUMNS else ''}"
        for what, names in (
            ("without", [name for name in expected if name not in found]),
            ("with", [name for name in found if name not in expected]),
        )
        if names
    ]
    how = " and ".join(texts) or "in another order"
    remedy = "if another version of stagebench made it, start the study again"
    if len(expected) <= MOST_ALLOWED:
        remedy = f"allowed: {', '.join(expected)}"
    return f"its columns are not the expected ones: {how}; {remedy}"


def _read_csv(path: Path, columns: dict[str, str], later: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table that has exactly these columns, or lacks some of the later ones."""
    text = _read_text(path)
    header = text.partition("\n")[0].split(",")
    if header != [name for name in columns if name in header or name not in later]:
        raise StoreError(f"{path}: {_describe_columns(header, list(columns))}")
    table = _parse(path, text, {name: columns[name] for name in header})
    return _complete(table, path.stem) if len(header) < len(columns) else table


def _complete(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a table with all of its columns: those that it lacks are missing."""
    whole = make_table(name, [{}] * len(table))
    for column in table.columns:
        whole[column] = table[column]
    return whole


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: is no text in UTF-8 ({error.reason})") from error


def _parse(path: Path, text: str, columns: Mapping[str, str]) -> pd.DataFrame:
    if "\n" not in text.rstrip("\n"):
        return _make_empty(tuple(columns.items()))
    try:
        return pd.read_csv(
            io.StringIO(text),
            usecols=list(columns),
            dtype={column: _DTYPES[kind] for column, kind in columns.items()},
            keep_default_na=False,
            na_values={column: [""] for column, kind in columns.items() if kind != TEXT},
        )
    except ValueError as error:
        raise StoreError(f"{path}: a cell has another type than its column ({error})") from error
