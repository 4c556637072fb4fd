"""What the analysis needs of a run, kept in a file: a run is read and summarised once.

A file is used only if its key is that of the run as it is now: of the code that summarises, of the
content of all its records, and of its entry in the plan. Whatever differs, or a file that is torn,
leads to the records themselves. So files can be removed at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from stagebench.store import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stagebench.analyse.traces import Head

Row = dict[str, Any]

SUMMARIES_FOLDER = "summaries"
"""The folder beside that of the runs."""

LIBRARIES = f"{sys.version} {np.__version__} {pd.__version__}"


class Summary(NamedTuple):
    """A run's row in the table of runs, without what depends on other runs, and its other rows."""

    run: Row
    tables: dict[str, list[Row]]


def summarise_once(
    head: Head, folder: Path, kept: Path, code: str, summarise: Callable[[], Summary]
) -> Summary:
    """Return the summary in the file `kept` if it is that of a run's `folder`, or make and keep it.

    `code` identifies the code that summarises.
    """
    key = _identify(head, folder, code)
    with contextlib.suppress(OSError, ValueError, zlib.error):
        stated, *found = json.loads(zlib.decompress(kept.read_bytes()))
        if stated == key:
            return Summary(*found)
    text = json.dumps([key, *summarise()])
    # Results that may be read but not written can be analysed, too.
    with contextlib.suppress(OSError):
        _write(kept, zlib.compress(text.encode(), level=1))
    # Read back, so that tables do not depend on whether a summary was there.
    return Summary(*json.loads(text)[1:])


def _identify(head: Head, folder: Path, code: str) -> str:
    """Return a hash that changes with anything that a summary follows from."""
    total = hashlib.sha256()
    stated = [code, LIBRARIES, head.planned, head.baseline]
    total.update(canonical_json(stated).encode())
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        data = path.read_bytes()
        total.update(f"\n{path.name} {len(data)}\n".encode())
        total.update(data)
    return total.hexdigest()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
