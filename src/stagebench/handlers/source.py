"""Find and hash the source of a handler without importing it.

A user's own module is looked up in the environment and beside the config. A name found in both is
an error: which one is measured must not depend on what happens to be installed.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import shlex
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from stagebench.errors import WorkflowError
from stagebench.handlers.registry import handler_target, is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from importlib.machinery import ModuleSpec

DIGITS = 12
"""Length of a hash, in hexadecimal digits."""

PACKAGE_FILE = "__init__.py"

_MAY_HOLD_IMPORTS = (ast.stmt, ast.excepthandler, ast.match_case)


def source_hash(name: str, beside: Path | None = None) -> str:
    """Return the SHA-256 of a handler's source; beside the config, helpers are included.

    Helpers are the modules in the folder `beside` that the handler's module imports, directly or
    not. The hash is part of every specification: an edited handler is another treatment and is
    measured again. Raises WorkflowError if there is no source, or if a name is found twice.
    """
    module = handler_target(name).partition(":")[0]
    if is_own(name):
        return module_hash(module, beside)
    return hashlib.sha256(find_module(module, beside).read_bytes()).hexdigest()[:DIGITS]


def module_hash(module: str, beside: Path | None) -> str:
    """Return the SHA-256 of a user's own module and, beside the config, of its helpers."""
    file = find_module(module, beside)
    files = {module: file}
    if beside is not None and module_file(module, beside) == file:
        names = follow_imports([module], lambda name: _imports_beside(name, beside))
        files = {name: find_module(name, beside) for name in names}
    return _hash_files(files)


def _hash_files(files: Mapping[str, Path]) -> str:
    total = hashlib.sha256()
    for found in sorted(files):
        # Names, not paths: a checkout may move.
        data = files[found].read_bytes()
        total.update(f"{found} {len(data)}\n".encode() + data)
    return total.hexdigest()[:DIGITS]


def check_sources(stages: Sequence[Mapping[str, str]], beside: Path | None) -> None:
    """Compare the sources of handlers with a specification's hashes; raises WorkflowError.

    A handler edited after the study was started would be measured under the wrong hash.
    """
    for stage in stages:
        name = stage["handler"]
        if source_hash(name, beside) != stage["source"]:
            raise WorkflowError(
                f"stage {stage['name']!r}: the source of handler {name!r} was edited after the"
                " study was started; start it again"
            )


def check_preloads(process: Mapping[str, Any], beside: Path | None) -> None:
    """Compare the sources of preloaded modules with a specification's hashes, as for handlers."""
    for module, source in process.get("preload_sources", {}).items():
        if module_hash(module, beside) != source:
            raise WorkflowError(
                f"the source of the preloaded module {module!r} was edited after the study was"
                " started; start it again"
            )


def check_there(question: Mapping[str, Any]) -> dict[str, Any]:
    """Check handlers and preloaded modules where they are imported: in another interpreter.

    `question` has `stages` and `process` of a specification, the versions of `packages`, and the
    folder `beside`. Raises WorkflowError as `check_sources` does.
    """
    beside = None if question["beside"] is None else Path(question["beside"])
    check_sources(question["stages"], beside)
    check_preloads(question["process"], beside)
    for package, version in question["packages"].items():
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found = "not installed"
        if found != version:
            raise WorkflowError(
                f"package {package} was {version} when the study was started, and is {found} now;"
                " start it again"
            )
    return {}


def hash_command(command: str, beside: Path | None) -> dict[str, str]:
    """Return the hash of each file beside the config that a command names, and of its helpers.

    A word names a file by its path, or a module as in `python -m name` and `name:object`. Raises
    ValueError if quotes are not closed.
    """
    found: dict[str, str] = {}
    if beside is None:
        return found
    for word in dict.fromkeys(shlex.split(command)):
        path = os.path.normpath(word)
        module = path.partition(":")[0].removesuffix(".py").replace("/", ".")
        if _is_dotted(module) and module_file(module, beside) is not None:
            names = follow_imports([module], lambda name: _imports_beside(name, beside))
            files = {name: file for name in names if (file := module_file(name, beside))}
            found[word] = _hash_files(files)
        elif not path.startswith(("/", "..")) and os.path.isfile(beside / path):
            found[word] = _hash_files({path: beside / path})
    return found


