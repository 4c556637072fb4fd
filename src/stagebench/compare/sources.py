"""What a comparison reads: of a study's results three tables, from a folder or an archive."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pandas as pd

from stagebench.analyse.conditions import count_nodes
from stagebench.compare.archive import ENDING, open_tables
from stagebench.errors import OptionError, StoreError
from stagebench.tables.io import read_known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]

NEEDED = {
    "runs": ("experiment", "treatment", "replicate", "factors", "block", "campaign", "status"),
    "stages": ("experiment", "treatment", "stage", "handler", "parameters"),
    "environment": ("property", "value"),
}
"""Tables that a comparison reads, and the columns that it cannot do without."""

_IMPORTABLE = (".json", ".csv")


class StudySource(NamedTuple):
    """The results of one study, or of several that were joined: `name` is what people call it."""

    name: str
    paths: tuple[str, ...]
    runs: pd.DataFrame
    stages: pd.DataFrame
    environment: pd.DataFrame

    @property
    def campaigns(self) -> list[str]:
        """Return when its studies were started, and on which node, each once."""
        places = zip(self.runs["campaign"], self.runs["node"], strict=True)
        return sorted({f"{name} on {node}" if node else str(name) for name, node in places})

    @property
    def nodes(self) -> int:
        """Return on how many nodes its runs were made."""
        return count_nodes(self.runs["node"])


def read_sources(arguments: Sequence[str]) -> list[StudySource]:
    """Read what the arguments of `compare` name: PATH, NAME=PATH or NAME=PATH,PATH."""
    named = [_split(text) for text in arguments]
    names = _choose_names(named)
    found = [_read(name, paths) for name, (_, paths) in zip(names, named, strict=True)]
    for one in found:
        if one.runs.empty:
            raise StoreError(f"{one.paths[0]}: has no runs")
    return found


def _name_place(tables: Mapping[str, pd.DataFrame]) -> pd.Series[str]:
    """Return the campaigns of runs, those of unknown nodes with their host.

    Two machines may start in the same second.
    """
    environment = tables["environment"]
    hosts = sorted(set(environment.loc[environment["property"] == "host", "value"]))
    campaigns = tables["runs"]["campaign"].astype(str)
    where = f" on {' and '.join(hosts)}" if hosts else ""
    return campaigns.where(tables["runs"]["node"] != "", campaigns + where)


def _split(text: str) -> tuple[str, list[str]]:
    """Split an argument into the name that it gives, or "", and its paths."""
    if Path(text).exists():
        return "", [text]
    name, equals, rest = text.partition("=")
    paths = [path for path in (rest if equals else text).split(",") if path]
    if not paths or (equals and not name):
        raise OptionError(f"{text!r} is not allowed; allowed: PATH, NAME=PATH, NAME=PATH,PATH")
    return (name if equals else ""), paths


def _choose_names(named: Sequence[tuple[str, list[str]]]) -> list[str]:
    """Return a name for each argument, all different: the end of its path as far as needed."""
    given = [name for name, _ in named if name]
    if doubled := [name for name, number in Counter(given).items() if number > 1]:
        raise OptionError(f"{doubled[0]!r} is the name of two sides; allowed: one name for each")
    parts = [_list_parts(paths[0]) for _, paths in named]
    for depth in range(1, 1 + max(map(len, parts))):
        names = [
            name or "/".join(own[-depth:]) for (name, _), own in zip(named, parts, strict=True)
        ]
        if len(set(names)) == len(names):
            return names
    return [f"{number}:{name}" for number, name in enumerate(names, start=1)]


def _list_parts(path: str) -> list[str]:
    """Return the parts of a path that tell studies apart."""
    parts = list(Path(path).absolute().parts[1:])
    if len(parts) > 1 and parts[-1] == "tables":
        parts.pop()
    if parts:
        parts[-1] = parts[-1].removesuffix(ENDING)
    return parts or ["study"]


def _read(name: str, paths: Sequence[str]) -> StudySource:
    tables = [_read_one(Path(path)) for path in paths]
    for one in tables:
        one["runs"]["campaign"] = _name_place(one)
    joined = {key: pd.concat([one[key] for one in tables], ignore_index=True) for key in NEEDED}
    runs = joined["runs"]
    key = ["experiment", "treatment", "block", "campaign", "node", "replicate"]
    if len(tables) > 1 and runs.duplicated(key).any():
        raise StoreError(
            f"{', '.join(paths)}: the same runs are in two of them; allowed: different runs"
        )
    return StudySource(name, tuple(paths), **joined)


def _read_one(path: Path) -> dict[str, pd.DataFrame]:
    if path.is_dir():
        for folder in (path / "tables", path):
            if (folder / "runs.csv").exists():
                return _read_folder(folder)
            if (folder / "runs.csv.gz").exists():
                return _read_compressed(folder)
        raise StoreError(
            f"{path}: has no tables/runs.csv; allowed: results/STUDY of a finished study, its"
            f" folder of tables, or an archive by `stagebench pack`"
        )
    if not path.exists():
        raise StoreError(f"{path}: does not exist")
    if path.suffix in _IMPORTABLE:
        raise StoreError(
            f"{path}: is no study; for records of other tools: stagebench import {path}"
        )
    with open_tables(path, [f"tables/{name}.csv" for name in NEEDED]) as root:
        return _read_folder(cast("Path", root / "tables"))  # reads as a Path does


def _read_compressed(folder: Path) -> dict[str, pd.DataFrame]:
    """Read tables as `make reference` compresses them."""
    with tempfile.TemporaryDirectory() as beside:
        for name in NEEDED:
            path = folder / f"{name}.csv.gz"
            try:
                data = gzip.decompress(path.read_bytes())
            except (OSError, EOFError, zlib.error) as error:
                raise StoreError(f"{path}: cannot be read ({error})") from error
            Path(beside, f"{name}.csv").write_bytes(data)
        return _read_folder(Path(beside))


def _read_folder(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: read_known(folder / f"{name}.csv", needed) for name, needed in NEEDED.items()}
