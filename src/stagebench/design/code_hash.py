"""A hash of the code that a command runs, which decides whether its results are up to date.

It covers the command's function, all our modules that it imports, directly or not, and the data
files that they name. It leaves out comments and docstrings, which can be edited freely, and the
location of the files, so a checkout can move.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import WorkflowError
from stagebench.handlers.registry import HANDLERS
from stagebench.handlers.source import (
    DIGITS,
    PACKAGE_FILE,
    find_module,
    follow_imports,
    imported_names,
    module_file,
    parse_source,
    with_packages,
)
from stagebench.store import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_PACKAGE = __name__.partition(".")[0]

MEASURING = (
    f"{_PACKAGE}.cli:_measure",
    f"{_PACKAGE}.measure.main",
    *(target.partition(":")[0] for target in HANDLERS.values()),
)
"""The code that decides what a run measures: supervisor, measured process, shipped handlers."""


class Code(NamedTuple):
    """What counts of one module: its hash, the names that it imports, and its strings."""

    digest: str
    imports: frozenset[str]
    strings: frozenset[str]


class CodeMemory:
    """What was read of files, kept in a file from one call to the next, as Python keeps bytecode.

    A file that has another size or time of change is read again. Reading all takes half a second,
    which every call of Snakemake would take.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        self._is_new = False
        # Whatever is wrong with the file, all is read again.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if path is not None:
                found = json.loads(path.read_text(encoding="utf-8"))
                self._known = found["codes"] if found["reader"] == _hash_reader() else {}

    def read(self, target: str, file: Path) -> Code:
        """Return what counts of a target's file."""
        stat = file.stat()
        version = [stat.st_mtime_ns, stat.st_size]
        known = self._known.get(target)
        if known is not None and known[0] == version:
            return Code(known[1], frozenset(known[2]), frozenset(known[3]))
        code = read_code(target, file)
        self._known[target] = [version, code.digest, sorted(code.imports), sorted(code.strings)]
        self._is_new = True
        return code

    def save(self) -> None:
        """Write the file, if anything was read since; where it cannot be written, it is not."""
        if self._path is None or not self._is_new or sys.dont_write_bytecode:
            return
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            partial.write_text(json.dumps({"reader": _hash_reader(), "codes": self._known}))
            partial.replace(self._path)
        self._is_new = False


@cache
def _hash_reader() -> str:
    """Hash the code by which code is read: what it has read is not known to another one."""
    files = Path(__file__), Path(sys.modules[parse_source.__module__].__file__ or "")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class CodeFolder:
    """The folder that holds a package; each of its files is read once for all hashes.

    A target is a module, or "module:function" for a function without the rest of its module.
    """

    def __init__(self, folder: Path, package: str = _PACKAGE, memory: Path | None = None) -> None:
        self._folder = folder
        self._package = package
        self._codes: dict[str, Code | None] = {}
        self._memory = CodeMemory(memory)

    def hash(self, *targets: str) -> str:
        """Hash all code and data that targets reach; raises WorkflowError for a missing target."""
        total = hashlib.sha256()
        codes = self.reach(*targets)
        for name in sorted(codes):
            total.update(f"{name} {codes[name].digest}\n".encode())
        for file in self.find_data(codes):
            data = file.read_bytes()
            name = file.relative_to(self._folder).as_posix()
            total.update(f"{name} {len(data)}\n".encode() + data)
        self._memory.save()
        return total.hexdigest()[:DIGITS]

    def reach(self, *targets: str) -> dict[str, Code]:
        """Return the code of targets, of the packages above them, and of all that they import."""
        start = list(targets)
        for target in targets:
            start += with_packages(target.partition(":")[0])[:-1]
        names = follow_imports(start, self._imports_of)
        codes = {name: code for name in names if (code := self._read(name)) is not None}
        for target in targets:
            if target not in codes:
                raise WorkflowError(f"no code {target} in {self._folder}")
        return codes

    def find_data(self, codes: dict[str, Code]) -> list[Path]:
        """Return the data files in the folders of the code whose names occur in it as strings.

        A file that is found, such as a template, may name others.
        """
        strings = frozenset().union(*(code.strings for code in codes.values()))
        places = {file.parent for name in codes if (file := self._file(name)) is not None}
        files = [file for place in places for file in place.iterdir() if _is_data(file)]
        found = [file for file in files if file.name in strings]
        for file in found:
            text = file.read_text(encoding="utf-8", errors="replace")
            found.extend(one for one in files if one not in found and one.name in text)
        return sorted(found)

    def _imports_of(self, target: str) -> Collection[str] | None:
        code = self._read(target)
        return None if code is None else code.imports

    def _read(self, target: str) -> Code | None:
        if target not in self._codes:
            file = self._file(target)
            self._codes[target] = None if file is None else self._memory.read(target, file)
        return self._codes[target]

    def _file(self, target: str) -> Path | None:
        module = target.partition(":")[0]
        ours = module.partition(".")[0] == self._package
        return module_file(module, self._folder) if ours else None


