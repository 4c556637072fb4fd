"""The archive of a study: one file with its config, plan, tables, raw records and environment.

An archive is a zip file, because readers of it need three tables and not the raw records; a
compressed tar file would be 6 % smaller, and would have to be read as a whole. `manifest.json` has
the size and the SHA-256 of every other file. Nothing is written, and no table is read, before the
whole directory of the archive was checked; the same study gives the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench import __version__
from stagebench.blocks import BLOCKS_FILE
from stagebench.errors import OptionError, StoreError
from stagebench.store import DIAGNOSIS_FOLDER, SCHEMA_VERSION, atomic_folder
from stagebench.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ENDING = ".stagebench.zip"
MANIFEST = "manifest.json"
SCHEMA = "stagebench-study/1"

FILES = ("plan.json", "resolved.yaml", BLOCKS_FILE)
FOLDERS = ("config", "tables", "raw", DIAGNOSIS_FOLDER, "claims")
"""What an archive may have beside its manifest."""

MOST_TIMES = 100
"""A study's records are compressed to a third; what grows this much when it is read is no study."""

MOST_MANIFEST_BYTES = 256 * 2**20
_AT_ONCE = 2**20
_LEVEL = 9
_NO_TIME = (1980, 1, 1, 0, 0, 0)

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:")
"""What no path of ours has, and what other systems take for a drive or a folder."""


class PackedStudy(NamedTuple):
    """An archive that was written: its file, how many files it has, and their size."""

    file: Path
    files: int
    size: int
    packed_size: int


def pack_study(study: Path, out: Path | None = None, config: Sequence[Path] = ()) -> PackedStudy:
    """Write the archive of a study's results; raises StoreError if it is not finished."""
    if not (study / "tables" / "runs.csv").exists() or not (study / "plan.json").exists():
        raise StoreError(
            f"{study}: has no plan.json and tables/runs.csv; allowed: results/STUDY, finished"
        )
    target = out or Path(f"{study.resolve().name}{ENDING}")
    if target.exists():
        raise OptionError(f"--out {target}: exists already; allowed: a new file")
    chosen = dict(_list_files(study))
    for path in config:
        name = f"config/{path.name}"
        if not path.is_file() or name in chosen:
            why = "is given twice" if name in chosen else "is no file"
            raise OptionError(f"--config {path}: {why}; allowed: files with different names")
        chosen[name] = path
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        size = _write(partial, study.resolve().name, chosen)
        partial.replace(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)
    return PackedStudy(target, len(chosen), size, target.stat().st_size)