def _is_dotted(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def check_server(server: Mapping[str, Any] | None, beside: Path | None) -> None:
    """Compare the files of a server's command with a specification's hashes, as for handlers."""
    if server is None:
        return
    known, now = server.get("files", {}), hash_command(server["command"], beside)
    for word in sorted(known.keys() | now.keys()):
        if known.get(word) != now.get(word):
            raise WorkflowError(
                f"server: {word} was edited after the study was started; start it again"
            )


def find_module(module: str, beside: Path | None) -> Path:
    """Return the file of a module; raises WorkflowError if there is none, or more than one."""
    top = module.partition(".")[0]
    if beside is None or module_file(top, beside) is None:
        return _find_installed(module, beside)
    _refuse_second(top, beside)
    file = module_file(module, beside)
    if file is None:
        raise WorkflowError(f"no module {module} beside the config, where {top} is")
    return file


def module_file(module: str, folder: Path) -> Path | None:
    """Return the file of a module in a folder, or None; a package needs an __init__.py."""
    place = folder.joinpath(*module.split("."))
    for file in (place / PACKAGE_FILE, place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file
    return None


def _refuse_second(top: str, beside: Path) -> None:
    own, spec = module_file(top, beside), _find_spec(top)
    # A folder without __init__.py has no origin; any module takes precedence over it.
    if own is None or spec is None or spec.origin is None:
        return
    if Path(spec.origin).resolve() != own.resolve():
        raise WorkflowError(
            f"module {top} is found twice, beside the config and in the environment"
            f" ({spec.origin}); rename the one beside the config"
        )


def _find_spec(top: str) -> ModuleSpec | None:
    """Return the spec of a top-level module, from the same finders that an import uses."""
    specs = (finder.find_spec(top, None) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _find_installed(module: str, beside: Path | None) -> Path:
    """Return the file of an installed module without importing its packages."""
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


def _imports_beside(module: str, beside: Path) -> Iterable[str] | None:
    """Return what a module beside the config imports; None for any other module."""
    file = module_file(module, beside)
    if file is None:
        return None
    _refuse_second(module.partition(".")[0], beside)
    return imported_names(module, parse_source(file), is_package=file.name == PACKAGE_FILE)


def follow_imports(
    start: Iterable[str], imports_of: Callable[[str], Iterable[str] | None]
) -> set[str]:
    """Return all modules that imports reach from `start`, including those in `start`.

    `imports_of` returns what a module imports, or None to leave the module out.
    """
    reached: set[str] = set()
    waiting = list(start)
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        imports = imports_of(module)
        if imports is not None:
            reached.add(module)
            waiting.extend(imports)
    return reached


def imported_names(module: str, tree: ast.Module, *, is_package: bool) -> Iterator[str]:
    """Yield the names in the imports of parsed code that may be modules, and their packages.

    Imports inside functions are included; imports under `if TYPE_CHECKING` are not.
    """
    for node in _executed(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module, is_package=is_package)
            names = [".".join([*origin, alias.name]) for alias in node.names]
        for name in names:
            yield from with_packages(name)


def with_packages(module: str) -> list[str]:
    """Return a module's packages, which Python executes first, and the module itself."""
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _executed(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements except those under `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        within = node.orelse if _is_for_types(node) else ast.iter_child_nodes(node)
        waiting.extend(one for one in within if isinstance(one, _MAY_HOLD_IMPORTS))


def _is_for_types(node: ast.AST) -> TypeGuard[ast.If]:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _origin(node: ast.ImportFrom, module: str, *, is_package: bool) -> list[str]:
    """Return the parts of the absolute name of the module that is imported from."""
    below = node.module.split(".") if node.module else []
    if not node.level:
        return below
    package = module.split(".") if is_package else module.split(".")[:-1]
    return [*package[: len(package) - node.level + 1], *below]


def parse_source(file: Path) -> ast.Module:
    """Parse a Python file; raises WorkflowError, with the line, if it is invalid."""
    try:
        return ast.parse(file.read_bytes(), file.name)
    except SyntaxError as error:
        raise WorkflowError(f"{file.name}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:
        raise WorkflowError(f"{file.name}: {error}") from error