@cache
def installed_code() -> CodeFolder:
    """Return the installed code, which is that of a checkout if installed from there."""
    package = find_module(_PACKAGE, None).parent
    name = f"code_hash.{sys.implementation.cache_tag}.json"
    return CodeFolder(package.parent, memory=package / "__pycache__" / name)


def describe_protocol(code: CodeFolder | None = None) -> str:
    """Return PROTOCOL and the hash of the code that decides what a run measures, as one text.

    It is recorded in tests/protocol.txt rather than in store.py, which the analysis also imports.
    """
    return f"protocol {PROTOCOL}, code {(code or installed_code()).hash(*MEASURING)}"


def read_code(target: str, file: Path) -> Code:
    """Read the file of a target and return what counts of it."""
    module, _, function = target.partition(":")
    tree = parse_source(file)
    if function:
        tree = _extract(function, tree, file)
    imports = imported_names(module, tree, is_package=file.name == PACKAGE_FILE)
    parts: list[str] = []
    strings: set[str] = set()
    _write(tree, parts, strings)
    digest = hashlib.sha256("".join(parts).encode()).hexdigest()
    return Code(digest, frozenset(imports), frozenset(strings))


def _extract(function: str, tree: ast.Module, file: Path) -> ast.Module:
    """Reduce a module to one function and what it uses of the module, directly or not."""
    binding: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for name in _bound_by(statement):
            binding.setdefault(name, []).append(statement)
    if function not in binding:
        raise WorkflowError(f"{file.name} has no {function}")
    kept: set[ast.stmt] = set()
    waiting = list(binding[function])
    while waiting:
        statement = waiting.pop()
        if statement not in kept:
            kept.add(statement)
            used = (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
            waiting.extend(one for name in used for one in binding.get(name, ()))
    return ast.Module([one for one in tree.body if one in kept], [])


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds in its module."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _write(node: object, parts: list[str], strings: set[str]) -> None:
    """Write parsed code as text without its prose, and collect its strings.

    The text must be the same in all versions of Python, unlike that of ast.dump and ast.unparse.
    Empty fields are left out, so a field that a version adds to the grammar changes nothing.
    """
    if isinstance(node, ast.AST):
        parts.append(f"{type(node).__name__}(")
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, str):
                strings.add(value)
                parts.append(f"{name}={value!a},")
            elif value is not None and value != [] and name != "ctx":
                parts.append(f"{name}=")
                _write(value, parts, strings)
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for one in node:
            if not _is_prose(one):
                _write(one, parts, strings)
        parts.append("]")
    else:
        if isinstance(node, str):
            strings.add(node)
        parts.append(f"{node!a},")


def _is_prose(node: object) -> bool:
    """Return whether a statement is only a string: a docstring, also that of a constant."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


def _is_data(file: Path) -> bool:
    return file.is_file() and file.suffix != ".py"
