"""Sales of a day: compressed JSON lines → rows → the totals of each shop → the sum of all."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd


def read(day: int, folder: str) -> bytes:
    """Return the lines of a day."""
    return gzip.decompress(Path(folder, f"{day:03}.jsonl.gz").read_bytes())


def parse(upstream: bytes, gives: str) -> Any:
    """Return the sales as rows, or already their totals."""
    rows = [json.loads(line) for line in upstream.splitlines()]
    return rows if gives == "rows" else add_up(rows)


def add_up(rows: Any) -> Any:
    """Return the totals of each shop as a table."""
    return pd.DataFrame(rows).groupby("shop", as_index=False).sum()


def total(upstream: Any) -> int:
    """Return what was sold that day."""
    return int(add_up(upstream)["price"].sum())
