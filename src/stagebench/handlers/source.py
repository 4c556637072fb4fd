"""Where the source of a handler is, and a hash of it, without importing it.

A user's own module is found in the environment or beside the config. A name that is found in both
is an error: which of them is measured must not depend on what happens to be installed.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from stagebench.errors import WorkflowError
from stagebench.handlers.registry import handler_target, is_own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.machinery import ModuleSpec

DIGITS = 12
"""Of the hash in hexadecimal."""


def source_hash(name: str, beside: Path | None = None) -> str:
    """Hash the source of a handler (SHA-256), with the helpers of one that lies beside the config.

    Helpers are the modules in the folder `beside` that its module imports, and those that they do.
    Part of every specification: an edited handler is another treatment and is measured anew.
    Raises WorkflowError where there is no source, or where a name is found twice.
    """
    module = handler_target(name).partition(":")[0]
    file = find_module(module, beside)
    if not is_own(name):
        return hashlib.sha256(file.read_bytes()).hexdigest()[:DIGITS]
    files = {module: file}
    if beside is not None and _file_beside(module, beside) == file:
        _add_helpers(files, module, beside)
    total = hashlib.sha256()
    for found in sorted(files):
        # Names, not places: a checkout may move.
        data = files[found].read_bytes()
        total.update(f"{found} {len(data)}\n".encode() + data)
    return total.hexdigest()[:DIGITS]


def check_sources(stages: Sequence[Mapping[str, str]], beside: Path | None) -> None:
    """Hold the sources of handlers against a specification's hashes; raises WorkflowError.

    What was edited after the study was called would be measured under the wrong hash.
    """
    for stage in stages:
        name = stage["handler"]
        if source_hash(name, beside) != stage["source"]:
            raise WorkflowError(
                f"stage {stage['name']!r}: the source of handler {name!r} was edited after the"
                " study was called; call it again"
            )


def find_module(module: str, beside: Path | None) -> Path:
    """Give the file of a module; raises WorkflowError where there is none, or two."""
    top = module.partition(".")[0]
    if beside is None or _file_beside(top, beside) is None:
        return _find_installed(module, beside)
    _refuse_second(top, beside)
    file = _file_beside(module, beside)
    if file is None:
        raise WorkflowError(f"no module {module} beside the config, where {top} is")
    return file


def _file_beside(module: str, beside: Path) -> Path | None:
    """Give the file of a module in a folder, if it is there; packages have an __init__.py."""
    place = beside.joinpath(*module.split("."))
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file
    return None


def _refuse_second(top: str, beside: Path) -> None:
    own, spec = _file_beside(top, beside), _find_spec(top)
    # A folder without __init__.py has no origin; any module comes before it.
    if own is None or spec is None or spec.origin is None:
        return
    if Path(spec.origin).resolve() != own.resolve():
        raise WorkflowError(
            f"module {top} is found twice, beside the config and in the environment"
            f" ({spec.origin}); give the one beside the config another name"
        )


def _find_spec(top: str) -> ModuleSpec | None:
    """Ask the finders that an import asks for a module that is in no package."""
    specs = (finder.find_spec(top, None) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _find_installed(module: str, beside: Path | None) -> Path:
    """Find a module of the environment without importing the packages that it lies in."""
    top, *parts = module.split(".")
    name, spec = top, _find_spec(top)
    for part in parts:
        name = f"{name}.{part}"
        spec = spec and PathFinder.find_spec(name, spec.submodule_search_locations or [])
    if spec is None:
        where = f" or beside the config ({beside})" if beside else ""
        raise WorkflowError(f"no module {module} in the environment{where}")
    if not spec.has_location or spec.origin is None:
        raise WorkflowError(f"module {module} has no source file to hash")
    return Path(spec.origin)


def _add_helpers(files: dict[str, Path], module: str, beside: Path) -> None:
    """Add all modules beside the config that a module imports, directly or not."""
    for name in _imported(module, files[module]):
        helper = _file_beside(name, beside)
        if helper is not None and name not in files:
            _refuse_second(name.partition(".")[0], beside)
            files[name] = helper
            _add_helpers(files, name, beside)


def _imported(module: str, file: Path) -> Iterator[str]:
    """Yield what may be a module in the imports of a file, and the packages above it."""
    for node in ast.walk(_parse(file)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module, is_package=file.name == "__init__.py")
            names = [".".join([*origin, alias.name]) for alias in node.names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _origin(node: ast.ImportFrom, module: str, *, is_package: bool) -> list[str]:
    """Give the parts of the absolute name of what is imported from."""
    below = node.module.split(".") if node.module else []
    if not node.level:
        return below
    package = module.split(".") if is_package else module.split(".")[:-1]
    return [*package[: len(package) - node.level + 1], *below]


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), file.name)
    except SyntaxError as error:
        raise WorkflowError(f"{file.name}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:
        raise WorkflowError(f"{file.name}: {error}") from error