def _list_files(study: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a study by their names in the archive; hidden ones are leftovers."""
    roots = [*(study / name for name in FILES), *(study / name for name in FOLDERS)]
    for root in roots:
        paths = sorted(root.rglob("*")) if root.is_dir() else [root] * root.exists()
        for path in paths:
            place = path.relative_to(study)
            if any(part.startswith(".") for part in place.parts) or path.is_dir():
                continue
            if path.is_symlink() or not path.is_file():
                raise StoreError(f"{path}: is no regular file; allowed: regular files")
            yield place.as_posix(), path


def _write(file: Path, study: str, chosen: Mapping[str, Path]) -> int:
    """Write files and then their manifest, which has what was really written."""
    written: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, path in chosen.items():
            with path.open("rb") as source, archive.open(_describe(name), "w") as target:
                written[name] = _copy(source, target)
        manifest = {
            "schema": SCHEMA,
            "stagebench": __version__,
            "run_schema": SCHEMA_VERSION,
            "study": study,
            "files": written,
        }
        archive.writestr(_describe(MANIFEST), json.dumps(manifest, indent=1))
    return sum(one["bytes"] for one in written.values())


def _describe(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _NO_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def _copy(source: Any, target: Any = None) -> dict[str, Any]:
    """Copy a file, or only read it; return its size and its hash, as `store.describe_files`."""
    digest, size = hashlib.sha256(), 0
    while data := source.read(_AT_ONCE):
        digest.update(data)
        size += len(data)
        if target is not None:
            target.write(data)
    return {"bytes": size, "sha256": digest.hexdigest()}


def unpack_study(file: Path, out: Path | None = None) -> Path:
    """Write the results folder that an archive holds; raises StoreError before anything is written.

    All of the archive is read and checked first.
    """
    with _open(file) as archive:
        manifest = _check(file, archive)
        name = _check_study_name(file, manifest.get("study"))
        target = out or Path("results", name)
        if target.exists():
            raise OptionError(f"--out {target}: exists already; allowed: a new folder")
        files = manifest["files"]
        size = sum(one["bytes"] for one in files.values())
        place = next(path for path in target.absolute().parents if path.exists())
        free = shutil.disk_usage(place).free
        if size > free:
            raise StoreError(
                f"{file}: holds {format_bytes(size)}; allowed here: {format_bytes(free)} are free"
            )
        for member in files:
            _check_content(file, archive, member, files[member])
        try:
            with atomic_folder(target) as folder:
                for member in files:
                    path = folder / member
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(member) as source, path.open("wb") as written:
                        _copy(source, written)
        except OSError as error:
            raise StoreError(f"{target}: cannot be written ({error.strerror})") from error
    return target


@contextlib.contextmanager
def open_tables(file: Path, members: Sequence[str]) -> Iterator[zipfile.Path]:
    """Yield the root of an archive, of which some members were checked as a whole."""
    with _open(file) as archive:
        files = _check(file, archive)["files"]
        for member in members:
            if member not in files:
                raise StoreError(f"{file}: has no {member}; allowed: an archive of a study")
            _check_content(file, archive, member, files[member])
        yield zipfile.Path(archive)


_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError),
    *(ValueError, OverflowError, RuntimeError, OSError),
)
"""What reading a damaged archive raises."""


@contextlib.contextmanager
def _open(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(file)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise StoreError(f"{file}: cannot be read ({error.strerror})") from error
    except _DAMAGED as error:
        raise StoreError(
            f"{file}: is no archive, or is cut off ({error}); allowed: a file by `stagebench pack`"
        ) from error
    with archive:
        yield archive


def _check(file: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    """Check the directory of an archive and return its manifest; raises StoreError."""
    members = archive.infolist()
    if problem := _find_problem(members):
        raise StoreError(f"{file}: {problem}")
    size, packed = sum(one.file_size for one in members), file.stat().st_size
    if size > MOST_TIMES * packed:
        raise StoreError(
            f"{file}: would grow from {format_bytes(packed)} to {format_bytes(size)}; allowed: at"
            f" most {MOST_TIMES} times as large"
        )
    names = [one.filename for one in members]
    if MANIFEST not in names:
        raise StoreError(f"{file}: has no {MANIFEST}; allowed: a file by `stagebench pack`")
    manifest = _read_manifest(file, archive)
    files = manifest["files"]
    listed = {one.filename: one.file_size for one in members if one.filename != MANIFEST}
    for name in sorted({*files, *listed}):
        if name not in files or name not in listed:
            where = MANIFEST if name not in files else "the archive"
            raise StoreError(f"{file}: {name!r} is not in {where}; allowed: the same files in both")
        if files[name]["bytes"] != listed[name]:
            raise StoreError(
                f"{file}: {name!r} has {listed[name]:,} bytes; {MANIFEST} says"
                f" {files[name]['bytes']:,}"
            )
    return manifest


def _find_problem(members: Iterable[zipfile.ZipInfo]) -> str:
    """Return what is wrong with the names or kinds of members; "" if nothing is."""
    seen: set[str] = set()
    folders: set[str] = set()
    for one in members:
        name, kind = one.orig_filename, stat.S_IFMT(one.external_attr >> 16)
        parts = name.split("/")
        inside = (len(parts) == 1 and name in (MANIFEST, *FILES)) or (
            len(parts) > 1 and parts[0] in FOLDERS
        )
        if name in seen:
            return f"{name!r} is there twice; allowed: once"
        if not inside or _UNSAFE.search(name) or {"", ".", ".."} & set(parts):
            return (
                f"the path {name!r} is not allowed; allowed: {MANIFEST}, {', '.join(FILES)}, and"
                f" files within {', '.join(FOLDERS)}"
            )
        if kind not in (0, stat.S_IFREG):
            return f"{name!r} is a link or a special file; allowed: regular files"
        if one.flag_bits & 1:
            return f"{name!r} is encrypted; allowed: plain files"
        if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"{name!r} is compressed by method {one.compress_type}; allowed: 0, 8"
        seen.add(name)
        folders.update(str(parent) for parent in PurePosixPath(name).parents)
    both = sorted(seen & folders)
    return f"{both[0]!r} is a file and a folder; allowed: one of them" if both else ""


def _read_manifest(file: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    if archive.getinfo(MANIFEST).file_size > MOST_MANIFEST_BYTES:
        raise StoreError(
            f"{file}: {MANIFEST} is too large; allowed: {format_bytes(MOST_MANIFEST_BYTES)}"
        )
    try:
        manifest = json.loads(archive.read(MANIFEST))
    except (RecursionError, *_DAMAGED) as error:
        raise StoreError(f"{file}: {MANIFEST} is damaged ({error}); pack it again") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise StoreError(f"{file}: its schema is {schema!r}; allowed: {SCHEMA!r}")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(map(_is_described, files.values())):
        raise StoreError(f"{file}: {MANIFEST} has no sizes and hashes of files; pack it again")
    return dict(manifest)


def _is_described(value: object) -> bool:
    return (
        isinstance(value, dict)
        and type(value.get("bytes")) is int
        and isinstance(value.get("sha256"), str)
    )


def _check_study_name(file: Path, name: object) -> str:
    if not isinstance(name, str) or not name or "/" in name or _UNSAFE.search(name):
        raise StoreError(f"{file}: {name!r} is no name of a study; allowed: a name without /")
    if name in (".", ".."):
        raise StoreError(f"{file}: {name!r} is no name of a study; allowed: a name without /")
    return name


def _check_content(
    file: Path, archive: zipfile.ZipFile, member: str, written: Mapping[str, Any]
) -> None:
    try:
        with archive.open(member) as source:
            found = _copy(source)
    except _DAMAGED as error:
        raise StoreError(
            f"{file}: {member!r} is damaged ({error}); pack the study again"
        ) from error
    if found != {name: written[name] for name in ("bytes", "sha256")}:
        raise StoreError(
            f"{file}: {member!r} is not the content that was packed (its size or SHA-256 differs);"
            f" pack the study again"
        )
